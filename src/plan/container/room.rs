//! What containers of ours take from each other: names that somebody swapped, host ports that the manifest moved.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Draft, Made, Needs, NewStep, resource};
use super::{candidates, dependencies, rename};
use crate::call::Call;
use crate::desired::Container;
use crate::label::OwnedId;
use crate::observed::RunState;
use crate::spec::Binding;
use crate::step::{Action, Because, Cause, Impact, ResourceKind, Step, Work};

/// The suffix of a container that has made room for another one of ours whose name it had.
const ASIDE: &str = ".aside";

/// Host ports that containers have and are not to have any more, with the names of those containers.
pub(super) type Holders<'d> = BTreeMap<&'d Binding, &'d str>;

/// Returns which container holds which host port that it is to give up.
pub(super) fn holders<'d>(draft: &Draft<'d>) -> Holders<'d> {
    let live = draft.observed.containers.values();
    let publishes = live.filter(|live| !live.spec.ports.is_empty());
    let wanted = publishes.filter_map(|live| draft.desired.containers.get_key_value(&live.mark.name));
    let names: BTreeSet<&String> = wanted.map(|(name, _)| name).collect();
    let held = |name: &'d String| given_up(draft, name).map(move |binding| (binding, name.as_str()));
    names.into_iter().flat_map(held).collect()
}

/// Returns the host ports that a container has and is not to have any more.
pub(super) fn given_up<'d>(draft: &Draft<'d>, name: &str) -> impl Iterator<Item = &'d Binding> + use<'d> {
    let container = draft.desired.containers.get(name);
    let wanted = container.map(Container::published).unwrap_or_default();
    let live = container.and_then(|container| candidates(draft, name, &container.engine_name).0);
    live.into_iter()
        .flat_map(|live| live.spec.ports.values().flatten())
        .filter(move |binding| !wanted.contains(binding))
}

/// Returns the names of the containers, each after those that it depends on and that give up a host port it wants.
pub(super) fn order<'d>(draft: &Draft<'d>, holders: &Holders<'d>) -> Vec<&'d str> {
    let desired = draft.desired;
    if holders.is_empty() && draft.awaited.is_empty() {
        return desired.containers.keys().map(String::as_str).collect();
    }
    let mut order = Vec::new();
    let mut placed = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&str> = desired.containers.keys().rev().map(String::as_str).collect();
    while let Some(name) = waiting.pop() {
        let mut before: BTreeSet<&str> = wanted_of(draft, name, holders).into_values().collect();
        if let Some(container) = desired.containers.get(name) {
            before.extend(container.depends_on.iter().map(String::as_str));
        }
        if placed.contains(name) {
            continue;
        }
        // Seen twice: whoever it waits for is done, or waits for it in turn.
        if seen.insert(name) && !before.is_empty() {
            waiting.push(name);
            waiting.extend(before);
        } else {
            placed.insert(name);
            order.push(name);
        }
    }
    order
}

/// Returns the host ports that a container wants and another one holds, with the name of that one.
fn wanted_of<'d>(draft: &Draft<'d>, name: &str, holders: &Holders<'d>) -> Holders<'d> {
    let container = draft.desired.containers.get(name);
    let held = |binding: &'d Binding| Some((binding, *holders.get(binding)?));
    container
        .map(Container::published)
        .into_iter()
        .flatten()
        .filter_map(held)
        .filter(|(_, holder)| *holder != name)
        .collect()
}

/// Plans a stop of every container that holds a port which this one wants, and that is itself planned later because it
/// wants one of this one's: of containers that swap ports, somebody has to let go first.
pub(super) fn stop_holders<'d>(
    draft: &mut Draft<'d>,
    name: &'d str,
    (holders, planned): (&Holders<'d>, &BTreeSet<&str>),
    freed: &mut BTreeMap<Binding, u32>,
) {
    for (binding, holder) in wanted_of(draft, name, holders) {
        let desired = draft.desired;
        let both = [name, holder].map(|name| desired.containers.get(name));
        let made: Vec<Made<'_>> = both.into_iter().flatten().flat_map(dependencies).collect();
        let live = both[1].and_then(|container| candidates(draft, holder, &container.engine_name).0);
        let Some(live) = live.filter(|live| live.state == RunState::Running) else {
            continue;
        };
        // Nothing is stopped for a container that cannot be made yet.
        let Needs::Steps(needs) = draft.needs(made) else {
            continue;
        };
        if planned.contains(holder) || freed.contains_key(binding) {
            continue;
        }
        let step = draft.push(NewStep {
            resource: resource(ResourceKind::Container, holder),
            action: Action::Stop,
            impact: Impact::Restart,
            because: vec![Because {
                field: Some("ports".to_owned()),
                ..Because::plain(Cause::Dependency)
            }],
            needs,
            detail: Some(format!("{name} takes over its port {}", binding.port)),
            work: Work::Guarded {
                object: live.id.clone(),
                kind: ResourceKind::Container,
                calls: vec![Call::StopContainer {
                    container: live.id.clone(),
                }],
            },
        });
        freed.extend(given_up(draft, holder).map(|binding| (binding.clone(), step)));
    }
}

/// The steps by which containers of ours leave the names of others.
#[derive(Default)]
pub(super) struct Moves<'a> {
    /// By the resource that leaves a name.
    of: BTreeMap<&'a str, Vec<u32>>,
    /// By the engine's name that it leaves.
    from: BTreeMap<&'a str, Vec<u32>>,
}

impl Moves<'_> {
    /// Returns the steps that a container has to wait for.
    pub(super) fn before(&self, name: &str, engine_name: &str) -> Vec<u32> {
        let (of, from) = (self.of.get(name), self.from.get(engine_name));
        of.into_iter().chain(from).flatten().copied().collect()
    }
}

/// Plans how containers of ours leave names that others of ours are to have: somebody swapped them.
pub(super) fn make_room<'a>(draft: &mut Draft<'a>) -> Moves<'a> {
    let (desired, observed) = (draft.desired, draft.observed);
    let removed = |step: &Step| match &step.work {
        Work::Guarded { object, .. } => Some((object.clone(), step.id)),
        Work::Calls(_)
        | Work::Build { .. }
        | Work::Network { .. }
        | Work::Clear(_)
        | Work::Phase(_)
        | Work::Identity(_)
        | Work::Populate(_)
        | Work::Create(_)
        | Work::Start { .. }
        | Work::Replace { .. } => None,
    };
    let removals: BTreeMap<OwnedId, u32> = draft.steps.iter().rev().filter_map(removed).collect();
    let mut moves = Moves::default();
    for (name, container) in &desired.containers {
        let Some(other) = observed
            .containers
            .get(&container.engine_name)
            .filter(|other| other.mark.name != *name)
        else {
            continue;
        };
        let removal = removals.get(&other.id).copied();
        let aside = format!("{}{ASIDE}", desired.owner.object(&other.mark.name));
        let step = removal.unwrap_or_else(|| rename(draft, &other.mark.name, other, &aside, Vec::new()));
        moves.of.entry(&other.mark.name).or_default().push(step);
        moves.from.entry(&other.name).or_default().push(step);
    }
    moves
}
