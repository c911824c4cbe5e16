//! What says on the engine that somebody writes: a container that lives by its holder's connection, or a volume.
//!
//! A container is made and started under a name of its own first. To claim is to give it the one name that all know,
//! which an engine gives once: so whatever has that name runs, and whatever does not run claims nothing. A volume is
//! claimed by whoever's number it bears, since creating one that exists answers with the existing one.

use std::time::Duration;

use crate::call::{Call, Create};
use crate::engine::{Engine, EngineError, Kept, keep};
use crate::key::{Key, KeyKind};
use crate::label::{self, Kind, Labels, OwnedId, Owner};
use crate::observed::{Image, Observed};
use crate::progress::Progress;
use crate::spec::{ContainerSpec, HealthCheck, Resources, Security};

/// What runs in the container: it ends with its standard input.
const COMMAND: &str = "cat";
/// Who runs it: nobody.
const NOBODY: &str = "65534:65534";
/// How often the removal of a volume is tried.
const TRIES: u32 = 3;

/// A container that is ready to be a claim, and lives as long as this value.
#[derive(Debug)]
pub struct Stake {
    pub(super) kept: Kept,
    /// Its name while it claims nothing.
    pub(super) name: String,
    /// The image it is made from.
    pub(super) image: String,
}

/// What says that somebody writes.
#[derive(Debug)]
pub(super) enum Mark {
    Container(Stake),
    Volume(String),
    /// The engine makes neither; the lock on this host has to do.
    Nothing,
}

impl Stake {
    /// Makes one from an image that is there. Where that has no such command, none is left.
    pub(super) async fn make(
        engine: &impl Engine,
        (claim, nonce): (&str, &str),
        image: &str,
        labels: &Labels,
    ) -> Result<Self, EngineError> {
        let name = format!("{claim}-{nonce}");
        let create = Create {
            name: name.clone(),
            labels: labels.clone(),
            spec: spec(image),
        };
        Ok(Self {
            kept: keep(engine, &create).await?,
            name,
            image: image.to_owned(),
        })
    }

    /// Returns the proof that it is ours.
    pub(super) fn owned(&self) -> OwnedId {
        OwnedId::made(&self.kept.id)
    }

    /// Gives it a name.
    pub(super) async fn rename(&self, engine: &impl Engine, name: &str) -> Result<(), EngineError> {
        let call = Call::RenameContainer {
            container: self.owned(),
            name: name.to_owned(),
        };
        engine.call(&call, &Progress::default()).await.map(|_| ())
    }

    /// Ends it now: it would end by itself, a little later.
    pub(crate) async fn remove(self, engine: &impl Engine) {
        let call = Call::RemoveContainer {
            container: self.owned(),
            volumes: true,
        };
        let _ = engine.call(&call, &Progress::default()).await;
    }
}

impl Mark {
    pub(super) async fn remove(self, engine: &impl Engine) {
        match self {
            Self::Container(stake) => stake.remove(engine).await,
            Self::Volume(name) => remove_volume(engine, &OwnedId::made(&name)).await,
            Self::Nothing => {}
        }
    }

    pub(super) async fn shelve(self, engine: &impl Engine) -> Option<Stake> {
        match self {
            Self::Container(stake) => {
                if stake.rename(engine, &stake.name).await.is_ok() {
                    return Some(stake);
                }
                stake.remove(engine).await;
                None
            }
            mark @ (Self::Volume(_) | Self::Nothing) => {
                mark.remove(engine).await;
                None
            }
        }
    }
}

/// Removes the volume of a claim. Nothing else ends it, so it is tried more than once.
pub(super) async fn remove_volume(engine: &impl Engine, volume: &OwnedId) {
    let call = Call::RemoveVolume {
        volume: volume.clone(),
    };
    for tried in 1..=TRIES {
        match engine.call(&call, &Progress::default()).await {
            Err(error) if error.is_retryable() && tried < TRIES => {
                tokio::time::sleep(Duration::from_millis(100) * tried).await;
            }
            Ok(_) | Err(EngineError::NotFound { .. }) => return,
            Err(error) => {
                tracing::warn!("volume {} cannot be removed: {error}", volume.id());
                return;
            }
        }
    }
}

/// Returns the labels of what claims an owner's objects.
pub(super) fn labels(owner: &Owner, told: impl Iterator<Item = (String, String)>) -> Labels {
    let name = owner.claim();
    let mut labels = owner.labels(Kind::Claim, "claim", &Key::of(KeyKind::Container, &name));
    labels.extend(told);
    labels
}

/// Returns the container: it does nothing, can do nothing, and nobody can reach it.
fn spec(image: &str) -> ContainerSpec {
    ContainerSpec {
        image: image.to_owned(),
        command: Some(vec![COMMAND.to_owned()]),
        entrypoint: Some(Vec::new()),
        user: Some(NOBODY.to_owned()),
        workdir: Some("/".to_owned()),
        health: HealthCheck::Off,
        security: Security {
            no_new_privileges: true,
            cap_drop: vec!["ALL".to_owned()],
            read_only: true,
            ..Security::default()
        },
        resources: Resources {
            pids: Some(16),
            ..Resources::default()
        },
        ..ContainerSpec::default()
    }
}

/// Returns the images that may have the command, the likeliest first: those that containers of the owner run, then
/// those of its manifest, then all others that aishell made.
pub(super) fn candidates(owner: &Owner, images: &[Image], seen: Option<&Observed>) -> Vec<String> {
    let containers = seen.iter().flat_map(|seen| seen.containers.values());
    let run: Vec<&str> = containers
        .filter(|container| container.started.is_some())
        .map(|container| container.image_id.as_str())
        .collect();
    let rank = |image: &Image| {
        let mark = label::Mark::read(&image.labels)?;
        let repository = format!("aishell-{}:", mark.manifest);
        // Images that are made from ours have their labels, and who knows what else. One that is only being made may have
        // been left by who was killed, and goes.
        let is_finished = |tag: &String| {
            let tag = tag.strip_prefix(&repository);
            tag.is_some_and(|tag| !tag.starts_with(label::MAKING))
        };
        let is_ours =
            matches!(mark.kind, Kind::Identity | Kind::Foundation) && image.tags.iter().any(is_finished);
        let others = mark.manifest != owner.manifest;
        is_ours.then(|| {
            (
                !run.contains(&image.id.as_str()),
                others,
                mark.kind != Kind::Identity,
            )
        })
    };
    let mut found: Vec<_> = images
        .iter()
        .filter_map(|image| Some((rank(image)?, image.id.clone())))
        .collect();
    found.sort();
    found.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_made_of_finished_images() {
        let owner = Owner {
            manifest: "demo".to_owned(),
            project: "/a".to_owned(),
            host: String::new(),
            file: String::new(),
            formerly: Vec::new(),
        };
        let key = Key::of(KeyKind::Identity, &"x");
        let mut labels = owner.labels(Kind::Identity, "sandbox", &key);
        labels.insert(label::UID.to_owned(), "0123".to_owned());
        let image = |id: &str, tag: &str| Image {
            id: id.to_owned(),
            tags: [tag.to_owned()].into(),
            labels: labels.clone(),
            ..Image::default()
        };
        let images = [
            image("half", "aishell-demo:making-01234567-0123456789ab"),
            image("whole", "aishell-demo:sandbox-0123456789ab"),
            image("copy", "somebody/demo:sandbox-0123456789ab"),
        ];
        assert_eq!(candidates(&owner, &images, None), ["whole"]);
    }
}
