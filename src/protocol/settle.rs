//! Whether a container that was started works: neither its creation nor its start proves it.

use std::time::Duration;

use jiff::Timestamp;

use crate::call::ContainerReply;
use crate::observed::{Health, RunState};
use crate::report::Failure;
use crate::step::CreateWork;

/// How long a container must have run before anything is said of it.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// How long to wait between two looks at one that cannot be used yet.
pub(super) const AGAIN: Duration = Duration::from_millis(250);

/// What a look at a started container says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It works.
    Good,
    /// It may yet.
    Wait,
    /// It does not.
    Bad(Failure),
}

/// Judges a container that was started at a time, as it is shown now.
pub(super) fn verdict(
    reply: &ContainerReply,
    work: &CreateWork,
    started: Timestamp,
    now: Timestamp,
) -> Verdict {
    let bad = |message: String| Verdict::Bad(Failure::new(message));
    match reply.state {
        RunState::Running | RunState::Paused | RunState::Restarting if reply.restarts > 0 => bad(format!(
            "the new container ends again and again ({} restarts)",
            reply.restarts
        )),
        RunState::Running | RunState::Paused => match reply.health {
            None | Some(Health::Healthy) => Verdict::Good,
            Some(Health::Unhealthy) => bad("the health check of the new container fails".to_owned()),
            Some(Health::Starting) => {
                let patience = i64::try_from(work.patience.as_secs()).unwrap_or(i64::MAX);
                let waited = now.as_second().saturating_sub(started.as_second());
                if waited < patience {
                    Verdict::Wait
                } else {
                    bad(format!("the new container was not ready within {patience} s"))
                }
            }
        },
        RunState::Exited { code: 0 } if work.completes => Verdict::Good,
        RunState::Exited { code } => bad(format!(
            "the new container ended with code {code} as soon as it was started"
        )),
        RunState::Restarting | RunState::Created | RunState::Removing | RunState::Dead => {
            bad(format!("the new container is {}", reply.state.display()))
        }
    }
}
