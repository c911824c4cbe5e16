//! Who would notice a step, and what is held back because somebody works there.

use std::collections::{BTreeMap, BTreeSet};

use super::Consent;
use super::withhold::Withheld;
use crate::call::Call;
use crate::desired::Desired;
use crate::manifest::container::OnChange;
use crate::observed::{self, Activity, Observed, RunState, SetUser};
use crate::spec::Mount;
use crate::step::{Action, Because, BlockedReason, Cause, Interrupted, Plan, ResourceKind, Step, Work};

/// Notes with every step which containers would notice it that nobody has consented to interrupt.
pub(super) fn mark(steps: &mut [Step], observed: &Observed, consent: &Consent, desired: Option<&Desired>) {
    if consent.interrupt || steps.is_empty() {
        return;
    }
    let containers = observed.containers.values();
    let live: BTreeMap<&str, &observed::Container> = containers
        .map(|container| (container.id.id(), container))
        .collect();
    for step in steps {
        let found = noticed_by(&step.work).into_iter().filter_map(|id| live.get(id));
        step.interrupts = found.filter_map(|live| one(live, desired)).collect();
        if let Work::Populate(work) = &step.work {
            let own = live.values().filter(|live| has_tools(live, &work.volume));
            step.interrupts = own.filter_map(|live| one(live, desired)).collect();
            let others = observed.set_users.get(&work.volume).into_iter().flatten();
            step.interrupts.extend(others.map(theirs));
        }
    }
}

/// Says whether a container has a harness volume mounted.
fn has_tools(live: &observed::Container, volume: &str) -> bool {
    let mut mounts = live.spec.mounts.values();
    mounts.any(|mount| matches!(mount, Mount::Volume { name, .. } if name == volume))
}

/// Says whether anybody's container that runs has a harness volume mounted.
pub(super) fn mounts(observed: &Observed, volume: &str) -> bool {
    let mut own = observed.containers.values();
    own.any(|live| live.state.is_alive() && has_tools(live, volume))
        || observed.set_users.contains_key(volume)
}

/// Returns a container of somebody else's that would notice.
fn theirs(user: &SetUser) -> Interrupted {
    let SetUser { id, name, busy } = user.clone();
    Interrupted {
        container: id,
        name,
        busy,
    }
}

/// Returns the ids of the containers that would notice work.
fn noticed_by(work: &Work) -> BTreeSet<&str> {
    match work {
        Work::Calls(calls) | Work::Guarded { calls, .. } => calls.iter().filter_map(noticed).collect(),
        Work::Replace { old, .. } => [old.id()].into(),
        Work::Build { .. }
        | Work::Network { .. }
        | Work::Clear(_)
        | Work::Phase(_)
        | Work::Identity(_)
        | Work::Populate(_)
        | Work::Create(_)
        | Work::Start { .. } => BTreeSet::new(),
    }
}

/// Returns a container that would notice, unless nothing runs in it or its manifest says that it does not mind.
fn one(live: &observed::Container, desired: Option<&Desired>) -> Option<Interrupted> {
    match live.state {
        RunState::Running | RunState::Paused => {}
        // Between two runs nobody can be in it.
        RunState::Restarting
        | RunState::Created
        | RunState::Exited { .. }
        | RunState::Removing
        | RunState::Dead => return None,
    }
    let wanted = desired.and_then(|desired| desired.containers.get(&live.mark.name));
    if wanted.is_some_and(|wanted| wanted.on_change == OnChange::Immediately) {
        return None;
    }
    let busy = match wanted {
        Some(wanted) => wanted.busy.clone(),
        // The manifest does not have it any more, or is not asked: what it was created with counts.
        None => live.busy.clone(),
    };
    Some(Interrupted {
        container: live.id.id().to_owned(),
        name: live.mark.name.clone(),
        busy,
    })
}

/// Returns the container that would notice a call.
fn noticed(call: &Call) -> Option<&str> {
    match call {
        Call::StopContainer { container }
        | Call::KillContainer { container }
        | Call::RemoveContainer { container, .. } => Some(container.id()),
        Call::DisconnectNetwork { container, .. } => Some(container),
        Call::Version
        | Call::Identify
        | Call::Clock
        | Call::ListContainers
        | Call::ListUsers
        | Call::MeasureUsage
        | Call::ListVolumes
        | Call::ListNetworks
        | Call::ListImages
        | Call::InspectContainer { .. }
        | Call::InspectImage { .. }
        | Call::InspectVolume { .. }
        | Call::InspectNetwork { .. }
        | Call::ReadFile { .. }
        | Call::ReadTree { .. }
        | Call::StatFile { .. }
        | Call::FollowLog { .. }
        | Call::ListProcesses { .. }
        | Call::ListChanges { .. }
        | Call::SearchFiles { .. }
        | Call::TakeStock { .. }
        | Call::InspectExec { .. }
        | Call::AskRegistry { .. }
        | Call::PullImage { .. }
        | Call::BuildImage(_)
        | Call::CommitContainer(_)
        | Call::TagImage { .. }
        | Call::RemoveImage { .. }
        | Call::CreateVolume { .. }
        | Call::RemoveVolume { .. }
        | Call::CreateNetwork { .. }
        | Call::RemoveNetwork { .. }
        | Call::ConnectNetwork { .. }
        | Call::CreateContainer(_)
        | Call::CreateKept(_)
        | Call::RemoveIdle { .. }
        | Call::StartContainer { .. }
        | Call::UnpauseContainer { .. }
        | Call::RenameContainer { .. }
        | Call::UpdateContainer { .. }
        | Call::CreateExec(_)
        | Call::StartExec { .. }
        | Call::FollowExec { .. }
        | Call::Upload { .. } => None,
    }
}

/// Returns the containers that steps would interrupt and of which nobody knows whether somebody works there.
pub fn unasked(plan: &Plan, observed: &Observed) -> Vec<Interrupted> {
    let mut unasked: BTreeMap<&str, &Interrupted> = BTreeMap::new();
    for one in plan.steps.iter().flat_map(|step| &step.interrupts) {
        if !observed.activity.contains_key(&one.container) {
            unasked.insert(&one.container, one);
        }
    }
    unasked.into_values().cloned().collect()
}

/// Returns the steps that would interrupt somebody, with the evidence.
///
/// `never` tells of a container whether nothing but a consent interrupts it.
pub(super) fn withheld(
    plan: &Plan,
    observed: &Observed,
    verb: &str,
    never: impl Fn(&str) -> bool,
) -> BTreeMap<u32, Withheld> {
    let held = |step: &Step| {
        let held = Withheld {
            reason: BlockedReason::Busy,
            detail: evidence(step, observed, &never)?,
            unblock: Some(format!("aishell {verb}{} --allow interrupt", again(step))),
        };
        Some((step.id, held))
    };
    plan.steps.iter().filter_map(held).collect()
}

/// Returns the option without which a step would not be planned again.
fn again(step: &Step) -> String {
    let requested = |because: &Because| because.cause == Cause::Requested;
    if step.action == Action::Replace && step.because.iter().any(requested) {
        format!(" --replace {}", step.resource.name)
    } else if matches!(&step.work, Work::Populate(work) if work.refuted.is_some()) {
        " --deep".to_owned()
    } else {
        String::new()
    }
}

/// Returns why a step would interrupt somebody, if it would.
fn evidence(step: &Step, observed: &Observed, never: &impl Fn(&str) -> bool) -> Option<String> {
    let mut found = Vec::new();
    for one in &step.interrupts {
        let detail = match observed.activity.get(&one.container) {
            _ if never(&one.name) => "its manifest says `onChange: never`",
            Some(Activity::Busy(detail)) => detail,
            Some(Activity::Idle) | None => continue,
        };
        let itself = step.resource.kind == ResourceKind::Container;
        found.push(if itself {
            detail.to_owned()
        } else {
            format!("container {}: {detail}", one.name)
        });
    }
    (!found.is_empty()).then(|| found.join("; "))
}
