//! What phases left, as one was made on the other.
//!
//! Manifests share what they make of the same, and any of them may do it anew. So there may be several images of one
//! phase, and one of this phase and one of that need not belong together: every image says what it was made on.

use std::collections::BTreeMap;

use super::super::image::Parents;
use crate::call::Call;
use crate::desired::phase::{Chain, Phase};
use crate::key::Key;
use crate::label::{self, Kind};
use crate::observed::{Image, Observed};

/// An image that a phase left, with those it was made on.
pub(super) struct Line<'o> {
    /// The place of the phase in the chain.
    pub(super) last: usize,
    /// What it left.
    pub(super) image: &'o Image,
    /// That and what it was made on, by the places of the phases that left them.
    pub(super) images: BTreeMap<usize, &'o Image>,
}

impl<'o> Line<'o> {
    /// Returns the line of an image that the phase at a place left.
    fn of(observed: &'o Observed, chain: &Chain, last: usize, image: &'o Image) -> Self {
        let mut images = BTreeMap::from([(last, image)]);
        let mut next = image;
        for (index, phase) in chain.phases[..last].iter().enumerate().rev() {
            let Some(key) = left(phase) else { continue };
            let from = next.labels.get(label::PHASE_FROM);
            let mut made = observed.made(Kind::Snapshot, key);
            let Some(made) = made.find(|made| Some(&made.id) == from) else {
                break;
            };
            images.insert(index, made);
            next = made;
        }
        Self { last, image, images }
    }

    /// Returns the longest line of the first phases of a chain that was made on what is there now; of several the one
    /// that has its names here, then the newest.
    pub(super) fn longest(
        observed: &'o Observed,
        chain: &Chain,
        before: usize,
        parents: &Parents<'_>,
    ) -> Option<Self> {
        let phases = chain.phases[..before].iter().enumerate().rev();
        let mut lines = phases.filter_map(|(index, phase)| {
            let key = left(phase)?;
            let named = observed.keyed(&phase.tag, Kind::Snapshot, key);
            let made = newest(observed, Kind::Snapshot, key);
            let made = named.into_iter().chain(made);
            let mut lines = made
                .filter(|image| parents.are_of(image))
                .map(|image| Self::of(observed, chain, index, image));
            lines.find(|line| line.goes_on(observed, chain))
        });
        lines.next()
    }

    /// Returns the newest line of all phases, whoever made it, that was made on what is there now.
    pub(super) fn whole(
        observed: &'o Observed,
        (chain, key): (&Chain, &Key),
        parents: &Parents<'_>,
    ) -> Option<Self> {
        let last = chain.phases.len().checked_sub(1)?;
        let made = newest(observed, chain.kind, key).into_iter();
        let mut lines = made
            .filter(|image| parents.are_of(image))
            .map(|image| Self::of(observed, chain, last, image));
        lines.find(|line| line.goes_on(observed, chain))
    }

    /// Says whether it was made on what was done anew here on request: nothing older takes its place.
    fn goes_on(&self, observed: &Observed, chain: &Chain) -> bool {
        let mut phases = chain.phases[..self.last].iter().enumerate();
        phases.all(|(index, phase)| {
            let named = left(phase).and_then(|key| observed.keyed(&phase.tag, Kind::Snapshot, key));
            let renewed = named.filter(|image| image.labels.contains_key(label::REBUILT));
            renewed.is_none_or(|image| self.images.get(&index).is_some_and(|one| one.id == image.id))
        })
    }
}

/// Returns the key of what a phase leaves, if it leaves anything.
fn left(phase: &Phase) -> Option<&Key> {
    phase.key.known().filter(|_| phase.name.leaves_snapshot())
}

/// Returns what was made with a key, the newest first.
fn newest<'o>(observed: &'o Observed, kind: Kind, key: &Key) -> Vec<&'o Image> {
    let mut made: Vec<&Image> = observed.made(kind, key).collect();
    made.sort_by_key(|image| std::cmp::Reverse(image.created));
    made
}

/// Returns the first phase of which the snapshot was made on another one than is there now, where that was made anew on
/// request: whoever did that was killed, and meant all that follows.
pub(super) fn behind(
    observed: &Observed,
    (chain, manifest): (&Chain, &str),
    (base, found): (Option<&Image>, Option<&Image>),
) -> Option<usize> {
    let own = format!("aishell-{manifest}:");
    let mut before = base;
    let phases = chain.phases.iter().enumerate();
    for (index, phase) in phases.filter(|(_, phase)| phase.name.leaves_snapshot()) {
        let image = if index + 1 == chain.phases.len() {
            found
        } else {
            let key = phase.key.known()?;
            // One that was about to take its name proves that it was made here.
            let proves = |image: &&Image| image.tags.iter().any(|tag| tag.starts_with(&own));
            let named = observed.keyed(&phase.tag, Kind::Snapshot, key);
            named.or_else(|| newest(observed, Kind::Snapshot, key).into_iter().find(proves))
        };
        if let (Some(before), Some(image)) = (before, image) {
            let rebuilt = before.labels.contains_key(label::REBUILT);
            let said = image.labels.get(label::PHASE_FROM);
            if rebuilt && said.is_some_and(|said| *said != before.id) {
                return Some(index);
            }
        }
        before = image;
    }
    None
}

pub(super) fn tagging(image: &Image, tag: &str) -> Call {
    Call::TagImage {
        image: image.id.clone(),
        tag: tag.to_owned(),
    }
}

/// Returns the calls that give an image the names of a phase, the one last by which it is looked for.
pub(super) fn naming(image: &Image, phase: &Phase) -> Vec<Call> {
    let names = phase.aliases.iter().chain([&phase.tag]);
    names.map(|tag| tagging(image, tag)).collect()
}
