//! `aishell start`: ends holds, and makes containers run.

use std::sync::Arc;

use clap::Args;

use super::apply::{Order, finish};
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::named::{LOCK_PATIENCE, known};
use super::progress::Watcher;
use crate::plan::Consent;
use crate::step::{Resource, ResourceKind};
use crate::units::Duration;

/// Start containers, and let them be healed again
///
/// Ends what `aishell stop` began, and does what these containers need to be as the manifest wants them; nothing else
/// is touched.
#[derive(Debug, Args)]
pub struct Start {
    /// The containers, by their names in the manifest
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Wait so long for another apply to the same objects to end
    #[arg(long, value_name = "DURATION", default_value = LOCK_PATIENCE)]
    lock_timeout: Duration,
    /// When it is done, wait so long until they are ready, such as 5m
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = super::status::PATIENCE)]
    wait: Option<Duration>,
}

impl Start {
    /// Starts containers.
    ///
    /// # Errors
    /// The manifest is invalid or has no such container, or the engine cannot be asked. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let mut prepared = invocation.prepare(None)?;
        for name in &self.names {
            known(&prepared.loaded.manifest, name)?;
        }
        let engine = invocation.engine_of(&prepared)?;
        let watcher = Arc::new(Watcher::new(invocation, prepared.loaded.source.directory()));
        let container = |name: &String| Resource {
            kind: ResourceKind::Container,
            name: name.clone(),
        };
        let order = Order {
            command: "start",
            consent: Consent {
                only: Some(self.names.iter().map(container).collect()),
                release: self.names.iter().cloned().collect(),
                ..Consent::default()
            },
            lock_timeout: self.lock_timeout.into(),
            locked: false,
            wait: self.wait.map(Into::into),
        };
        let again = invocation.again(&format!("start {}", self.names.join(" ")), None);
        let ended = Box::pin(order.carry_out(invocation, &mut prepared, &engine, &watcher)).await?;
        Ok(finish(invocation, &watcher, ended, &again))
    }
}
