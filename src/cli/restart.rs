//! `aishell restart`: ends containers and starts them again.

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::named::{By, LOCK_PATIENCE, by_hand};
use crate::plan::restarting;
use crate::units::Duration;

/// Stop containers and start them again, as they are
///
/// Whatever runs in them ends. What the manifest changed about them stays to be done: `aishell apply` does that.
#[derive(Debug, Args)]
pub struct Restart {
    /// The containers, by their names in the manifest
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait so long for another apply to the same objects to end
    #[arg(long, value_name = "DURATION", default_value = LOCK_PATIENCE)]
    lock_timeout: Duration,
}

impl Restart {
    /// Restarts containers.
    ///
    /// # Errors
    /// The manifest is invalid, there is no such container, or the engine cannot be asked. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let by = By {
            command: "restart",
            names: self.names,
            lock_timeout: self.lock_timeout.into(),
        };
        Box::pin(by_hand(invocation, by, restarting)).await
    }
}
