//! What images need: pulled, built, given an identity.

use serde_json::json;

use super::{Draft, Made, Maker, Needs, NewStep, job_labels, resource, settled};
use crate::call::Call;
use crate::desired::inputs::{Change, Inputs, PARENT};
use crate::desired::resolve::BUILT;
use crate::desired::{Identity, Pin, Stage, StageSource};
use crate::key::Key;
use crate::label::{self, Kind, Labels, Mark};
use crate::manifest::stage::StageName;
use crate::observed::Image;
use crate::step::{Action, Ancestor, Because, Cause, IdentityWork, Impact, ResourceKind, Work};

mod bare;
mod unfit;

use bare::bare;
pub(super) use bare::is_wanted;

/// Plans the images that others are made from.
pub(super) fn stages(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    let of_the_chain = |name: &str| StageName::ALL.iter().any(|stage| stage.as_str() == name);
    let chain = StageName::ALL.iter().map(|stage| stage.as_str());
    let others = desired
        .stages
        .keys()
        .map(String::as_str)
        .filter(|name| !of_the_chain(name));
    // What phases start from comes before them.
    let grounds = desired.stages.values().filter_map(|stage| match &stage.source {
        StageSource::Phases(chain) => Some(chain.from.as_str()),
        StageSource::Image { .. } | StageSource::Dockerfile { .. } => None,
    });
    let grounds = grounds.filter(|name| !of_the_chain(name));
    // A Dockerfile that phases start from may be made on a stage before, and comes between.
    let is_built = |name: &&str| name.ends_with(BUILT);
    let chain = chain.flat_map(|name| {
        let own = desired.stages.keys().map(String::as_str);
        let mut own = own.filter(move |other| other.strip_suffix(BUILT) == Some(name));
        own.next().into_iter().chain([name])
    });
    for name in grounds.filter(|name| !is_built(name)).chain(chain).chain(others) {
        let Some(stage) = desired.stages.get(name) else {
            continue;
        };
        if draft.makers.contains_key(&Made::Stage(name)) {
            continue;
        }
        let maker = match &stage.source {
            StageSource::Image {
                unfit: Some(platform),
                ..
            } => unfit::refused(draft, stage, platform),
            StageSource::Image { pull, present, .. } => {
                if of_the_chain(name) && draft.rebuilt.includes(name, None) {
                    draft.notes.push(format!(
                        "{name} is an image that aishell does not build: `--rebuild` changes nothing of it"
                    ));
                }
                pulled(draft, stage, *pull, *present)
            }
            StageSource::Dockerfile { .. } => built(draft, name, stage),
            StageSource::Phases(chain) => super::phase::phases(draft, name, stage, chain),
        };
        draft.made(Made::Stage(name), maker);
    }
}

fn pulled(draft: &mut Draft<'_>, stage: &Stage, pull: bool, present: bool) -> Maker {
    let (name, reference) = (stage.resource(), stage.reference());
    if present {
        draft.unchanged(ResourceKind::Image, name);
        return Maker::Ready;
    }
    // What a tag means is known when it is pulled; a digest means one thing.
    let maker = |step| match stage.key {
        Pin::Known(_) => Maker::Step(step),
        Pin::Unknown(_) => Maker::Unknown(format!("{name} is pulled first")),
    };
    let wanted = resource(ResourceKind::Image, name);
    if let Some(step) = draft.steps.iter().find(|step| step.resource == wanted) {
        return maker(step.id);
    }
    let because = vec![Because::plain(Cause::Missing).at(stage.place.as_ref())];
    if !pull {
        draft.blocked.push(crate::step::Blocked {
            resource: wanted,
            action: Action::Pull,
            impact: Impact::None,
            discards: None,
            reason: crate::step::BlockedReason::Unsupported,
            detail: "the image is not on the engine and the manifest says `pull: never`".to_owned(),
            unblock: Some(format!("docker pull {reference}")),
            because,
        });
        return Maker::Blocked;
    }
    let id = draft.push(NewStep {
        resource: wanted,
        action: Action::Pull,
        impact: Impact::None,
        because,
        needs: Vec::new(),
        detail: (name != reference).then(|| reference.to_owned()),
        work: Work::Calls(vec![Call::PullImage {
            reference: reference.to_owned(),
        }]),
    });
    maker(id)
}

fn built<'a>(draft: &mut Draft<'a>, name: &'a str, stage: &'a Stage) -> Maker {
    let StageSource::Dockerfile {
        build,
        alias,
        about,
        kind,
        inputs,
        on,
        bases,
    } = &stage.source
    else {
        return Maker::Ready;
    };
    let made = Made::Stage(name);
    let Some(key) = settled(draft, &stage.key, ResourceKind::Image, name, made) else {
        return Maker::Unknown("its inputs are not known yet".to_owned());
    };
    let needs = match draft.needs(on.iter().map(|stage| Made::Stage(stage.as_str()))) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => {
            draft.unknown(ResourceKind::Image, &build.tag, &reason);
            return Maker::Unknown(reason);
        }
        Needs::Blocked => return Maker::Blocked,
    };
    let parents = Parents::of(draft, on, &needs);
    let found = draft.observed.keyed(&build.tag, *kind, key);
    if let Some(rebuilt) = found.and_then(|image| image.labels.get(label::REBUILT)) {
        draft.rebuilt_as.insert(name, rebuilt);
    }
    let requested = draft.rebuilt.includes_built(name, found);
    let anew = requested
        || on
            .iter()
            .any(|stage| draft.anew.contains(&Made::Stage(stage.as_str())))
        || found.is_some_and(|image| parents.were_rebuilt_since(image));
    if !anew && found.is_some_and(|image| parents.are_of(image)) {
        draft.unchanged(ResourceKind::Image, &build.tag);
        return Maker::Ready;
    }
    let wanted = resource(ResourceKind::Image, &build.tag);
    let shared = draft
        .observed
        .made(*kind, key)
        .find(|image| parents.are_of(image));
    let shared = shared.filter(|_| !anew);
    let mut because = match (found, earlier(draft, *kind, alias)) {
        (Some(image), _) => parents.differ_from(image),
        (None, Some(earlier)) => {
            let told = because_of(inputs, earlier);
            if told.is_empty() {
                let from = Mark::read(&earlier.labels).map(|mark| mark.key.short().to_owned());
                let because = Because::field(Cause::Stale, name, json!(from), json!(key.short()));
                vec![because]
            } else {
                told
            }
        }
        (None, None) => vec![Because::plain(Cause::Missing)],
    };
    if requested {
        because.push(Because::plain(Cause::Requested));
    }
    let stage_build = build;
    let mut build = build.clone();
    build.cache = !requested;
    if anew {
        draft.anew.insert(Made::Stage(name));
    }
    let (action, detail) = match shared.and_then(|image| Mark::read(&image.labels)) {
        Some(mark) => (Action::Tag, format!("made for manifest {}", mark.manifest)),
        None => (Action::Build, about.clone()),
    };
    let id = draft.push(NewStep {
        resource: wanted,
        action,
        impact: Impact::None,
        because: because
            .into_iter()
            .map(|because| match because.at {
                Some(_) => because,
                None => because.at(stage.place.as_ref()),
            })
            .collect(),
        needs,
        detail: Some(detail),
        work: Work::Build {
            build,
            alias: alias.clone(),
            making: making(draft, key),
            made: shared.map(|image| image.id.clone()),
            on: on.iter().filter_map(|stage| ancestor(draft, *stage)).collect(),
            bases: bases.clone(),
            bare: bare(draft, key, stage_build),
        },
    });
    Maker::Step(id)
}

/// Returns which inputs are not what they were when an image was made.
pub(super) fn because_of(inputs: &Inputs, earlier: &Image) -> Vec<Because> {
    let label = earlier.labels.get(label::INPUTS).map_or("", String::as_str);
    let changes = inputs.changes(label).into_iter();
    let because = changes.map(|Change { field, from, to, at }| {
        let cause = if field == PARENT {
            Cause::Dependency
        } else if field.starts_with("args.") || field == "target" {
            Cause::Manifest
        } else {
            Cause::Stale
        };
        Because::field(cause, &field, from, to).at(at.as_ref())
    });
    because.collect()
}

/// The stages that one is made on, as they will be.
pub(super) struct Parents<'a>(Vec<Parent<'a>>);

struct Parent<'a> {
    stage: StageName,
    /// Whether a step of this plan makes it anew.
    renewed: bool,
    /// What is known of it.
    image: Option<&'a Image>,
}

impl Parent<'_> {
    fn id(&self) -> Option<&str> {
        self.image.map(|image| image.id.as_str())
    }
}

impl<'a> Parents<'a> {
    pub(super) fn of(draft: &Draft<'a>, on: &[StageName], needs: &[u32]) -> Self {
        let renewed = |stage: &Stage| {
            let wanted = resource(ResourceKind::Image, stage.resource());
            let mut steps = draft.steps.iter().filter(|step| needs.contains(&step.id));
            steps.any(|step| {
                step.resource == wanted && matches!(step.action, Action::Build | Action::Snapshot)
            })
        };
        let parent = |name: &StageName| {
            let stage = draft.desired.stages.get(name.as_str())?;
            Some(Parent {
                stage: *name,
                renewed: renewed(stage),
                image: image_of(draft, stage),
            })
        };
        Self(on.iter().filter_map(parent).collect())
    }

    /// Says whether an image was made on them.
    pub(super) fn are_of(&self, image: &Image) -> bool {
        let is_of = |parent: &Parent<'_>| {
            let said = image.labels.get(label_of(parent.stage)).map(String::as_str);
            // An image that is pulled is the one that its digest says.
            !parent.renewed && said.is_some() && (parent.id().is_none() || said == parent.id())
        };
        self.0.iter().all(is_of)
    }

    /// Says whether one of them was made anew on request after an image was made on it, so that what was begun then goes
    /// on: whatever is made on that image is meant as well.
    pub(super) fn were_rebuilt_since(&self, image: &Image) -> bool {
        let since = |parent: &Parent<'_>| {
            let said = image.labels.get(label_of(parent.stage)).map(String::as_str);
            let rebuilt = parent
                .image
                .is_some_and(|parent| parent.labels.contains_key(label::REBUILT));
            rebuilt && said.is_some() && said != parent.id()
        };
        self.0.iter().any(since)
    }

    /// Returns why an image was not made on them.
    fn differ_from(&self, image: &Image) -> Vec<Because> {
        let short = |id: &str| {
            id.trim_start_matches("sha256:")
                .chars()
                .take(12)
                .collect::<String>()
        };
        let because = |parent: &Parent<'_>| {
            let said = image.labels.get(label_of(parent.stage)).map(|id| short(id));
            let to = parent.id().filter(|_| !parent.renewed).map(short);
            (said != to || said.is_none())
                .then(|| Because::field(Cause::Dependency, parent.stage.as_str(), json!(said), json!(to)))
        };
        self.0.iter().filter_map(because).collect()
    }
}

/// Says whether the stage that something was made on was made anew on request since then.
pub(super) fn is_behind(draft: &Draft<'_>, stage: &str, labels: &Labels) -> bool {
    let rebuilt = draft.rebuilt_as.get(stage);
    rebuilt.is_some_and(|rebuilt| labels.get(label::REBUILT).map(String::as_str) != Some(*rebuilt))
}

/// Returns the image of a stage, where it is there.
fn image_of<'a>(draft: &Draft<'a>, stage: &Stage) -> Option<&'a Image> {
    let observed = draft.observed;
    match &stage.source {
        StageSource::Image { reference, .. } => {
            let found = observed.references.get(reference);
            found.map(|image| &image.image)
        }
        StageSource::Dockerfile { build, kind, .. } => {
            let key = stage.key.known()?;
            let found = observed.keyed(&build.tag, *kind, key);
            found.or_else(|| observed.made(*kind, key).next())
        }
        StageSource::Phases(chain) => {
            let key = stage.key.known()?;
            let found = observed.keyed(&chain.tag, chain.kind, key);
            found.or_else(|| observed.made(chain.kind, key).next())
        }
    }
}

pub(super) fn ancestor(draft: &Draft<'_>, name: StageName) -> Option<Ancestor> {
    let stage = draft.desired.stages.get(name.as_str())?;
    Some(Ancestor {
        label: label_of(name),
        reference: stage.reference().to_owned(),
        key: match stage.source {
            StageSource::Image { .. } => None,
            StageSource::Dockerfile { .. } | StageSource::Phases(_) => stage.key.known().cloned(),
        },
    })
}

/// Returns the label in which an image says on which image of a stage it was made.
fn label_of(stage: StageName) -> &'static str {
    match stage {
        StageName::Foundation | StageName::Extension => label::FOUNDATION_ID,
        StageName::Base => label::BASE_ID,
    }
}

/// Returns the image that an earlier state of the same inputs made: the newest in the repository of this manifest.
fn earlier<'a>(draft: &Draft<'a>, kind: Kind, own: &str) -> Option<&'a Image> {
    let is_own = |image: &&Image| {
        let named = image.tags.iter().any(|tag| tag.starts_with(own));
        named && Mark::read(&image.labels).is_some_and(|mark| mark.kind == kind)
    };
    let images = draft.observed.images.values();
    images.filter(is_own).max_by_key(|image| image.created)
}

/// Plans the identity images.
pub(super) fn identities(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for (name, identity) in &desired.identities {
        let maker = self::identity(draft, name, identity);
        draft.made(Made::Identity(name), maker);
    }
}

fn identity<'a>(draft: &mut Draft<'a>, name: &'a str, identity: &'a Identity) -> Maker {
    let made = Made::Identity(name);
    let display = format!("sandbox identity {}", identity.account.name);
    let Some(key) = settled(draft, &identity.key, ResourceKind::Image, &display, made) else {
        return draft.makers.get(&made).cloned().unwrap_or(Maker::Blocked);
    };
    let Some(tag) = settled(draft, &identity.tag, ResourceKind::Image, &display, made) else {
        return draft.makers.get(&made).cloned().unwrap_or(Maker::Blocked);
    };
    let needs = match draft.needs([Made::Stage(&identity.stage)]) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => {
            draft.unknown(ResourceKind::Image, &display, &reason);
            return Maker::Unknown(reason);
        }
        Needs::Blocked => return Maker::Blocked,
    };
    let found = draft.observed.keyed(tag, Kind::Identity, key);
    let anew = draft.anew.contains(&Made::Stage(&identity.stage))
        || found.is_some_and(|image| is_behind(draft, &identity.stage, &image.labels));
    if !anew && found.is_some() {
        draft.unchanged(ResourceKind::Image, tag);
        return Maker::Ready;
    }
    let sandbox = format!("aishell-{}:sandbox", draft.desired.owner.manifest);
    let because = if needs.is_empty() || earlier(draft, Kind::Identity, &sandbox).is_none() {
        Because::plain(Cause::Missing)
    } else {
        Because {
            field: Some("image".to_owned()),
            ..Because::plain(Cause::Dependency)
        }
    };
    let because = vec![because.at(identity.place.as_ref())];
    // Other manifests may make the same for users whom other certificates are trusted by.
    let own = |image: &&Image| image.tags.contains(&label::proof(tag, &image.id));
    if let Some(image) = draft.observed.made(Kind::Identity, key).find(own)
        && !anew
    {
        let id = draft.push(NewStep {
            resource: resource(ResourceKind::Image, tag),
            action: Action::Tag,
            impact: Impact::None,
            because,
            needs,
            detail: Some("it is there under another name".to_owned()),
            work: Work::Calls(vec![Call::TagImage {
                image: image.id.clone(),
                tag: tag.clone(),
            }]),
        });
        return Maker::Step(id);
    }
    let desired = draft.desired;
    let stage = desired.stages.get(&identity.stage);
    let stage_place = stage.and_then(|stage| stage.place.clone());
    let from = stage
        .map(|stage| stage.reference().to_owned())
        .unwrap_or_default();
    let mut labels = label::shared(&desired.owner.manifest, Kind::Identity, name, key);
    // It inherits the labels of the stage, and containers inherit its own.
    labels.insert(label::INPUTS.to_owned(), String::new());
    labels.insert(
        label::FOUNDATION_HASH.to_owned(),
        stage_key(draft, &identity.stage),
    );
    if anew {
        draft.anew.insert(Made::Identity(name));
    }
    let id = draft.push(NewStep {
        resource: resource(ResourceKind::Image, tag),
        action: Action::Build,
        impact: Impact::None,
        because,
        needs,
        detail: Some(format!(
            "user {} ({}:{}), home {}",
            identity.account.name, identity.account.uid, identity.account.gid, identity.account.home
        )),
        work: Work::Identity(Box::new(IdentityWork {
            renews: found.map(|image| image.id.clone()),
            making: making(draft, key),
            from,
            tag: tag.clone(),
            key: key.clone(),
            labels,
            job: job_labels(desired, "identity", key),
            account: identity.account.clone(),
            certificates: identity.certificates.clone(),
            machine: identity.machine.clone(),
            place: stage_place,
            shells: identity.shells.clone(),
        })),
    });
    Maker::Step(id)
}

/// Returns what an image is called while it is made: whatever still is when it is made again was left by an apply that
/// was killed.
pub(super) fn making(draft: &Draft<'_>, key: &Key) -> String {
    let owner = &draft.desired.owner;
    format!(
        "aishell-{}:{}{}-{}",
        owner.manifest,
        label::MAKING,
        owner.project8(),
        key.short()
    )
}

fn stage_key(draft: &Draft<'_>, stage: &str) -> String {
    draft
        .desired
        .stages
        .get(stage)
        .and_then(|stage| stage.key.known())
        .map(|key| key.as_str().to_owned())
        .unwrap_or_default()
}
