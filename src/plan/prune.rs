//! What nothing in the manifest wants any more.

use std::collections::BTreeMap;

use super::{Draft, NewStep, resource};
use crate::call::Call;
use crate::key::Key;
use crate::label::Kind;
use crate::spec::Binding;
use crate::step::{Action, Because, Cause, Impact, ResourceKind, Work};

/// Plans the removal of containers that no resource of the manifest is, and returns the steps that free host ports.
pub(super) fn containers(draft: &mut Draft<'_>) -> BTreeMap<Binding, u32> {
    let mut freed = BTreeMap::new();
    if !draft.consent.prune || keeps_everything(draft) {
        return kept(draft);
    }
    for container in draft.observed.containers.values() {
        let wanted = draft.desired.containers.contains_key(&container.mark.name);
        if wanted || container.mark.kind != Kind::Container {
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

/// Says whether the manifest has no containers at all. That is more likely a mistake than a wish: `delete` removes
/// everything.
fn keeps_everything(draft: &Draft<'_>) -> bool {
    draft.desired.containers.is_empty()
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

/// Plans the removal of a job whose work is done: whoever ran it was killed before the last request.
pub(super) fn job(draft: &mut Draft<'_>, verb: &str, key: &Key) {
    let name = format!("aishell-job-{verb}-{}", key.short());
    let Some(job) = draft.observed.jobs.get(&name) else {
        return;
    };
    if job.mark.manifest != draft.desired.owner.manifest {
        return;
    }
    draft.push(NewStep {
        resource: resource(ResourceKind::Container, &name),
        action: Action::Remove,
        impact: Impact::None,
        because: vec![Because::plain(Cause::Orphan)],
        needs: Vec::new(),
        detail: Some("its work is done; it was left by an interrupted apply".to_owned()),
        work: Work::Guarded {
            object: job.id.clone(),
            kind: ResourceKind::Container,
            calls: vec![Call::RemoveContainer {
                container: job.id.clone(),
            }],
        },
    });
}

/// Plans the removal of networks that the manifest does not use any more, after the containers in them are gone.
pub(super) fn networks(draft: &mut Draft<'_>) {
    if !draft.consent.prune || keeps_everything(draft) {
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
