//! Images: what they mean, learnt from the engine or from their registry.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::PinError;
use crate::apply::{Listener, Stop, apply};
use crate::call::{Answer, Call};
use crate::desired::resolve::digest_of;
use crate::engine::{Engine, EngineError};
use crate::lock::{ImageDigest, Lock, Wishes};
use crate::manifest::container::ContainerImage;
use crate::manifest::place::Problem;
use crate::manifest::stage::{ImageReference, Pull, Stage};
use crate::plan::Consent;
use crate::prepare::Prepared;
use crate::progress::{Event, Progress};
use crate::reconcile::{Look, Subject, look, report};
use crate::report::{Done, Outcome, Report};
use crate::step::{Action, Plan, ResourceKind, Step};

/// What the engine says of images that are not in the lock. Those it made itself have no digest, and are left out.
pub(super) struct Images {
    /// Those with a digest.
    pub(super) found: Lock,
    /// Those it does not have.
    pub(super) absent: BTreeSet<ImageReference>,
}

impl Images {
    pub(super) async fn of(engine: &impl Engine, missing: &Wishes) -> Result<Self, EngineError> {
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
pub(super) async fn pin_images(
    engine: &impl Engine,
    prepared: &mut Prepared,
    images: Images,
    host: &crate::host::Host,
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
        prepared.pin(found, crate::prepare::Winner::File, host)?;
    }
    Ok(unsaid)
}

/// Asks the registry of an image what it means now.
///
/// # Errors
/// It cannot be asked, or does not say.
pub(super) async fn registered(
    engine: &impl Engine,
    image: &ImageReference,
) -> Result<ImageDigest, EngineError> {
    let call = Call::AskRegistry {
        reference: image.to_string(),
    };
    match engine.call(&call, &Progress::default()).await? {
        Answer::Digest(digest) => digest.parse().map_err(|_| unexpected(&call)),
        _ => Err(unexpected(&call)),
    }
}

/// Returns what the image means now that the manifest says to pull always, if the lock says another thing.
///
/// # Errors
/// Its registry does not say, and the lock has what it meant: going on with that is what was not wanted.
pub(super) async fn moved(engine: &impl Engine, prepared: &Prepared) -> Result<Lock, PinError> {
    let mut moved = Lock::default();
    let Some(Stage::Image {
        image,
        pull: Pull::Always,
    }) = &prepared.loaded.manifest.foundation
    else {
        return Ok(moved);
    };
    let pinned = prepared.lock().lock().images.get(image);
    if image.digest().is_some() {
        return Ok(moved);
    }
    match registered(engine, image).await {
        Ok(digest) if pinned != Some(&digest) => {
            moved.images.insert(image.clone(), digest);
            Ok(moved)
        }
        Ok(_) => Ok(moved),
        Err(error) => {
            let message = format!("image `{image}`: its registry does not say what it means: {error}");
            let problem = Problem::new(message).hint("without `pull: always` what is pinned or here will do");
            Err(PinError::Refused {
                problems: vec![Problem {
                    place: prepared.loaded.source.place("foundation.pull"),
                    ..problem
                }],
                loaded: Box::new(prepared.loaded.clone()),
                of_the_manifest: false,
            })
        }
    }
}

fn is_never_pulled(prepared: &Prepared, image: &ImageReference) -> bool {
    matches!(
        &prepared.loaded.manifest.foundation,
        Some(Stage::Image { image: foundation, pull: Pull::Never }) if foundation == image
    )
}

/// Whether what is needed to ask is there.
pub(super) enum Made {
    /// It is, after these steps; or somebody else has to see to it, which the plan says.
    Ready(Box<Look>, Vec<Done>),
    /// It could not be made.
    Stopped(Box<Report>),
}

/// Pulls images whose digest only the pull tells, and makes the image that jobs run on if anything is to be asked.
pub(super) async fn make_images<L: Listener + ?Sized + 'static>(
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
        // However it comes about: pulled, built, in phases, or by a name for what another manifest made.
        step.resource.kind == ResourceKind::Image
            && step.action != Action::Remove
            && wanted.contains(&step.resource.name)
    });
    if plan.steps.is_empty() {
        return Ok(Made::Ready(seen, Vec::new()));
    }
    listener.planned(&plan);
    let names = plan.steps.iter().map(|step| step.resource.name.clone());
    let contained = Contained {
        listener: Arc::clone(listener),
        own: names.filter(|name| is_own(prepared, name)).collect(),
    };
    let done = apply(&plan, engine, &Arc::new(contained), stop).await;
    let seen = look(engine, &subject).await;
    let (made, failed): (Vec<Done>, Vec<Done>) =
        done.into_iter().partition(|done| done.outcome == Outcome::Done);
    // One container's own image is that container's trouble: the pass meets it again, and the others go on.
    let contained = failed
        .iter()
        .all(|done| is_own(prepared, &done.step.resource.name));
    match seen {
        Ok(seen) if !contained || stop.is_wished() => {
            let untold = |done: &&Done| is_own(prepared, &done.step.resource.name);
            failed
                .iter()
                .filter(untold)
                .for_each(|done| listener.finished(done));
            let mut done = [made, failed].concat();
            done.sort_by_key(|done| done.step.id);
            Ok(Made::Stopped(Box::new(report(seen.plan, done, stop, None))))
        }
        Ok(seen) => Ok(Made::Ready(Box::new(seen), made)),
        Err(error) => {
            let done = [made, failed].concat();
            Ok(Made::Stopped(Box::new(report(plan, done, stop, Some(&error)))))
        }
    }
}

/// Tells somebody what happens, except that an image failed that is only one container's own: the pass tries it once
/// more, and tells that.
struct Contained<L: ?Sized> {
    listener: Arc<L>,
    own: BTreeSet<String>,
}

impl<L: Listener + ?Sized> Listener for Contained<L> {
    fn planned(&self, plan: &Plan) {
        self.listener.planned(plan);
    }

    fn started(&self, step: &Step) {
        self.listener.started(step);
    }

    fn progress(&self, step: &Step, event: Event) {
        self.listener.progress(step, event);
    }

    fn finished(&self, done: &Done) {
        if done.outcome == Outcome::Done || !self.own.contains(&done.step.resource.name) {
            self.listener.finished(done);
        } else {
            self.listener.postponed(done);
        }
    }

    fn postponed(&self, done: &Done) {
        self.listener.postponed(done);
    }

    fn said(&self, text: &str) {
        self.listener.said(text);
    }
}

/// Says whether an image is only a container's own: no stage starts from it.
fn is_own(prepared: &Prepared, name: &str) -> bool {
    let manifest = &prepared.loaded.manifest;
    let names = |image: &ImageReference| image.to_string() == name;
    let stage = matches!(&manifest.foundation, Some(Stage::Image { image, .. }) if names(image));
    let container = |image: &Option<ContainerImage>| matches!(image, Some(ContainerImage::Reference(image)) if names(image));
    !stage && manifest.containers.values().any(|one| container(&one.image))
}
