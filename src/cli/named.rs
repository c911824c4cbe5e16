//! Containers as they are named on the command line.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::apply::finish;
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::progress::Watcher;
use super::signal::{Ended, watched};
use crate::apply::{Listener as _, Stop, apply};
use crate::claim::{Claims, Turn};
use crate::label::Owner;
use crate::manifest::Manifest;
use crate::manifest::suggest::nearest;
use crate::name::ContainerName;
use crate::observe::observe;
use crate::observed::Observed;
use crate::reconcile::{Intent as _, report};
use crate::report::Outcome;
use crate::step::{ManifestInfo, Plan};

/// Checks that a manifest has a container.
///
/// # Errors
/// It has not; with what may have been meant.
pub fn known(manifest: &Manifest, name: &str) -> Result<(), Failure> {
    among(manifest.containers.keys().map(ContainerName::as_str), name)
}

/// Checks that a name is among those of containers.
///
/// # Errors
/// It is not; with what may have been meant.
pub fn among<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Result<(), Failure> {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let message = format!("there is no container `{name}`");
    let hint = match nearest(name, names.clone()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => match names.collect::<Vec<_>>() {
            names if names.is_empty() => "the manifest has no containers".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        },
    };
    Err(Failure::usage(message, &hint))
}

/// How long a command that names containers waits while somebody else writes.
pub const LOCK_PATIENCE: &str = "60s";

/// What a person does to containers by hand.
pub struct By {
    /// The command that was typed.
    pub command: &'static str,
    /// The containers, by their names in the manifest.
    pub names: Vec<String>,
    /// How long to wait while somebody else writes.
    pub lock_timeout: Duration,
}

/// Carries out what a person does to containers by hand; only those are touched.
///
/// # Errors
/// The manifest is invalid, there is no such container, or the engine cannot be asked. Nothing was touched.
pub async fn by_hand(
    invocation: &Invocation,
    By {
        command,
        names,
        lock_timeout,
    }: By,
    plan: impl Fn(&Observed, &Owner, &ManifestInfo, &BTreeSet<String>) -> Plan,
) -> Result<Exit, Failure> {
    let prepared = invocation.prepare(None)?;
    let engine = invocation.engine(&prepared.loaded.manifest.engine.address)?;
    let owner = prepared.owner();
    let watcher = Arc::new(Watcher::new(invocation, prepared.loaded.source.directory()));
    let claims = Claims::of(&invocation.host);
    let turn = Turn {
        claims: &claims,
        command,
        patience: lock_timeout,
    };
    let (wish, stop) = Stop::new();
    let again = invocation.again(&format!("{command} {}", names.join(" ")), None);
    let work = Box::pin(turn.during(&engine, owner, None, async {
        let observed = Box::pin(observe(&engine, owner, &BTreeSet::new())).await?;
        known_to(&prepared.loaded.manifest, &observed, &names)?;
        let names = names.iter().cloned().collect();
        let plan = plan(&observed, owner, prepared.info(), &names);
        watcher.planned(&plan);
        let done = apply(&plan, &engine, &watcher, &stop).await;
        let whole = done.iter().all(|done| done.outcome == Outcome::Done);
        let left = Plan {
            steps: Vec::new(),
            ..plan
        };
        let mut report = report(left, done, &stop, None);
        report.converged = whole && report.blocked.is_empty();
        Ok::<_, Failure>(report)
    }));
    let ended = match watched(work, &wish, |signal| watcher.signalled(signal)).await? {
        Ended::Whole(report, signal) => Ended::Whole(report?, signal),
        Ended::Cut(signal) => Ended::Cut(signal),
    };
    Ok(finish(invocation, &watcher, ended, &again))
}

/// Checks that names are those of containers that the manifest wants or that are there: what it does not want any more
/// can be stopped, too.
fn known_to(manifest: &Manifest, observed: &Observed, names: &[String]) -> Result<(), Failure> {
    let live = observed.containers.values().map(|live| live.mark.name.as_str());
    let wanted = manifest.containers.keys();
    let known: BTreeSet<&str> = wanted.map(ContainerName::as_str).chain(live).collect();
    names
        .iter()
        .try_for_each(|name| among(known.iter().copied(), name))
}
