//! What named containers need: created, changed in place, started, replaced.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Draft, Made, Needs, NewStep, hold, resource};
use crate::call::{Call, Create};
use crate::desired::{Container, ImageChoice};
use crate::key::{Key, KeyKind, canonical};
use crate::label::{self, Kind};
use crate::manifest::container::OnDrift;
use crate::observed::{self, RunState};
use crate::spec::{Binding, Class, ContainerSpec};
use crate::step::{Action, Because, Blocked, BlockedReason, Cause, CreateWork, Impact, ResourceKind, Work};

mod claim;
mod compare;
mod failed;
mod in_place;
mod room;

use claim::candidates;
pub(super) use claim::{copied, copies};
use compare::{Comparison, explain, image_change, obstacle};
use failed::{forget, last_try};
pub use failed::{refuted, unheard};
use in_place::{in_place, wake};
use room::{Moves, given_up, holders, make_room, order, stop_holders};

/// The suffix of a new container that waits to take its place.
pub const NEXT: &str = ".next";
/// The suffix of an old container that has made room.
pub const PREVIOUS: &str = ".prev";

/// Plans every container of the manifest, given the steps that free host ports.
pub(super) fn all(draft: &mut Draft<'_>, mut freed: BTreeMap<Binding, u32>) {
    let desired = draft.desired;
    let moves = make_room(draft);
    let holders = holders(draft);
    let mut planned = BTreeSet::new();
    let mut steps: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for name in order(draft, &holders) {
        let Some(container) = desired.containers.get(name) else {
            continue;
        };
        stop_holders(draft, name, (&holders, &planned), &mut freed);
        let first = draft.steps.len();
        let before = container
            .depends_on
            .iter()
            .filter_map(|other| steps.get(other.as_str()));
        let before: Vec<u32> = before.flatten().copied().collect();
        one(draft, name, container, &before, (&freed, &moves));
        if draft.awaited.contains(name) {
            steps.insert(name, draft.steps[first..].iter().map(|step| step.id).collect());
        }
        let replaced = draft.steps[first..]
            .iter()
            .find(|step| step.action == Action::Replace)
            .map(|step| step.id);
        if let Some(step) = replaced {
            freed.extend(given_up(draft, name).map(|binding| (binding.clone(), step)));
        }
        if !holders.is_empty() {
            planned.insert(name);
        }
    }
}

fn one(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    before: &[u32],
    (freed, moves): (&BTreeMap<Binding, u32>, &Moves<'_>),
) {
    let (live, leftovers) = candidates(draft, name, &container.engine_name);
    // Only a replacement leaves something, and under these names. Whatever else has the labels was named by a person,
    // who may have copied them.
    let by_us = |leftover: &&observed::Container| {
        let suffix = leftover.name.strip_prefix(container.engine_name.as_str());
        suffix.is_some_and(|suffix| [NEXT, PREVIOUS].contains(&suffix))
    };
    let (mut leftovers, copies): (Vec<_>, Vec<_>) = leftovers.into_iter().partition(by_us);
    for copy in copies {
        draft.notes.push(copied(copy));
    }
    if let Some(stranger) = draft.observed.stranger("container", &container.engine_name) {
        let who = stranger.who.clone();
        let because = vec![Because::plain(Cause::Missing)];
        draft.foreign(
            resource(ResourceKind::Container, name),
            Action::Create,
            &who,
            because,
        );
        return;
    }
    let mut needs = match draft.needs(dependencies(container)) {
        Needs::Steps(needs) => needs,
        Needs::Unknown(reason) => return draft.unknown(ResourceKind::Container, name, &reason),
        Needs::Blocked => {
            return draft.unknown(ResourceKind::Container, name, "something it needs is blocked");
        }
    };
    let moved = moves.before(name, &container.engine_name);
    needs.extend(&moved);
    needs.extend(before);
    needs.extend(draft.released.get(name).copied().flatten());
    needs.extend(
        container
            .published()
            .into_iter()
            .filter_map(|binding| freed.get(binding)),
    );
    let mut seen = live.map(|live| Comparison::of(container, live));
    let unwanted = seen.as_ref().is_some_and(|seen| seen.is_replaced(draft));
    // A replacement was cut, and what it made is no longer wanted. Unless that runs, the old one is still the
    // container.
    if let Some(new) = live.filter(|new| unwanted && !new.state.is_alive())
        && let Some(old) = leftovers.iter_mut().find(|one| one.name.ends_with(PREVIOUS))
    {
        seen = Some(Comparison::of(container, std::mem::replace(old, new)));
    }
    // What stands in the way goes first; the old container that made room goes last, when the new one runs.
    let (old, stale): (Vec<_>, Vec<_>) = leftovers
        .into_iter()
        .partition(|leftover| !unwanted && leftover.name.ends_with(PREVIOUS));
    for leftover in stale {
        needs.push(remove_leftover(draft, name, leftover, moved.clone()));
    }
    if let (Some(new), [old]) = (&seen, &old[..])
        && new.live.name == container.engine_name
        && draft.hold(name).is_none()
    {
        return go_on(draft, name, container, (old, new), needs);
    }
    let (first, unknown) = (draft.steps.len(), draft.unknown.len());
    bring_about(draft, name, container, seen.as_ref(), needs);
    let made = &draft.steps[first..];
    let after: Vec<u32> = made.iter().map(|step| step.id).collect();
    // A replacement takes care of it by itself.
    let is_tried = made.iter().any(|step| step.action == Action::Replace);
    if !is_tried && draft.unknown.len() == unknown {
        forget(draft, name, after.clone());
    }
    for leftover in old {
        remove_leftover(draft, name, leftover, after.clone());
    }
}

/// Plans the rest of a replacement that was cut when the new one had the name already. It has to prove itself yet,
/// and gives way to the old one if it does not.
fn go_on(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    (old, new): (&observed::Container, &Comparison<'_>),
    mut needs: Vec<u32>,
) {
    let Some(reference) = reference(draft, container) else {
        return draft.unknown(ResourceKind::Container, name, "its image is not known yet");
    };
    let work = creation(draft, name, container, &reference);
    let id = draft.push(NewStep {
        resource: resource(ResourceKind::Container, name),
        action: Action::Replace,
        impact: if new.live.state.is_alive() {
            Impact::None
        } else {
            Impact::Restart
        },
        because: vec![Because::field(
            Cause::Orphan,
            "name",
            json!(old.name),
            Value::Null,
        )],
        needs: needs.clone(),
        detail: Some("goes on with an interrupted replacement".to_owned()),
        work: Work::Replace {
            old: old.id.clone(),
            new: Box::new(work),
            begun: Some(new.live.id.clone()),
            failed: draft.observed.failed.get(name).map(|failed| failed.id.clone()),
        },
    });
    needs.push(id);
    in_place(draft, name, container, new, &needs);
}

/// Plans what makes a container exist as it is wanted, and run.
fn bring_about(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    seen: Option<&Comparison<'_>>,
    needs: Vec<u32>,
) {
    let Some(reference) = reference(draft, container) else {
        return draft.unknown(ResourceKind::Container, name, "its image is not known yet");
    };
    let Some(seen) = seen else {
        let because = vec![Because::plain(Cause::Missing)];
        if lacks(draft, name, container, Action::Create, &because) {
            return;
        }
        let new = creation(draft, name, container, &reference);
        draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Create,
            impact: Impact::None,
            because,
            needs,
            detail: None,
            work: Work::Create(Box::new(new)),
        });
        return;
    };
    compare(draft, name, container, seen, needs, &reference);
}

/// Blocks a container that cannot be made because secrets of its configuration are not known here.
fn lacks(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    action: Action,
    because: &[Because],
) -> bool {
    let lacks = container.lacks.iter();
    let lacks: Vec<String> = lacks
        .map(|(variable, reason)| format!("its secret {variable} cannot be had: {reason}"))
        .collect();
    if lacks.is_empty() {
        return false;
    }
    draft.blocked.push(Blocked {
        resource: resource(ResourceKind::Container, name),
        action,
        impact: if action == Action::Replace {
            Impact::Recreate
        } else {
            Impact::None
        },
        reason: BlockedReason::Unsupported,
        detail: lacks.join("; "),
        unblock: None,
        discards: None,
        because: because.to_vec(),
    });
    true
}

/// Returns what a container cannot be made without.
fn dependencies(container: &Container) -> Vec<Made<'_>> {
    let mut made = vec![match &container.image {
        ImageChoice::Identity(identity) => Made::Identity(identity),
        ImageChoice::Stage(stage) => Made::Stage(stage),
    }];
    if container.harness {
        made.push(Made::Harness);
    }
    made.extend(container.volumes.iter().map(|volume| Made::Volume(volume)));
    if !container.spec.networks.is_empty() {
        made.push(Made::Network);
    }
    made
}

fn remove_leftover(
    draft: &mut Draft<'_>,
    name: &str,
    leftover: &observed::Container,
    needs: Vec<u32>,
) -> u32 {
    draft.push(NewStep {
        resource: resource(ResourceKind::Container, name),
        action: Action::Remove,
        impact: Impact::None,
        because: vec![Because::field(
            Cause::Orphan,
            "name",
            json!(leftover.name),
            Value::Null,
        )],
        needs,
        detail: Some(format!(
            "{} was left by an interrupted replacement",
            leftover.name
        )),
        work: Work::Guarded {
            object: leftover.id.clone(),
            kind: ResourceKind::Container,
            calls: removal(leftover),
        },
    })
}

/// Returns the calls that remove a container, asking its processes to end first.
pub(super) fn removal(container: &observed::Container) -> Vec<Call> {
    // It ran on trial only, beside the container: what its image's volumes hold of that is nobody's data.
    let on_trial = [NEXT, label::FAILED]
        .iter()
        .any(|suffix| container.name.ends_with(suffix));
    let remove = Call::RemoveContainer {
        container: container.id.clone(),
        // Nobody consented to the loss of what a database wrote to a volume of its image; one that never ran wrote
        // nothing.
        volumes: on_trial || container.started.is_none(),
    };
    if matches!(container.state, RunState::Running | RunState::Restarting) {
        vec![
            Call::StopContainer {
                container: container.id.clone(),
            },
            remove,
        ]
    } else {
        vec![remove]
    }
}

/// Returns the reference that the container is to be created from.
fn reference(draft: &Draft<'_>, container: &Container) -> Option<String> {
    match &container.image {
        ImageChoice::Identity(name) => draft.desired.identities.get(name)?.tag.known().cloned(),
        ImageChoice::Stage(name) => Some(draft.desired.stages.get(name)?.reference().to_owned()),
    }
}

fn creation(draft: &Draft<'_>, name: &str, container: &Container, reference: &str) -> CreateWork {
    let spec = ContainerSpec {
        image: reference.to_owned(),
        ..container.spec.clone()
    };
    let applied = canonical(&spec);
    let key = Key::of_canonical(KeyKind::Container, &applied);
    let mut labels = draft.desired.owner.labels(Kind::Container, name, &key);
    labels.insert(label::APPLIED.to_owned(), applied);
    let granted: Vec<_> = container.grants.union(&draft.desired.grants).collect();
    if !granted.is_empty() {
        labels.insert(label::GRANTED.to_owned(), canonical(&json!(granted)));
    }
    if let Some(busy) = &container.busy {
        labels.insert(label::BUSY.to_owned(), canonical(&json!(busy)));
    }
    let editor = json!([{ "remoteUser": spec.user.as_deref().unwrap_or_default().split(':').next() }]);
    labels.insert(label::DEVCONTAINER.to_owned(), canonical(&editor));
    let connect = spec
        .networks
        .iter()
        .skip(1)
        .map(|(name, endpoint)| (name.clone(), endpoint.clone()))
        .collect();
    CreateWork {
        create: Create {
            name: container.engine_name.clone(),
            labels,
            spec,
        },
        connect,
        completes: container.completes,
        patience: container.patience,
        awaited: draft.awaited.contains(name),
        shells: container.shells.clone(),
    }
}

fn compare(
    draft: &mut Draft<'_>,
    name: &str,
    container: &Container,
    seen: &Comparison<'_>,
    mut needs: Vec<u32>,
    reference: &str,
) {
    let Comparison {
        live, differences, ..
    } = seen;
    let mut because: Vec<Because> = image_change(draft, container, live, reference)
        .into_iter()
        .collect();
    let mut forced = Vec::new();
    for difference in differences {
        if difference.class == Class::Create {
            because.push(explain(draft, seen, difference));
        } else if let Some(obstacle) = obstacle(live, difference) {
            because.push(explain(draft, seen, difference));
            forced.push(obstacle);
        }
    }
    let drifted = |draft: &Draft<'_>| {
        differences
            .iter()
            .any(|difference| explain(draft, seen, difference).cause == Cause::Drift)
    };
    let anew = container.on_drift == OnDrift::Recreate && drifted(draft);
    if anew && forced.is_empty() {
        forced.push("its manifest says `onDrift: recreate`".to_owned());
    }
    let requested = draft.requested.includes(live);
    if anew || requested || !because.is_empty() {
        // A replacement brings everything else along, and says so.
        for difference in differences {
            if difference.class == Class::Live && obstacle(live, difference).is_none() {
                because.push(explain(draft, seen, difference));
            }
        }
        because.extend(requested.then(|| Because::plain(Cause::Requested)));
        if lacks(draft, name, container, Action::Replace, &because) {
            return;
        }
        let new = creation(draft, name, container, reference);
        forced.dedup();
        forced.extend(last_try(draft.observed, name, &new));
        let detail = (!forced.is_empty()).then(|| forced.join("; "));
        let failed = draft.observed.failed.get(name);
        draft.push(NewStep {
            resource: resource(ResourceKind::Container, name),
            action: Action::Replace,
            impact: Impact::Recreate,
            because,
            needs,
            detail,
            work: Work::Replace {
                old: live.id.clone(),
                new: Box::new(new),
                begun: None,
                failed: failed.map(|failed| failed.id.clone()),
            },
        });
        return;
    }
    for (variable, reason) in &container.lacks {
        draft.notes.push(format!(
            "container {name} keeps the secret {variable} that it has: {reason}"
        ));
    }
    let before = draft.steps.len();
    if live.name != container.engine_name {
        let id = rename(draft, name, live, &container.engine_name, needs.clone());
        needs.push(id);
    }
    needs.extend(in_place(draft, name, container, seen, &needs));
    if !hold::stays(draft, name, live) {
        wake(draft, name, container, live, (needs, reference));
    }
    if draft.steps.len() == before {
        draft.unchanged(ResourceKind::Container, name);
    }
}

fn rename(draft: &mut Draft<'_>, name: &str, live: &observed::Container, to: &str, needs: Vec<u32>) -> u32 {
    draft.push(NewStep {
        resource: resource(ResourceKind::Container, name),
        action: Action::Rename,
        impact: Impact::None,
        because: vec![Because::field(Cause::Drift, "name", json!(live.name), json!(to))],
        needs,
        detail: None,
        work: Work::Guarded {
            object: live.id.clone(),
            kind: ResourceKind::Container,
            calls: vec![Call::RenameContainer {
                container: live.id.clone(),
                name: to.to_owned(),
            }],
        },
    })
}
