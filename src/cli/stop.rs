//! `aishell stop`: stops containers by hand, and holds them.

use clap::Args;
use jiff::Timestamp;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::named::{By, LOCK_PATIENCE, by_hand};
use crate::observed::Hold;
use crate::plan::stopping;
use crate::units::Duration;

/// Stop containers, and keep them stopped
///
/// Neither `apply` nor `watch` nor the engine starts them again until `aishell start`. Whatever runs in them ends.
#[derive(Debug, Args)]
pub struct Stop {
    /// The containers, by their names in the manifest
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait so long for another apply to the same objects to end
    #[arg(long, value_name = "DURATION", default_value = LOCK_PATIENCE)]
    lock_timeout: Duration,
}

impl Stop {
    /// Stops containers.
    ///
    /// # Errors
    /// The manifest is invalid, there is no such container, or the engine cannot be asked. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let host = &invocation.host;
        let hold = Hold {
            by: format!("{}@{}", host.user, host.hostname),
            since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        let by = By {
            command: "stop",
            names: self.names,
            lock_timeout: self.lock_timeout.into(),
        };
        let plan =
            |observed: &_, owner: &_, info: &_, names: &_| stopping(observed, owner, info, names, &hold);
        Box::pin(by_hand(invocation, by, plan)).await
    }
}
