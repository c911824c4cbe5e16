//! Which container is a resource, where several claim to be it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::Draft;
use super::{NEXT, PREVIOUS};
use crate::observed::{self, ByResource};

/// Picks the container that is the resource now, and what interrupted replacements left beside it.
pub(super) fn candidates<'o>(
    draft: &Draft<'o>,
    name: &str,
    engine_name: &str,
) -> (Option<&'o observed::Container>, Vec<&'o observed::Container>) {
    let found = draft.live.of(name);
    if let [] | [_] = found {
        return (found.first().copied(), Vec::new());
    }
    let mut found = found.to_vec();
    found.sort_by_cached_key(|container| claim(container, engine_name));
    let mut found = found.into_iter();
    (found.next(), found.collect())
}

/// Returns what orders the containers that claim to be one resource: the first of them is.
fn claim(container: &observed::Container, engine_name: &str) -> (u8, Option<Timestamp>) {
    let rank = match container.name.strip_prefix(engine_name) {
        Some("") => 0,
        // The old one was a working container; the new one has proved nothing yet.
        Some(PREVIOUS) => 1,
        Some(NEXT) => 3,
        _ => 2,
    };
    (rank, container.created.parse().ok())
}

/// Returns the engine's ids of the containers that only have the labels of others: whoever made them copied the labels,
/// and they are left alone.
pub(in crate::plan) fn copies<'o>(live: &ByResource<'o>) -> BTreeSet<&'o str> {
    let mut copies = BTreeSet::new();
    for containers in live.all().filter(|containers| containers.len() > 1) {
        let mut claims = Vec::new();
        for container in containers {
            let engine_name = container.mark.engine_name().unwrap_or_default();
            let (rank, created) = claim(container, &engine_name);
            claims.push((rank, created, container.id.id()));
        }
        claims.sort();
        let others = claims.into_iter().skip(1).filter(|(rank, ..)| *rank == 2);
        copies.extend(others.map(|(_, _, id)| id));
    }
    copies
}

/// Returns what is said of a container that only has the labels of another one.
pub(in crate::plan) fn copied(copy: &observed::Container) -> String {
    format!(
        "container {} has the labels of container {} and another name; it is left alone",
        copy.name, copy.mark.name
    )
}
