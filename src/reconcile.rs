//! One pass: observe, plan, apply, report.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::apply::{Listener, Stop, apply};
use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::label::Owner;
use crate::observe::{observe, strangers};
use crate::observed::Observed;
use crate::plan::{Consent, plan, wanted_names};
use crate::report::{Condition, ConditionKind, Done, Outcome, Report};
use crate::status::conditions;
use crate::step::{ManifestInfo, Plan};

/// How often one pass plans again. What is pulled in one round is known in the next; nothing needs more.
const ROUNDS: usize = 4;

/// What a pass is about.
pub struct Subject<'a> {
    /// Whose objects are reconciled.
    pub owner: &'a Owner,
    /// The images the manifest names that aishell does not make.
    pub references: &'a BTreeSet<String>,
    /// The manifest, for people.
    pub manifest: &'a ManifestInfo,
    /// What the person allows.
    pub consent: Consent,
    /// Resolves the manifest against what the engine has. Pure.
    pub resolve: &'a (dyn Fn(&Observed) -> Desired + Send + Sync),
}

/// What one look shows.
pub struct Look {
    /// What is wanted.
    pub desired: Desired,
    /// What is there.
    pub observed: Observed,
    /// What has to be done.
    pub plan: Plan,
}

/// Observes and plans; writes nothing.
///
/// # Errors
/// The engine could not be asked. Nothing was touched.
pub async fn look(engine: &impl Engine, subject: &Subject<'_>) -> Result<Look, EngineError> {
    let mut observed = observe(engine, subject.owner, subject.references).await?;
    let desired = (subject.resolve)(&observed);
    let names = wanted_names(&desired, &observed);
    strangers(engine, &mut observed, names).await?;
    let plan = plan(&desired, &observed, subject.manifest, subject.consent);
    Ok(Look {
        desired,
        observed,
        plan,
    })
}

/// Makes the engine what the manifest wants, once.
///
/// # Guarantees
/// `Err` means that nothing was touched. After the first write the answer is a report, whatever happens.
///
/// # Errors
/// The engine could not be asked before anything was done.
pub async fn reconcile<L: Listener + ?Sized + 'static>(
    engine: &impl Engine,
    subject: &Subject<'_>,
    listener: &Arc<L>,
    stop: &Stop,
) -> Result<Report, EngineError> {
    let first = look(engine, subject).await?;
    let mut plan = first.plan;
    let mut done: Vec<Done> = Vec::new();
    for _ in 0..ROUNDS {
        if plan.steps.is_empty() || stop.is_wished() {
            break;
        }
        let outcomes = apply(&plan, engine, listener, stop).await;
        let failed = outcomes.iter().any(|done| done.outcome != Outcome::Done);
        append(&mut done, outcomes);
        let more = !plan.unknown.is_empty() && !failed;
        match look(engine, subject).await {
            Ok(look) => plan = look.plan,
            Err(error) => return Ok(report(plan, done, stop, Some(&error))),
        }
        if !more {
            break;
        }
    }
    Ok(report(plan, done, stop, None))
}

/// Adds the outcomes of one more round; step numbers go on counting.
fn append(all: &mut Vec<Done>, round: Vec<Done>) {
    let base = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.extend(round.into_iter().map(|mut done| {
        done.step.id = done.step.id.saturating_add(base);
        for need in &mut done.step.needs {
            *need = need.saturating_add(base);
        }
        done
    }));
}

fn report(last: Plan, steps: Vec<Done>, stop: &Stop, lost: Option<&EngineError>) -> Report {
    let mut conditions = conditions(&last);
    if let Some(error) = lost {
        conditions.push(Condition::new(
            ConditionKind::Degraded,
            true,
            "EngineUnreachable",
            error.to_string(),
        ));
    }
    let converged = last.is_empty() && lost.is_none();
    let Plan {
        manifest,
        engine,
        steps: left,
        blocked,
        unknown: _,
        unchanged,
        mut notes,
    } = last;
    if lost.is_none() {
        for step in left.iter().filter(|_| !steps.is_empty()) {
            notes.push(format!(
                "{} {} still has to be done: {}",
                step.resource.kind.as_str(),
                step.resource.name,
                step.action.as_str()
            ));
        }
    }
    Report {
        manifest,
        engine,
        steps,
        blocked,
        unchanged,
        notes,
        conditions,
        converged,
        interrupted: stop.is_wished(),
    }
}
