//! Asking a package manager, and what its answers are as entries of a lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::PinError;
use crate::apply::Listener;
use crate::engine::Engine;
use crate::lock::{Ask, Lock, Package, PackageName, Wishes};
use crate::manifest::place::Problem;
use crate::name::HarnessName;
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::protocol::resolve::{Found, Inquiry, Refusal, Resolve};
use crate::protocol::{Undone, drive};
use crate::reconcile::Look;
use crate::report::Failure;
use crate::step::{Resource, ResourceKind};

/// Says whether there is an image to ask on.
pub(super) fn is_ready(seen: &Look) -> bool {
    seen.desired.workshop().is_some_and(|stage| {
        let image = Resource {
            kind: ResourceKind::Image,
            name: stage.resource().to_owned(),
        };
        seen.plan.unchanged.contains(&image)
    })
}

/// Returns an inquiry about packages of one manager.
fn inquiry(prepared: &Prepared, asks: Vec<Ask>, seen: &Look) -> Option<Inquiry> {
    let stage = seen.desired.workshop()?;
    let facts = &prepared.facts;
    let mut env = facts.installer.clone();
    env.extend(facts.proxies.clone());
    let bound = |ask: &Ask| matches!(ask.name, PackageName::Pypi(_));
    Some(Inquiry {
        // What fits the Python of another image may not fit this one's.
        fallback: seen.desired.fallback.clone().filter(|_| !asks.iter().any(bound)),
        asks,
        image: stage.reference().to_owned(),
        owner: facts.owner.clone(),
        certificates: facts.certificates.clone(),
        env,
    })
}

/// Asks the package managers, and returns what they say as entries of a lock.
pub(super) async fn ask<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    prepared: &Prepared,
    wishes: &Wishes,
    seen: &Look,
    listener: &Arc<L>,
) -> Result<Lock, PinError> {
    let wanted = wishes.runtime.iter().map(|ask| (None, ask));
    let wanted = wanted.chain(wishes.harnesses.iter().map(|(name, ask)| (Some(name), ask)));
    let mut managers: BTreeMap<&str, Vec<(Option<&HarnessName>, Ask)>> = BTreeMap::new();
    for (name, ask) in wanted {
        let same = managers.entry(ask.name.manager()).or_default();
        same.push((name, ask.clone()));
    }
    let mut answers = Vec::new();
    for (manager, wanted) in managers {
        let asks: Vec<Ask> = wanted.iter().map(|(_, ask)| ask.clone()).collect();
        let all: Vec<String> = asks.iter().map(ToString::to_string).collect();
        let Some(inquiry) = inquiry(prepared, asks, seen) else {
            continue;
        };
        listener.said(&format!("asking {manager} about {}", all.join(", ")));
        let mut resolve = Resolve::new(inquiry);
        let asked = drive(&mut resolve, engine, &Progress::default()).await;
        asked.map_err(|undone| match undone {
            Undone::Failed(failure) => PinError::Unasked(failure),
            Undone::Busy(who) | Undone::Used(who) => PinError::Unasked(Failure::new(who)),
        })?;
        let told = wanted.into_iter().zip(resolve.answers());
        answers.extend(told.map(|((name, ask), answer)| (name, ask, answer)));
    }
    entries(prepared, answers)
}

/// Makes entries of answers, or says why there can be none.
fn entries(
    prepared: &Prepared,
    answers: Vec<(Option<&HarnessName>, Ask, Result<Found, Refusal>)>,
) -> Result<Lock, PinError> {
    let mut lock = Lock::default();
    let mut problems = Vec::new();
    let mut of_the_manifest = true;
    for (name, ask, answer) in answers {
        match answer {
            Ok(Found {
                version,
                integrity,
                parts,
            }) => {
                let Ask {
                    name: package,
                    requirement,
                } = ask;
                let package = Package {
                    name: package,
                    requirement,
                    version,
                    integrity,
                    parts,
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
                problems.push(refused(prepared, (name, &ask), &refusal));
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

fn refused(prepared: &Prepared, (name, ask): (Option<&HarnessName>, &Ask), refusal: &Refusal) -> Problem {
    let pip = matches!(ask.name, PackageName::Pypi(_));
    let path = match (name, refusal) {
        (Some(name), Refusal::UnknownPackage { .. }) => format!("harnesses.{name}.{}", ask.name.key()),
        (Some(name), _) => format!("harnesses.{name}.version"),
        (None, _) => "harnesses".to_owned(),
    };
    let what = name.map_or_else(|| "the runtime".to_owned(), |name| format!("harness `{name}`"));
    let hint = match refusal {
        Refusal::UnknownPackage { .. } => {
            let manager = ask.name.manager();
            format!("check its name, and the registry that {manager} is configured for")
        }
        Refusal::NoMatch { package, .. } if pip => {
            format!("`pip index versions {package}` lists what there is for a Python")
        }
        Refusal::NoMatch { package, .. } => format!("`npm view {package} versions` lists what there is"),
        Refusal::WrongPython { .. } => {
            "choose an older version, or a foundation with another Python".to_owned()
        }
        Refusal::NoAnswer { .. } if pip => {
            "check the way to the index: `certificates`, `proxy`, PIP_INDEX_URL".to_owned()
        }
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
