//! What becomes of the new container, and how the old one comes back.

use jiff::Timestamp;

use super::exhibit::Keeping;
use super::{At, Back, Replace, Touched};
use crate::call::{Answer, ContainerReply};
use crate::engine::EngineError;
use crate::label::FAILED;
use crate::observed::RunState;
use crate::protocol::settle::{Verdict, verdict};
use crate::report::Failure;

/// What the code of a container that was ended by a signal is above.
const SIGNALLED: i64 = 128;

impl Replace {
    /// Decides what becomes of the new container, as it is shown now.
    pub(super) fn judged(&self, reply: &ContainerReply, now: Timestamp) -> At {
        let worked = self.ran() || self.found == RunState::Exited { code: 0 };
        let verdict = if worked {
            verdict(reply, &self.work, self.started.unwrap_or(now), now)
        } else {
            // There is nothing to go back to that is any better.
            Verdict::Good
        };
        match verdict {
            Verdict::Good if self.beside => self.make_way(),
            Verdict::Good => At::Commit,
            Verdict::Wait => At::Unready,
            Verdict::Bad(reason) => match reply.state {
                // Whoever waits for the old one does not wait for this one to end in its own time.
                RunState::Running | RunState::Paused => At::Kill(reason),
                RunState::Restarting => At::Quiet(reason),
                RunState::Created | RunState::Exited { .. } | RunState::Removing | RunState::Dead => {
                    At::Tell(reason)
                }
            },
        }
    }

    pub(super) fn forget(&self) -> At {
        match self.exhibit.removal() {
            Some(_) => At::Forget,
            None => At::Done,
        }
    }

    /// Goes on with putting the new one where it can be looked at; where that cannot be, it is removed.
    pub(super) fn keep(&mut self, reason: Failure, result: &Result<Answer, EngineError>) -> At {
        match self.exhibit.heard(result) {
            Keeping::More => At::Keep(reason),
            Keeping::Kept => {
                let hint = format!(
                    "`docker logs {}{FAILED}` shows all it said, until another one works",
                    self.name
                );
                let hint = reason.hint.clone().unwrap_or(hint);
                self.roll_back(Back::RemoveNew, reason.hint(hint), true)
            }
            Keeping::Refused => At::RollBack(Back::RemoveNew, reason),
        }
    }

    /// Goes on taking back, also where part of it failed: that the old one runs matters more than its name.
    pub(super) fn roll_back(&mut self, back: Back, reason: Failure, worked: bool) -> At {
        self.stuck |= !worked;
        let runs = self.ran() && self.done >= Touched::Stopped;
        match back {
            Back::RemoveNew if self.done == Touched::Aside => At::RollBack(Back::RenameOld, reason),
            Back::RemoveNew | Back::RenameOld if runs => At::RollBack(Back::StartOld, reason),
            Back::RemoveNew | Back::RenameOld | Back::StartOld => match &self.busy {
                busy if self.stuck => At::Failed(Failure {
                    message: format!(
                        "{}; taking it back failed too, the next apply goes on from here",
                        busy.as_ref().unwrap_or(&reason.message)
                    ),
                    ..reason
                }),
                Some(detail) => At::Busy(detail.clone()),
                None => At::Failed(reason),
            },
        }
    }

    /// Says whether the old one ran until somebody ended it, perhaps a replacement that was cut.
    pub(super) fn ran(&self) -> bool {
        self.found.is_alive() || matches!(self.found, RunState::Exited { code } if code > SIGNALLED)
    }
}
