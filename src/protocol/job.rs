//! Jobs: short-lived containers whose name is the mutex.

use std::time::Duration;

use jiff::Timestamp;

use super::{Next, call, failure, unexpected};
use crate::call::{Answer, Call, Create};
use crate::engine::EngineError;
use crate::label::{self, Kind, Labels, Mark, OwnedId};
use crate::observed::RunState;
use crate::report::Failure;

/// How long a created job may wait for its start before it counts as abandoned, in seconds.
const ABANDONED: i64 = 15;
/// How long to wait between two looks at somebody else's job.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// How many looks an ended job is given: whoever started it may be about to read its result.
const GRACE: u32 = 10;
/// How often a name may be taken by something that cannot be seen, [`GHOST`] apart: the engine reserves a name
/// before it shows the container.
const GHOSTS: u32 = 40;
/// How long to wait for what cannot be seen yet.
const GHOST: Duration = Duration::from_millis(50);

/// Takes the name of a job.
pub(super) struct Acquire {
    create: Create,
    at: At,
    ghosts: u32,
    looks: u32,
    seen: bool,
}

enum At {
    Create,
    Look,
    /// Whether what was created then, and was not started since, was given up.
    Ask(OwnedId, String),
    Remove(OwnedId),
    Wait,
    WaitForGhost,
    Mine(OwnedId),
    Theirs {
        id: String,
    },
    Gone,
    Failed(Failure),
}

/// How taking the name stands.
pub(super) enum Acquired<'a> {
    /// Not decided; go on with this.
    Go(Next),
    /// The job is ours.
    Mine(&'a OwnedId),
    /// Somebody else's job with this id is running.
    Theirs(&'a str),
    /// Somebody else's job was there and is gone: what it was to make may exist by now.
    Gone,
}

impl Acquire {
    pub(super) fn new(create: Create) -> Self {
        Self {
            create,
            at: At::Create,
            ghosts: 0,
            looks: 0,
            seen: false,
        }
    }

    pub(super) fn state(&self) -> Acquired<'_> {
        let name = self.create.name.clone();
        match &self.at {
            At::Create => Acquired::Go(call(Call::CreateContainer(Box::new(self.create.clone())))),
            At::Look => Acquired::Go(call(Call::InspectContainer { container: name })),
            At::Ask(..) => Acquired::Go(call(Call::Clock)),
            At::Remove(id) => Acquired::Go(call(Call::RemoveContainer {
                container: id.clone(),
                volumes: true,
            })),
            At::Wait => Acquired::Go(Next::Wait(LOOK)),
            At::WaitForGhost => Acquired::Go(Next::Wait(GHOST)),
            At::Failed(failure) => Acquired::Go(Next::Failed(failure.clone())),
            At::Mine(id) => Acquired::Mine(id),
            At::Theirs { id } => Acquired::Theirs(id),
            At::Gone => Acquired::Gone,
        }
    }

    pub(super) fn waited(&mut self) {
        if matches!(self.at, At::WaitForGhost) {
            // Whatever it was may be gone by now.
            self.at = At::Create;
        } else {
            self.looks += 1;
            self.at = At::Look;
        }
    }

    pub(super) fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        self.at = match (&self.at, result) {
            (At::Create, Ok(Answer::Id(id))) => At::Mine(OwnedId::made(&id)),
            (At::Create, Err(EngineError::Conflict { .. })) => At::Look,
            (At::Look, Ok(Answer::Container(reply))) => {
                self.seen = true;
                self.judge(&reply)
            }
            // The engine told when it was created by its own clock; another one may go otherwise.
            (At::Ask(id, created), answer @ (Ok(Answer::Time(_)) | Err(_))) => {
                let now = if let Ok(Answer::Time(time)) = answer {
                    time
                } else {
                    now
                };
                if is_abandoned(created, now) {
                    At::Remove(id.clone())
                } else {
                    At::Wait
                }
            }
            (At::Look, Err(EngineError::NotFound { .. })) if self.seen => At::Gone,
            (At::Look, Err(EngineError::NotFound { .. })) => {
                self.ghosts += 1;
                if self.ghosts > GHOSTS {
                    At::Failed(Failure::new(format!(
                        "the name {} is taken by nothing",
                        self.create.name
                    )))
                } else {
                    At::WaitForGhost
                }
            }
            (At::Remove(_), Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. })) => {
                At::Create
            }
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("a container")),
        };
    }

    /// Decides about the container that has the name.
    fn judge(&self, reply: &crate::call::ContainerReply) -> At {
        let Some(mark) = Mark::read(&reply.labels).filter(|mark| mark.kind == Kind::Job) else {
            return At::Failed(Failure::new(format!(
                "a container that aishell did not make is called {}; it was left alone",
                self.create.name
            )));
        };
        let owned = OwnedId::new(&reply.id, &mark);
        match reply.state {
            RunState::Running | RunState::Restarting => At::Theirs { id: reply.id.clone() },
            // It would be followed for ever, and whoever stopped it had a reason.
            RunState::Paused => At::Failed(
                Failure::new(format!("the job {} is paused", self.create.name)).hint(format!(
                    "let it go on with `docker unpause {0}`, or give it up with `docker rm --force {0}`",
                    self.create.name
                )),
            ),
            RunState::Exited { .. } | RunState::Dead if self.looks >= GRACE => At::Remove(owned),
            RunState::Created => At::Ask(owned, reply.created.clone()),
            RunState::Exited { .. } | RunState::Dead | RunState::Removing => At::Wait,
        }
    }
}

/// Returns the proof for a job of the same owner that does not run, found where its work is done: whoever ran it was
/// killed before the last request.
pub(super) fn leftover(reply: &crate::call::ContainerReply, labels: &Labels) -> Option<OwnedId> {
    let mark = Mark::read(&reply.labels).filter(|mark| mark.kind == Kind::Job)?;
    let ours = Some(&mark.manifest) == labels.get(label::MANIFEST)
        && mark.project.as_ref() == labels.get(label::PROJECT);
    (ours && !reply.state.is_alive()).then(|| OwnedId::new(&reply.id, &mark))
}

fn is_abandoned(created: &str, now: Timestamp) -> bool {
    // A time that cannot be read is no reason to wait for ever.
    created
        .parse::<Timestamp>()
        .map_or(true, |created| now.as_second() - created.as_second() > ABANDONED)
}
