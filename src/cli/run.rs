//! `aishell run`: the harness of a container, in this terminal.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;

use super::apply::{Order, exit};
use super::exit::Exit;
use super::failure::Failure;
use super::inside::{Inside, Wish, not_run, variable, words};
use super::invocation::Invocation;
use super::named::{LOCK_PATIENCE, known};
use super::progress::Watcher;
use super::signal::Ended;
use crate::desired::Desired;
use crate::manifest::place::Problem;
use crate::observed::Observed;
use crate::plan::{Consent, Widen};
use crate::prepare::Prepared;
use crate::reconcile::Intent as _;
use crate::report::Report;
use crate::session::terminal;
use crate::step::{Blocked, BlockedReason, Resource, ResourceKind};
use crate::units::Duration;

/// Open the harness of a container in this terminal
///
/// What the container needs to be as the manifest wants it is done first, unless that would interrupt somebody or give
/// the container more than it has.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    options: Options,

    /// The container, by its name in the manifest
    name: String,

    /// Arguments for the harness; everything from here on is handed to it as it is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// Options of everything that opens a harness.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Set a variable; a name alone takes its value from here
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Begin in this directory of the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// Wait so long for another apply to the same objects to end
    #[arg(long, value_name = "DURATION", default_value = LOCK_PATIENCE)]
    lock_timeout: Duration,
}

impl Run {
    /// Opens the harness.
    ///
    /// # Errors
    /// Nothing ran, or nobody knows how it ended.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let work = async {
            let prepared = invocation.prepare(None)?;
            Box::pin(open(
                invocation,
                prepared,
                (&self.name, self.options),
                self.arguments,
            ))
            .await
        };
        Box::pin(work).await.map_err(not_run)
    }
}

/// Brings a container about, and opens its harness.
///
/// # Errors
/// Nothing ran, or nobody knows how it ended.
pub async fn open(
    invocation: &Invocation,
    mut prepared: Prepared,
    (name, options): (&str, Options),
    arguments: Vec<OsString>,
) -> Result<Exit, Failure> {
    known(&prepared.loaded.manifest, name)?;
    let wish = options.wish(invocation, &prepared, name, arguments)?;
    let engine = invocation.engine_of(&prepared)?;
    let watcher = Arc::new(Watcher::aside(invocation, prepared.loaded.source.directory()));
    let container = Resource {
        kind: ResourceKind::Container,
        name: name.to_owned(),
    };
    let order = Order {
        command: "run",
        consent: Consent {
            only: Some([container.clone()].into()),
            widen: Widen::UpTo(Arc::default()),
            ..Consent::default()
        },
        lock_timeout: options.patience(),
        locked: false,
        wait: None,
    };
    let ended = Box::pin(order.carry_out(invocation, &mut prepared, &engine, &watcher)).await?;
    watcher.close();
    let report = match ended {
        Ended::Whole(report, None) => report,
        Ended::Whole(_, Some(signal)) | Ended::Cut(signal) => return Ok(signal.exit()),
    };
    told(&watcher, &report, name)?;
    let inside = match Inside::of(&invocation.host, &prepared, engine, name).await {
        Ok(inside) => inside,
        Err(failure) => return Err(blocked(&report, &container).unwrap_or(failure)),
    };
    inside.open(invocation, wish).await
}

impl Options {
    /// Returns how long to wait while somebody else writes.
    pub fn patience(&self) -> std::time::Duration {
        self.lock_timeout.into()
    }

    /// Returns the session that is to be opened.
    ///
    /// # Errors
    /// The container has no harness, or what was typed makes no sense.
    pub fn wish(
        &self,
        invocation: &Invocation,
        prepared: &Prepared,
        name: &str,
        arguments: Vec<OsString>,
    ) -> Result<Wish, Failure> {
        // What a session opens does not depend on what the engine has.
        let Desired { containers, .. } = prepared.resolve(&Observed::default());
        let mut command = containers
            .get(name)
            .map(|container| container.session.command.clone())
            .unwrap_or_default();
        if command.is_empty() {
            let hint = format!("`aishell attach {name}` opens a shell in it");
            return Err(Failure::usage(
                format!("container `{name}` has no harness"),
                &hint,
            ));
        }
        command.extend(words(arguments)?);
        let env = self.env.iter().map(|written| variable(invocation, written));
        Ok(Wish {
            words: command,
            env: env.filter_map(Result::transpose).collect::<Result<_, _>>()?,
            workdir: self.workdir.clone(),
            terminal: terminal::on_input() && terminal::on_output(),
            input: true,
        })
    }
}

/// Tells what a person has to know of what was done before.
///
/// # Errors
/// Something failed.
fn told(watcher: &Watcher, report: &Report, name: &str) -> Result<(), Failure> {
    for pinned in &report.pinned {
        tracing::info!(name = pinned.name, to = pinned.to, "pinned");
    }
    if exit(report) == Exit::Failed {
        watcher.talk(&watcher.style().outcome(report, &format!("aishell run {name}")));
        let problem = Problem::new(format!("container `{name}` is not as the manifest wants it"));
        return Err(Failure::new(
            Exit::NotRun,
            problem.hint(format!("`aishell attach {name}` enters what is there")),
        ));
    }
    for Blocked {
        reason,
        detail,
        unblock,
        ..
    } in &report.blocked
    {
        let how = unblock.as_ref().map(|how| format!("; {how}")).unwrap_or_default();
        watcher.talk(&format!(
            "note: container {name} waits to be changed ({}: {detail}{how})\n",
            reason.as_str()
        ));
    }
    Ok(())
}

/// Returns why a container cannot be entered that somebody has to do something about first.
fn blocked(report: &Report, container: &Resource) -> Option<Failure> {
    let blocked = report.blocked.iter().find(|one| one.resource == *container)?;
    let message = match blocked.reason {
        BlockedReason::Held => format!("container `{}` is held: {}", container.name, blocked.detail),
        _ => format!(
            "container `{}` is blocked ({}): {}",
            container.name,
            blocked.reason.as_str(),
            blocked.detail
        ),
    };
    let mut problem = Problem::new(message);
    if let Some(unblock) = &blocked.unblock {
        problem = problem.hint(unblock.clone());
    }
    Some(Failure::new(Exit::NotRun, problem))
}
