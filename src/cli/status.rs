//! `aishell status`: how every resource of the manifest stands.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use crate::apply::Stop;
use crate::plan::{Consent, Depth};
use crate::readiness::wait;
use crate::reconcile::Subject;
use crate::units::Duration;

/// Show how every resource stands
///
/// Ends with 1 unless everything is as the manifest wants it and every container is ready.
#[derive(Debug, Args)]
pub struct Status {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
    /// Wait so long until everything is converged and ready, such as 5m
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = PATIENCE)]
    wait: Option<Duration>,
    /// Also read what is in the harness volume, and compare it with what was installed
    #[arg(long)]
    deep: bool,
}

/// How long to wait unless it is said.
pub const PATIENCE: &str = "5m";

impl Status {
    /// Shows the status.
    ///
    /// # Errors
    /// The manifest is invalid, or the engine cannot be asked.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let prepared = invocation.prepare(self.manifest.as_deref())?;
        let engine = invocation.engine_of(&prepared)?;
        let subject = Subject {
            intent: &prepared,
            consent: Consent {
                depth: Depth::of(self.deep),
                ..Consent::default()
            },
        };
        let patience = self.wait.map(Into::into).unwrap_or_default();
        let status = Box::pin(wait(&engine, &subject, patience, &Stop::never())).await?;
        if invocation.is_json() {
            invocation.output.document(&json::Status::of(&status));
        } else {
            let style = invocation.style(prepared.loaded.source.directory());
            invocation.output.answer(&style.status(&status, Timestamp::now()));
        }
        Ok(if status.is_good() {
            Exit::Done
        } else {
            Exit::Differs
        })
    }
}
