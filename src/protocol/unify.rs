//! One network out of several of one name.
//!
//! Engines before 23 let any number of networks have one name, so two aishells that start at once may make two; then
//! the name means none of them, and no container that was made for it starts. One of them is kept: whichever running
//! containers hold on to, else the last.

use jiff::Timestamp;

use super::{Next, Protocol, call, failure};
use crate::call::{Answer, Call};
use crate::engine::EngineError;
use crate::label::OwnedId;
use crate::report::Failure;

/// Removes all networks but one.
pub(super) struct Unify {
    networks: Vec<OwnedId>,
    at: usize,
    left: usize,
    failed: Option<Failure>,
}

impl Unify {
    pub(super) fn new(networks: Vec<OwnedId>) -> Self {
        Self {
            left: networks.len(),
            networks,
            at: 0,
            failed: None,
        }
    }
}

impl Protocol for Unify {
    fn next(&self) -> Next {
        if let Some(failure) = &self.failed {
            return Next::Failed(failure.clone());
        }
        match self.networks.get(self.at) {
            Some(network) if self.left > 1 => call(Call::RemoveNetwork {
                network: network.clone(),
            }),
            None if self.left > 1 => Next::Failed(Failure::new(
                "containers run in several networks of this name; stop those in all but one",
            )),
            Some(_) | None => Next::Done,
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        self.at += 1;
        match result {
            Ok(_) | Err(EngineError::NotFound { .. }) => self.left -= 1,
            // In use: this one is kept, if it is the only one.
            Err(EngineError::Refused { .. } | EngineError::Conflict { .. }) => {}
            Err(error) => self.failed = Some(failure(error)),
        }
    }
}
