//! Asking a package manager, and what its answers are as entries of a lock.

use std::sync::Arc;

use super::PinError;
use crate::apply::Listener;
use crate::engine::Engine;
use crate::lock::{Ask, Lock, Package, Wishes};
use crate::manifest::place::Problem;
use crate::name::HarnessName;
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::protocol::resolve::{Found, Inquiry, Refusal, Resolve};
use crate::protocol::{Undone, drive};
use crate::reconcile::Look;
use crate::report::Failure;
use crate::step::{Resource, ResourceKind};

/// Returns what to ask about wishes, if anything is to be asked and there is an image to ask on.
pub(super) fn inquiry(prepared: &Prepared, wishes: &Wishes, seen: &Look) -> Option<Inquiry> {
    let stage = seen.desired.workshop()?;
    let image = Resource {
        kind: ResourceKind::Image,
        name: stage.resource().to_owned(),
    };
    let ready = seen.plan.unchanged.contains(&image);
    let asks: Vec<Ask> = wishes
        .runtime
        .iter()
        .chain(wishes.harnesses.values())
        .cloned()
        .collect();
    if asks.is_empty() || !ready {
        return None;
    }
    let facts = &prepared.facts;
    let mut env = facts.installer.clone();
    env.extend(facts.proxies.clone());
    Some(Inquiry {
        asks,
        image: stage.reference().to_owned(),
        fallback: seen.desired.fallback.clone(),
        owner: facts.owner.clone(),
        certificates: facts.certificates.clone(),
        env,
    })
}

/// Asks the package manager, and returns what it says as entries of a lock.
pub(super) async fn ask<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    prepared: &Prepared,
    wishes: &Wishes,
    inquiry: Inquiry,
    listener: &Arc<L>,
) -> Result<Lock, PinError> {
    let asks = inquiry.asks.clone();
    listener.said(&format!(
        "asking npm about {}",
        asks.iter()
            .map(|ask| format!("{}@{}", ask.npm, ask.requirement))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    let mut resolve = Resolve::new(inquiry);
    let asked = drive(&mut resolve, engine, &Progress::default()).await;
    asked.map_err(|undone| match undone {
        Undone::Failed(failure) => PinError::Unasked(failure),
        Undone::Busy(who) | Undone::Used(who) => PinError::Unasked(Failure::new(who)),
    })?;
    entries(
        prepared,
        wishes,
        asks.into_iter().zip(resolve.answers()).collect(),
    )
}

/// Makes entries of answers, or says why there can be none.
fn entries(
    prepared: &Prepared,
    wishes: &Wishes,
    answers: Vec<(Ask, Result<Found, Refusal>)>,
) -> Result<Lock, PinError> {
    let mut lock = Lock::default();
    let mut problems = Vec::new();
    let mut of_the_manifest = true;
    let names: Vec<Option<&HarnessName>> = wishes
        .runtime
        .iter()
        .map(|_| None)
        .chain(wishes.harnesses.keys().map(Some))
        .collect();
    for (name, (ask, answer)) in names.into_iter().zip(answers) {
        match answer {
            Ok(Found { version, integrity }) => {
                let Ask { npm, requirement } = ask;
                let package = Package {
                    npm,
                    requirement,
                    version,
                    integrity,
                };
                match name {
                    Some(name) => {
                        lock.harnesses.insert(name.clone(), package);
                    }
                    None => lock.runtime = Some(package),
                }
            }
            Err(refusal) => {
                of_the_manifest &= refusal.is_of_the_manifest();
                problems.push(refused(prepared, name, &refusal));
            }
        }
    }
    if problems.is_empty() {
        return Ok(lock);
    }
    problems.sort();
    Err(PinError::Refused {
        problems,
        loaded: Box::new(prepared.loaded.clone()),
        of_the_manifest,
    })
}

fn refused(prepared: &Prepared, name: Option<&HarnessName>, refusal: &Refusal) -> Problem {
    let path = match (name, refusal) {
        (Some(name), Refusal::UnknownPackage { .. }) => format!("harnesses.{name}.npm"),
        (Some(name), _) => format!("harnesses.{name}.version"),
        (None, _) => "harnesses".to_owned(),
    };
    let what = name.map_or_else(|| "the runtime".to_owned(), |name| format!("harness `{name}`"));
    let hint = match refusal {
        Refusal::UnknownPackage { .. } => {
            "check its name, and the registry that npm is configured for".to_owned()
        }
        Refusal::NoMatch { package, .. } => format!("`npm view {package} versions` lists what there is"),
        Refusal::NoAnswer { .. } => {
            "check the way to the registry: `certificates`, `proxy`, npm_config_registry".to_owned()
        }
    };
    let problem = Problem::new(format!("{what}: {refusal}")).hint(hint);
    Problem {
        place: prepared.loaded.source.place(&path),
        ..problem
    }
}
