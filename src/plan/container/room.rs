//! What containers of ours take from each other: names that somebody swapped, host ports that the manifest moved.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Draft;
use super::{candidates, rename};
use crate::desired::Container;
use crate::spec::Binding;
use crate::step::Work;

/// The suffix of a container that has made room for another one of ours whose name it had.
const ASIDE: &str = ".aside";

/// Returns the names of the containers, each after those that give up a host port it wants.
pub(super) fn order<'d>(draft: &Draft<'d>) -> Vec<&'d str> {
    let desired = draft.desired;
    let holders: BTreeMap<&Binding, &str> = desired
        .containers
        .keys()
        .flat_map(|name| given_up(draft, name).map(move |binding| (binding, name.as_str())))
        .collect();
    let mut order = Vec::new();
    let mut waiting: Vec<&str> = desired.containers.keys().rev().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if order.contains(&name) {
            continue;
        }
        let published = desired.containers.get(name).map(Container::published);
        let before: Vec<&str> = published
            .into_iter()
            .flatten()
            .filter_map(|binding| holders.get(binding).copied())
            .filter(|holder| *holder != name)
            .collect();
        // Seen twice: whoever it waits for is done, or waits for it in turn.
        if seen.insert(name) && !before.is_empty() {
            waiting.push(name);
            waiting.extend(before);
        } else {
            order.push(name);
        }
    }
    order
}

/// Returns the host ports that a container has and is not to have any more.
pub(super) fn given_up<'d>(draft: &Draft<'d>, name: &str) -> impl Iterator<Item = &'d Binding> + use<'d> {
    let container = draft.desired.containers.get(name);
    let wanted = container.map(Container::published).unwrap_or_default();
    let live = container.and_then(|container| candidates(draft.observed, name, &container.engine_name).0);
    live.into_iter()
        .flat_map(|live| live.spec.ports.values().flatten())
        .filter(move |binding| !wanted.contains(binding))
}

/// A container of ours that leaves the name of another one.
pub(super) struct Move {
    /// The resource that it is.
    pub(super) of: String,
    /// The engine's name that it leaves.
    pub(super) from: String,
    /// The step by which it does.
    pub(super) step: u32,
}

/// Plans how containers of ours leave names that others of ours are to have: somebody swapped them.
pub(super) fn make_room(draft: &mut Draft<'_>) -> Vec<Move> {
    let (desired, observed) = (draft.desired, draft.observed);
    let mut moves = Vec::new();
    for (name, container) in &desired.containers {
        let Some(other) = observed
            .containers
            .get(&container.engine_name)
            .filter(|other| other.mark.name != *name)
        else {
            continue;
        };
        let removal = draft
            .steps
            .iter()
            .find(|step| matches!(&step.work, Work::Guarded { object, .. } if *object == other.id))
            .map(|step| step.id);
        let aside = format!("{}{ASIDE}", desired.owner.object(&other.mark.name));
        let step = removal.unwrap_or_else(|| rename(draft, &other.mark.name, other, &aside, Vec::new()));
        moves.push(Move {
            of: other.mark.name.clone(),
            from: other.name.clone(),
            step,
        });
    }
    moves
}
