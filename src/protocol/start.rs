//! The start of a container that has run before.
//!
//! A container that does not run remembers its networks by their ids. Where somebody removed one and another has taken
//! its name, the start fails for ever; detaching and attaching makes the container forget the id. That is done only
//! where the start says so.

use jiff::Timestamp;

use super::{Next, Protocol, call, failure};
use crate::call::{Answer, Call};
use crate::engine::EngineError;
use crate::report::Failure;
use crate::spec::Endpoint;

/// Starts a container.
///
/// Cut between detaching and attaching it leaves a container that the next pass attaches and starts.
pub(super) struct Start {
    container: String,
    networks: Vec<(String, Endpoint)>,
    at: At,
}

enum At {
    Start,
    Detach(usize),
    Attach(usize),
    Again,
    Done,
    Failed(Failure),
}

impl Start {
    pub(super) fn new(container: String, networks: Vec<(String, Endpoint)>) -> Self {
        Self {
            container,
            networks,
            at: At::Start,
        }
    }

    fn detach(&self, index: usize) -> At {
        if index < self.networks.len() {
            At::Detach(index)
        } else {
            At::Again
        }
    }
}

impl Protocol for Start {
    fn next(&self) -> Next {
        let container = self.container.clone();
        let network = |index: usize| self.networks.get(index).cloned();
        match &self.at {
            At::Start | At::Again => call(Call::StartContainer { container }),
            At::Detach(index) => network(*index).map_or(Next::Done, |(network, _)| {
                call(Call::DisconnectNetwork { network, container })
            }),
            At::Attach(index) => network(*index).map_or(Next::Done, |(network, endpoint)| {
                call(Call::ConnectNetwork {
                    network,
                    container,
                    endpoint,
                })
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        self.at = match (std::mem::replace(&mut self.at, At::Done), result) {
            (At::Start | At::Again, Ok(_)) => At::Done,
            (At::Start, Err(EngineError::NotFound { .. })) if !self.networks.is_empty() => self.detach(0),
            // It may be attached to some only; the engine says that in the words of a failure.
            (At::Detach(index), Ok(_) | Err(EngineError::Failed { .. })) => At::Attach(index),
            (At::Attach(index), Ok(_)) => self.detach(index + 1),
            (At::Done, _) => At::Done,
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
        };
    }
}
