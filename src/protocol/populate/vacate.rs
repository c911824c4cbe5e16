//! Making way for a harness volume: what has its name, was not made by aishell, is empty and used by nobody, goes.
//!
//! Whether it is empty is seen through a container that is made for that, under the name of the job, and never started;
//! whether it is used is for the engine to say, which removes no volume that a container has.

use jiff::Timestamp;

use super::super::job::{Acquire, Acquired};
use super::super::{Next, call, failure, unexpected};
use crate::call::{Answer, Call, Create};
use crate::engine::EngineError;
use crate::label::{Mark, OwnedId};
use crate::report::Failure;

/// The directory that some file systems have at their root.
const FOUND: &str = "lost+found";

/// Removes a volume, if it is empty.
pub(super) struct Vacate {
    volume: String,
    at: At,
}

enum At {
    Acquire(Box<Acquire>),
    Look(OwnedId),
    Sweep(OwnedId, Option<Failure>),
    Inspect,
    Remove,
    Done,
    Failed(Failure),
}

impl Vacate {
    /// `job` has the volume at `/tools`.
    pub(super) fn new(volume: &str, job: Create) -> Self {
        Self {
            volume: volume.to_owned(),
            at: At::Acquire(Box::new(Acquire::new(job))),
        }
    }

    /// Says whether it has come to its end: whatever is there now is looked at anew.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }

    pub(super) fn next(&self) -> Next {
        match &self.at {
            At::Acquire(acquire) => match acquire.state() {
                Acquired::Go(next) => next,
                Acquired::Mine(_) | Acquired::Theirs(_) | Acquired::Gone => Next::Done,
            },
            At::Look(job) => call(Call::TakeStock {
                container: job.id().to_owned(),
                path: "/tools".to_owned(),
                whole: ".".to_owned(),
            }),
            At::Sweep(job, _) => call(Call::RemoveContainer {
                container: job.clone(),
                volumes: true,
            }),
            At::Inspect => call(Call::InspectVolume {
                volume: self.volume.clone(),
            }),
            At::Remove => call(Call::RemoveVolume {
                volume: OwnedId::vacant(&self.volume),
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    pub(super) fn waited(&mut self) {
        if let At::Acquire(acquire) = &mut self.at {
            acquire.waited();
        }
    }

    pub(super) fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        self.at = match (at, result) {
            (At::Acquire(mut acquire), result) => {
                acquire.heard(result, now);
                match acquire.state() {
                    Acquired::Mine(job) => At::Look(job.clone()),
                    // Whoever is at work there has seen to it.
                    Acquired::Theirs(_) | Acquired::Gone => At::Done,
                    Acquired::Go(Next::Failed(failure)) => At::Failed(failure),
                    Acquired::Go(_) => At::Acquire(acquire),
                }
            }
            (At::Look(job), Ok(Answer::Stock(stock))) => {
                let full = stock.keys().find(|path| !path.is_empty() && *path != FOUND);
                let failed = full.map(|path| self.is_full(path));
                At::Sweep(job, failed)
            }
            (At::Look(job), Err(error)) => At::Sweep(job, Some(failure(error))),
            (At::Sweep(_, None), Ok(_) | Err(EngineError::NotFound { .. })) => At::Inspect,
            (At::Sweep(_, Some(failure)), _) => At::Failed(failure),
            // Somebody of ours was quicker.
            (At::Inspect, Ok(Answer::Volume(reply))) if Mark::read(&reply.labels).is_some() => At::Done,
            (At::Inspect, Ok(Answer::Volume(_))) => At::Remove,
            (At::Inspect | At::Remove, Err(EngineError::NotFound { .. })) | (At::Remove, Ok(_)) => At::Done,
            // Somebody else looks into it just now, or has begun to use it: that shows when it is looked at again.
            (At::Remove, Err(EngineError::Conflict { .. })) => At::Done,
            (At::Failed(failure), _) => At::Failed(failure),
            (At::Done, _) => At::Done,
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("making way asked for")),
        };
    }

    fn is_full(&self, path: &str) -> Failure {
        Failure::new(format!(
            "a volume that aishell did not make is called {} and has {path} in it; it was left alone",
            self.volume
        ))
    }
}
