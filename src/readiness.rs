//! Waiting until every container of a manifest can be used.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::apply::Stop;
use crate::engine::{Engine, EngineError};
use crate::reconcile::{Subject, look};
use crate::report::{Condition, ConditionKind, Report, Status, Truth};
use crate::status::status;

/// How long to wait between two looks.
const AGAIN: Duration = Duration::from_millis(500);

/// Looks until everything is as it is wanted and ready, or the time is over, or somebody wishes an end; returns how it
/// stands then. It looks at least once.
///
/// # Errors
/// The engine cannot be asked.
pub async fn wait(
    engine: &impl Engine,
    subject: &Subject<'_>,
    patience: Duration,
    stop: &Stop,
) -> Result<Status, EngineError> {
    let end = Instant::now() + patience;
    loop {
        let seen = Box::pin(look(engine, subject)).await?;
        let status = status(&seen.desired, &seen.observed, &seen.plan);
        if status.is_good() || stop.is_wished() || timeout_at(end, sleep(AGAIN)).await.is_err() {
            return Ok(status);
        }
    }
}

/// Returns in a person's words what cannot be used yet, one sentence for each container.
fn missing(status: &Status) -> Vec<String> {
    let unready =
        |condition: &&Condition| condition.kind == ConditionKind::Ready && condition.status != Truth::True;
    let told = status.resources.iter().filter_map(|resource| {
        let condition = resource.conditions.iter().find(unready)?;
        Some(format!(
            "container {} is not ready: {}",
            resource.name, condition.message
        ))
    });
    told.collect()
}

/// Waits until every container can be used, and adds to the report what came of it.
pub async fn until_ready(
    mut report: Report,
    engine: &impl Engine,
    subject: &Subject<'_>,
    patience: Duration,
    stop: &Stop,
) -> Report {
    let condition = match wait(engine, subject, patience, stop).await {
        Ok(status) => {
            let missing = missing(&status);
            let (ready, reason) = if missing.is_empty() {
                (true, "Ready")
            } else {
                (false, "NotReady")
            };
            let message = if ready {
                "every container can be used".to_owned()
            } else {
                missing.join("; ")
            };
            report.notes.extend(missing);
            Condition::new(ConditionKind::Ready, ready, reason, message)
        }
        Err(error) => {
            report.notes.push(error.to_string());
            Condition::new(
                ConditionKind::Ready,
                false,
                "EngineUnreachable",
                error.to_string(),
            )
        }
    };
    report.conditions.push(condition);
    report
}
