//! `aishell validate`: every problem of a manifest, without an engine.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::render::count;
use super::viewpoint::Viewpoint;

/// Check the manifest and report every problem at once
///
/// Reads the manifest and every file it names. No engine is needed.
#[derive(Debug, Args)]
pub struct Validate {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
}

impl Validate {
    /// Checks the manifest.
    ///
    /// # Errors
    /// Every problem of the manifest.
    pub fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let directory = &invocation.host.directory;
        let viewpoint = Viewpoint::of(directory);
        let prepared = match invocation.prepare(self.manifest.as_deref()) {
            Ok(prepared) => prepared,
            Err(failure) if failure.exit == Exit::Invalid && invocation.is_json() => {
                let document = json::Validation::of(None, &failure.problems, viewpoint);
                invocation.output.document(&document);
                invocation
                    .output
                    .talk(&failure.render(invocation.output.layout(), directory));
                return Ok(failure.exit);
            }
            Err(failure) => return Err(failure),
        };
        if invocation.is_json() {
            invocation
                .output
                .document(&json::Validation::of(Some(&prepared.info), &[], viewpoint));
        } else if !invocation.output.is_quiet() {
            let manifest = &prepared.loaded.manifest;
            invocation.output.answer(&format!(
                "{} is valid: {}, {}\n",
                prepared.info.path,
                count(manifest.containers.len(), "container"),
                harnesses(manifest.harnesses.len()),
            ));
        }
        Ok(Exit::Done)
    }
}

fn harnesses(number: usize) -> String {
    let plural = if number == 1 { "" } else { "es" };
    format!("{number} harness{plural}")
}
