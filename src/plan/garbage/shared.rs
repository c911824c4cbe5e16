//! What has users and no owner, and the proof that an image is ours.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::key::Key;
use crate::label::{self, Kind, Mark};
use crate::observed::{Image, Volume};

/// Something that has users, and no owner.
pub(super) trait Shared {
    /// Returns its labels, read.
    fn mark(&self) -> &Mark;
    /// Returns when it was made.
    fn created(&self) -> Option<Timestamp>;
    /// Returns the names of the manifests that it was made for.
    fn manifests(&self) -> BTreeSet<String>;
    /// Says whether a manifest wants it, given what manifests want.
    fn is_wanted(&self, wanted: &BTreeSet<(String, Key)>) -> bool;
}

impl Shared for Ours<'_> {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn created(&self) -> Option<Timestamp> {
        self.image.created
    }

    fn manifests(&self) -> BTreeSet<String> {
        self.manifests.clone()
    }

    /// Whoever shares an image has given it a tag.
    fn is_wanted(&self, wanted: &BTreeSet<(String, Key)>) -> bool {
        let mut own = wanted.iter().filter(|(_, key)| *key == self.mark.key);
        own.any(|(manifest, _)| self.manifests.contains(manifest))
    }
}

impl Shared for Volume {
    fn mark(&self) -> &Mark {
        &self.mark
    }

    fn created(&self) -> Option<Timestamp> {
        self.created.parse().ok()
    }

    fn manifests(&self) -> BTreeSet<String> {
        [self.mark.manifest.clone()].into()
    }

    /// Whoever shares a volume leaves no trace of that.
    fn is_wanted(&self, wanted: &BTreeSet<(String, Key)>) -> bool {
        wanted.iter().any(|(_, key)| *key == self.mark.key)
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
    /// The tag that goes with the image itself: the one that proves that it is ours, if there is one.
    pub(super) last: &'a String,
    /// The names of the manifests that share it, as its tags say.
    pub(super) manifests: BTreeSet<String>,
}

/// Returns the images that are ours, and that nobody else has given a name.
///
/// Images built from ours inherit the labels, so labels prove nothing without a name that only the very image has.
pub(super) fn ours(images: &BTreeMap<String, Image>) -> Vec<Ours<'_>> {
    let mut first: BTreeMap<String, (Option<Timestamp>, &str)> = BTreeMap::new();
    for image in images.values() {
        if let Some(uid) = image.labels.get(label::UID) {
            let this = (image.created, image.id.as_str());
            let known = first.entry(uid.clone()).or_insert(this);
            *known = this.min(*known);
        }
    }
    let provable = |image| provable(image, &first);
    images.values().filter_map(provable).collect()
}

/// Returns an image that is ours, given the first of each identifier.
fn provable<'a>(image: &'a Image, first: &BTreeMap<String, (Option<Timestamp>, &str)>) -> Option<Ours<'a>> {
    let Image {
        id,
        tags,
        digests: _,
        labels,
        created: _,
        bytes: _,
    } = image;
    let mark = Mark::read(labels)?;
    let is_first = first.get(&mark.uid)?.1 == id;
    if !is_stage(mark.kind) {
        return None;
    }
    // Before names proved anything, the first of those with one identifier was it.
    let is_older = labels
        .get(label::SCHEMA)
        .is_some_and(|schema| schema == label::SCHEMA_NUMBER);
    if !(image.is_proven(&mark) || is_older && is_first) {
        return None;
    }
    let key = format!("-{}", mark.key.short());
    let proof = label::proof(&key, id);
    let own = format!("aishell-{}:", mark.manifest);
    let is_ours =
        |tag: &&String| tag.starts_with("aishell-") && (tag.ends_with(&key) || tag.ends_with(&proof));
    let mut keyed: Vec<&String> = tags.iter().filter(is_ours).collect();
    keyed.sort_by_key(|tag| (!tag.starts_with(&own), tag.ends_with(&proof)));
    // The names that follow the newest one of each manifest, and that nobody reads.
    let stem = |tag: &&'a String| tag.strip_suffix(&key).or_else(|| tag.strip_suffix(&proof));
    let aliases: BTreeSet<&str> = keyed.iter().filter_map(stem).collect();
    let named = tags
        .iter()
        .any(|tag| !keyed.contains(&tag) && !aliases.contains(tag.as_str()));
    let repositories = aliases
        .iter()
        .filter_map(|alias| alias.strip_prefix("aishell-")?.split_once(':'));
    let manifests = repositories.map(|(manifest, _)| manifest.to_owned()).collect();
    let tag = keyed.first()?;
    let last = keyed.iter().find(|tag| tag.ends_with(&proof)).unwrap_or(tag);
    (!named).then_some(Ours {
        image,
        mark,
        tag,
        last,
        manifests,
    })
}

/// An image that has no name but the one under which it was made.
pub struct Unfinished<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its labels, read.
    pub mark: Mark,
    /// That name.
    pub tag: &'a String,
}

/// Returns the images that were made and not named any more.
pub fn unfinished(images: &BTreeMap<String, Image>) -> impl Iterator<Item = Unfinished<'_>> {
    images.values().filter_map(|image| {
        let mark = Mark::read(&image.labels)?;
        let tag = image.tags.first().filter(|_| image.tags.len() == 1)?;
        // Who writes what, where from, and what it will be: nobody calls anything else that.
        let rest = tag.strip_prefix(&format!("aishell-{}:{}", mark.manifest, label::MAKING))?;
        let project = rest.strip_suffix(&format!("-{}", mark.key.short()))?;
        let is_project = project.len() == 8 && project.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_project && is_stage(mark.kind)).then_some(Unfinished { image, mark, tag })
    })
}

fn is_stage(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Foundation | Kind::Base | Kind::Extension | Kind::Snapshot | Kind::Identity
    )
}

/// Returns the images of ours that one is made on, by id; whoever's it is, its labels say so.
pub(super) fn parents<'a>(image: &Image, ours: &[Ours<'a>]) -> BTreeSet<&'a str> {
    let labels = &image.labels;
    let ids = [label::FOUNDATION_ID, label::BASE_ID].map(|name| labels.get(name));
    let is_identity = labels.get(label::KIND).map(String::as_str) == Some(Kind::Identity.as_str());
    let key = labels.get(label::FOUNDATION_HASH).filter(|_| is_identity);
    // Every snapshot names those before it, and so does whatever was made on the last one.
    let hashes = labels.iter().filter(|(name, _)| label::is_phase_hash(name));
    let before: BTreeSet<&str> = hashes.map(|(_, hash)| hash.as_str()).collect();
    let is_parent = |other: &&Ours<'_>| {
        let id = Some(&other.image.id);
        ids.contains(&id)
            || (other.mark.kind == Kind::Snapshot && before.contains(other.mark.key.as_str()))
            || key.is_some_and(|key| *key == other.mark.key.as_str())
    };
    let parents = ours.iter().filter(is_parent).map(|other| other.image.id.as_str());
    parents.filter(|id| *id != image.id).collect()
}
