//! Who has the names that are needed.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::answer::listed_containers;
use super::{AT_ONCE, ask, found, inspected_container, inspected_network, inspected_volume, network, volume};
use crate::call::{Answer, Call, ListedContainer};
use crate::engine::{Engine, EngineError};
use crate::label::{self, Kind, Labels, Mark, Owner};
use crate::observed::{Observed, Stranger};
use crate::step::ResourceKind;

/// Asks, for names that no object of ours has, whether a stranger has them. One request each.
///
/// # Errors
/// As [`observe`].
pub async fn strangers(
    engine: &impl Engine,
    owner: &Owner,
    observed: &mut Observed,
    names: Vec<(ResourceKind, String)>,
) -> Result<(), EngineError> {
    let images = &observed.images;
    let no_labels = Labels::new();
    let no_labels = &no_labels;
    let found: Vec<Option<Stranger>> = stream::iter(names)
        .map(|(kind, name)| async move {
            match kind {
                ResourceKind::Container => {
                    let call = Call::InspectContainer {
                        container: name.clone(),
                    };
                    let reply = found(ask(engine, call, inspected_container).await)?;
                    // An id that starts like the name would answer too.
                    let reply = reply.filter(|reply| reply.name == name);
                    Ok(reply.map(|reply| {
                        let inherited = images
                            .get(&reply.image_id)
                            .map_or(no_labels, |image| &image.labels);
                        let late = Mark::read_container(&reply.labels, inherited)
                            .is_some_and(|mark| mark.kind == Kind::Receipt || owner.owns(&mark));
                        Stranger {
                            late,
                            ..stranger((owner, "container"), name, &reply.labels, &reply.spec.image)
                        }
                    }))
                }
                ResourceKind::Volume => {
                    let call = Call::InspectVolume { volume: name.clone() };
                    let reply = found(ask(engine, call, inspected_volume).await)?;
                    Ok(reply.map(|reply| Stranger {
                        late: volume(reply.clone(), owner).is_some(),
                        ..stranger((owner, "volume"), name, &reply.labels, "")
                    }))
                }
                ResourceKind::Network => {
                    let call = Call::InspectNetwork {
                        network: name.clone(),
                    };
                    let reply = found(ask(engine, call, inspected_network).await)?;
                    let reply = reply.filter(|reply| reply.name == name);
                    Ok(reply.map(|reply| Stranger {
                        late: network(reply.clone(), owner).is_some(),
                        ..stranger((owner, "network"), name, &reply.labels, "")
                    }))
                }
                ResourceKind::Image | ResourceKind::Snapshot => Ok(None),
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    for mut stranger in found.into_iter().flatten() {
        let is_set = stranger.kind == "volume" && stranger.name.starts_with(label::HARNESS_VOLUME);
        if is_set && !stranger.late {
            Box::pin(examine(engine, &mut stranger)).await?;
            // What was seen of it may be what whoever made way for the same set has put there meanwhile.
            if !stranger.vacant {
                let call = Call::InspectVolume {
                    volume: stranger.name.clone(),
                };
                let reply = super::found(Box::pin(ask(engine, call, inspected_volume)).await)?;
                stranger.late = reply.is_none_or(|reply| volume(reply, owner).is_some());
            }
        }
        observed.strangers.insert(stranger);
    }
    Ok(())
}

/// Finds out who uses what has the name of a harness volume, and how much is in it. That is asked only where there is one: the
/// engine measures everything it has.
async fn examine(engine: &impl Engine, stranger: &mut Stranger) -> Result<(), EngineError> {
    let users = ask(engine, Call::ListUsers, listed_containers).await?;
    // Whoever is about to make way for the same set looks into it, too.
    let is_job = |user: &ListedContainer| Mark::read(&user.labels).is_some_and(|mark| mark.kind == Kind::Job);
    let uses = |user: &&ListedContainer| user.volumes.contains(&stranger.name) && !is_job(user);
    let users: Vec<&str> = users.iter().filter(uses).map(|user| user.name.as_str()).collect();
    if !users.is_empty() {
        let users = users.join(", ");
        stranger.who = format!("{}, and that {users} uses", stranger.who);
        return Ok(());
    }
    let usage = ask(engine, Call::MeasureUsage, |answer| match answer {
        Answer::Usage(usage) => Some(usage),
        _ => None,
    });
    match usage.await?.volumes.get(&stranger.name) {
        Some(0) => stranger.vacant = true,
        Some(bytes) => stranger.who = format!("{}, with {bytes} bytes in it", stranger.who),
        None => {}
    }
    Ok(())
}

/// Says in a person's words whose an object is.
fn stranger((owner, kind): (&Owner, &'static str), name: String, labels: &Labels, image: &str) -> Stranger {
    let mut who = whose(kind, labels, image);
    // Names are made of the project, so whoever has one of ours there may be who this manifest was.
    if let Some(mark) = Mark::read(labels).filter(|mark| mark.project.as_ref() == Some(&owner.project))
        && mark.manifest != owner.manifest
    {
        let name = mark.manifest;
        who = format!("{who}; `formerly: [{{ name: {name} }}]` if this manifest was called so");
    }
    Stranger {
        kind,
        name,
        who,
        late: false,
        vacant: false,
    }
}

/// Says in a person's words whose an object with these labels is.
pub(crate) fn whose(kind: &str, labels: &Labels, image: &str) -> String {
    match Mark::read(labels) {
        Some(mark) => format!(
            "a {kind} of manifest `{}` in {}",
            mark.manifest,
            mark.project.as_deref().unwrap_or("another project")
        ),
        None if labels.keys().any(|label| label.starts_with(label::PREFIX)) => {
            format!("a {kind} that an older aishell made")
        }
        None if image.is_empty() => format!("a {kind} that aishell did not make"),
        None => format!("a {kind} that aishell did not make (image {image})"),
    }
}
