//! `aishell apply`: makes the engine what the manifest wants, once.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::diff::{Diff, PlanOptions};
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::planned;
use super::progress::Watcher;
use super::signal::{Ended, Signal, watched};
use super::status::PATIENCE;
use crate::apply::{Listener as _, Stop};
use crate::claim::{Claims, Turn};
use crate::desired::resolve::{self, resolve};
use crate::engine::docker::DockerEngine;
use crate::lock::Change;
use crate::pin::{Pinning, Pins, pin};
use crate::plan::{Consent, Rebuilt, Requested, Widen};
use crate::prepare::Prepared;
use crate::readiness::until_ready;
use crate::reconcile::{Subject, append, reconcile_alone};
use crate::report::{ConditionKind, Outcome, Report, Truth};
use crate::session::consent::give;
use crate::units::Duration;

/// Make Docker match the manifest
///
/// Does what `diff` shows; with --plan what it saved, exactly that or nothing. A step that fails skips only what needs it; running it again goes on from there. Ctrl-C
/// finishes the step in hand and skips the rest, a second one ends at once.
#[derive(Debug, Args)]
pub struct Apply {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
    /// Carry out this plan that `diff --out` saved, and nothing else; `-` is standard input
    #[arg(
        long,
        value_name = "PLAN",
        value_hint = clap::ValueHint::FilePath,
        conflicts_with_all = ["only", "replace", "no_prune", "allow", "deep"]
    )]
    plan: Option<PathBuf>,
    #[command(flatten)]
    options: PlanOptions,
    /// Wait so long for another apply to the same objects to end, such as 60s
    #[arg(long, value_name = "DURATION", default_value = "0")]
    lock_timeout: Duration,
    /// When it is done, wait so long until every container is ready, such as 5m
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = PATIENCE)]
    wait: Option<Duration>,
    /// Pin nothing: what the lock lacks is an error
    #[arg(long)]
    locked: bool,
    /// Only show what would be done, as `diff`
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    /// Reconciles once.
    ///
    /// # Errors
    /// The manifest is invalid, or the engine cannot be asked. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        if let Some(plan) = &self.plan {
            let order = planned::Order {
                manifest: self.manifest.as_deref(),
                lock_timeout: self.lock_timeout.into(),
                wait: self.wait.map(Into::into),
                dry_run: self.dry_run,
            };
            return Box::pin(planned::run(invocation, plan, order)).await;
        }
        if self.dry_run {
            return Box::pin(Diff::new(self.manifest, self.options).run(invocation)).await;
        }
        let mut prepared = invocation.prepare(self.manifest.as_deref())?;
        let consent = self.options.consent(&prepared.loaded.manifest)?;
        let engine = invocation.engine_of(&prepared)?;
        let watcher = Arc::new(Watcher::new(invocation, prepared.loaded.source.directory()));
        let order = Order {
            command: "apply",
            consent,
            lock_timeout: self.lock_timeout.into(),
            locked: self.locked,
            wait: self.wait.map(Into::into),
        };
        let again = invocation.again("apply", self.manifest.as_deref());
        let ended = Box::pin(order.carry_out(invocation, &mut prepared, &engine, &watcher)).await?;
        Ok(finish(invocation, &watcher, ended, &again))
    }
}

/// What a pass that a person asked for is to do.
#[derive(Clone, Debug)]
pub struct Order {
    /// The command that was typed.
    pub command: &'static str,
    /// What the person allows.
    pub consent: Consent,
    /// How long to wait while somebody else writes.
    pub lock_timeout: std::time::Duration,
    /// Whether what the lock lacks is an error.
    pub locked: bool,
    /// How long to wait until every container is ready; `None`: not at all.
    pub wait: Option<std::time::Duration>,
}

impl Order {
    /// Pins what the lock lacks and reconciles once.
    ///
    /// # Errors
    /// The engine cannot be asked, something cannot be pinned, or somebody else is writing. Nothing was touched.
    pub async fn carry_out(
        self,
        invocation: &Invocation,
        prepared: &mut Prepared,
        engine: &DockerEngine,
        watcher: &Arc<Watcher>,
    ) -> Result<Ended<Report>, Failure> {
        prepared.make_sources(&self.consent.widen)?;
        // It lists what sessions get, so whoever types it consents.
        if self.command == "apply" && self.consent.widen == Widen::Allowed {
            let desired = resolve(&prepared.loaded, &prepared.facts, &resolve::Pins::default());
            if let Err(error) = give(&invocation.host, &desired) {
                watcher.said(&format!("what sessions may get cannot be written down: {error}"));
            }
        }
        let (wish, stop) = Stop::new();
        let claims = Claims::of(&invocation.host);
        let turn = Turn {
            claims: &claims,
            command: self.command,
            patience: self.lock_timeout,
        };
        let pinning = Pinning {
            host: &invocation.host,
            turn,
            locked: self.locked,
        };
        let work = Box::pin(async {
            let told = (watcher, &stop);
            let (changes, mut done) = match pin(engine, prepared, pinning, told).await? {
                Pins::Complete { changes, done } => (changes, done),
                Pins::Stopped(report) => return Ok::<Report, Failure>(*report),
            };
            for change in &changes {
                watcher.said(&pinned(change));
            }
            let subject = Subject {
                intent: &*prepared,
                consent: self.consent,
            };
            let mut report = reconcile_alone(engine, &subject, turn, told).await?;
            append(&mut done, std::mem::take(&mut report.steps));
            report.steps = done;
            report.pinned = changes;
            Ok(awaited(report, engine, subject, self.wait, &stop).await)
        });
        Ok(
            match watched(work, &wish, |signal| watcher.signalled(signal)).await? {
                Ended::Whole(report, signal) => Ended::Whole(report?, signal),
                Ended::Cut(signal) => Ended::Cut(signal),
            },
        )
    }
}

/// Waits until every container can be used, if that is wanted and can come about.
pub async fn awaited(
    report: Report,
    engine: &DockerEngine,
    subject: Subject<'_>,
    wait: Option<std::time::Duration>,
    stop: &Stop,
) -> Report {
    match wait {
        // What failed or waits for a person does not come by waiting.
        Some(patience) if report.converged => {
            // What was asked for is done.
            let consent = Consent {
                replace: Requested::default(),
                rebuild: Rebuilt::default(),
                ..subject.consent.clone()
            };
            let subject = Subject { consent, ..subject };
            until_ready(report, engine, &subject, patience, stop).await
        }
        Some(_) | None => report,
    }
}

/// Tells how a pass ended.
pub fn finish(invocation: &Invocation, watcher: &Watcher, ended: Ended<Report>, again: &str) -> Exit {
    match ended {
        Ended::Whole(report, signal) => {
            conclude(invocation, watcher, &report, again);
            signal.map_or_else(|| exit(&report), Signal::exit)
        }
        Ended::Cut(signal) => cut(watcher, signal, again),
    }
}

/// Says what an entry of the lock means from now on.
fn pinned(change: &Change) -> String {
    let Change { kind, name, from, to } = change;
    let from = from
        .as_ref()
        .map(|from| format!(" (was {from})"))
        .unwrap_or_default();
    // The runtime and the built-in foundation have no names but what they are.
    let kind = if kind.as_str() == name {
        String::new()
    } else {
        format!("{} ", kind.as_str())
    };
    format!("pinned {kind}{name}: {to}{from}")
}

/// Says what became of work that was dropped.
pub fn cut(watcher: &Watcher, signal: Signal, again: &str) -> Exit {
    watcher.close();
    watcher.talk(&format!(
        "stopped at once; what was begun is taken up again by: {again}\n"
    ));
    signal.exit()
}

/// Prints a report: as one document, or what follows the lines that were printed as steps finished.
pub fn conclude(invocation: &Invocation, watcher: &Watcher, report: &Report, again: &str) {
    watcher.close();
    let style = watcher.style();
    if invocation.is_json() {
        invocation
            .output
            .document(&json::Report::of(report, style.viewpoint));
    } else {
        watcher.header(&report.manifest, &report.engine);
        invocation.output.answer(&style.outcome(report, again));
    }
}

/// Returns how the program ends after a report.
pub fn exit(report: &Report) -> Exit {
    let failed = report.steps.iter().any(|done| done.outcome == Outcome::Failed);
    let held_back = report.steps.iter().any(|done| done.outcome == Outcome::Blocked);
    let unready = report
        .conditions
        .iter()
        .any(|condition| condition.kind == ConditionKind::Ready && condition.status != Truth::True);
    if failed || unready {
        Exit::Failed
    } else if held_back || !report.blocked.is_empty() {
        Exit::Blocked
    } else if report.converged {
        Exit::Done
    } else {
        // Nothing failed and nobody is needed, and still something was left undone.
        Exit::Failed
    }
}
