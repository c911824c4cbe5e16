//! What becomes of a newcomer that did not work: it stays beside the container that goes on, stopped and with its log,
//! until another one works or nobody wants it any more.

use crate::call::{Answer, Call, Create};
use crate::engine::EngineError;
use crate::label::{FAILED, OwnedId};
use crate::spec::Restart;

/// Puts a newcomer that did not work where it can be looked at.
pub(super) struct Exhibit {
    /// The one that did not work before it.
    before: Option<OwnedId>,
    at: At,
}

enum At {
    Forget,
    Calm,
    Name,
    Kept,
    Refused,
}

/// How far it has come.
pub(super) enum Keeping {
    /// Something is left to do.
    More,
    /// The newcomer is kept.
    Kept,
    /// It cannot be kept.
    Refused,
}

impl Exhibit {
    pub(super) fn new(before: Option<OwnedId>) -> Self {
        let at = if before.is_some() { At::Forget } else { At::Calm };
        Self { before, at }
    }

    /// Returns the call that removes the one that was kept before.
    pub(super) fn removal(&self) -> Option<Call> {
        let container = self.before.clone()?;
        Some(Call::RemoveContainer {
            container,
            volumes: true,
        })
    }

    pub(super) fn call(&self, newcomer: &str, create: &Create) -> Option<Call> {
        match self.at {
            At::Forget => self.removal(),
            // The engine would start it when it is itself started again.
            At::Calm => Some(Call::UpdateContainer {
                container: newcomer.to_owned(),
                resources: None,
                restart: Some(Restart::No),
            }),
            At::Name => Some(Call::RenameContainer {
                container: OwnedId::made(newcomer),
                name: format!("{}{FAILED}", create.name),
            }),
            At::Kept | At::Refused => None,
        }
    }

    pub(super) fn heard(&mut self, result: &Result<Answer, EngineError>) -> Keeping {
        let worked = match (&self.at, result) {
            (_, Ok(_)) | (At::Forget, Err(EngineError::NotFound { .. })) => true,
            (_, Err(_)) => false,
        };
        self.at = match self.at {
            _ if !worked => At::Refused,
            At::Forget => At::Calm,
            At::Calm => At::Name,
            At::Name | At::Kept => At::Kept,
            At::Refused => At::Refused,
        };
        match self.at {
            At::Forget | At::Calm | At::Name => Keeping::More,
            At::Kept => Keeping::Kept,
            At::Refused => Keeping::Refused,
        }
    }
}
