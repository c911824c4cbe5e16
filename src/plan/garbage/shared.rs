//! What has users and no owner, and the proof that an image is ours.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::label::{self, Kind, Mark};
use crate::observed::{Image, Volume};

/// Something that has users, and no owner.
pub(super) trait Shared {
    /// Returns its labels, read.
    fn mark(&self) -> &Mark;
    /// Returns when it was made.
    fn created(&self) -> Option<Timestamp>;
}

impl Shared for Ours<'_> {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn created(&self) -> Option<Timestamp> {
        self.image.created
    }
}

impl Shared for Volume {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn created(&self) -> Option<Timestamp> {
        self.created.parse().ok()
    }
}

/// An image that is provably ours.
pub(super) struct Ours<'a> {
    /// The image.
    pub(super) image: &'a Image,
    /// Its labels, read.
    pub(super) mark: Mark,
    /// The tag that its key gives it.
    pub(super) tag: &'a String,
}

/// Returns the images that are ours, and that nobody else has given a name.
///
/// Images built from ours inherit the labels, so labels prove nothing without the tag that the key gives; and of images
/// with one identifier only the first can be the one that it was made for.
pub(super) fn ours(images: &BTreeMap<String, Image>) -> Vec<Ours<'_>> {
    let mut first: BTreeMap<String, (Option<Timestamp>, &str)> = BTreeMap::new();
    for image in images.values() {
        if let Some(uid) = image.labels.get(label::UID) {
            let this = (image.created, image.id.as_str());
            let known = first.entry(uid.clone()).or_insert(this);
            *known = this.min(*known);
        }
    }
    images
        .values()
        .filter_map(|image| provable(image, &first))
        .collect()
}

/// Returns an image that is ours, given the first of each identifier.
fn provable<'a>(image: &'a Image, first: &BTreeMap<String, (Option<Timestamp>, &str)>) -> Option<Ours<'a>> {
    let Image {
        id,
        tags,
        digests: _,
        labels,
        created: _,
    } = image;
    let mark = Mark::read(labels)?;
    if !matches!(mark.kind, Kind::Foundation | Kind::Identity) || first.get(&mark.uid)?.1 != id {
        return None;
    }
    let repository = format!("aishell-{}:", mark.manifest);
    let suffix = format!("-{}", mark.key.short());
    let keyed = |tag: &&String| tag.starts_with(&repository) && tag.ends_with(&suffix);
    let tag = tags.iter().find(keyed)?;
    // The name that follows the newest one, and that nobody reads.
    let alias = tag.strip_suffix(&suffix)?;
    let named = tags.iter().any(|other| other != tag && other != alias);
    (!named).then_some(Ours { image, mark, tag })
}
