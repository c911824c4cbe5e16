//! Creation and start of a container.

use jiff::Timestamp;

use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Call};
use crate::engine::EngineError;
use crate::report::Failure;
use crate::step::CreateWork;

/// Creates, attaches and starts a container.
///
/// Cut after the creation it leaves a container that the next pass sees as created and starts.
pub(super) struct CreateAndStart {
    work: CreateWork,
    at: At,
}

enum At {
    Create,
    Connect { id: String, index: usize },
    Start { id: String },
    Done,
    Failed(Failure),
}

impl CreateAndStart {
    pub(super) fn new(work: CreateWork) -> Self {
        Self { work, at: At::Create }
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
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.at = At::Failed(failure(error));
                return;
            }
        };
        self.at = match std::mem::replace(&mut self.at, At::Done) {
            At::Create => match answer {
                Answer::Id(id) => self.connect(id, 0),
                _ => At::Failed(unexpected("the id of a container")),
            },
            At::Connect { id, index } => self.connect(id, index + 1),
            At::Start { .. } | At::Done => At::Done,
            At::Failed(failure) => At::Failed(failure),
        };
    }
}
