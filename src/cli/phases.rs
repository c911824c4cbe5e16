//! `aishell phases`: how every phase of every stage stands.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use crate::plan::Consent;
use crate::reconcile::{Intent as _, Look, Subject, look};
use crate::status::phase::phases;

/// Show every phase that stages are built in, and how it stands
///
/// A phase is cached, stale (and why), missing, empty or failed. Asks the engine and nobody else; writes and builds
/// nothing.
#[derive(Debug, Args)]
pub struct Phases {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
}

impl Phases {
    /// Shows the phases.
    ///
    /// # Errors
    /// The manifest is invalid, or the engine cannot be asked.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let prepared = invocation.prepare(self.manifest.as_deref())?;
        let engine = invocation.engine_of(&prepared)?;
        let subject = Subject {
            intent: &prepared,
            consent: Consent::default(),
        };
        let Look {
            desired,
            observed,
            plan,
        } = Box::pin(look(&engine, &subject)).await?;
        let stages = phases(&desired, &observed, &plan);
        let style = invocation.style(prepared.loaded.source.directory());
        let again = invocation.again("apply", self.manifest.as_deref());
        if invocation.is_json() {
            let about = (prepared.info(), &observed.engine);
            let document = json::Phases::of(about, &stages, &plan.notes, &again, style.viewpoint);
            invocation.output.document(&document);
        } else {
            let told = style.header(&plan.manifest, &plan.engine);
            let told = told + &style.phases(&stages, &again, Timestamp::now());
            invocation.output.answer(&told);
        }
        Ok(Exit::Done)
    }
}
