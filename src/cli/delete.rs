//! `aishell delete`: removes what the manifest owns.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::apply::{conclude, cut, exit};
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::progress::Watcher;
use super::render::{count, notes};
use super::signal::{Ended, Signal, watched};
use crate::apply::{Listener as _, Stop, apply};
use crate::claim::{Claims, Turn, clear};
use crate::engine::Engine;
use crate::engine::EngineError;
use crate::label::Owner;
use crate::observe::observe;
use crate::observed::Observed;
use crate::plan::{Consent, deletion};
use crate::reconcile::{Intent as _, inquire};
use crate::report::{Condition, ConditionKind, Outcome, Report};
use crate::step::{Plan, Step, Work};
use crate::units::Duration;

/// Remove the containers and the network of the manifest
///
/// Lists what would go and asks; without a terminal, --yes has to say so. Images and harness volumes stay, since
/// others may use them. Data volumes stay too, unless --allow data-loss.
#[derive(Debug, Args)]
pub struct Delete {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
    /// Wait so long for another apply to the same objects to end, such as 60s
    #[arg(long, value_name = "DURATION", default_value = "0")]
    lock_timeout: Duration,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Allow what is blocked otherwise; several are separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    allow: Vec<Allowed>,
}

/// What is blocked unless a person allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Allowed {
    /// Interrupt containers that somebody works in
    Interrupt,
    /// Remove data volumes with their content
    DataLoss,
}

impl Delete {
    /// Removes what the manifest owns.
    ///
    /// # Errors
    /// The manifest is invalid, the engine cannot be asked, or nobody said yes. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let prepared = invocation.prepare(self.manifest.as_deref())?;
        let engine = invocation.engine(&prepared.loaded.manifest.engine.address)?;
        let owner = prepared.owner();
        let consent = Consent {
            interrupt: self.allow.contains(&Allowed::Interrupt),
            data_loss: self.allow.contains(&Allowed::DataLoss),
            ..Consent::default()
        };
        let mut observed = Box::pin(observe(&engine, owner, &BTreeSet::new())).await?;
        let mut plan = deletion(&observed, owner, prepared.info(), &consent);
        if inquire(&engine, &plan, &mut observed).await? {
            plan = deletion(&observed, owner, prepared.info(), &consent);
        }
        let watcher = Arc::new(Watcher::new(invocation, prepared.loaded.source.directory()));
        if plan.is_empty() {
            clear(&engine, &observed).await;
            nothing(invocation, &watcher, plan);
            return Ok(Exit::Done);
        }
        if !plan.steps.is_empty() && !self.yes && !consents(invocation, &watcher, &plan)? {
            invocation.output.talk("nothing was touched\n");
            return Ok(Exit::Blocked);
        }
        let claims = Claims::of(&invocation.host);
        let turn = Turn {
            claims: &claims,
            command: "delete",
            patience: self.lock_timeout.into(),
        };
        let (wish, stop) = Stop::new();
        let work = Box::pin(turn.during(&engine, owner, Some(&observed), async {
            let report = Box::pin(remove((&engine, owner), plan, &watcher, &stop)).await;
            Ok::<_, Failure>(report)
        }));
        let again = invocation.again("delete", self.manifest.as_deref());
        let (report, signal) = match watched(work, &wish, |signal| watcher.signalled(signal)).await? {
            Ended::Whole(report, signal) => (report?, signal),
            Ended::Cut(signal) => return Ok(cut(&watcher, signal, &again)),
        };
        conclude(invocation, &watcher, &report, &again);
        Ok(signal.map_or_else(|| exit(&report), Signal::exit))
    }
}

/// Lists what would go, and asks.
fn consents(invocation: &Invocation, watcher: &Watcher, plan: &Plan) -> Result<bool, Failure> {
    invocation.output.talk(&watcher.style().plan(plan, false));
    let resources = count(plan.steps.len(), "resource");
    if invocation.global.no_input || !invocation.output.can_ask() {
        let message = format!("nobody is there to be asked whether to remove {resources}");
        return Err(Failure::usage(message, "consent with --yes"));
    }
    Ok(invocation.output.ask(&format!("\nRemove {resources}?")))
}

fn nothing(invocation: &Invocation, watcher: &Watcher, plan: Plan) {
    if invocation.is_json() {
        let report = report(plan, Vec::new(), true, false);
        let document = json::Report::of(&report, watcher.style().viewpoint);
        invocation.output.document(&document);
    } else {
        watcher.header(&plan.manifest, &plan.engine);
        invocation
            .output
            .answer("nothing to remove: the manifest owns no container and no network\n");
        invocation.output.answer(&notes(&plan.notes));
    }
}

/// Carries out a deletion, and looks at what is left.
async fn remove(
    (engine, owner): (&impl Engine, &Owner),
    plan: Plan,
    watcher: &Arc<Watcher>,
    stop: &Stop,
) -> Report {
    watcher.planned(&plan);
    let steps = apply(&plan, engine, watcher, stop).await;
    // What somebody works in is left, too.
    let consent = Consent {
        interrupt: true,
        ..Consent::default()
    };
    let left: Result<_, EngineError> = observe(engine, owner, &BTreeSet::new()).await;
    let gone = left.is_ok_and(|left| {
        let plan = deletion(&left, owner, &plan.manifest, &consent);
        plan.steps.iter().all(|step| is_of_a_copy(step, &left))
    }) && steps.iter().all(|done| done.outcome == Outcome::Done);
    report(plan, steps, gone, stop.is_wished())
}

/// Says whether a step is about a container that only has the labels of one that is gone: it is nobody's now.
fn is_of_a_copy(step: &Step, left: &Observed) -> bool {
    let Work::Guarded { object, .. } = &step.work else {
        return false;
    };
    let mut containers = left.containers.values();
    containers.any(|one| one.id == *object && !one.has_own_name())
}

fn report(plan: Plan, steps: Vec<crate::report::Done>, gone: bool, interrupted: bool) -> Report {
    let message = if gone {
        "nothing of the manifest is left"
    } else {
        "something of the manifest is left"
    };
    let reason = if gone { "Deleted" } else { "Differences" };
    let Plan {
        manifest,
        engine,
        steps: _,
        blocked,
        unknown: _,
        unchanged,
        notes,
    } = plan;
    Report {
        manifest,
        engine,
        pinned: Vec::new(),
        steps,
        blocked,
        unchanged,
        notes,
        conditions: vec![Condition::new(ConditionKind::Converged, gone, reason, message)],
        converged: gone,
        interrupted,
    }
}
