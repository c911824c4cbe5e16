//! What a stage needs that is built in phases: the longest valid beginning is kept, the rest is done.

use std::sync::Arc;

use serde_json::json;

use self::line::{Line, naming, tagging};
use super::image::{Parents, ancestor, because_of, making};
use super::prune::PHASES;
use super::{Draft, Made, Maker, Needs, NewStep, job_labels, resource, settled};
use crate::call::Call;
use crate::desired::phase::{Chain, Phase};
use crate::desired::resolve::FOUNDATION;
use crate::desired::{Stage, StageSource};
use crate::key::Key;
use crate::label::{self, Kind, Mark};
use crate::manifest::phase::PhaseName;
use crate::manifest::place::Place;
use crate::observed::Image;
use crate::step::{Action, Because, Blocked, BlockedReason, Cause, Impact, PhaseWork, ResourceKind, Work};

mod line;

/// What the next phase is made on.
struct Ground {
    /// The reference of the image.
    image: String,
    /// Its key, if it is one of ours.
    key: Option<Key>,
    /// The steps that make it.
    needs: Vec<u32>,
}

/// Plans the phases of a stage.
pub(super) fn phases<'d>(draft: &mut Draft<'d>, name: &'d str, stage: &'d Stage, chain: &'d Chain) -> Maker {
    let made = Made::Stage(name);
    let Some(key) = settled(draft, &stage.key, ResourceKind::Image, name, made) else {
        return Maker::Unknown("its inputs are not known yet".to_owned());
    };
    let on = chain.on.iter().map(|stage| Made::Stage(stage.as_str()));
    let needs = match draft.needs(on.chain([Made::Stage(&chain.from)])) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => {
            draft.unknown(ResourceKind::Image, &chain.tag, &reason);
            return Maker::Unknown(reason);
        }
        Needs::Blocked => return Maker::Blocked,
    };
    let parents = Parents::of(draft, &chain.on, &needs);
    let found = draft.observed.keyed(&chain.tag, chain.kind, key);
    if let Some(rebuilt) = found.and_then(|image| image.labels.get(label::REBUILT)) {
        draft.rebuilt_as.insert(name, rebuilt);
    }
    let requested = draft.rebuilt.includes(name, found);
    let manifest = draft.desired.owner.manifest.as_str();
    let behind = line::behind(draft.observed, (chain, manifest), (base(draft, chain), found));
    let mut before = chain.on.iter().map(|stage| Made::Stage(stage.as_str()));
    let renewed = before.any(|made| draft.anew.contains(&made))
        || draft.anew.contains(&Made::Stage(&chain.from))
        || found.is_some_and(|image| parents.were_rebuilt_since(image));
    let anew = requested || renewed;
    let as_it_was = !anew && behind.is_none();
    if as_it_was && found.is_some_and(|image| parents.are_of(image)) {
        draft.unchanged(ResourceKind::Image, &chain.tag);
        return Maker::Ready;
    }
    let shared = Line::whole(draft.observed, (chain, key), &parents).filter(|_| as_it_was);
    if let Some(line) = shared {
        return Maker::Step(share(draft, stage, chain, &line));
    }
    if !as_it_was {
        draft.anew.insert(Made::Stage(name));
    }
    // What is made on another stage is made anew as a whole.
    let first = draft.rebuilt.first(name).filter(|_| requested && !renewed);
    let before = match (anew, first) {
        (false, _) => behind.unwrap_or(chain.phases.len()),
        (true, Some(first)) => chain.phases.iter().take_while(|phase| phase.name < first).count(),
        (true, None) => 0,
    };
    let (begin, ground) = beginning(draft, (chain, before), &parents, needs);
    let mut ground = ground;
    let mut last = None;
    let mut renews = requested && !renewed;
    for (index, phase) in chain.phases.iter().enumerate().skip(begin) {
        let before = index.checked_sub(1).filter(|_| index > begin);
        let before = before.and_then(|before| chain.phases.get(before));
        let mut because = changed(draft, phase, before);
        if (requested || behind.is_some()) && index == begin {
            because.push(Because::plain(Cause::Requested));
        }
        if lacks(draft, phase, &because) {
            return Maker::Blocked;
        }
        let work = (chain, index, renews && phase.name.leaves_snapshot());
        renews = renews && !phase.name.leaves_snapshot();
        let Some(step) = step(draft, (name, key), work, &ground, because) else {
            return Maker::Unknown("its inputs are not known yet".to_owned());
        };
        ground.needs = vec![step];
        if phase.name.leaves_snapshot() {
            ground.image.clone_from(&phase.tag);
            ground.key = phase.key.known().cloned();
        }
        last = Some(step);
    }
    last.map_or(Maker::Ready, Maker::Step)
}

/// Returns what a Dockerfile made that the first phase starts from, where that is there.
fn base<'o>(draft: &Draft<'o>, chain: &Chain) -> Option<&'o Image> {
    let from = draft.desired.stages.get(&chain.from)?;
    match &from.source {
        StageSource::Dockerfile { build, kind, .. } => {
            draft.observed.keyed(&build.tag, *kind, from.key.known()?)
        }
        StageSource::Image { .. } | StageSource::Phases(_) => None,
    }
}

/// Gives the image that another manifest made of the same the names it has here, and what it was made on as well.
fn share(draft: &mut Draft<'_>, stage: &Stage, chain: &Chain, line: &Line<'_>) -> u32 {
    let image = line.image;
    let named = line
        .images
        .iter()
        .map(|(index, image)| (*index, *image, &chain.phases[*index]));
    let unnamed =
        named.filter(|(index, image, phase)| *index == line.last || !image.tags.contains(&phase.tag));
    let mut calls: Vec<Call> = unnamed
        .flat_map(|(_, image, phase)| naming(image, phase))
        .collect();
    calls.extend([&chain.alias, &chain.tag].map(|tag| tagging(image, tag)));
    self::named(draft, &chain.tag, (image, calls), stage.place.as_ref())
}

/// Gives images that are there other names; returns the step.
fn named(
    draft: &mut Draft<'_>,
    tag: &str,
    (image, calls): (&Image, Vec<Call>),
    place: Option<&Place>,
) -> u32 {
    let desired = draft.desired;
    let from = Mark::read(&image.labels).map(|mark| mark.manifest);
    let own = &desired.owner.manifest;
    let kind = if Mark::read(&image.labels).is_some_and(|mark| mark.kind == Kind::Snapshot) {
        ResourceKind::Snapshot
    } else {
        ResourceKind::Image
    };
    draft.push(NewStep {
        resource: resource(kind, tag),
        action: Action::Tag,
        impact: Impact::None,
        because: vec![Because::plain(Cause::Missing).at(place)],
        needs: Vec::new(),
        detail: from.map(|manifest| {
            if manifest == *own {
                "it is there under another name".to_owned()
            } else {
                format!("made for manifest {manifest}")
            }
        }),
        work: Work::Calls(calls),
    })
}

/// Returns the first phase that has to be done, and what it is done on; of so many before it what is there may be used.
fn beginning(
    draft: &mut Draft<'_>,
    (chain, before): (&Chain, usize),
    parents: &Parents<'_>,
    needs: Vec<u32>,
) -> (usize, Ground) {
    let observed = draft.observed;
    let line = Line::longest(observed, chain, before, parents);
    let Some(line) = line else {
        let desired = draft.desired;
        let from = desired.stages.get(&chain.from);
        let ours = from.filter(|from| !matches!(from.source, StageSource::Image { .. }));
        let ground = Ground {
            image: from.map(|from| from.reference().to_owned()).unwrap_or_default(),
            key: ours.and_then(|from| from.key.known().cloned()),
            needs,
        };
        return (0, ground);
    };
    let index = line.last;
    for (index, image) in &line.images {
        let phase = &chain.phases[*index];
        if image.tags.contains(&phase.tag) {
            draft.unchanged.push(resource(ResourceKind::Snapshot, &phase.tag));
        } else {
            // Another manifest made it.
            let calls = naming(image, phase);
            named(draft, &phase.tag, (image, calls), phase.place.as_ref());
        }
    }
    let (phase, image) = (&chain.phases[index], line.image);
    // It may not have its name here yet.
    let image = if image.tags.contains(&phase.tag) {
        phase.tag.clone()
    } else {
        image.id.clone()
    };
    let ground = Ground {
        image,
        key: phase.key.known().cloned(),
        needs,
    };
    // What leaves no image of its own is told by what was made after it.
    let passed = |phase: &&Phase| {
        let hash = label::phase_hash(phase.name.as_str());
        let key = phase.key.known().filter(|_| !phase.name.leaves_snapshot());
        key.is_some_and(|key| {
            observed.images.values().any(|image| {
                image.labels.get(&hash).is_some_and(|hash| hash == key.as_str())
                    && Mark::read(&image.labels).is_some_and(|mark| image.is_proven(&mark))
            })
        })
    };
    let passed = chain.phases[..before]
        .iter()
        .skip(index + 1)
        .take_while(passed)
        .count();
    (index + 1 + passed, ground)
}

/// Returns why a phase has to be done: what differs from the newest one of its name, or that the phase before it is done
/// anew.
fn changed(draft: &Draft<'_>, phase: &Phase, before: Option<&Phase>) -> Vec<Because> {
    let name = phase.labels.get(label::NAME).map_or("", String::as_str);
    let word = phase.name.to_string();
    let own = format!("aishell-{}:", draft.desired.owner.manifest);
    let of_it = |image: &&Image| {
        // What was made on it has its labels, and others besides.
        image.labels.get(label::PHASE) == Some(&word)
            && Mark::read(&image.labels).is_some_and(|mark| mark.name == name)
            && image.tags.iter().any(|tag| tag.starts_with(&own))
    };
    let images = draft.observed.images.values();
    let Some(earlier) = images.filter(of_it).max_by_key(|image| image.created) else {
        // What leaves no image is done whenever something before it is. What was made after it says that it was.
        let hash = label::phase_hash(phase.name.as_str());
        let mut own = draft
            .observed
            .images
            .values()
            .filter(|image| image.tags.iter().any(|tag| tag.starts_with(&own)));
        let was_done = own.any(|image| image.labels.contains_key(&hash));
        return match before.filter(|_| !phase.name.leaves_snapshot() && was_done) {
            Some(before) => vec![depends_on(before)],
            None => vec![Because::plain(Cause::Missing).at(phase.place.as_ref())],
        };
    };
    let told = because_of(&phase.inputs, earlier).into_iter();
    let mut because: Vec<Because> = told
        .map(|because| match because.at {
            Some(_) => because,
            None => because.at(phase.place.as_ref()),
        })
        .collect();
    match before {
        Some(before) => because.push(depends_on(before)),
        None if because.is_empty() => {
            let key = phase.key.known().map(Key::short);
            because
                .push(Because::field(Cause::Stale, &word, json!(null), json!(key)).at(phase.place.as_ref()));
        }
        None => {}
    }
    because
}

/// Blocks a phase that cannot be done because secrets of its commands are not known here.
fn lacks(draft: &mut Draft<'_>, phase: &Phase, because: &[Because]) -> bool {
    let lacks = phase.lacks.iter();
    let lacks: Vec<String> = lacks
        .map(|(variable, reason)| format!("its secret {variable} cannot be had: {reason}"))
        .collect();
    if lacks.is_empty() {
        return false;
    }
    draft.blocked.push(Blocked {
        resource: resource(ResourceKind::Snapshot, &phase.tag),
        action: Action::Snapshot,
        impact: Impact::None,
        discards: None,
        reason: BlockedReason::Unsupported,
        detail: lacks.join("; "),
        unblock: None,
        because: because.to_vec(),
    });
    true
}

fn depends_on(phase: &Phase) -> Because {
    Because {
        field: Some(phase.name.to_string()),
        ..Because::plain(Cause::Dependency)
    }
}

fn step(
    draft: &mut Draft<'_>,
    (name, stage): (&str, &Key),
    (chain, index, renews): (&Chain, usize, bool),
    ground: &Ground,
    because: Vec<Because>,
) -> Option<u32> {
    let phase = &chain.phases[index];
    let key = phase.key.known()?.clone();
    let desired = draft.desired;
    let manifest = &desired.owner.manifest;
    let is_last = index + 1 == chain.phases.len();
    let (kind, tag, stage_names) = if is_last {
        (
            ResourceKind::Image,
            &chain.tag,
            vec![chain.tag.clone(), chain.alias.clone()],
        )
    } else {
        (ResourceKind::Snapshot, &phase.tag, Vec::new())
    };
    let own = [phase.tag.clone()]
        .into_iter()
        .chain(phase.aliases.iter().cloned());
    let names = stage_names.into_iter().chain(own).collect();
    let prefix = if name == FOUNDATION {
        String::new()
    } else {
        format!("{name}-")
    };
    let work = PhaseWork {
        name: phase.name,
        stage: name.to_owned(),
        making: making(draft, &key),
        renews,
        // One stage is at one phase at a time: whatever a killed apply left is found under its name.
        job_name: format!("aishell-job-{name}-{}-{manifest}", desired.owner.project8()),
        failed_name: format!("aishell-failed-{manifest}-{prefix}{}", phase.name),
        from: ground.image.clone(),
        from_key: ground.key.clone(),
        on: chain
            .on
            .iter()
            .filter_map(|stage| ancestor(draft, *stage))
            .collect(),
        key: if is_last { stage.clone() } else { key.clone() },
        names: if phase.name.leaves_snapshot() {
            names
        } else {
            Vec::new()
        },
        labels: phase.labels.clone(),
        job: job_labels(desired, &format!("{PHASES}{name}"), &key),
        acts: phase.acts.clone(),
        settings: phase.settings.clone(),
        certificates: chain.certificates.clone(),
        proxies: chain.proxies.clone(),
        store: Arc::clone(&chain.store),
    };
    let detail = match phase.about.as_str() {
        "" => phase.name.description().to_owned(),
        about => about.to_owned(),
    };
    let last = PhaseName::Final.id();
    Some(draft.push(NewStep {
        resource: resource(kind, tag),
        action: Action::Snapshot,
        impact: Impact::None,
        because,
        needs: ground.needs.clone(),
        detail: Some(format!("[{}/{last}] {}: {detail}", phase.name.id(), phase.name)),
        work: Work::Phase(Box::new(work)),
    }))
}
