//! Prune: what of aishell's on an engine is garbage, as this host sees it.
//!
//! Which manifests are still there is a fact of this host, so it is looked for here; what follows from it is decided by
//! [`garbage`].
use std::collections::BTreeSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::call::{Answer, Call, VolumeReply};
use crate::engine::{Engine, EngineError};
use crate::host::{Host, is_gone};
use crate::key::Key;
use crate::label::{Former, KEY, MANIFEST, Owner};
use crate::manifest::load::load;
use crate::observe::{ask, observe, stock, usage, users};
use crate::observed::Observed;
use crate::plan::{Consent, Garbage, Terms, garbage};
use crate::prepare::Prepared;
use crate::reconcile::{Intent as _, inquire};
use crate::stock::{Identity, Stock};

/// What a person wants of it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// How many of what nobody uses stay, of each kind and manifest.
    pub keep: usize,
    /// The names of the manifests that are meant; none stands for all.
    pub names: BTreeSet<String>,
    /// What is younger than this stays.
    pub older_than: Option<SignedDuration>,
    /// What the person allows.
    pub consent: Consent,
    /// Whether it is told how much room things take.
    pub sizes: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is garbage.
    pub garbage: Garbage,
    /// The owners whose manifests are gone.
    pub abandoned: Vec<Owner>,
    /// Volumes that say that somebody writes.
    pub claims: Vec<VolumeReply>,
    /// The time, by the clock of the engine.
    pub now: Timestamp,
}

fn is_meant(claim: &VolumeReply, wish: &Wish) -> bool {
    let manifest = claim.labels.get(MANIFEST);
    wish.names.is_empty() || manifest.is_some_and(|name| wish.names.contains(name))
}

/// Looks for garbage; writes nothing.
///
/// # Errors
/// The engine cannot be asked.
pub async fn search(engine: &impl Engine, host: &Host, wish: &Wish) -> Result<Found, EngineError> {
    let (mut stock, now) = futures_util::try_join!(stock(engine), ask(engine, Call::Clock, time))?;
    if wish.sizes {
        stock.usage = usage(engine).await?;
    }
    let Wanted {
        keys: wanted,
        shielded,
        formerly,
    } = wanted(engine, &stock, host).await?;
    let mut abandoned = Vec::new();
    // What somebody had under another name or elsewhere is theirs, though nobody is there any more.
    let meant = |owner: &Owner| {
        let is_meant = wish.names.is_empty() || wish.names.contains(&owner.manifest);
        let is_known = formerly
            .iter()
            .any(|former| former.project == owner.project && former.manifest == owner.manifest);
        is_meant && !is_known && !shielded.contains(&owner.manifest)
    };
    for owner in abandoned_by(&stock, host).into_iter().filter(meant) {
        let observed = Box::pin(observe(engine, &owner, &BTreeSet::new())).await?;
        abandoned.push((owner, observed));
    }
    if !abandoned.is_empty() {
        // What was on its way out when the first look began is nobody's user any more.
        stock.users = users(engine).await?;
    }
    let terms = Terms {
        keep: wish.keep,
        names: wish.names.clone(),
        before: wish
            .older_than
            .map(|age| now.checked_sub(age).unwrap_or(Timestamp::MIN)),
        now,
        wanted,
        shielded,
        consent: wish.consent.clone(),
    };
    let mut found = garbage(&stock, &abandoned, &terms);
    let claims = std::mem::take(&mut stock.claims);
    let mut asked = false;
    for (_, observed) in &mut abandoned {
        asked |= inquire(engine, &found.plan, observed).await?;
    }
    if asked {
        found = garbage(&stock, &abandoned, &terms);
    }
    Ok(Found {
        garbage: found,
        abandoned: abandoned.into_iter().map(|(owner, _)| owner).collect(),
        claims: claims.into_iter().filter(|claim| is_meant(claim, wish)).collect(),
        now,
    })
}

fn time(answer: Answer) -> Option<Timestamp> {
    match answer {
        Answer::Time(time) => Some(time),
        _ => None,
    }
}

/// Returns the owners of whom everything was made on this host, from manifest files that are gone.
pub fn abandoned_by(stock: &Stock, host: &Host) -> Vec<Owner> {
    let owners = stock.owners.iter().filter_map(|(identity, origin)| {
        let files = origin.files_on(&host.machine)?;
        let Identity { project, manifest } = identity;
        files.iter().all(|file| is_gone(Path::new(file))).then(|| Owner {
            project: project.clone(),
            manifest: manifest.clone(),
            host: host.machine.clone(),
            file: files.last().copied().unwrap_or_default().to_owned(),
            formerly: Vec::new(),
        })
    });
    owners.collect()
}

/// What manifests want that are there.
#[derive(Default)]
struct Wanted {
    /// The keys, by the names of the manifests.
    keys: BTreeSet<(String, Key)>,
    /// The names of those of which nobody can say what they want.
    shielded: BTreeSet<String>,
    /// Who they were earlier.
    formerly: BTreeSet<Former>,
}

async fn wanted(engine: &impl Engine, stock: &Stock, host: &Host) -> Result<Wanted, EngineError> {
    let mut found = Wanted::default();
    let Wanted {
        keys,
        shielded,
        formerly,
    } = &mut found;
    for (identity, origin) in &stock.owners {
        let files = origin.files.iter().flatten().map(Path::new);
        let here = origin.hosts.contains(&Some(host.machine.clone()));
        let files = files.filter(|file| here && file.is_absolute() && !is_gone(file));
        for file in files {
            let prepared = load(file, host)
                .ok()
                .and_then(|loaded| Prepared::of(loaded, host).ok());
            let Some(prepared) = prepared else {
                shielded.insert(identity.manifest.clone());
                continue;
            };
            formerly.extend(prepared.owner().formerly.iter().cloned());
            let observed = Box::pin(observe(engine, prepared.owner(), prepared.references())).await?;
            if !wants(&prepared, &observed, keys) {
                shielded.insert(identity.manifest.clone());
                shielded.insert(prepared.owner().manifest.clone());
            }
        }
    }
    Ok(found)
}

/// Adds the keys of everything shared that a manifest wants, and says whether all of them are known.
fn wants(prepared: &Prepared, observed: &Observed, keys: &mut BTreeSet<(String, Key)>) -> bool {
    let desired = prepared.resolve(observed);
    let stages = desired.stages.values().map(|stage| stage.key.known());
    let identities = desired.identities.values().map(|identity| identity.key.known());
    let set = desired.harness.iter().map(|set| set.known().map(|set| &set.key));
    let manifest = &prepared.owner().manifest;
    let mut all = true;
    for key in stages.chain(identities).chain(set) {
        match key {
            Some(key) => {
                keys.insert((manifest.clone(), key.clone()));
            }
            None => all = false,
        }
    }
    let fallback = desired.fallback.as_ref();
    let fallback = fallback.and_then(|build| Key::parse(build.labels.get(KEY)?));
    keys.extend(fallback.map(|key| (manifest.clone(), key)));
    all
}
