//! Carrying out a plan that was saved: exactly what it says, or nothing.

use std::sync::Arc;

use super::{Look, Subject, look, report};
use crate::apply::{Listener, Patient, Stop, walk};
use crate::call::{Answer, Call};
use crate::claim::{Claim, ClaimError, Turn};
use crate::desired::Desired;
use crate::engine::{Engine, EngineError};
use crate::observe::ask;
use crate::report::Report;
use crate::saved::{Change, Saved, View};

/// Why a saved plan was not carried out. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum PlannedError {
    /// The engine could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Somebody else is writing.
    #[error(transparent)]
    Claimed(#[from] ClaimError),
    /// It does not hold any more.
    #[error("the saved plan does not hold any more")]
    Stale(Vec<Change>),
}

/// Asks an engine for the id that it keeps for its life.
///
/// # Errors
/// It could not be asked.
pub async fn identity(engine: &impl Engine) -> Result<String, EngineError> {
    ask(engine, Call::Identify, |answer| match answer {
        Answer::Id(id) => Some(id),
        _ => None,
    })
    .await
}

/// Looks, and says whether a saved plan still holds.
///
/// # Errors
/// It does not, or the engine could not be asked. Nothing was touched.
pub async fn verify(
    engine: &impl Engine,
    subject: &Subject<'_>,
    saved: &Saved,
) -> Result<Look, PlannedError> {
    let id = identity(engine).await?;
    let seen = Box::pin(look(engine, subject)).await?;
    let view = View {
        desired: &seen.desired,
        observed: &seen.observed,
        plan: &seen.plan,
        engine: &id,
    };
    let changes = saved.changes(view, &subject.consent);
    if changes.is_empty() {
        Ok(seen)
    } else {
        Err(PlannedError::Stale(changes))
    }
}

/// A saved plan that holds, and the turn to carry it out.
pub struct Planned {
    seen: Look,
    claim: Option<Claim>,
}

impl Planned {
    /// Insists that a saved plan holds: where there is something to do, it waits for its turn and looks once more.
    ///
    /// # Errors
    /// The plan does not hold any more, the engine could not be asked, or somebody else is writing. Nothing was
    /// touched, and nobody was made to wait for a plan that did not hold to begin with.
    pub async fn begin(
        engine: &impl Engine,
        subject: &Subject<'_>,
        saved: &Saved,
        turn: Turn<'_>,
    ) -> Result<Self, PlannedError> {
        let mut seen = verify(engine, subject, saved).await?;
        let mut claim = None;
        if !seen.plan.steps.is_empty() {
            let taken = turn
                .take(engine, subject.intent.owner(), Some(&seen.observed))
                .await?;
            match verify(engine, subject, saved).await {
                Ok(again) => (seen, claim) = (again, Some(taken)),
                Err(error) => {
                    taken.release(engine).await;
                    return Err(error);
                }
            }
        }
        Ok(Self { seen, claim })
    }

    /// Lets others have the turn: it is not carried out.
    pub async fn give_up(self, engine: &impl Engine) {
        if let Some(claim) = self.claim {
            claim.release(engine).await;
        }
    }

    /// Returns what is wanted.
    pub fn desired(&self) -> &Desired {
        &self.seen.desired
    }

    /// Carries it out: its steps and no others. What is left when they are done is for the next pass.
    pub async fn carry_out<L: Listener + ?Sized + 'static>(
        self,
        engine: &impl Engine,
        subject: &Subject<'_>,
        (listener, stop): (&Arc<L>, &Stop),
    ) -> Report {
        let subject = &subject.after(&self.seen);
        let mut plan = self.seen.plan;
        let mut done = Vec::new();
        let mut lost = None;
        if !plan.steps.is_empty() && !stop.is_wished() {
            listener.planned(&plan);
            let engine = &Patient::new(engine, listener, stop);
            done = walk(&plan, engine, listener, stop).await;
            match Box::pin(look(engine, subject)).await {
                Ok(look) => plan = look.plan,
                Err(error) => lost = Some(error),
            }
        }
        if let Some(claim) = self.claim {
            claim.release(engine).await;
        }
        report(plan, done, stop, lost.as_ref())
    }
}
