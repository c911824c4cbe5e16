//! Creation and start of a container, and where somebody waits for it, until it can be used.

use jiff::Timestamp;

use super::settle::{AGAIN, Verdict, verdict};
use super::{Next, Protocol, call, failure, need, unexpected};
use crate::call::{Answer, Call};
use crate::engine::EngineError;
use crate::label::OwnedId;
use crate::report::Failure;
use crate::step::CreateWork;

/// Creates, attaches and starts a container. One that needs a shell, of an image without one, is
/// removed again before it is started.
///
/// Cut after the creation it leaves a container that the next pass sees as created and starts.
pub(super) struct CreateAndStart {
    work: CreateWork,
    /// Whether it was there before.
    found: bool,
    at: At,
}

enum At {
    Create,
    Shell { id: String },
    Remove { id: String, failure: Failure },
    Connect { id: String, index: usize },
    Start { id: String },
    Settle { id: String, started: Timestamp },
    Look { id: String, started: Timestamp },
    Done,
    Failed(Failure),
}

impl CreateAndStart {
    pub(super) fn new(work: CreateWork) -> Self {
        Self {
            work,
            found: false,
            at: At::Create,
        }
    }

    /// Goes on with a container that was made before, and that is whole.
    pub(super) fn made(mut self, id: String) -> Self {
        self.found = true;
        self.at = self.made_sure(id);
        self
    }

    /// Asks for the shell first, where one is needed.
    fn made_sure(&self, id: String) -> At {
        if !self.work.shells.is_empty() {
            return At::Shell { id };
        }
        self.go_on(id)
    }

    fn go_on(&self, id: String) -> At {
        if self.found {
            At::Start { id }
        } else {
            self.connect(id, 0)
        }
    }

    fn refused(&self, id: String) -> At {
        let failure = need::refused(&self.work.shells);
        if self.found {
            At::Failed(failure)
        } else {
            At::Remove { id, failure }
        }
    }

    fn connect(&self, id: String, index: usize) -> At {
        if index < self.work.connect.len() {
            At::Connect { id, index }
        } else {
            At::Start { id }
        }
    }
}

impl Protocol for CreateAndStart {
    fn next(&self) -> Next {
        match &self.at {
            At::Create => call(Call::CreateContainer(Box::new(self.work.create.clone()))),
            At::Shell { id } => call(need::shell(id)),
            At::Remove { id, .. } => call(Call::RemoveContainer {
                container: OwnedId::made(id),
                volumes: true,
            }),
            At::Connect { id, index } => match self.work.connect.get(*index) {
                Some((network, endpoint)) => call(Call::ConnectNetwork {
                    network: network.clone(),
                    container: id.clone(),
                    endpoint: endpoint.clone(),
                }),
                None => Next::Done,
            },
            At::Start { id } => call(Call::StartContainer {
                container: id.clone(),
            }),
            At::Settle { .. } => Next::Wait(AGAIN),
            At::Look { id, .. } => call(Call::InspectContainer {
                container: id.clone(),
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn waited(&mut self) {
        self.at = match std::mem::replace(&mut self.at, At::Done) {
            At::Settle { id, started } => At::Look { id, started },
            other => other,
        };
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.at = match std::mem::replace(&mut self.at, At::Done) {
                    At::Shell { id } if matches!(error, EngineError::NotFound { .. }) => self.refused(id),
                    At::Remove { failure, .. } => At::Failed(failure),
                    _ => At::Failed(failure(error)),
                };
                return;
            }
        };
        self.at = match std::mem::replace(&mut self.at, At::Done) {
            At::Create => match answer {
                Answer::Id(id) => self.made_sure(id),
                _ => At::Failed(unexpected("the id of a container")),
            },
            At::Shell { id } => self.go_on(id),
            At::Remove { failure, .. } => At::Failed(failure),
            At::Connect { id, index } => self.connect(id, index + 1),
            At::Start { id } if self.work.awaited => At::Settle { id, started: now },
            At::Look { id, started } => match answer {
                Answer::Container(reply) => match verdict(&reply, &self.work, started, now) {
                    Verdict::Good => At::Done,
                    Verdict::Wait => At::Settle { id, started },
                    Verdict::Bad(failure) => At::Failed(failure),
                },
                _ => At::Failed(unexpected("a container")),
            },
            At::Start { .. } | At::Settle { .. } | At::Done => At::Done,
            At::Failed(failure) => At::Failed(failure),
        };
    }
}
