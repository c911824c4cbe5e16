//! `aishell status`: how every resource of the manifest stands.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::exit::Exit;
use super::failure::Failure;
use super::json;
use super::session::Session;
use crate::plan::Consent;
use crate::reconcile::{Subject, look};
use crate::status::status;

/// Show how every resource stands
///
/// Ends with 1 unless everything is as the manifest wants it and every container is ready.
#[derive(Debug, Args)]
pub struct Status {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
}

impl Status {
    /// Shows the status.
    ///
    /// # Errors
    /// The manifest is invalid, or the engine cannot be asked.
    pub async fn run(self, session: &Session) -> Result<Exit, Failure> {
        let prepared = session.prepare(self.manifest.as_deref())?;
        let engine = session.engine_of(&prepared)?;
        let subject = Subject {
            intent: &prepared,
            consent: Consent::default(),
        };
        let look = Box::pin(look(&engine, &subject)).await?;
        let status = status(&look.desired, &look.observed, &look.plan);
        if session.is_json() {
            session.output.document(&json::Status::of(&status));
        } else {
            let style = session.style(prepared.loaded.source.directory());
            session.output.answer(&style.status(&status, Timestamp::now()));
        }
        Ok(if status.is_good() {
            Exit::Done
        } else {
            Exit::Differs
        })
    }
}
