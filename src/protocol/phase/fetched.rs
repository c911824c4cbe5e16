//! What a phase needs from elsewhere: fetched before its container is made, and copied into it like any other file.

use super::{At, DoPhase};
use crate::desired::phase::Act;
use crate::fetch::{FetchError, Fetched, Order};
use crate::protocol::{Next, unexpected};
use crate::remote::Source;

/// The permissions of a command.
const COMMAND: u32 = 0o755;

impl DoPhase {
    /// Returns what comes next: something to fetch, from an act on, else the container.
    pub(super) fn fetching(&self, from: usize) -> At {
        let mut acts = self.work.acts.iter().enumerate().skip(from);
        match acts.find(|(_, act)| matches!(act, Act::Fetch { .. })) {
            Some((index, _)) => At::Fetch(index),
            None => At::Create,
        }
    }

    /// Returns what is to be fetched.
    pub(super) fn order(&self, index: usize) -> Next {
        match self.work.acts.get(index) {
            Some(Act::Fetch { source, .. }) => Next::Fetch(Box::new(Order {
                source: source.clone(),
                store: self.work.store.clone(),
            })),
            _ => Next::Failed(unexpected("something to fetch")),
        }
    }

    /// Takes in what was fetched: from now on it is a copy of files of this host.
    pub(super) fn take_in(&mut self, result: Result<Fetched, FetchError>) {
        let At::Fetch(index) = self.at else { return };
        let Some(Act::Fetch {
            source,
            target,
            owner,
            field,
            place,
        }) = self.work.acts.get(index).cloned()
        else {
            return;
        };
        self.at = match result {
            Ok(fetched) => {
                self.work.acts[index] = Act::Copy {
                    tree: fetched.tree.clone(),
                    digest: fetched.tree.digest.clone(),
                    target,
                    owner,
                    mode: match source {
                        Source::Repository { .. } => None,
                        Source::Tool { .. } => Some(COMMAND),
                    },
                };
                self.fetched.push(fetched);
                self.fetching(index + 1)
            }
            Err(error) => {
                let mut failure = error.failure().at(place);
                failure.message = format!("{} ({field})", failure.message);
                self.fail(failure)
            }
        };
    }
}
