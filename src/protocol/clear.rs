//! Removing what nobody uses, unless somebody has begun to.
//!
//! Whoever applies says so with a claim and looks afterwards. So what vouches for a harness volume goes first, then
//! everybody who is writing at that moment is waited for, and only then the volume goes: who looked before has a claim, and
//! who looks afterwards sees that nothing vouches for the volume. Images need no such care: the engine refuses to make a container
//! from one that is gone, and the next look makes it anew.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{Next, Protocol, call, failure, is_still, unexpected};
use crate::call::{Answer, Call, ListedContainer};
use crate::engine::EngineError;
use crate::label::{self, KIND, Kind, Labels, MANIFEST, Mark, OwnedId};
use crate::report::Failure;
use crate::step::{ClearWork, ResourceKind};

/// How long until it is seen again whether those who write are done.
const AGAIN: Duration = Duration::from_millis(500);
/// How often that is seen: for a minute.
const LOOKS: u32 = 120;
/// Why it stays while somebody writes.
const AT_WORK: &str = "an apply is at work that may be about to use it";

/// The removal of one thing that nobody uses.
pub(super) struct Clear {
    work: ClearWork,
    at: At,
    /// Whoever was writing when what vouches for it went: the ids of containers, the identifiers of volumes.
    awaited: Option<BTreeSet<String>>,
    /// Those of them that are containers, and were there at the last look.
    writing: BTreeSet<String>,
    /// How often it was seen whether they are done.
    looks: u32,
}

/// What happens next.
enum At {
    /// Whether somebody uses it.
    Look,
    /// Whether it is still what was observed.
    Check,
    /// Its tags go, from this one on.
    Untag(usize),
    /// What vouches for it: whether that is still what was observed.
    Voucher,
    /// It goes.
    Disown,
    /// Whether somebody uses it by now, and which containers say that somebody writes.
    Again,
    /// Which volumes say so, where there is no image for a container that does.
    Claimed,
    /// Those who were writing may not be done.
    Wait,
    /// It goes itself.
    Remove,
    Done,
    Used(String),
    Failed(Failure),
}

impl Clear {
    pub(super) fn new(work: ClearWork) -> Self {
        let at = match &work {
            ClearWork::Job(_) | ClearWork::Claim(_) => At::Check,
            ClearWork::Image { .. } | ClearWork::Unfinished { .. } | ClearWork::Harness { .. } => At::Look,
        };
        Self {
            work,
            at,
            awaited: None,
            writing: BTreeSet::new(),
            looks: 0,
        }
    }

    /// Returns who uses it, or is about to.
    fn user(&self, containers: &[ListedContainer]) -> Option<String> {
        let found = containers.iter().find(|container| match &self.work {
            ClearWork::Image { image, manifests, .. } => {
                container.image_id == image.id() || claims(container, Some(manifests))
            }
            ClearWork::Unfinished { image, manifest } => {
                let manifests = BTreeSet::from([manifest.clone()]);
                container.image_id == image.id() || claims(container, Some(&manifests))
            }
            ClearWork::Harness { volume, receipt } => {
                let voucher = receipt
                    .as_ref()
                    .is_some_and(|receipt| receipt.id() == container.id);
                container.volumes.contains(volume.id()) && !voucher
            }
            ClearWork::Job(_) | ClearWork::Claim(_) => false,
        })?;
        Some(if claims(found, None) {
            AT_WORK.to_owned()
        } else {
            format!("container {} uses it by now", found.name)
        })
    }

    /// Decides whether everybody is done who was writing when what vouches for it went.
    fn awaited(&mut self, answer: &Answer) -> At {
        let Answer::Volumes(volumes) = answer else {
            return At::Failed(unexpected("volumes"));
        };
        if let ClearWork::Unfinished { manifest, .. } = &self.work {
            let manifests = BTreeSet::from([manifest.clone()]);
            let mut claims = volumes
                .iter()
                .filter(|volume| claims_by_labels(&volume.labels, Some(&manifests)));
            return match claims.next() {
                Some(_) => At::Used(AT_WORK.to_owned()),
                None => At::Check,
            };
        }
        let claims = volumes
            .iter()
            .filter(|volume| claims_by_labels(&volume.labels, None));
        let mut writing = std::mem::take(&mut self.writing);
        writing.extend(claims.filter_map(|volume| volume.labels.get(label::UID).cloned()));
        let awaited = self.awaited.get_or_insert_with(|| writing.clone());
        awaited.retain(|one| writing.contains(one));
        self.looks += 1;
        if awaited.is_empty() {
            At::Check
        } else if self.looks < LOOKS {
            At::Wait
        } else {
            At::Used(AT_WORK.to_owned())
        }
    }

    fn looked(&self, answer: &Answer, then: At) -> At {
        let Answer::Containers(containers) = answer else {
            return At::Failed(unexpected("containers"));
        };
        self.user(containers).map_or(then, At::Used)
    }

    /// Decides whether what is there is what was observed, and not in use.
    fn checked(&self, answer: &Answer) -> At {
        let changed = || At::Used("it is not what was observed any more".to_owned());
        match (&self.work, answer) {
            (ClearWork::Image { image, tags, .. }, Answer::Image(reply)) => {
                let mark = Mark::read(&reply.image.labels);
                let same = mark.as_ref().is_some_and(|mark| mark.uid == image.uid());
                // Whoever gave it one more name wants it.
                let known = reply.image.tags.len() <= tags.len() + 1;
                let tagged = tags.iter().all(|tag| reply.image.tags.contains(tag));
                if same && known && tagged {
                    self.untag(0)
                } else {
                    changed()
                }
            }
            (ClearWork::Unfinished { image, .. }, Answer::Image(reply)) => {
                let mark = Mark::read(&reply.image.labels);
                let same = mark.as_ref().is_some_and(|mark| mark.uid == image.uid());
                if same && reply.image.tags.len() <= 1 {
                    At::Remove
                } else {
                    changed()
                }
            }
            (ClearWork::Harness { volume, .. }, Answer::Volume(_))
                if is_still(volume, ResourceKind::Volume, answer) =>
            {
                At::Remove
            }
            (ClearWork::Job(job) | ClearWork::Claim(job), Answer::Container(reply))
                if is_still(job, ResourceKind::Container, answer) =>
            {
                if reply.state.is_alive() {
                    At::Used("it is at work by now".to_owned())
                } else {
                    At::Remove
                }
            }
            _ => changed(),
        }
    }

    fn untag(&self, index: usize) -> At {
        match &self.work {
            ClearWork::Image { tags, .. } if index < tags.len() => At::Untag(index),
            ClearWork::Image { .. }
            | ClearWork::Unfinished { .. }
            | ClearWork::Harness { .. }
            | ClearWork::Job(_)
            | ClearWork::Claim(_) => At::Remove,
        }
    }

    /// Returns what comes once nobody is seen to use it.
    fn unused(&self) -> At {
        match &self.work {
            ClearWork::Harness { receipt: Some(_), .. } => At::Voucher,
            ClearWork::Harness { receipt: None, .. } => At::Again,
            ClearWork::Unfinished { .. } => At::Claimed,
            ClearWork::Image { .. } | ClearWork::Job(_) | ClearWork::Claim(_) => At::Check,
        }
    }

    fn receipt(&self) -> Option<&OwnedId> {
        match &self.work {
            ClearWork::Harness { receipt, .. } => receipt.as_ref(),
            ClearWork::Image { .. }
            | ClearWork::Unfinished { .. }
            | ClearWork::Job(_)
            | ClearWork::Claim(_) => None,
        }
    }

    fn removal(&self) -> Call {
        match &self.work {
            ClearWork::Image { image, .. } | ClearWork::Unfinished { image, .. } => Call::RemoveImage {
                image: image.id().to_owned(),
            },
            ClearWork::Claim(claim) => Call::RemoveIdle {
                container: claim.clone(),
            },
            ClearWork::Harness { volume, .. } => Call::RemoveVolume {
                volume: volume.clone(),
            },
            ClearWork::Job(job) => Call::RemoveContainer {
                container: job.clone(),
                volumes: true,
            },
        }
    }
}

/// Says whether a container says that somebody writes, to what a manifest of one of these names has if any are given.
fn claims(container: &ListedContainer, manifests: Option<&BTreeSet<String>>) -> bool {
    // One that is ready to claim has digits after this name.
    let name = container.name.strip_prefix(label::CLAIM);
    container.running
        && name.is_some_and(|digits| !digits.contains('-'))
        && claims_by_labels(&container.labels, manifests)
}

fn claims_by_labels(labels: &Labels, manifests: Option<&BTreeSet<String>>) -> bool {
    let manifest = || labels.get(MANIFEST);
    labels.get(KIND).map(String::as_str) == Some(Kind::Claim.as_str())
        && manifests.is_none_or(|manifests| manifest().is_some_and(|manifest| manifests.contains(manifest)))
}

impl Protocol for Clear {
    fn next(&self) -> Next {
        match &self.at {
            At::Look | At::Again => call(Call::ListUsers),
            At::Claimed => call(Call::ListVolumes),
            At::Wait => Next::Wait(AGAIN),
            At::Check => call(match &self.work {
                ClearWork::Image { image, .. } | ClearWork::Unfinished { image, .. } => Call::InspectImage {
                    image: image.id().to_owned(),
                },
                ClearWork::Harness { volume, .. } => Call::InspectVolume {
                    volume: volume.id().to_owned(),
                },
                ClearWork::Job(job) | ClearWork::Claim(job) => Call::InspectContainer {
                    container: job.id().to_owned(),
                },
            }),
            At::Untag(index) => match &self.work {
                ClearWork::Image { tags, .. } => match tags.get(*index) {
                    Some(tag) => call(Call::RemoveImage { image: tag.clone() }),
                    None => call(self.removal()),
                },
                ClearWork::Harness { .. }
                | ClearWork::Unfinished { .. }
                | ClearWork::Job(_)
                | ClearWork::Claim(_) => call(self.removal()),
            },
            At::Voucher => self.receipt().map_or(Next::Done, |receipt| {
                call(Call::InspectContainer {
                    container: receipt.id().to_owned(),
                })
            }),
            At::Disown => self.receipt().map_or(Next::Done, |receipt| {
                call(Call::RemoveContainer {
                    container: receipt.clone(),
                    volumes: false,
                })
            }),
            At::Remove => call(self.removal()),
            At::Done => Next::Done,
            At::Used(who) => Next::Used(who.clone()),
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn waited(&mut self) {
        if matches!(self.at, At::Wait) {
            self.at = At::Again;
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        self.at = match (at, result) {
            (At::Look, Ok(answer)) => self.looked(&answer, self.unused()),
            (At::Again, Ok(answer)) => {
                if let Answer::Containers(containers) = &answer {
                    let claims = containers.iter().filter(|one| claims(one, None));
                    self.writing = claims.map(|one| one.id.clone()).collect();
                }
                self.looked(&answer, At::Claimed)
            }
            (At::Claimed, Ok(answer)) => self.awaited(&answer),
            (At::Wait, _) => At::Wait,
            (At::Voucher, Ok(answer)) => {
                let same = self
                    .receipt()
                    .is_some_and(|receipt| is_still(receipt, ResourceKind::Container, &answer));
                if same {
                    At::Disown
                } else {
                    At::Used("what vouches for it is not what was observed any more".to_owned())
                }
            }
            (At::Disown, Ok(_)) | (At::Voucher | At::Disown, Err(EngineError::NotFound { .. })) => At::Again,
            (At::Check, Ok(answer)) => self.checked(&answer),
            (At::Untag(index), Ok(_) | Err(EngineError::NotFound { .. })) => self.untag(index + 1),
            // Somebody else has removed it.
            (At::Check | At::Remove, Err(EngineError::NotFound { .. })) | (At::Remove, Ok(_)) => At::Done,
            (
                At::Untag(_) | At::Disown | At::Remove,
                Err(EngineError::Conflict { message } | EngineError::Refused { message }),
            ) => At::Used(message),
            (At::Done, _) => At::Done,
            (At::Used(who), _) => At::Used(who),
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
        };
    }
}
