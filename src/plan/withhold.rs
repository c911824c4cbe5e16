//! Steps that are held back: what they need a person for, and what else waits with them.

use std::collections::BTreeMap;

use crate::desired::Desired;
use crate::manifest::container::OnDrift;
use crate::step::{Action, Because, Blocked, BlockedReason, Cause, Plan, Resource, ResourceKind, Step};

/// Why a step is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    /// Why.
    pub(super) reason: BlockedReason,
    /// The particulars.
    pub(super) detail: String,
    /// The command that unblocks it.
    pub(super) unblock: Option<String>,
}

/// Returns the steps that only put right what somebody changed, in containers whose manifest wants to hear of that.
pub(super) fn reported(plan: &Plan, desired: &Desired) -> BTreeMap<u32, Withheld> {
    let reports = |step: &&Step| {
        let drift = |because: &Because| because.cause == Cause::Drift;
        let wanted = desired.containers.get(&step.resource.name);
        step.resource.kind == ResourceKind::Container
            && wanted.is_some_and(|container| container.on_drift == OnDrift::Report)
            && !step.because.is_empty()
            && step.because.iter().all(drift)
    };
    let held = |step: &Step| {
        let held = Withheld {
            reason: BlockedReason::Reported,
            detail: "its manifest says `onDrift: report`".to_owned(),
            unblock: None,
        };
        (step.id, held)
    };
    plan.steps.iter().filter(reports).map(held).collect()
}

/// Takes steps out of a plan, with everything that needs them, and says so.
pub(super) fn back(plan: &mut Plan, mut held: BTreeMap<u32, Withheld>) {
    if held.is_empty() {
        return;
    }
    while let Some((step, because)) = plan.steps.iter().find_map(|step| entangled(step, plan, &held)) {
        held.insert(step, because);
    }
    let mut kept = Vec::new();
    for step in std::mem::take(&mut plan.steps) {
        let Some(Withheld {
            reason,
            detail,
            unblock,
        }) = held.remove(&step.id)
        else {
            kept.push(step);
            continue;
        };
        plan.blocked.push(Blocked {
            resource: step.resource,
            action: step.action,
            impact: step.impact,
            discards: step.discards,
            reason,
            detail,
            unblock,
            because: step.because,
        });
    }
    renumber(&mut kept);
    plan.steps = kept;
}

/// Returns a step that is not held back yet and must be, because it needs one that is, or stops a container for one
/// that is.
fn entangled(step: &Step, plan: &Plan, held: &BTreeMap<u32, Withheld>) -> Option<(u32, Withheld)> {
    if held.contains_key(&step.id) {
        return None;
    }
    let needs = |other: &&Step| step.needs.contains(&other.id);
    let serves = |other: &&Step| step.action == Action::Stop && other.needs.contains(&step.id);
    let mut others = plan.steps.iter().filter(|other| held.contains_key(&other.id));
    let other = others.find(|other| needs(other) || serves(other))?;
    let Resource { kind, name } = &other.resource;
    let how = if needs(&other) {
        "it needs"
    } else {
        "it makes room for"
    };
    let because = Withheld {
        detail: format!("{how} {} {name}, which is blocked", kind.as_str()),
        ..held.get(&other.id)?.clone()
    };
    Some((step.id, because))
}

/// Numbers steps from 1 again.
fn renumber(steps: &mut [Step]) {
    let numbers: BTreeMap<u32, u32> = (1..)
        .zip(steps.iter())
        .map(|(number, step)| (step.id, number))
        .collect();
    for step in steps {
        let number = |id: &u32| numbers.get(id).copied();
        step.needs = step.needs.iter().filter_map(number).collect();
        step.id = number(&step.id).unwrap_or(step.id);
    }
}
