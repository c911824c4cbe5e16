//! [`Pins`]: what is known about things whose meaning is decided elsewhere, and what is asked of a lock.

use std::collections::{BTreeMap, BTreeSet};

use crate::desired::MemberSource;
use crate::facts::Facts;
use crate::label::{Kind, Owner};
use crate::lock::{Ask, ImageDigest, Lock, PackageName, Parts, Wishes};
use crate::manifest::Manifest;
use crate::manifest::container::ContainerImage;
use crate::manifest::harness::Requirement;
use crate::manifest::member::{Member, Package};
use crate::manifest::phases::{PhaseRepo, Phases};
use crate::manifest::stage::{ImageReference, Stage, StageName};
use crate::name::HarnessName;
use crate::observed::{ImageReply, Observed};
use crate::remote::{DownloadUrl, Sha256};

/// What is known about things whose meaning is decided elsewhere: the lock, images by the name they are asked for with,
/// and the engine's platform.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    pub(super) platform: String,
    /// Where the engine is reached.
    pub(super) address: String,
    pub(super) images: BTreeMap<String, Pinned>,
    pub(super) lock: Lock,
    /// Where data volumes are that the owner had when it was called otherwise: the engine's names, by their own.
    pub(super) volumes: BTreeMap<String, String>,
}

/// An image that the engine has.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    /// The digest, or the id of a local image.
    pub(super) meaning: String,
    pub(super) local: bool,
    /// The platform that it is made for.
    pub(super) platform: String,
}

/// What a harness is asked to be.
pub(super) enum Meaning {
    /// This version of a package, with its integrity where a lock knows it.
    Known {
        name: PackageName,
        version: String,
        integrity: Option<String>,
        parts: Parts,
    },
    /// Whatever a package manager says.
    Unpinned(Ask),
    /// A download, by its digest.
    Download {
        url: DownloadUrl,
        sha256: Sha256,
        version: Option<String>,
    },
    /// Something that loading refuses.
    Unsupported,
}

impl Pins {
    /// Takes what the engine knows and what a lock says.
    pub fn of(observed: &Observed, owner: &Owner, lock: &Lock) -> Self {
        let pinned = |reference: &str, image: &ImageReply| {
            let digest = digest_of(reference, &image.image.digests);
            Pinned {
                meaning: digest.unwrap_or(&image.image.id).to_owned(),
                local: digest.is_none(),
                platform: image.platform.clone(),
            }
        };
        Self {
            platform: observed.engine.platform.clone(),
            address: observed.engine.host.clone(),
            images: observed
                .references
                .iter()
                .map(|(name, image)| (name.clone(), pinned(name, image)))
                .collect(),
            lock: lock.clone(),
            volumes: observed
                .volumes
                .values()
                .filter(|volume| volume.mark.kind == Kind::Volume && !owner.is_named(&volume.mark))
                .map(|volume| {
                    let name = &volume.mark.name;
                    (name.clone(), observed.data_volume(owner, name))
                })
                .collect(),
        }
    }

    /// Returns what a harness is.
    pub(super) fn meaning(&self, name: &HarnessName, member: &Member) -> Meaning {
        if let Package::Url { url, version, sha256 } = &member.package {
            return Meaning::Download {
                url: url.clone(),
                sha256: sha256.clone(),
                version: version.as_ref().map(ToString::to_string),
            };
        }
        match (asked(member), ask(member)) {
            (_, Some(ask)) => match self.lock.harness(name, &ask) {
                Some(package) => Meaning::Known {
                    name: package.name.clone(),
                    version: package.version.to_string(),
                    integrity: package.integrity.as_ref().map(ToString::to_string),
                    parts: package.parts.clone(),
                },
                None => Meaning::Unpinned(ask),
            },
            (Some((name, Requirement::Exact(version))), None) => Meaning::Known {
                name,
                version: version.clone(),
                integrity: None,
                parts: Parts::new(),
            },
            (_, None) => Meaning::Unsupported,
        }
    }
}

/// Returns the package that a harness is, and what is asked of it; nothing for a download.
fn asked(member: &Member) -> Option<(PackageName, &Requirement)> {
    Some(match &member.package {
        Package::Npm { name, version } => (PackageName::Npm(name.parse().ok()?), version),
        Package::Pypi { name, version } => (PackageName::Pypi(name.parse().ok()?), version),
        Package::Url { .. } => return None,
    })
}

/// Returns what has to be asked about a harness; an exact version needs nobody to say what it means.
fn ask(member: &Member) -> Option<Ask> {
    let (name, version) = asked(member)?;
    match version {
        Requirement::Exact(_) => None,
        Requirement::Range(_) | Requirement::Latest => Some(Ask {
            name,
            requirement: version.to_string(),
        }),
    }
}

/// Returns everything of a manifest that a lock can have an entry for.
pub fn wishes(manifest: &Manifest, facts: &Facts) -> Wishes {
    let used = manifest.containers.values().any(super::uses_tools);
    let asks = facts
        .members
        .iter()
        .filter_map(|(name, member)| Some((name.clone(), ask(member)?)));
    // Without a lock it is the version this aishell has, so there is one to write down; only an update asks.
    let runtime = super::runtime::of(&facts.members, None).and_then(|runtime| {
        let MemberSource::Npm { npm } = runtime.source else {
            return None;
        };
        Some(Ask {
            name: PackageName::Npm(npm.parse().ok()?),
            requirement: "latest".to_owned(),
        })
    });
    Wishes {
        builtin: match &manifest.foundation {
            Some(Stage::Builtin(_)) => true,
            Some(Stage::Image { .. } | Stage::Dockerfile(_) | Stage::Phases(_)) => false,
            None => super::needs_foundation(manifest),
        },
        runtime: runtime.filter(|_| used),
        harnesses: if used { asks.collect() } else { BTreeMap::new() },
        images: images(manifest)
            .filter(|image| image.digest().is_none())
            .cloned()
            .collect(),
        repos: phases(manifest)
            .flat_map(|phases| &phases.repos)
            .filter_map(PhaseRepo::reference)
            .collect(),
        tools: phases(manifest)
            .flat_map(|phases| &phases.tools)
            .filter(|tool| tool.sha256.is_none())
            .filter_map(|tool| tool.download().ok())
            .collect(),
    }
}

/// Returns the phases of every stage that has some.
pub(super) fn phases(manifest: &Manifest) -> impl Iterator<Item = &Phases> {
    let stages = StageName::ALL.into_iter();
    stages.filter_map(|stage| match manifest.stage(stage) {
        Some(Stage::Phases(phases)) => Some(&**phases),
        Some(Stage::Image { .. } | Stage::Dockerfile(_) | Stage::Builtin(_)) | None => None,
    })
}

/// Returns the images that the manifest names and aishell does not make, by the names the engine is asked with.
pub fn references(manifest: &Manifest, lock: &Lock) -> BTreeSet<String> {
    images(manifest).map(|image| exact(image, lock).0).collect()
}

/// Returns the images that the manifest names and aishell does not make, as they are written.
pub fn named_images(manifest: &Manifest) -> BTreeSet<ImageReference> {
    images(manifest).cloned().collect()
}

fn images(manifest: &Manifest) -> impl Iterator<Item = &ImageReference> {
    let foundation = match &manifest.foundation {
        Some(Stage::Image { image, .. }) => Some(image),
        Some(Stage::Phases(phases)) => phases.base.as_ref().map(|base| &base.image),
        Some(Stage::Dockerfile(_) | Stage::Builtin(_)) | None => None,
    };
    let containers = manifest.containers.values();
    let named = containers.filter_map(|container| match &container.image {
        Some(ContainerImage::Reference(image)) => Some(image),
        Some(ContainerImage::Stage(_)) | None => None,
    });
    foundation.into_iter().chain(named)
}

/// Returns the name that an image is asked for and used with, and its digest where that is known: what is written, or
/// what the lock says it means.
pub fn exact(image: &ImageReference, lock: &Lock) -> (String, Option<String>) {
    if let Some(digest) = image.digest() {
        return (image.to_string(), Some(digest.to_owned()));
    }
    match lock.images.get(image).map(ImageDigest::as_str) {
        Some(digest) => (
            format!("{}@{digest}", image.repository()),
            Some(digest.to_owned()),
        ),
        None => (image.to_string(), None),
    }
}

/// Returns the digest that an image has in the repository that a reference names. Those it has elsewhere come and go
/// with every push, and say nothing about the image.
pub fn digest_of<'d>(reference: &str, digests: &'d BTreeSet<String>) -> Option<&'d str> {
    let wanted = repository(reference);
    let found = |digest: &'d String| {
        let (name, digest) = digest.split_once('@')?;
        (repository(name) == wanted).then_some(digest)
    };
    digests.iter().find_map(found)
}

/// Returns the repository of a reference, without what is understood.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let name = name
        .strip_prefix("docker.io/")
        .or_else(|| name.strip_prefix("index.docker.io/"))
        .unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_an_image_is_that_of_the_repository_it_is_named_by() {
        let digests: BTreeSet<String> = ["acme.io:5000/debian@sha256:a", "debian@sha256:b"]
            .map(str::to_owned)
            .into();
        for (reference, digest) in [
            ("debian:bookworm", Some("sha256:b")),
            ("docker.io/library/debian", Some("sha256:b")),
            ("acme.io:5000/debian", Some("sha256:a")),
            ("acme.io:5000/debian:1@sha256:a", Some("sha256:a")),
            ("ubuntu", None),
        ] {
            assert_eq!(digest_of(reference, &digests), digest, "{reference}");
        }
    }

    #[test]
    fn a_locked_image_is_asked_for_by_its_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (written, repository) in [
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b"),
            ("debian", "debian"),
            ("debian:bookworm-slim", "debian"),
        ] {
            let image: ImageReference = written.parse().expect("a reference");
            let mut lock = Lock::default();
            assert_eq!(exact(&image, &lock), (written.to_owned(), None));
            lock.images
                .insert(image.clone(), digest.parse().expect("a digest"));
            assert_eq!(
                exact(&image, &lock),
                (format!("{repository}@{digest}"), Some(digest.clone()))
            );
        }
    }
}
