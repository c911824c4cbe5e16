//! Looking again at what may have changed, and nowhere else: a small change costs a small look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{
    AT_ONCE, ask, container, found, inspect_images, inspected_container, inspected_volume, leave_out_copies,
    listed_networks, network, observe, volume,
};
use crate::call::{Call, ContainerReply, VolumeReply};
use crate::engine::{Engine, EngineError};
use crate::label::{Kind, Labels, Mark, Owner};
use crate::observed::{Container, ImageReply, Observed};

/// What may have changed since something was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Anything.
    pub everything: bool,
    /// Containers, by id or name.
    pub containers: BTreeSet<String>,
    /// Volumes, by name.
    pub volumes: BTreeSet<String>,
    /// Networks, which ones is not known.
    pub networks: bool,
}

impl Changes {
    /// Returns that anything may have changed.
    pub fn everything() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    /// Says whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what else may have changed.
    pub fn add(&mut self, other: Self) {
        let Self {
            everything,
            containers,
            volumes,
            networks,
        } = other;
        self.everything |= everything;
        self.containers.extend(containers);
        self.volumes.extend(volumes);
        self.networks |= networks;
    }
}

/// Returns what is observed after changes: one request for each that is named, four listings for everything.
///
/// # Errors
/// As [`observe`]. What was observed before is then as good as it was.
pub async fn refresh(
    engine: &impl Engine,
    owner: &Owner,
    references: &BTreeSet<String>,
    before: &Observed,
    changes: &Changes,
) -> Result<Observed, EngineError> {
    if changes.everything {
        return Box::pin(observe(engine, owner, references)).await;
    }
    let mut observed = before.clone();
    observed
        .references
        .retain(|reference, _| references.contains(reference));
    let absent: BTreeSet<String> = references
        .iter()
        .filter(|reference| !observed.references.contains_key(*reference))
        .cloned()
        .collect();
    observed.references.extend(inspect_images(engine, &absent).await?);
    if changes.networks {
        let networks = ask(engine, Call::ListNetworks, listed_networks).await?;
        observed.networks = networks
            .into_iter()
            .filter_map(|reply| network(reply, owner))
            .collect();
    }
    for (name, reply) in volumes(engine, &changes.volumes).await? {
        let own = reply.filter(|_| !observed.is_elsewhere(&name));
        match own.and_then(|reply| volume(reply, owner)) {
            Some((name, volume)) => observed.volumes.insert(name, volume),
            None => observed.volumes.remove(&name),
        };
    }
    let replies = containers(engine, &changes.containers).await?;
    let mut images = known_images(&observed);
    let new: BTreeSet<String> = replies
        .iter()
        .filter_map(|(_, reply)| Some(reply.as_ref()?.image_id.clone()))
        .filter(|id| !images.contains_key(id))
        .collect();
    images.extend(inspect_images(engine, &new).await?);
    let failed = std::mem::take(&mut observed.failed).into_values();
    let mut containers: Vec<Container> = std::mem::take(&mut observed.containers).into_values().collect();
    containers.extend(failed);
    for (asked, reply) in replies {
        // What is told of one that is gone or was renamed.
        containers.retain(|container| container.name != asked && container.id.id() != asked);
        if let Some(container) = reply.and_then(|reply| ours(reply, owner, &images)) {
            containers.retain(|other| other.id.id() != container.id.id());
            containers.push(container);
        }
    }
    leave_out_copies(&mut containers);
    observed.settle(owner, containers);
    Ok(observed)
}

/// Reads a container, if it is a sandbox of the owner.
fn ours(
    reply: ContainerReply,
    owner: &Owner,
    images: &BTreeMap<String, Arc<ImageReply>>,
) -> Option<Container> {
    let no_labels = Labels::new();
    let inherited = images
        .get(&reply.image_id)
        .map_or(&no_labels, |image| &image.image.labels);
    let mark = Mark::read_container(&reply.labels, inherited)?;
    (mark.kind == Kind::Container && owner.owns(&mark)).then(|| container(reply, mark, images))
}

/// Returns every image whose configuration was read, by id: images do not change.
fn known_images(observed: &Observed) -> BTreeMap<String, Arc<ImageReply>> {
    let run = observed
        .containers
        .values()
        .chain(observed.failed.values())
        .filter_map(|container| Some((container.image_id.clone(), Arc::clone(container.image.as_ref()?))));
    let named = observed
        .references
        .values()
        .map(|image| (image.image.id.clone(), Arc::clone(image)));
    named.chain(run).collect()
}

async fn containers(
    engine: &impl Engine,
    asked: &BTreeSet<String>,
) -> Result<Vec<(String, Option<ContainerReply>)>, EngineError> {
    stream::iter(asked.clone())
        .map(|asked| async move {
            let call = Call::InspectContainer {
                container: asked.clone(),
            };
            let reply = found(ask(engine, call, inspected_container).await)?;
            // The beginning of an id would answer too.
            let reply = reply.filter(|reply| reply.id == asked || reply.name == asked);
            Ok((asked, reply))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

async fn volumes(
    engine: &impl Engine,
    asked: &BTreeSet<String>,
) -> Result<Vec<(String, Option<VolumeReply>)>, EngineError> {
    stream::iter(asked.clone())
        .map(|asked| async move {
            let call = Call::InspectVolume {
                volume: asked.clone(),
            };
            let reply = found(ask(engine, call, inspected_volume).await)?;
            Ok((asked, reply))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}
