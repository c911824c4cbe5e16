//! Steps that are held back: what they need a person for, and what else waits with them.

use std::collections::{BTreeMap, BTreeSet};

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
    entangle(&plan.steps, &mut held);
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

/// Holds back whatever needs a step that is held back, or stops a container for one that is, the first one first.
fn entangle(steps: &[Step], held: &mut BTreeMap<u32, Withheld>) {
    let by_id: BTreeMap<u32, &Step> = steps.iter().map(|step| (step.id, step)).collect();
    let mut dependents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for step in steps {
        for need in &step.needs {
            dependents.entry(*need).or_default().push(step.id);
        }
    }
    let is_stop = |id: &u32| by_id.get(id).is_some_and(|step| step.action == Action::Stop);
    let dependents = |id: u32| dependents.get(&id).into_iter().flatten().copied();
    // Only what has to do with a step that is held back can come to be.
    let near = |id: u32| {
        let needs = by_id.get(&id).into_iter().flat_map(|step| &step.needs);
        dependents(id).chain(needs.filter(|need| is_stop(need)).copied())
    };
    let mut waiting: BTreeSet<u32> = held.keys().flat_map(|id| near(*id)).collect();
    while let Some(id) = waiting.pop_first() {
        let Some(step) = by_id.get(&id).filter(|_| !held.contains_key(&id)) else {
            continue;
        };
        let served = dependents(id).filter(|_| step.action == Action::Stop);
        let others = step.needs.iter().copied().chain(served);
        let Some((other, because)) = others
            .filter_map(|other| Some((*by_id.get(&other)?, held.get(&other)?)))
            .min_by_key(|(other, _)| other.id)
        else {
            continue;
        };
        let Resource { kind, name } = &other.resource;
        let how = if step.needs.contains(&other.id) {
            "it needs"
        } else {
            "it makes room for"
        };
        let because = Withheld {
            detail: format!("{how} {} {name}, which is blocked", kind.as_str()),
            ..because.clone()
        };
        held.insert(id, because);
        waiting.extend(near(id));
    }
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
