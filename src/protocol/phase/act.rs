//! What comes next of the acts of a phase. What they make is sent before anything looks at the container or runs in it.

use super::table::Table;
use super::users::Users;
use super::{At, DoPhase};
use crate::desired::phase::Act;
use crate::report::Failure;

impl DoPhase {
    /// Returns what comes next of the act at hand.
    pub(super) fn go_on(&mut self) -> At {
        match self.step() {
            Ok(at) => at,
            Err(failure) => self.fail(failure),
        }
    }

    fn step(&mut self) -> Result<At, Failure> {
        while let Some(act) = self.work.acts.get(self.act) {
            // What looks at the container has to find what was done before.
            let look = if let Act::Run(command) = act {
                Some(At::Prepare(self.exec(command)))
            } else if let Some(users) = &self.users {
                if let Some(path) = self.places.unknown(act, users)? {
                    Some(At::Stat(path))
                } else if self.places.lacks_skeleton(act) {
                    Some(At::Skeleton)
                } else {
                    None
                }
            } else {
                Some(At::Table(Table::Passwd, Users::default()))
            };
            if let Some(look) = look {
                return Ok(self.sent().unwrap_or(look));
            }
            let users = self.users.take().unwrap_or_default();
            if let Act::Verify(expected) = act {
                self.places.verify(expected, &users)?;
                self.users = Some(users);
            } else {
                let (files, users) = self.places.files(act, &users)?;
                self.users = Some(users);
                // What is copied over the image may be its tables.
                if !self.places.made(&files) && matches!(act, Act::Copy { .. }) {
                    self.users = None;
                    self.places.forgets_skeleton();
                }
                self.unsent.extend(files);
            }
            self.act += 1;
        }
        let last = if self.started && self.work.certificates.is_some() {
            At::TidyPrepare
        } else {
            self.finish()
        };
        Ok(self.sent().unwrap_or(last))
    }

    /// Returns the sending of what was not sent yet, if there is anything.
    fn sent(&mut self) -> Option<At> {
        let unsent = std::mem::take(&mut self.unsent);
        (!unsent.is_empty()).then(|| At::Upload(unsent.into()))
    }

    pub(super) fn finish(&self) -> At {
        if self.work.names.is_empty() {
            At::Remove(None)
        } else if self.has_secrets() {
            At::Still
        } else {
            At::Forget
        }
    }
}
