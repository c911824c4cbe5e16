//! What nothing in the manifest wants any more.

use std::collections::BTreeMap;

use super::garbage::{Unfinished, unfinished as unfinished_images};
use super::{Draft, Made, Maker, NewStep, resource};
use crate::call::Call;
use crate::key::Key;
use crate::label::{Kind, MAKING, Mark};
use crate::lock;
use crate::observed::Image;
use crate::spec::Binding;
use crate::step::{Action, BARE, Because, Cause, Impact, ResourceKind, Step, Work};

/// Plans the removal of containers that no resource of the manifest is, and returns the steps that free host ports.
pub(super) fn containers(draft: &mut Draft<'_>) -> BTreeMap<Binding, u32> {
    let mut freed = BTreeMap::new();
    if !draft.prune {
        return kept(draft);
    }
    let observed = draft.observed;
    let copies = super::container::copies(&draft.live);
    for container in observed.containers.values().chain(observed.failed.values()) {
        let wanted = draft.desired.containers.contains_key(&container.mark.name);
        if wanted || container.mark.kind != Kind::Container {
            continue;
        }
        if copies.contains(container.id.id()) {
            draft.notes.push(super::container::copied(container));
            continue;
        }
        let id = draft.push(NewStep {
            resource: resource(ResourceKind::Container, &container.mark.name),
            action: Action::Remove,
            impact: Impact::Recreate,
            because: vec![Because::plain(Cause::Orphan)],
            needs: Vec::new(),
            detail: None,
            work: Work::Guarded {
                object: container.id.clone(),
                kind: ResourceKind::Container,
                calls: super::container::removal(container),
            },
        });
        for binding in container.spec.ports.values().flatten() {
            freed.insert(binding.clone(), id);
        }
    }
    freed
}

/// Says which containers are kept though the manifest does not have them.
fn kept(draft: &mut Draft<'_>) -> BTreeMap<Binding, u32> {
    let wanted = &draft.desired.containers;
    let notes = draft
        .observed
        .containers
        .values()
        .filter(|container| {
            container.mark.kind == Kind::Container && !wanted.contains_key(&container.mark.name)
        })
        .map(|container| {
            format!(
                "container {} is not in the manifest and is kept",
                container.mark.name
            )
        });
    draft.notes.extend(notes);
    BTreeMap::new()
}

/// Plans the removal of networks that the manifest does not use any more, after the containers in them are gone.
pub(super) fn networks(draft: &mut Draft<'_>) {
    if !draft.prune {
        return;
    }
    let wanted = draft
        .desired
        .network
        .as_ref()
        .map(|network| network.name.as_str());
    // Every step on a container may be the one that leaves the network.
    let needs: Vec<u32> = draft
        .steps
        .iter()
        .filter(|step| step.resource.kind == ResourceKind::Container)
        .map(|step| step.id)
        .collect();
    for network in draft.observed.networks.values() {
        if Some(network.name.as_str()) == wanted {
            continue;
        }
        // Nobody who stays for now can be put out of it.
        if let Some(name) = staying(draft, &network.name) {
            let reason = format!("container {name} is still in it");
            draft.unknown(ResourceKind::Network, &network.name, &reason);
            continue;
        }
        draft.push(NewStep {
            resource: resource(ResourceKind::Network, &network.name),
            action: Action::Remove,
            impact: Impact::None,
            because: vec![Because::plain(Cause::Orphan)],
            needs: needs.clone(),
            detail: None,
            work: Work::Guarded {
                object: network.id.clone(),
                kind: ResourceKind::Network,
                calls: vec![Call::RemoveNetwork {
                    network: network.id.clone(),
                }],
            },
        });
    }
}

/// Returns a container that is in a network and of which nothing can be said yet, or that needs a person first.
fn staying(draft: &Draft<'_>, network: &str) -> Option<String> {
    let is_waiting = |name: &str| {
        let unknown = draft.unknown.iter();
        let mut unknown = unknown.filter(|unknown| unknown.kind == ResourceKind::Container);
        let mut blocked = draft.blocked.iter().map(|blocked| &blocked.resource);
        unknown.any(|unknown| unknown.name == name)
            || blocked.any(|blocked| blocked.kind == ResourceKind::Container && blocked.name == name)
    };
    let live = draft.observed.containers.values();
    live.filter(|live| live.spec.networks.contains_key(network))
        .map(|live| &live.mark.name)
        .find(|name| is_waiting(name))
        .cloned()
}

/// Plans the removal of jobs whose work is done by now: left by a pass that was cut, or kept to show why one failed.
///
/// Whoever else had one left to remove does not mind that it is gone.
pub(super) fn jobs(draft: &mut Draft<'_>) {
    for (name, job) in &draft.observed.jobs {
        // Another owner's may be at work on the same: its own aishell removes it.
        if !draft.desired.owner.owns(&job.mark) {
            continue;
        }
        // Whoever is at a phase has claimed the owner, and does not come here: it runs on for nobody.
        let stage = job.mark.name.strip_prefix(PHASES);
        if job.running && stage.is_none() {
            continue;
        }
        let exhibit = !name.starts_with("aishell-job-");
        let maker = match stage {
            Some(stage) => draft.makers.get(&Made::Stage(stage)),
            None => product(draft, &job.mark.key),
        };
        let (needs, detail) = match maker {
            Some(Maker::Ready) => (Vec::new(), "its work is done"),
            // The step takes care of the job by itself, but not of the one that failed before it.
            Some(Maker::Step(id)) if exhibit => (vec![*id], "its work is done"),
            Some(Maker::Step(_) | Maker::Unknown(_) | Maker::Blocked) => continue,
            None if exhibit => (Vec::new(), "what it failed at is not wanted any more"),
            None if stage.is_some() => (Vec::new(), "what it was for is not wanted any more"),
            // Whoever asked was killed; who asks the same again takes care of it.
            None if job.mark.name == BARE && !super::image::is_wanted(draft, name) => {
                (Vec::new(), "what it was for is not wanted any more")
            }
            None if job.mark.name == lock::JOB => (Vec::new(), "nobody waits for its answer"),
            None => continue,
        };
        draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Remove,
            impact: Impact::None,
            because: vec![Because::plain(Cause::Orphan)],
            needs,
            detail: Some(detail.to_owned()),
            work: Work::Guarded {
                object: job.id.clone(),
                kind: ResourceKind::Container,
                calls: vec![Call::RemoveContainer {
                    container: job.id.clone(),
                    volumes: true,
                }],
            },
        });
    }
}

/// Plans the removal of images that were made for this owner and not named any more: an engine goes on with what somebody
/// asked for who was killed, and may be done with it only after the next one has looked.
pub(super) fn unfinished(draft: &mut Draft<'_>) {
    let owner = &draft.desired.owner;
    let own = format!("aishell-{}:{}{}-", owner.manifest, MAKING, owner.project8());
    // Whoever was killed between the last name and the end of the first one leaves only that.
    let named = |image: &&Image| image.tags.len() > 1 && Mark::read(&image.labels).is_some();
    let left = draft.observed.images.values().filter(named);
    let left = left.flat_map(|image| image.tags.iter().map(move |tag| (image, tag)));
    let never = unfinished_images(&draft.observed.images).map(|Unfinished { image, tag, .. }| (image, tag));
    for (image, tag) in never.chain(left) {
        // A step that makes the same takes care of it.
        let sweeps = |step: &Step| step.work.makes(tag);
        if !tag.starts_with(&own) || draft.steps.iter().any(sweeps) {
            continue;
        }
        draft.push(NewStep {
            resource: resource(ResourceKind::Image, tag),
            action: Action::Remove,
            impact: Impact::None,
            because: vec![Because::plain(Cause::Orphan)],
            needs: Vec::new(),
            detail: Some(format!("left by an interrupted apply: {}", short(&image.id))),
            work: Work::Calls(vec![Call::RemoveImage { image: tag.clone() }]),
        });
    }
}

/// Returns the digits of an id that people are shown.
fn short(id: &str) -> &str {
    let digits = id.trim_start_matches("sha256:");
    digits.get(..12).unwrap_or(digits)
}

/// What the name of a job begins with that is done for a phase; the stage follows.
pub(super) const PHASES: &str = "phases-";

/// Returns how what has a key comes about, if this manifest wants it.
fn product<'d>(draft: &'d Draft<'_>, key: &Key) -> Option<&'d Maker> {
    let identities = draft.desired.identities.iter();
    let made = identities
        .filter(|(_, identity)| identity.key.known() == Some(key))
        .map(|(name, _)| Made::Identity(name))
        .next()
        .or_else(|| {
            let harness = draft.desired.harness_set();
            harness.filter(|set| set.key == *key).map(|_| Made::Harness)
        })?;
    draft.makers.get(&made)
}
