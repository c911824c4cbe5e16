//! An image without what it has the next build do (`ONBUILD`).
//!
//! A builder does what an image says with everything that is sent to it, so that a `COPY .` takes our own files as well.
//! The instructions are written into the Dockerfile instead, where ours are kept apart, and the build begins with the same
//! image without them: a commit takes over everything but these.
//!
//! 1. Look at the image.
//! 2. Create a container from it, never started; its name is the mutex.
//! 3. Remove what an earlier one left, commit, remove the container.

use jiff::Timestamp;

use crate::call::{Answer, Call, Commit, Create};
use crate::engine::EngineError;
use crate::label::{OwnedId, PROVEN, SCHEMA};
use crate::observed::ImageConfig;
use crate::protocol::job::{Acquire, Acquired};
use crate::protocol::naming::removal;
use crate::protocol::workplace::security;
use crate::protocol::{Next, call, failure, unexpected};
use crate::report::Failure;
use crate::spec::ContainerSpec;
use crate::step::Bare;

/// Makes one.
pub(super) struct MakeBare {
    work: Bare,
    config: ImageConfig,
    at: At,
}

enum At {
    Look,
    Acquire(Box<Acquire>),
    Forget(OwnedId),
    Commit(OwnedId),
    Remove(OwnedId, Option<Failure>),
    Done,
    Failed(Failure),
}

impl MakeBare {
    pub(super) fn new(work: Bare) -> Self {
        Self {
            work,
            config: ImageConfig::default(),
            at: At::Look,
        }
    }

    fn create(&self) -> Create {
        let says = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|words| !words.is_empty());
        let runs_nothing = !says(&self.config.command) && !says(&self.config.entrypoint);
        Create {
            name: self.work.container.clone(),
            labels: self.work.job.clone(),
            spec: ContainerSpec {
                image: self.work.image.clone(),
                // Never run; a container must have a command to be created.
                command: runs_nothing.then(|| vec!["true".to_owned()]),
                shm: 64 << 20,
                security: security(),
                ..ContainerSpec::default()
            },
        }
    }

    fn commit(&self, container: &OwnedId) -> Commit {
        let mut labels = self.work.labels.clone();
        labels.insert(SCHEMA.to_owned(), PROVEN.to_owned());
        Commit {
            container: container.id().to_owned(),
            rebuilt: false,
            tag: self.work.making.clone(),
            labels,
            env: self.config.env.clone(),
            command: self.config.command.clone(),
            entrypoint: self.config.entrypoint.clone(),
            user: self.config.user.clone(),
            workdir: self.config.workdir.clone(),
        }
    }

    pub(super) fn next(&self) -> Next {
        match &self.at {
            At::Look => call(Call::InspectImage {
                image: self.work.image.clone(),
            }),
            At::Acquire(acquire) => match acquire.state() {
                Acquired::Go(next) => next,
                Acquired::Mine(_) | Acquired::Theirs(_) | Acquired::Gone => Next::Done,
            },
            At::Forget(_) => call(removal(&self.work.making)),
            At::Commit(container) => call(Call::CommitContainer(Box::new(self.commit(container)))),
            At::Remove(container, _) => call(Call::RemoveContainer {
                container: container.clone(),
                volumes: true,
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    pub(super) fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        self.at = match (at, result) {
            (At::Look, Ok(Answer::Image(image))) => {
                self.config = image.config;
                At::Acquire(Box::new(Acquire::new(self.create())))
            }
            (At::Acquire(mut acquire), result) => {
                acquire.heard(result, now);
                match acquire.state() {
                    Acquired::Mine(container) => At::Forget(container.clone()),
                    // The helper never runs, so whatever runs under its name is not one.
                    Acquired::Theirs(_) => {
                        At::Failed(Failure::new("the helper of another aishell is running"))
                    }
                    Acquired::Gone => At::Acquire(Box::new(Acquire::new(self.create()))),
                    Acquired::Go(Next::Failed(failure)) => At::Failed(failure),
                    Acquired::Go(_) => At::Acquire(acquire),
                }
            }
            (At::Forget(container), Ok(_) | Err(EngineError::NotFound { .. })) => At::Commit(container),
            (At::Commit(container), Ok(_)) => At::Remove(container, None),
            (At::Forget(container) | At::Commit(container), Err(error)) => {
                At::Remove(container, Some(failure(error)))
            }
            (
                At::Remove(_, None),
                Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }),
            ) => At::Done,
            (At::Remove(_, Some(failure)) | At::Failed(failure), _) => At::Failed(failure),
            (At::Done, _) => At::Done,
            (At::Look | At::Remove(_, None), Err(error)) => At::Failed(failure(error)),
            (At::Look, Ok(_)) => At::Failed(unexpected("an image")),
        };
    }

    pub(super) fn waited(&mut self) {
        if let At::Acquire(acquire) = &mut self.at {
            acquire.waited();
        }
    }
}
