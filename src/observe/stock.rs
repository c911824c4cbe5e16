//! Looking at everything of aishell's on an engine, whoever's, and at everybody who uses it.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{engine_info, listed_containers, listed_images, listed_networks, listed_volumes};
use super::{ask, harness, receipt, set_user};
use crate::call::{Answer, Call, ListedContainer, Usage};
use crate::engine::{Engine, EngineError};
use crate::label::{self, Kind, Labels, Mark, OwnedId};
use crate::observed::{Activity, Observed};
use crate::stock::{Stock, StockedJob};

/// Looks at everything, without its sizes.
///
/// # Errors
/// The engine cannot be asked.
pub async fn stock(engine: &impl Engine) -> Result<Stock, EngineError> {
    let (version, users, volumes, networks, images) = futures_util::try_join!(
        ask(engine, Call::Version, engine_info),
        ask(engine, Call::ListUsers, listed_containers),
        ask(engine, Call::ListVolumes, listed_volumes),
        ask(engine, Call::ListNetworks, listed_networks),
        ask(engine, Call::ListImages, listed_images),
    )?;
    let mut stock = Stock {
        engine: version,
        images: images
            .into_iter()
            .map(|image| (image.id.clone(), image))
            .collect(),
        ..Stock::default()
    };
    for reply in volumes {
        let Some(mark) = Mark::read(&reply.labels) else {
            continue;
        };
        match mark.kind {
            Kind::Volume | Kind::Hold => stock.owned(&mark),
            Kind::Claim => stock.claims.push(reply),
            _ => {
                if let Some((name, volume)) = harness(reply, mark) {
                    stock.harnesses.insert(name, volume);
                }
            }
        }
    }
    for reply in networks {
        if let Some(mark) = Mark::read(&reply.labels).filter(|mark| mark.kind == Kind::Network) {
            stock.owned(&mark);
        }
    }
    let inherited: BTreeMap<String, Labels> = stock
        .images
        .values()
        .map(|image| (image.id.clone(), image.labels.clone()))
        .collect();
    let no_labels = Labels::new();
    for listed in &users {
        let image = inherited.get(&listed.image_id).unwrap_or(&no_labels);
        let Some(mark) = Mark::read_container(&listed.labels, image) else {
            continue;
        };
        match mark.kind {
            Kind::Receipt => {
                if let Some(receipt) = receipt(listed, mark) {
                    stock.receipts.insert(listed.name.clone(), receipt);
                }
            }
            Kind::Job => {
                stock.owned(&mark);
                stock.jobs.insert(listed.name.clone(), job(listed, mark));
            }
            Kind::Claim if !listed.running => {
                stock.idle_claims.insert(listed.name.clone(), job(listed, mark));
            }
            Kind::Container => stock.owned(&mark),
            _ => {}
        }
    }
    stock.users = users;
    Ok(stock)
}

/// Looks at everybody who may use something once more.
///
/// # Errors
/// The engine cannot be asked.
pub async fn users(engine: &impl Engine) -> Result<Vec<ListedContainer>, EngineError> {
    ask(engine, Call::ListUsers, listed_containers).await
}

/// Notes who runs with one of these harness volumes and has no label of ours: no other listing shows them, and what they
/// do with it nobody can say. Asked only before something in such a volume is changed.
///
/// # Errors
/// The engine cannot be asked.
pub async fn bystanders(
    engine: &impl Engine,
    volumes: &BTreeSet<String>,
    observed: &mut Observed,
) -> Result<(), EngineError> {
    for listed in users(engine).await? {
        let known = listed.labels.keys().any(|label| label.starts_with(label::PREFIX));
        for volume in listed.volumes.iter().filter(|volume| volumes.contains(*volume)) {
            if known || !listed.running {
                continue;
            }
            let users = observed.set_users.entry(volume.clone()).or_default();
            if users.iter().all(|user| user.id != listed.id) {
                users.push(set_user(&listed));
            }
            let why = "aishell did not make it, and it runs with these programs".to_owned();
            observed.activity.insert(listed.id.clone(), Activity::Busy(why));
        }
    }
    Ok(())
}

fn job(listed: &ListedContainer, mark: Mark) -> StockedJob {
    StockedJob {
        id: OwnedId::new(&listed.id, &mark),
        mark,
        running: listed.running,
        created: listed.created,
    }
}

/// Measures how much room everything takes; where the engine will not say, nothing is known.
///
/// # Errors
/// The engine cannot be reached.
pub async fn usage(engine: &impl Engine) -> Result<Usage, EngineError> {
    let taken = |answer| {
        if let Answer::Usage(usage) = answer {
            Some(usage)
        } else {
            None
        }
    };
    match ask(engine, Call::MeasureUsage, taken).await {
        Err(error @ EngineError::Unreachable { .. }) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "the engine does not say how much room things take");
            Ok(Usage::default())
        }
        Ok(usage) => Ok(usage),
    }
}
