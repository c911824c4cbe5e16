//! What sandboxes would get that they had not: listed for a person who has typed it, held back from anybody else.
//!
//! The manifest in a project can be written by what runs in its sandboxes, so it is no consent by itself. What counts is
//! what a person has given: what the containers have, and what they had.

use std::collections::{BTreeMap, BTreeSet};

use super::Widen;
use super::withhold::Withheld;
use crate::call::Call;
use crate::desired::Desired;
use crate::grant::{self, Grant, Ground};
use crate::label::Kind;
use crate::observed::{self, ByResource, Observed};
use crate::step::{Action, BlockedReason, Plan, Resource, ResourceKind, Step, Work};

/// What a person has given to the sandboxes of a manifest, so that one that was removed comes back as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// The engine they are on.
    host: Option<String>,
    /// What containers have or had, by their names in the manifest.
    containers: BTreeMap<String, BTreeSet<Grant>>,
}

impl Baseline {
    /// Returns what the sandboxes of a manifest have now.
    pub fn of(observed: &Observed) -> Self {
        let mut baseline = Self::default();
        baseline.learn(observed);
        baseline
    }

    /// Takes in what the sandboxes of a manifest have by now: whoever gave it to them has consented. Only aishell makes
    /// what is observed here, so that no manifest can add to it.
    pub fn learn(&mut self, observed: &Observed) {
        self.host.get_or_insert_with(|| observed.engine.host.clone());
        for container in observed.containers.values() {
            if container.mark.kind == Kind::Container {
                let had = self.containers.entry(container.mark.name.clone()).or_default();
                had.extend(given(container));
            }
        }
    }
}

/// Returns what a container was given.
fn given(live: &observed::Container) -> BTreeSet<Grant> {
    let all = |spec| grant::of(spec, &Ground::default(), str::to_owned);
    let mut given = all(&live.spec);
    given.extend(live.applied.iter().flat_map(all));
    given.extend(live.granted.iter().cloned());
    given
}

/// Who has what. Only what steps are about is looked at.
struct Holders<'a> {
    live: ByResource<'a>,
    baseline: Option<&'a Baseline>,
}

impl<'a> Holders<'a> {
    fn of(observed: &'a Observed, widen: &'a Widen) -> Self {
        let baseline = match widen {
            Widen::Allowed => None,
            Widen::UpTo(baseline) => Some(&**baseline),
        };
        Self {
            live: observed.by_resource(),
            baseline,
        }
    }

    /// Returns what a container of the manifest has or had; `None` for one that never was.
    fn had(&self, name: &str) -> Option<BTreeSet<Grant>> {
        let live = self.live.of(name);
        let before = self.baseline.and_then(|baseline| baseline.containers.get(name));
        if live.is_empty() && before.is_none() {
            return None;
        }
        let live = live.iter().flat_map(|live| given(live));
        Some(live.chain(before.into_iter().flatten().cloned()).collect())
    }

    /// Returns what any container of the manifest was given besides its own.
    fn anybody(&self) -> BTreeSet<Grant> {
        let live = self.live.all().flatten().flat_map(|live| &live.granted);
        let before = self
            .baseline
            .into_iter()
            .flat_map(|baseline| baseline.containers.values().flatten());
        live.chain(before).cloned().collect()
    }
}

/// Notes with every step what sandboxes would get by it, and returns the steps that nobody has consented to.
pub(super) fn withheld(
    plan: &mut Plan,
    desired: &Desired,
    observed: &Observed,
    widen: &Widen,
) -> BTreeMap<u32, Withheld> {
    let mut held = BTreeMap::new();
    if !plan.steps.iter().any(gives) {
        return held;
    }
    let holders = Holders::of(observed, widen);
    let mut shared: Vec<Grant> = Vec::new();
    if !desired.grants.is_empty() {
        shared.extend(
            grant::beyond(&desired.grants, &holders.anybody())
                .into_iter()
                .cloned(),
        );
    }
    for step in plan.steps.iter_mut().filter(|step| gives(step)) {
        let mut all = beyond(step, desired, &holders);
        match widen {
            // Told once.
            Widen::Allowed if makes(step) => all.append(&mut shared),
            Widen::Allowed => {}
            Widen::UpTo(baseline) => {
                all.extend(shared.iter().filter(|_| makes(step)).cloned());
                let host = &observed.engine.host;
                if baseline.host.as_ref().is_some_and(|known| known != host) {
                    all.push(Grant::Engine { host: host.clone() });
                }
            }
        }
        if all.is_empty() {
            continue;
        }
        let words: Vec<String> = all.iter().map(Grant::display).collect();
        match widen {
            Widen::Allowed => step.widens = words,
            Widen::UpTo(_) => {
                held.insert(
                    step.id,
                    Withheld {
                        reason: BlockedReason::Widens,
                        detail: format!("it would get {}", words.join(", ")),
                        unblock: Some("aishell apply".to_owned()),
                    },
                );
            }
        }
    }
    // What does not get the new network keeps the old one.
    let resources: BTreeMap<Resource, Withheld> = plan
        .steps
        .iter()
        .filter_map(|step| Some((step.resource.clone(), held.get(&step.id)?.clone())))
        .collect();
    let leaving = plan.steps.iter().filter(|step| step.action == Action::Disconnect);
    for step in leaving {
        if let Some(because) = resources.get(&step.resource) {
            held.insert(step.id, because.clone());
        }
    }
    held
}

/// Says whether a step may give something to a sandbox.
fn gives(step: &Step) -> bool {
    match &step.work {
        Work::Calls(calls) | Work::Guarded { calls, .. } => calls
            .iter()
            .any(|call| matches!(call, Call::ConnectNetwork { .. })),
        Work::Create(_)
        | Work::Start { .. }
        | Work::Replace { .. }
        | Work::Build { .. }
        | Work::Network { .. }
        | Work::Clear(_)
        | Work::Phase(_)
        | Work::Identity(_)
        | Work::Populate(_) => makes(step),
    }
}

/// Returns what a container would get by a step that it had not.
fn beyond(step: &Step, desired: &Desired, holders: &Holders<'_>) -> Vec<Grant> {
    let name = &step.resource.name;
    if step.resource.kind != ResourceKind::Container {
        return Vec::new();
    }
    let Some(wanted) = desired.containers.get(name) else {
        return Vec::new();
    };
    let had = holders.had(name);
    let nothing = BTreeSet::new();
    let new = grant::beyond(&wanted.grants, had.as_ref().unwrap_or(&nothing)).into_iter();
    let whole = makes(step);
    let given = new.filter(|grant| match grant {
        // Every sandbox has a network unless its manifest says otherwise, so only one that was without gets something.
        Grant::Networked => had.is_some(),
        Grant::Network { .. } => true,
        _ => whole,
    });
    given.cloned().collect()
}

/// Says whether a step makes an image or a container, and not only attaches one to a network.
fn makes(step: &Step) -> bool {
    match &step.work {
        Work::Create(_)
        | Work::Replace { .. }
        | Work::Build { .. }
        | Work::Phase(_)
        | Work::Identity(_)
        | Work::Populate(_) => true,
        Work::Calls(_)
        | Work::Guarded { .. }
        | Work::Network { .. }
        | Work::Clear(_)
        | Work::Start { .. } => false,
    }
}
