//! Observing: one snapshot of the engine in as few requests as show every field.
//!
//! Four listings, one inspect of every container of ours, one of every image the manifest names or a container runs.
//! Nothing here writes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;

use crate::call::{Answer, Call, ContainerReply, ListedContainer, NetworkReply, VolumeReply};
use crate::engine::{Engine, EngineError};
use crate::label::{self, Kind, Labels, Mark, OwnedId, Owner};
use crate::observed::{
    Age, Container, Elsewhere, EngineInfo, Hold, Image, ImageReply, Job, Network, Observed, Receipt, SetUser,
    Volume,
};
use crate::progress::Progress;
use crate::spec::ContainerSpec;

mod answer;
mod layer;
mod refresh;
mod stock;
mod stranger;
mod word;

use answer::{engine_info, listed_containers, listed_networks, listed_volumes};
pub(crate) use answer::{
    inspected_container, inspected_image, inspected_network, inspected_volume, listed_images,
};
pub use layer::layers;
pub use refresh::{Changes, refresh};
pub use stock::{bystanders, stock, usage, users};
pub use stranger::strangers;
pub(crate) use stranger::whose;
pub use word::last_words;

/// How many inspects are under way at once: more does not make the engine faster.
const AT_ONCE: usize = 8;

/// Looks at everything that concerns an owner.
///
/// `references` are the images the manifest names that are not made by aishell.
///
/// # Errors
/// The first request that fails ends the look: a snapshot with holes would be taken for drift.
pub async fn observe(
    engine: &impl Engine,
    owner: &Owner,
    references: &BTreeSet<String>,
) -> Result<Observed, EngineError> {
    let (version, sandboxes, volumes, networks, references) = futures_util::try_join!(
        ask(engine, Call::Version, engine_info),
        Box::pin(sandboxes(engine, owner)),
        ask(engine, Call::ListVolumes, listed_volumes),
        ask(engine, Call::ListNetworks, listed_networks),
        inspect_images(engine, references),
    )?;
    let Sandboxes {
        mut observed,
        users,
        replies,
        images: made,
    } = sandboxes;
    observed.engine = version;
    observed.references = references;
    observed.elsewhere = volumes
        .iter()
        .filter_map(|reply| elsewhere(reply, owner).or_else(|| taken(reply, owner, &users)))
        .collect();
    observed.volumes = volumes
        .into_iter()
        .filter(|reply| !observed.is_elsewhere(&reply.name))
        .filter_map(|reply| volume(reply, owner))
        .collect();
    observed.networks = networks
        .into_iter()
        .filter_map(|reply| network(reply, owner))
        .collect();
    let used: BTreeSet<&String> = replies.iter().map(|(reply, _)| &reply.image_id).collect();
    // Those that the manifest names were seen already.
    let mut images: BTreeMap<String, Arc<ImageReply>> = observed
        .references
        .values()
        .filter(|image| used.contains(&image.image.id))
        .map(|image| (image.image.id.clone(), Arc::clone(image)))
        .chain(made)
        .collect();
    let unseen = used.into_iter().filter(|id| !images.contains_key(*id));
    let unseen = unseen.cloned().collect();
    images.extend(inspect_images(engine, &unseen).await?);
    let mut containers: Vec<Container> = replies
        .into_iter()
        .map(|(reply, mark)| container(reply, mark, &images))
        .collect();
    leave_out_copies(&mut containers);
    observed.settle(owner, containers);
    Ok(observed)
}

/// The containers of aishell and the images with its labels, as far as they concern an owner.
struct Sandboxes {
    observed: Observed,
    /// The projects of other manifests by the volumes that their containers use.
    users: BTreeMap<String, String>,
    replies: Vec<(ContainerReply, Mark)>,
    /// Those of the images with our labels that the sandboxes run, by id.
    images: BTreeMap<String, Arc<ImageReply>>,
}

/// Looks at the containers and the images with our labels, and inspects those that are an owner's sandboxes as soon as
/// the listings tell which: whatever else is asked need not be answered by then.
async fn sandboxes(engine: &impl Engine, owner: &Owner) -> Result<Sandboxes, EngineError> {
    let (containers, images) = futures_util::try_join!(
        ask(engine, Call::ListContainers, listed_containers),
        ask(engine, Call::ListImages, listed_images),
    )?;
    let mut observed = Observed::default();
    let named = images.into_iter().map(|image| (image.id.clone(), image));
    observed.images = named.collect();
    let users = users_of(&containers, owner, &observed.images);
    let no_labels = Labels::new();
    let mut ours = Vec::new();
    for listed in containers {
        let image = observed.images.get(&listed.image_id);
        let image_labels = image.map_or(&no_labels, |image| &image.labels);
        let mark = Mark::read_container(&listed.labels, image_labels);
        if !matches!(&mark, Some(mark) if matches!(mark.kind, Kind::Receipt | Kind::Job)) {
            let volumes = listed.volumes.iter();
            let sets = volumes.filter(|volume| volume.starts_with(label::HARNESS_VOLUME));
            observed.sets_in_use.extend(sets.clone().cloned());
            let others = mark
                .as_ref()
                .is_none_or(|mark| mark.kind != Kind::Container || !owner.owns(mark));
            for set in sets.filter(|_| others && listed.running) {
                let users = observed.set_users.entry(set.clone()).or_default();
                users.push(set_user(&listed));
            }
        }
        let Some(mark) = mark else {
            continue;
        };
        match mark.kind {
            Kind::Receipt => {
                if let Some(receipt) = receipt(&listed, mark) {
                    observed.receipts.insert(listed.name, receipt);
                }
            }
            Kind::Job => {
                let id = OwnedId::new(&listed.id, &mark);
                let running = listed.running;
                observed.jobs.insert(listed.name, Job { id, mark, running });
            }
            Kind::Container if owner.owns(&mark) => ours.push((listed, mark)),
            Kind::Claim if owner.owns(&mark) && !listed.running => {
                observed.idle_claims.push(OwnedId::new(&listed.id, &mark));
            }
            _ => {}
        }
    }
    let made: BTreeSet<String> = ours
        .iter()
        .filter(|(listed, _)| observed.images.contains_key(&listed.image_id))
        .map(|(listed, _)| listed.image_id.clone())
        .collect();
    let (replies, images) =
        futures_util::try_join!(inspect_containers(engine, &ours), inspect_images(engine, &made))?;
    Ok(Sandboxes {
        observed,
        users,
        replies,
        images,
    })
}

/// Looks at the sandboxes of every owner, and at which of them are stopped by hand.
///
/// # Errors
/// As [`observe`].
pub async fn everyone(
    engine: &impl Engine,
) -> Result<(EngineInfo, Vec<Container>, Vec<(Mark, Hold)>), EngineError> {
    let (version, containers, volumes, images) = futures_util::try_join!(
        ask(engine, Call::Version, engine_info),
        ask(engine, Call::ListContainers, listed_containers),
        ask(engine, Call::ListVolumes, listed_volumes),
        ask(engine, Call::ListImages, listed_images),
    )?;
    let holds = volumes
        .into_iter()
        .filter_map(|reply| {
            let mark = Mark::read(&reply.labels)?;
            let hold = hold(&mark, &reply.labels)?;
            Some((mark, hold))
        })
        .collect();
    let labels: BTreeMap<String, Labels> = images.into_iter().map(|image| (image.id, image.labels)).collect();
    let no_labels = Labels::new();
    let ours: Vec<(ListedContainer, Mark)> = containers
        .into_iter()
        .filter_map(|listed| {
            let inherited = labels.get(&listed.image_id).unwrap_or(&no_labels);
            let mark = Mark::read_container(&listed.labels, inherited)?;
            (mark.kind == Kind::Container).then_some((listed, mark))
        })
        .collect();
    let no_images = BTreeMap::new();
    let replies = inspect_containers(engine, &ours).await?;
    let found = replies
        .into_iter()
        .map(|(reply, mark)| container(reply, mark, &no_images))
        .collect();
    Ok((version, found, holds))
}

/// Sends one call and takes the answer apart.
pub(crate) async fn ask<T>(
    engine: &impl Engine,
    call: Call,
    take: impl FnOnce(Answer) -> Option<T>,
) -> Result<T, EngineError> {
    let answer = engine.call(&call, &Progress::default()).await?;
    take(answer).ok_or_else(|| EngineError::Unexpected {
        call: format!("{call:?}"),
    })
}

/// Turns "there is none" into a value.
pub(crate) fn found<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(EngineError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn inspect_images(
    engine: &impl Engine,
    references: &BTreeSet<String>,
) -> Result<BTreeMap<String, Arc<ImageReply>>, EngineError> {
    let replies: Vec<Option<(String, Arc<ImageReply>)>> = stream::iter(references.clone())
        .map(|reference| async move {
            let call = Call::InspectImage {
                image: reference.clone(),
            };
            let reply = found(ask(engine, call, inspected_image).await)?;
            Ok(reply.map(|reply| (reference, Arc::new(reply))))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(replies.into_iter().flatten().collect())
}

/// Inspects containers that were listed; one that is gone by now was not there.
async fn inspect_containers(
    engine: &impl Engine,
    listed: &[(ListedContainer, Mark)],
) -> Result<Vec<(ContainerReply, Mark)>, EngineError> {
    let replies: Vec<Option<(ContainerReply, Mark)>> = stream::iter(listed)
        .map(|(listed, mark)| {
            let reply: std::pin::Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
                let call = Call::InspectContainer {
                    container: listed.id.clone(),
                };
                let reply = found(ask(engine, call, inspected_container).await)?;
                Ok(reply.map(|reply| (reply, mark.clone())))
            });
            reply
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(replies.into_iter().flatten().collect())
}

fn container(reply: ContainerReply, mark: Mark, images: &BTreeMap<String, Arc<ImageReply>>) -> Container {
    let ContainerReply {
        id,
        name,
        image_id,
        labels,
        state,
        mut spec,
        created,
        started,
        health,
        restarts,
        error,
        network_ids,
        process: _,
        execs: _,
        health_check: _,
    } = reply;
    spec.labels = labels
        .iter()
        .filter(|(name, _)| !name.starts_with(label::PREFIX) && *name != label::DEVCONTAINER)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let applied = labels
        .get(label::APPLIED)
        .and_then(|text| serde_json::from_str::<ContainerSpec>(text).ok());
    let busy = labels
        .get(label::BUSY)
        .and_then(|text| serde_json::from_str(text).ok());
    let granted = labels.get(label::GRANTED);
    let granted = granted.and_then(|text| serde_json::from_str(text).ok());
    Container {
        id: OwnedId::new(&id, &mark),
        busy,
        granted: granted.unwrap_or_default(),
        mark,
        name,
        state,
        image: images.get(&image_id).cloned(),
        image_id,
        spec,
        applied,
        created,
        started,
        health,
        restarts,
        error,
        network_ids,
    }
}

/// Leaves out what only has the labels of a container of ours: whoever made it copied them, or made it from a commit of
/// ours and removed that image, which would tell.
fn leave_out_copies(containers: &mut Vec<Container>) {
    containers.retain(|container| {
        container.image.is_some()
            || container
                .applied
                .as_ref()
                .is_some_and(|applied| applied.image == container.spec.image)
    });
    containers.sort_by_cached_key(|container| {
        let created = container.created.parse::<Timestamp>().ok();
        (created, container.id.clone())
    });
    let mut seen = BTreeSet::new();
    containers.retain(|container| seen.insert(container.mark.uid.clone()));
}

fn set_user(listed: &ListedContainer) -> SetUser {
    let busy = listed.labels.get(label::BUSY);
    SetUser {
        id: listed.id.clone(),
        name: listed.name.clone(),
        busy: busy.and_then(|text| serde_json::from_str(text).ok()),
    }
}

fn receipt(listed: &ListedContainer, mark: Mark) -> Option<Receipt> {
    // A receipt vouches for a volume only while it holds on to it.
    let volume = format!("aishell-harness-{}", mark.key.short());
    if !listed.volumes.contains(&volume) {
        return None;
    }
    Some(Receipt {
        id: OwnedId::new(&listed.id, &mark),
        digest: listed.labels.get(label::RECEIPT)?.clone(),
        volume_created: listed.labels.get(label::RECEIPT_VOLUME)?.clone(),
        mark,
    })
}

fn volume(reply: VolumeReply, owner: &Owner) -> Option<(String, Volume)> {
    let mark = Mark::read(&reply.labels)?;
    let ours = match mark.kind {
        Kind::Harness => true,
        Kind::Volume | Kind::Hold => owner.owns(&mark),
        _ => false,
    };
    ours.then(|| named(reply, mark))
}

/// Returns a data volume of a manifest that may be this one, from where it was before.
fn elsewhere(reply: &VolumeReply, owner: &Owner) -> Option<Elsewhere> {
    let mark = Mark::read(&reply.labels)?;
    let here = mark.host.as_deref() == Some(owner.host.as_str());
    let same = mark.kind == Kind::Volume && mark.manifest == owner.manifest && !owner.owns(&mark);
    (same && here).then_some(())?;
    Some(Elsewhere {
        name: mark.name,
        engine_name: reply.name.clone(),
        project: mark.project?,
        file: mark.file?,
        user: None,
    })
}

/// Returns a data volume that the owner had once, if somebody else uses it by now.
fn taken(reply: &VolumeReply, owner: &Owner, users: &BTreeMap<String, String>) -> Option<Elsewhere> {
    let mark = Mark::read(&reply.labels).filter(|mark| owner.is_former(mark))?;
    let user = users.get(&reply.name)?;
    Some(Elsewhere {
        name: mark.name,
        engine_name: reply.name.clone(),
        project: mark.project?,
        file: mark.file.unwrap_or_default(),
        user: Some(user.clone()),
    })
}

/// Returns the projects of other manifests by the volumes that their containers use, as far as that matters: nobody can
/// have been somebody else's earlier self unless the manifest says so.
fn users_of(
    containers: &[ListedContainer],
    owner: &Owner,
    images: &BTreeMap<String, Image>,
) -> BTreeMap<String, String> {
    let no_labels = Labels::new();
    let mut users = BTreeMap::new();
    for listed in containers.iter().filter(|_| !owner.formerly.is_empty()) {
        let inherited = images
            .get(&listed.image_id)
            .map_or(&no_labels, |image| &image.labels);
        let mark = Mark::read_container(&listed.labels, inherited);
        let other = mark.filter(|mark| mark.kind == Kind::Container && !owner.owns(mark));
        if let Some(project) = other.and_then(|mark| mark.project) {
            users.extend(
                listed
                    .volumes
                    .iter()
                    .map(|volume| (volume.clone(), project.clone())),
            );
        }
    }
    users
}

/// Returns a harness volume under the name that its key gives it.
fn harness(reply: VolumeReply, mark: Mark) -> Option<(String, Volume)> {
    let own = format!("{}{}", label::HARNESS_VOLUME, mark.key.short());
    (mark.kind == Kind::Harness && reply.name == own).then(|| named(reply, mark))
}

fn named(reply: VolumeReply, mark: Mark) -> (String, Volume) {
    let volume = Volume {
        hold: hold(&mark, &reply.labels),
        id: OwnedId::new(&reply.name, &mark),
        mark,
        created: reply.created,
        harnesses: reply.labels.get(label::HARNESSES).cloned(),
    };
    (reply.name, volume)
}

/// Reads who stopped a container by hand.
fn hold(mark: &Mark, labels: &Labels) -> Option<Hold> {
    let text = |label: &str| labels.get(label).cloned().unwrap_or_default();
    (mark.kind == Kind::Hold).then(|| Hold {
        by: text(label::HOLDER),
        since: text(label::SINCE),
    })
}

fn network(reply: NetworkReply, owner: &Owner) -> Option<(String, Network)> {
    let mark = Mark::read(&reply.labels)?;
    (mark.kind == Kind::Network && owner.owns(&mark)).then(|| {
        let network = Network {
            id: OwnedId::new(&reply.id, &mark),
            mark,
            age: Age::of(&reply.created, &reply.id),
            shape: reply.shape,
            name: reply.name,
        };
        (reply.id, network)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, KeyKind};
    use crate::observed::RunState;

    fn container(id: &str, uid: &str, created: &str) -> Container {
        let mut labels = label::shared("demo", Kind::Container, "api", &Key::of(KeyKind::Container, &1));
        labels.insert(label::UID.to_owned(), uid.to_owned());
        let mark = Mark::read(&labels).expect("complete labels");
        Container {
            id: OwnedId::new(id, &mark),
            mark,
            name: id.to_owned(),
            state: RunState::Running,
            image: Some(Arc::default()),
            image_id: String::new(),
            spec: ContainerSpec::default(),
            applied: Some(ContainerSpec::default()),
            created: created.to_owned(),
            started: None,
            health: None,
            restarts: 0,
            error: None,
            network_ids: BTreeMap::new(),
            busy: None,
            granted: BTreeSet::new(),
        }
    }

    fn left(mut containers: Vec<Container>) -> Vec<String> {
        leave_out_copies(&mut containers);
        containers.into_iter().map(|container| container.name).collect()
    }

    #[test]
    fn of_containers_with_one_identifier_the_first_is_ours() {
        let containers = vec![
            container("copy", "u1", "2026-01-01T00:00:00.51Z"),
            container("original", "u1", "2026-01-01T00:00:00.5Z"),
            container("other", "u2", "2026-01-02T00:00:00Z"),
        ];
        assert_eq!(left(containers), ["original", "other"]);
    }

    #[test]
    fn labels_that_an_image_gave_and_that_is_gone_are_not_the_containers_own() {
        let mut ours = container("ours", "u1", "");
        ours.image = None;
        let mut backup = container("backup", "u2", "");
        backup.image = None;
        backup.spec.image = "backup:1".to_owned();
        assert_eq!(left(vec![ours, backup]), ["ours"]);
    }
}
