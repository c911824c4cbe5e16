//! Moving what is pinned to what it means now.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ask::{ask, is_ready};
use super::fetched;
use super::images::{Images, Made, make_images, registered};
use super::{PinError, Pinning, newest};
use crate::apply::{Listener, Stop};
use crate::engine::Engine;
use crate::lock::{Change, Lock, Wishes};
use crate::manifest::member::Package;
use crate::manifest::place::Problem;
use crate::manifest::stage::ImageReference;
use crate::manifest::suggest::nearest;
use crate::prepare::{Prepared, Winner};
use crate::report::{Failure, Report};

/// What is to be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    wishes: Wishes,
    /// Why nothing can be moved that was named.
    notes: Vec<String>,
}

/// A name that nothing in the manifest has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing in the manifest that could be pinned is called `{name}`")]
pub struct NotFound {
    /// The name.
    pub name: String,
    /// What may have been meant.
    pub nearest: Option<String>,
    /// Every name there is.
    pub known: Vec<String>,
}

/// What came of an update.
#[derive(Debug)]
pub enum Updated {
    /// Everything was asked.
    Asked {
        /// What means something else now.
        changes: Vec<Change>,
        /// What means what it meant.
        unchanged: Vec<String>,
        /// What else there is to know.
        notes: Vec<String>,
    },
    /// What is needed to ask could not be made, and this is how it ended.
    Stopped(Box<Report>),
}

/// Finds what is meant by names: harnesses, references of images, addresses, tools, `runtime`, `builtin`. No names mean everything.
///
/// # Errors
/// The first name that nothing has.
pub fn choose(prepared: &Prepared, names: &[String]) -> Result<Chosen, NotFound> {
    let wishes = prepared.wishes();
    if names.is_empty() {
        return Ok(Chosen {
            wishes: wishes.clone(),
            notes: Vec::new(),
        });
    }
    let mut chosen = Chosen::default();
    for name in names {
        if let Some((harness, ask)) = wishes.harnesses.iter().find(|(one, _)| one.as_str() == name) {
            chosen.wishes.harnesses.insert(harness.clone(), ask.clone());
        } else if let Some(image) = wishes.images.iter().find(|image| image.as_str() == name) {
            chosen.wishes.images.insert(image.clone());
        } else if let Some(fetched) = of_name(prepared, name) {
            chosen.wishes.repos.extend(fetched.repos);
            chosen.wishes.tools.extend(fetched.tools);
        } else if name == "runtime" && wishes.runtime.is_some() {
            chosen.wishes.runtime.clone_from(&wishes.runtime);
        } else if name == "builtin" && wishes.builtin {
            chosen.wishes.builtin = true;
        } else if let Some(note) = settled(prepared, name) {
            chosen.notes.push(note);
        } else {
            return Err(not_found(prepared, name));
        }
    }
    Ok(chosen)
}

/// Finds repositories by their address, with what is wanted of them or without, and downloads by their address or the
/// name of the tool.
fn of_name(prepared: &Prepared, name: &str) -> Option<Wishes> {
    let wishes = prepared.wishes();
    let repos = wishes.repos.iter();
    let repos = repos.filter(|one| one.url.as_str() == name || one.to_string() == name);
    let tools = fetched::phases(prepared).flat_map(|(_, phases)| &phases.tools);
    let called: Vec<_> = tools
        .filter(|tool| tool.name == name)
        .filter_map(|tool| tool.download().ok())
        .collect();
    let tools = wishes.tools.iter();
    let tools = tools.filter(|url| url.as_str() == name || called.contains(url));
    let found = Wishes {
        repos: repos.cloned().collect(),
        tools: tools.cloned().collect(),
        ..Wishes::default()
    };
    (!found.is_empty()).then_some(found)
}

/// Says why something that the manifest has cannot be moved.
fn settled(prepared: &Prepared, name: &str) -> Option<String> {
    if let Some((_, member)) = prepared
        .facts
        .members
        .iter()
        .find(|(one, _)| one.as_str() == name)
    {
        return Some(match &member.package {
            Package::Npm { version, .. } | Package::Pypi { version, .. }
                if !prepared.wishes().harnesses.is_empty() || is_exact(version) =>
            {
                format!("harness {name} is exactly {version} in the manifest")
            }
            Package::Npm { .. } | Package::Pypi { .. } => format!("harness {name} is used by no container"),
            Package::Url { .. } => format!("harness {name} has its sha256 in the manifest"),
        });
    }
    let mut phases = fetched::phases(prepared);
    if phases.any(|(_, phases)| phases.repos.iter().any(|repo| repo.url.as_str() == name)) {
        return Some(format!(
            "repository {name} is at exactly one commit in the manifest"
        ));
    }
    let mut phases = fetched::phases(prepared);
    if phases.any(|(_, phases)| phases.tools.iter().any(|tool| tool.name == name)) {
        return Some(format!("tool {name} has its sha256 in the manifest"));
    }
    match name {
        "runtime" => Some("no harness has a runtime that could be pinned".to_owned()),
        "builtin" => Some("the manifest does not use the built-in foundation".to_owned()),
        _ => {
            let image: ImageReference = name.parse().ok()?;
            let written = crate::desired::resolve::named_images(&prepared.loaded.manifest);
            written
                .contains(&image)
                .then(|| format!("image {name} is a digest, which means one thing"))
        }
    }
}

fn is_exact(version: &crate::manifest::harness::Requirement) -> bool {
    matches!(version, crate::manifest::harness::Requirement::Exact(_))
}

fn not_found(prepared: &Prepared, name: &str) -> NotFound {
    let wishes = prepared.wishes();
    let mut known: Vec<String> = prepared.facts.members.keys().map(ToString::to_string).collect();
    known.extend(wishes.images.iter().map(ToString::to_string));
    known.extend(wishes.repos.iter().map(ToString::to_string));
    known.extend(
        fetched::phases(prepared).flat_map(|(_, phases)| phases.tools.iter().map(|tool| tool.name.clone())),
    );
    known.extend(wishes.runtime.iter().map(|_| "runtime".to_owned()));
    known.extend(wishes.builtin.then(|| "builtin".to_owned()));
    NotFound {
        name: name.to_owned(),
        nearest: nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
        known,
    }
}

/// Asks what chosen entries mean now, and writes that down unless it is only to be known.
///
/// # Errors
/// Something cannot be asked, or the lock cannot be written. The lock is as it was.
pub async fn update<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    prepared: &mut Prepared,
    (chosen, check): (Chosen, bool),
    how: Pinning<'_>,
    (listener, stop): (&Arc<L>, &Stop),
) -> Result<Updated, PinError> {
    let Chosen { wishes, mut notes } = chosen;
    let mut new = if wishes.builtin { newest() } else { Lock::default() };
    new.images = images(engine, prepared, &wishes, &mut notes).await?.images;
    new = new.with(fetched::ask(prepared, &wishes, listener, stop).await?);
    if wishes.runtime.is_some() || !wishes.harnesses.is_empty() {
        let _locked = how.turn.here(engine, &prepared.facts.owner).await?;
        let none = BTreeSet::new();
        let seen = match make_images(engine, prepared, (true, &none), (listener, stop)).await? {
            Made::Ready(seen, _) => seen,
            Made::Stopped(report) => return Ok(Updated::Stopped(report)),
        };
        if !is_ready(&seen) {
            let message = "there is no image to ask about versions on: the foundation is not on the engine";
            return Err(PinError::Unasked(
                Failure::new(message).hint("`aishell diff` says what is in its way"),
            ));
        }
        new = new.with(ask(engine, prepared, &wishes, &seen, listener).await?);
    }
    if stop.is_wished() {
        notes.push("interrupted: the lock is as it was".to_owned());
        return Ok(Updated::Asked {
            changes: Vec::new(),
            unchanged: Vec::new(),
            notes,
        });
    }
    let asked = names(&new);
    let before = prepared.lock().lock().clone();
    let changes = if check {
        before.clone().with(new).changes(&before)
    } else {
        prepared.pin(new, Winner::New, how.host)?;
        prepared.lock().lock().changes(&before)
    };
    let unchanged = asked
        .into_iter()
        .filter(|name| changes.iter().all(|change| change.name != *name))
        .collect();
    Ok(Updated::Asked {
        changes,
        unchanged,
        notes,
    })
}

/// Returns the names of everything that a lock has an entry for.
fn names(lock: &Lock) -> Vec<String> {
    lock.changes(&Lock::default())
        .into_iter()
        .map(|change| change.name)
        .collect()
}

/// Asks the registries of images.
async fn images(
    engine: &impl Engine,
    prepared: &Prepared,
    wishes: &Wishes,
    notes: &mut Vec<String>,
) -> Result<Lock, PinError> {
    let mut found = Lock::default();
    let mut problems = Vec::new();
    for image in &wishes.images {
        let error = match registered(engine, image).await {
            Ok(digest) => {
                found.images.insert(image.clone(), digest);
                continue;
            }
            Err(error) => error,
        };
        let alone = Wishes {
            images: [image.clone()].into(),
            ..Wishes::default()
        };
        let here = Images::of(engine, &alone).await?;
        let pinned = prepared.lock().lock().images.contains_key(image);
        if !pinned && here.found.images.is_empty() && here.absent.is_empty() {
            notes.push(format!("image {image} is not pinned (local image)"));
            continue;
        }
        let message = format!("image `{image}`: its registry does not say what it means: {error}");
        let hint = "check the reference, and whether the engine reaches the registry without logging in";
        problems.push(Problem {
            place: prepared.loaded.source.place(&super::path_of(prepared, image)),
            ..Problem::new(message).hint(hint)
        });
    }
    if problems.is_empty() {
        return Ok(found);
    }
    Err(PinError::Refused {
        problems,
        loaded: Box::new(prepared.loaded.clone()),
        of_the_manifest: false,
    })
}
