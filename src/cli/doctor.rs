//! `aishell doctor`: whether everything is well, and what would help.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::viewpoint::Viewpoint;
use crate::manifest::place::Problem;
use crate::plan::{Consent, Depth};
use crate::reconcile::{Look, Subject, look};
use crate::status::diagnosis::{Check, Finding, Level, diagnose};

/// Look for what is wrong or weak, and say what would help
///
/// Checks the manifest, the engine, what containers are given beyond a sandbox, and the harness set; writes nothing. Ends with 1 if
/// something does not work.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
    /// Also read what is in the harness volume, and compare it with what was installed
    #[arg(long)]
    deep: bool,
}

impl Doctor {
    /// Shows what was found. What keeps other commands from working is a finding here.
    ///
    /// # Errors
    /// The command was used in a way that makes no sense.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let mut findings = Vec::new();
        if let Err(failure) = self.look(invocation, &mut findings).await {
            let check = match failure.exit {
                Exit::Usage => return Err(failure),
                Exit::Engine => Check::Engine,
                _ => Check::Manifest,
            };
            let problems = failure.problems.into_iter();
            findings.extend(problems.map(|problem| Finding::new(check, Level::Bad, problem)));
        }
        let viewpoint = Viewpoint::of(&invocation.host.directory);
        let well = findings.iter().all(|finding| finding.level != Level::Bad);
        if invocation.is_json() {
            let document = json::Diagnosis::of(&findings, well, viewpoint);
            invocation.output.document(&document);
        } else {
            let style = invocation.style(&invocation.host.directory);
            invocation.output.answer(&style.diagnosis(&findings));
        }
        Ok(if well { Exit::Done } else { Exit::Differs })
    }

    async fn look(&self, invocation: &Invocation, findings: &mut Vec<Finding>) -> Result<(), Failure> {
        let prepared = invocation.prepare(self.manifest.as_deref())?;
        let count = prepared.loaded.manifest.containers.len();
        let path = invocation.seen(prepared.loaded.source.path());
        let message = format!("{}: {count} containers", path.display());
        findings.push(Finding::new(Check::Manifest, Level::Good, Problem::new(message)));
        let engine = invocation.engine_of(&prepared)?;
        let consent = Consent {
            depth: Depth::of(self.deep),
            ..Consent::default()
        };
        let subject = Subject {
            intent: &prepared,
            consent,
        };
        let Look {
            desired,
            observed,
            plan,
        } = Box::pin(look(&engine, &subject)).await?;
        findings.extend(diagnose(&desired, &observed, &plan, &subject.consent.depth));
        Ok(())
    }
}
