//! What a person does to containers by hand: stop them so that they stay stopped, start them anew.

use std::collections::BTreeSet;

use super::resource;
use crate::call::Call;
use crate::key::{Key, KeyKind};
use crate::label::{HOLDER, Kind, Owner, SINCE};
use crate::observed::{Container, Hold, Observed, RunState};
use crate::spec::Restart;
use crate::step::{
    Action, Because, Blocked, BlockedReason, Cause, Impact, ManifestInfo, Plan, ResourceKind, Step, Work,
};

/// Returns the steps that stop containers and make them stay so; whoever has none is kept from getting one.
///
/// # Guarantees
/// What says that a container is held is there before the container is stopped, so that nobody heals it.
pub fn stopping(
    observed: &Observed,
    owner: &Owner,
    manifest: &ManifestInfo,
    names: &BTreeSet<String>,
    hold: &Hold,
) -> Plan {
    let mut plan = Plan::empty(manifest, &observed.engine);
    for name in names {
        let volume = owner.hold(name);
        let mut calls = Vec::new();
        if observed.hold_volume(owner, name).is_none() {
            let mut labels = owner.labels(Kind::Hold, name, &Key::of(KeyKind::Volume, &volume));
            labels.insert(HOLDER.to_owned(), hold.by.clone());
            labels.insert(SINCE.to_owned(), hold.since.clone());
            calls.push(Call::CreateVolume { name: volume, labels });
        }
        let live = observed.resource(&owner.object(name), name);
        if let Some(live) = live {
            // The engine would start it again when it is itself started.
            if live.spec.restart == Restart::Always {
                calls.push(Call::UpdateContainer {
                    container: live.id.id().to_owned(),
                    resources: None,
                    restart: Some(Restart::No),
                });
            }
            if live.state.is_alive() {
                calls.push(Call::StopContainer {
                    container: live.id.clone(),
                });
            }
        }
        if let (true, Some(hold)) = (calls.is_empty(), observed.hold(owner, name)) {
            plan.notes
                .push(format!("container {name} is held already ({hold})"));
            continue;
        }
        push(&mut plan, name, Action::Stop, live, calls);
    }
    plan
}

/// Returns the steps that end containers and start them again.
pub fn restarting(
    observed: &Observed,
    owner: &Owner,
    manifest: &ManifestInfo,
    names: &BTreeSet<String>,
) -> Plan {
    let mut plan = Plan::empty(manifest, &observed.engine);
    for name in names {
        let Some(live) = observed.resource(&owner.object(name), name) else {
            continue;
        };
        if let Some(hold) = observed.hold(owner, name) {
            plan.blocked.push(Blocked {
                resource: resource(ResourceKind::Container, name),
                action: Action::Restart,
                impact: Impact::None,
                discards: None,
                reason: BlockedReason::Held,
                detail: hold.to_string(),
                unblock: Some(format!("aishell start {name}")),
                because: vec![Because::plain(Cause::Requested)],
            });
            continue;
        }
        let mut calls = Vec::new();
        if live.state.is_alive() {
            calls.push(Call::StopContainer {
                container: live.id.clone(),
            });
        }
        calls.push(Call::StartContainer {
            container: live.id.id().to_owned(),
        });
        push(&mut plan, name, Action::Restart, Some(live), calls);
    }
    plan
}

fn push(plan: &mut Plan, name: &str, action: Action, live: Option<&Container>, calls: Vec<Call>) {
    let resource = resource(ResourceKind::Container, name);
    let id = u32::try_from(plan.steps.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let running = live.is_some_and(|live| live.state == RunState::Running);
    plan.steps.push(Step {
        id,
        resource,
        action,
        impact: if running { Impact::Restart } else { Impact::None },
        because: vec![Because::plain(Cause::Requested)],
        needs: Vec::new(),
        detail: live
            .is_none()
            .then(|| "it does not exist; none will be made".to_owned()),
        discards: None,
        widens: Vec::new(),
        interrupts: Vec::new(),
        work: match live {
            Some(live) => Work::Guarded {
                object: live.id.clone(),
                kind: ResourceKind::Container,
                calls,
            },
            None => Work::Calls(calls),
        },
    });
}
