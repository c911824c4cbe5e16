//! `aishell logs`: what the processes of a container have written.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::pin::pin;

use clap::Args;
use futures_util::StreamExt as _;

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::named::among;
use crate::call::{Answer, Call};
use crate::engine::docker::{DockerEngine, Excerpt, Written};
use crate::engine::{Engine as _, EngineError};
use crate::manifest::place::Problem;
use crate::name::ContainerName;
use crate::observe::observe;
use crate::observed::Observed;
use crate::progress::Progress;
use crate::reconcile::Intent as _;
use crate::step::PHASE_LOG;

/// Show what a container has written
///
/// What it wrote to standard error comes out there. What sessions show is not among it.
#[derive(Debug, Args)]
pub struct Logs {
    /// The container, by its name in the manifest
    #[arg(value_name = "NAME", required_unless_present = "job", conflicts_with = "job")]
    name: Option<String>,
    /// Go on with what it writes, until it ends
    #[arg(short, long)]
    follow: bool,
    /// Read this manifest instead of searching for one
    // Takes the place of the option that all commands have, and leaves `-f` to what it means for logs everywhere.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, help_heading = "Global options")]
    file: Option<std::path::PathBuf>,
    /// Begin with so many of the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u64>,
    /// Begin every line with the time when it was written
    #[arg(short, long)]
    timestamps: bool,
    /// Show the log of the last job instead: one that is at work, or else one that failed
    #[arg(long)]
    job: bool,
}

impl Logs {
    /// Shows a log.
    ///
    /// # Errors
    /// The manifest is invalid, there is no such container, or the engine cannot be asked.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        if invocation.is_json() {
            return Err(Failure::usage("a log is text", "leave --output away"));
        }
        let prepared = invocation.prepare(None)?;
        let engine = invocation.engine(&prepared.loaded.manifest.engine.address)?;
        let observed = Box::pin(observe(&engine, prepared.owner(), &BTreeSet::new())).await?;
        let container = match &self.name {
            Some(name) => {
                let live = observed.containers.values();
                let live: BTreeSet<&str> = live.map(|live| live.mark.name.as_str()).collect();
                let wanted = prepared.loaded.manifest.containers.keys();
                let known: BTreeSet<&str> = wanted.map(ContainerName::as_str).chain(live).collect();
                among(known.iter().copied(), name)?;
                let found = observed.resource(&prepared.owner().object(name), name);
                let found = found.map(|live| live.id.id().to_owned());
                found.ok_or_else(|| {
                    let problem = Problem::new(format!("container `{name}` is not there yet"));
                    Failure::new(Exit::Failed, problem.hint("make it with `aishell apply`"))
                })?
            }
            None => job(&observed, &prepared).ok_or_else(|| {
                Failure::new(
                    Exit::Failed,
                    Problem::new("no job is at work, and none has failed"),
                )
            })?,
        };
        if self.job
            && !self.follow
            && let Some(log) = kept(&engine, &container).await?
        {
            // What it printed was printed by commands beside its own process.
            let lines: Vec<&str> = log.lines().collect();
            let last = self.tail.and_then(|last| usize::try_from(last).ok());
            let first = last.map_or(0, |last| lines.len().saturating_sub(last));
            let text: String = lines[first..].iter().flat_map(|line| [*line, "\n"]).collect();
            invocation.output.answer(&text);
            return Ok(Exit::Done);
        }
        let excerpt = Excerpt {
            follow: self.follow,
            last: self.tail,
            timestamps: self.timestamps,
        };
        let mut pieces = pin!(engine.written(&container, &excerpt).await?);
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        while let Some(piece) = pieces.next().await {
            let shown = match piece? {
                Written::Output(bytes) => out.write_all(&bytes).and_then(|()| out.flush()),
                Written::Error(bytes) => err.write_all(&bytes),
            };
            match shown {
                Ok(()) => {}
                // Whoever read it has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => {
                    let problem = Problem::new(format!("the log cannot be written: {error}"));
                    return Err(Failure::new(Exit::Failed, problem));
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// Returns what the commands of a phase have printed that failed, if the job is what is left of one.
async fn kept(engine: &DockerEngine, container: &str) -> Result<Option<String>, Failure> {
    let call = Call::ReadFile {
        container: container.to_owned(),
        path: PHASE_LOG.to_owned(),
    };
    match engine.call(&call, &Progress::default()).await {
        Ok(Answer::Bytes(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Ok(_) | Err(EngineError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the id of the job of the manifest that is at work, or else of one that failed.
fn job(observed: &Observed, prepared: &crate::prepare::Prepared) -> Option<String> {
    let ours = observed
        .jobs
        .values()
        .filter(|job| prepared.owner().owns(&job.mark));
    let job = ours.max_by_key(|job| job.running)?;
    Some(job.id.id().to_owned())
}
