//! Pinning: what a manifest leaves open is asked once, and written down before anything is made of it.
//!
//! Versions are asked of a package manager in a job, so the image it runs on is pulled or built first; digests are
//! learnt from the engine, else from the registry. Nothing but those images is made here.

use std::sync::Arc;

use self::ask::{ask, is_ready};
use self::images::{Images, Made, make_images, moved, pin_images};
use crate::apply::{Listener, Stop};
use crate::builtin;
use crate::catalogue::RUNTIME_VERSION;
use crate::claim::{ClaimError, Turn};
use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::lock::{Change, Lock, Package, Parts, Wishes};
use crate::manifest::load::Loaded;
use crate::manifest::place::Problem;
use crate::manifest::stage::{ImageReference, Stage};
use crate::prepare::{LockError, Prepared, Winner};
use crate::report::{Done, Failure, Report};

mod ask;
mod fetched;
mod images;
mod update;

pub use update::{Chosen, NotFound, Updated, choose, update};

/// How pinning is done.
#[derive(Clone, Copy, Debug)]
pub struct Pinning<'a> {
    /// The host.
    pub host: &'a Host,
    /// How long to wait for others who write.
    pub turn: Turn<'a>,
    /// Whether the lock has to be complete already.
    pub locked: bool,
}

/// What came of pinning.
#[derive(Debug)]
pub enum Pins {
    /// The lock has everything it can have.
    Complete {
        /// What changed in it.
        changes: Vec<Change>,
        /// What was made on the way.
        done: Vec<Done>,
    },
    /// What is needed to ask could not be made, and this is how it ended.
    Stopped(Box<Report>),
}

/// Why nothing was pinned. Nothing was made but images.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The engine could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Somebody else is writing.
    #[error(transparent)]
    Claimed(#[from] ClaimError),
    /// The lock cannot be read or written.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lock has to be complete, and is not.
    #[error("the lock lacks {} entries", problems.len())]
    Incomplete {
        /// What it lacks, by place.
        problems: Vec<Problem>,
        /// The manifest, for the lines.
        loaded: Box<Loaded>,
    },
    /// What is asked for cannot be pinned.
    #[error("{} entries cannot be pinned", problems.len())]
    Refused {
        /// Why, by place.
        problems: Vec<Problem>,
        /// The manifest, for the lines.
        loaded: Box<Loaded>,
        /// Whether all of it is for whoever wrote the manifest to put right.
        of_the_manifest: bool,
    },
    /// The package manager could not be asked.
    #[error("{}", _0.message)]
    Unasked(Failure),
}

/// Pins whatever the lock lacks, and what the manifest says to ask anew each time.
///
/// # Guarantees
/// Where the lock lacks nothing else, nobody is asked. `Err` means that nothing but images was made.
///
/// # Errors
/// Something cannot be pinned.
pub async fn pin<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    prepared: &mut Prepared,
    how: Pinning<'_>,
    (listener, stop): (&Arc<L>, &Stop),
) -> Result<Pins, PinError> {
    let before = prepared.lock().lock().clone();
    if !how.locked {
        let moved = moved(engine, prepared).await?;
        if moved != Lock::default() {
            prepared.pin(moved, Winner::New, how.host)?;
        }
    }
    let missing = prepared.missing();
    let mut done = Vec::new();
    if prepared.lock().path().is_none() {
        return match unwritten(prepared, &missing) {
            Some(error) => Err(error),
            None => Ok(complete(&before, prepared, done)),
        };
    }
    if !missing.is_empty() {
        let images = Images::of(engine, &missing).await?;
        if how.locked {
            return match incomplete(prepared, &missing, &images) {
                Some(error) => Err(error),
                None => Ok(complete(&before, prepared, done)),
            };
        }
        let own = own(&missing);
        let new = fetched::ask(prepared, &missing, listener, stop).await?;
        if new != Lock::default() {
            prepared.pin(new, Winner::File, how.host)?;
        }
        let absent = pin_images(engine, prepared, images, how.host).await?;
        let missing = prepared.missing();
        let asks = !missing.harnesses.is_empty();
        if (asks || !absent.is_empty()) && !stop.is_wished() {
            let _locked = how.turn.here(engine, &prepared.facts.owner).await?;
            prepared.refresh()?;
            let seen = match make_images(engine, prepared, (asks, &absent), (listener, stop)).await? {
                Made::Ready(seen, made) => {
                    done = made;
                    seen
                }
                Made::Stopped(report) => return Ok(Pins::Stopped(report)),
            };
            let images = Images::of(engine, &prepared.missing()).await?;
            prepared.pin(images.found, Winner::File, how.host)?;
            let missing = Wishes {
                runtime: None,
                ..prepared.missing()
            };
            if !missing.harnesses.is_empty() && is_ready(&seen) {
                let new = ask(engine, prepared, &missing, &seen, listener).await?;
                prepared.pin(new, Winner::File, how.host)?;
            }
        }
        // Last: where something cannot be pinned, nothing that could have waited is.
        if own != Lock::default() {
            prepared.pin(own, Winner::File, how.host)?;
        }
    }
    Ok(complete(&before, prepared, done))
}

fn complete(before: &Lock, prepared: &Prepared, done: Vec<Done>) -> Pins {
    Pins::Complete {
        changes: prepared.lock().lock().changes(before),
        done,
    }
}

/// Returns the newest foundation that ships with aishell, as an entry.
fn newest() -> Lock {
    let mut lock = Lock::default();
    lock.builtin = Some(builtin::newest().number);
    lock
}

/// Returns what nobody has to be asked about: what ships with this aishell, and the runtime it installs.
fn own(missing: &Wishes) -> Lock {
    let mut lock = if missing.builtin {
        newest()
    } else {
        Lock::default()
    };
    lock.runtime = missing.runtime.clone().and_then(|ask| {
        Some(Package {
            name: ask.name,
            requirement: ask.requirement,
            version: RUNTIME_VERSION.parse().ok()?,
            integrity: None,
            parts: Parts::new(),
        })
    });
    lock
}

/// Returns the error that there is no place for a lock, if one is needed: a manifest from standard input is beside
/// nothing. What the engine knows of images has to do then.
fn unwritten(prepared: &Prepared, missing: &Wishes) -> Option<PinError> {
    let open = missing.harnesses.iter().map(|(name, ask)| {
        let message = format!(
            "harness `{name}` ({}) cannot be pinned: a manifest from standard input has no lock beside it",
            ask.requirement
        );
        let problem = Problem::new(message).hint("write the exact version, or put the manifest into a file");
        Problem {
            place: prepared.loaded.source.place(&format!("harnesses.{name}.version")),
            ..problem
        }
    });
    let mut problems: Vec<Problem> = open.collect();
    let fetched = fetched::unpinned(prepared, (&missing.repos, &missing.tools));
    problems.extend(fetched.map(|(what, path)| {
        let message =
            format!("{what} cannot be pinned: a manifest from standard input has no lock beside it");
        let hint = "write its `commit` or `sha256`, or put the manifest into a file";
        Problem {
            place: prepared.loaded.source.place(&path),
            ..Problem::new(message).hint(hint)
        }
    }));
    (!problems.is_empty()).then(|| PinError::Incomplete {
        problems,
        loaded: Box::new(prepared.loaded.clone()),
    })
}

/// Returns the error that a lock is not complete, if it lacks what could be pinned.
fn incomplete(prepared: &Prepared, missing: &Wishes, images: &Images) -> Option<PinError> {
    let Wishes {
        builtin,
        runtime,
        harnesses,
        images: _,
        repos,
        tools,
    } = missing;
    let lacks = |what: String, path: String| {
        let place = prepared.loaded.source.place(&path);
        let problem = Problem::new(format!("{what} is not in the lock"));
        Problem {
            place,
            ..problem.hint("`aishell apply` without --locked pins it")
        }
    };
    let mut problems: Vec<Problem> = harnesses
        .iter()
        .map(|(name, ask)| {
            lacks(
                format!("harness `{name}` ({})", ask.requirement),
                format!("harnesses.{name}.version"),
            )
        })
        .collect();
    problems.extend(runtime.iter().map(|ask| {
        lacks(
            format!("the runtime ({})", ask.requirement),
            "harnesses".to_owned(),
        )
    }));
    problems.extend(fetched::unpinned(prepared, (repos, tools)).map(|(what, path)| lacks(what, path)));
    if *builtin {
        let path = "foundation.builtin".to_owned();
        problems.push(lacks("the built-in foundation".to_owned(), path));
    }
    let known = images.found.images.keys();
    problems.extend(
        known
            .chain(&images.absent)
            .map(|image| lacks(format!("image `{image}`"), path_of(prepared, image))),
    );
    let loaded = || Box::new(prepared.loaded.clone());
    (!problems.is_empty()).then(|| PinError::Incomplete {
        problems,
        loaded: loaded(),
    })
}

/// Returns the path of the field that names an image.
fn path_of(prepared: &Prepared, image: &ImageReference) -> String {
    use crate::manifest::container::ContainerImage;
    let containers = prepared.loaded.manifest.containers.iter();
    let named = containers
        .filter(|(_, container)| container.image == Some(ContainerImage::Reference(image.clone())))
        .map(|(name, _)| format!("containers.{name}.image"))
        .next();
    match &prepared.loaded.manifest.foundation {
        Some(Stage::Image {
            image: foundation, ..
        }) if foundation == image => "foundation.image".to_owned(),
        _ => named.unwrap_or_default(),
    }
}
