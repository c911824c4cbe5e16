//! Pinning: what a manifest leaves open is asked once, and written down before anything is made of it.
//!
//! Versions are asked of a package manager in a job, so the image it runs on is pulled or built first; digests are
//! learnt from the engine, else from the registry. Nothing but those images is made here.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::apply::{Listener, Stop, apply};
use crate::call::{Answer, Call};
use crate::claim::{ClaimError, Turn};
use crate::desired::resolve::digest_of;
use crate::engine::{Engine, EngineError};
use crate::host::Host;
use crate::lock::{Ask, Change, Lock, Package, Wishes};
use crate::manifest::load::Loaded;
use crate::manifest::place::Problem;
use crate::manifest::stage::{ImageReference, Pull, Stage};
use crate::name::HarnessName;
use crate::plan::Consent;
use crate::prepare::{LockError, Prepared, Winner};
use crate::progress::Progress;
use crate::protocol::resolve::{Found, Inquiry, Refusal, Resolve};
use crate::protocol::{Undone, drive};
use crate::reconcile::{Look, PassError, Subject, look, report};
use crate::report::{Done, Failure, Outcome, Report};
use crate::step::{Action, Resource, ResourceKind};

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

impl From<PassError> for PinError {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Engine(error) => Self::Engine(error),
            PassError::Claimed(error) => Self::Claimed(error),
        }
    }
}

/// Pins whatever the lock lacks.
///
/// # Guarantees
/// Where the lock lacks nothing, nobody is asked. `Err` means that nothing but images was made.
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
    let missing = prepared.missing();
    let mut done = Vec::new();
    if !missing.is_empty() {
        let images = Images::of(engine, &missing).await?;
        if how.locked {
            return match incomplete(prepared, &missing, &images) {
                Some(error) => Err(error),
                None => Ok(complete(&before, prepared, done)),
            };
        }
        let absent = pin_images(engine, prepared, images, how.host).await?;
        let missing = prepared.missing();
        let asks = !missing.harnesses.is_empty() || missing.runtime.is_some();
        if (asks || !absent.is_empty()) && !stop.is_wished() {
            let _claim = how.turn.take(&prepared.facts.owner).await?;
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
            if let Some(inquiry) = inquiry(prepared, &prepared.missing(), &seen) {
                let new = ask(engine, prepared, inquiry, listener).await?;
                prepared.pin(new, Winner::File, how.host)?;
            }
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

/// Returns the error that a lock is not complete, if it lacks what could be pinned.
fn incomplete(prepared: &Prepared, missing: &Wishes, images: &Images) -> Option<PinError> {
    let Wishes {
        builtin: _,
        runtime,
        harnesses,
        images: _,
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

/// What the engine says of images that are not in the lock. Those it made itself have no digest, and are left out.
struct Images {
    /// Those with a digest.
    found: Lock,
    /// Those it does not have.
    absent: BTreeSet<ImageReference>,
}

impl Images {
    async fn of(engine: &impl Engine, missing: &Wishes) -> Result<Self, EngineError> {
        let mut images = Self {
            found: Lock::default(),
            absent: BTreeSet::new(),
        };
        for image in &missing.images {
            let call = Call::InspectImage {
                image: image.to_string(),
            };
            match engine.call(&call, &Progress::default()).await {
                Ok(Answer::Image(reply)) => {
                    let digest = digest_of(image.as_str(), &reply.image.digests);
                    if let Some(digest) = digest.and_then(|digest| digest.parse().ok()) {
                        images.found.images.insert(image.clone(), digest);
                    }
                }
                Err(EngineError::NotFound { .. }) => {
                    images.absent.insert(image.clone());
                }
                Ok(_) => return Err(unexpected(&call)),
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }
}

fn unexpected(call: &Call) -> EngineError {
    EngineError::Unexpected {
        call: format!("{call:?}"),
    }
}

/// Pins the images whose digest the engine knows or the registry says, and returns those that have to be pulled to
/// know it: private ones, whose registry answers only to somebody.
async fn pin_images(
    engine: &impl Engine,
    prepared: &mut Prepared,
    images: Images,
    host: &Host,
) -> Result<BTreeSet<ImageReference>, PinError> {
    let Images { mut found, absent } = images;
    let mut unsaid = BTreeSet::new();
    for image in absent {
        if is_never_pulled(prepared, &image) {
            continue;
        }
        match registered(engine, &image).await {
            Ok(digest) => {
                found.images.insert(image, digest);
            }
            Err(error) => {
                tracing::debug!(%error, %image, "the registry does not say");
                unsaid.insert(image);
            }
        }
    }
    if found != Lock::default() {
        prepared.pin(found, Winner::File, host)?;
    }
    Ok(unsaid)
}

/// Asks the registry of an image what it means now.
///
/// # Errors
/// It cannot be asked, or does not say.
pub async fn registered(
    engine: &impl Engine,
    image: &ImageReference,
) -> Result<crate::lock::ImageDigest, EngineError> {
    let call = Call::AskRegistry {
        reference: image.to_string(),
    };
    match engine.call(&call, &Progress::default()).await? {
        Answer::Digest(digest) => digest.parse().map_err(|_| unexpected(&call)),
        _ => Err(unexpected(&call)),
    }
}

fn is_never_pulled(prepared: &Prepared, image: &ImageReference) -> bool {
    matches!(
        &prepared.loaded.manifest.foundation,
        Some(Stage::Image { image: foundation, pull: Pull::Never }) if foundation == image
    )
}

/// Whether what is needed to ask is there.
enum Made {
    /// It is, after these steps; or somebody else has to see to it, which the plan says.
    Ready(Box<Look>, Vec<Done>),
    /// It could not be made.
    Stopped(Box<Report>),
}

/// Pulls images whose digest only the pull tells, and makes the image that jobs run on if anything is to be asked.
async fn make_images<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    prepared: &Prepared,
    (asks, absent): (bool, &BTreeSet<ImageReference>),
    (listener, stop): (&Arc<L>, &Stop),
) -> Result<Made, PinError> {
    let subject = Subject {
        intent: prepared,
        consent: Consent::default(),
    };
    let seen = Box::new(look(engine, &subject).await?);
    let mut wanted: BTreeSet<String> = absent.iter().map(ToString::to_string).collect();
    wanted.extend(
        seen.desired
            .workshop()
            .filter(|_| asks)
            .map(|stage| stage.resource().to_owned()),
    );
    let plan = seen.plan.only(|step| {
        step.resource.kind == ResourceKind::Image
            && matches!(step.action, Action::Pull | Action::Build)
            && wanted.contains(&step.resource.name)
    });
    if plan.steps.is_empty() {
        return Ok(Made::Ready(seen, Vec::new()));
    }
    listener.planned(&plan);
    let done = apply(&plan, engine, listener, stop).await;
    let seen = look(engine, &subject).await;
    let failed = done.iter().any(|done| done.outcome != Outcome::Done);
    match seen {
        Ok(seen) if failed || stop.is_wished() => {
            Ok(Made::Stopped(Box::new(report(seen.plan, done, stop, None))))
        }
        Ok(seen) => Ok(Made::Ready(Box::new(seen), done)),
        Err(error) => Ok(Made::Stopped(Box::new(report(plan, done, stop, Some(&error))))),
    }
}

/// Returns what to ask, if anything is to be asked and there is an image to ask on.
fn inquiry(prepared: &Prepared, missing: &Wishes, seen: &Look) -> Option<Inquiry> {
    let stage = seen.desired.workshop()?;
    let image = Resource {
        kind: ResourceKind::Image,
        name: stage.resource().to_owned(),
    };
    let ready = seen.plan.unchanged.contains(&image);
    let asks: Vec<Ask> = missing
        .runtime
        .iter()
        .chain(missing.harnesses.values())
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
        owner: facts.owner.clone(),
        certificates: facts.certificates.clone(),
        env,
    })
}

/// Asks the package manager, and returns what it says as entries of a lock.
async fn ask<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    prepared: &Prepared,
    inquiry: Inquiry,
    listener: &Arc<L>,
) -> Result<Lock, PinError> {
    let missing = prepared.missing();
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
        Undone::Busy(who) => PinError::Unasked(Failure::new(who)),
    })?;
    entries(
        prepared,
        &missing,
        asks.into_iter().zip(resolve.answers()).collect(),
    )
}

/// Makes entries of answers, or says why there can be none.
fn entries(
    prepared: &Prepared,
    missing: &Wishes,
    answers: Vec<(Ask, Result<Found, Refusal>)>,
) -> Result<Lock, PinError> {
    let mut lock = Lock::default();
    let mut problems = Vec::new();
    let mut of_the_manifest = true;
    let names: Vec<Option<&HarnessName>> = missing
        .runtime
        .iter()
        .map(|_| None)
        .chain(missing.harnesses.keys().map(Some))
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
