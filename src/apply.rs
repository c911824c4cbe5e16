//! Carrying out a plan: walk it, gather outcomes, decide nothing.

use std::collections::BTreeMap;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::call::Call;
use crate::engine::Engine;
use crate::progress::{Event, Progress};
use crate::protocol::{self, Learned, Undone};
use crate::report::{Done, Failure, Outcome};
use crate::step::{Action, Plan, Resource, Step, Work};

mod doubt;
mod patient;
mod queue;

pub use patient::Patient;
use queue::Queue;

/// How many pulls, builds and installs are under way at once.
const HEAVY: usize = 2;
/// How many other steps are under way at once: more does not make the engine faster.
const LIGHT: usize = 8;

/// Who is told what happens. Nothing here may block.
pub trait Listener: Send + Sync {
    /// A plan was made; its steps begin next.
    fn planned(&self, _plan: &Plan) {}
    /// A step begins.
    fn started(&self, _step: &Step) {}
    /// A step has something to tell.
    fn progress(&self, _step: &Step, _event: Event) {}
    /// A step has an outcome.
    fn finished(&self, _done: &Done) {}
    /// A step came to nothing, and is begun once more later; what is said of it is said then.
    fn postponed(&self, _done: &Done) {}
    /// Something is done that is no step.
    fn said(&self, _text: &str) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Listener for Silent {}

/// A wish to end early, given by whoever holds the other end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns the wish and the handle that expresses it.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Returns a wish that is never expressed.
    pub fn never() -> Self {
        Self::new().1
    }

    /// Says whether the wish was expressed.
    pub fn is_wished(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the wish is expressed; for ever, if nobody can express it any more.
    pub async fn wished(&self) {
        if self.0.clone().wait_for(|wished| *wished).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Carries out the steps of a plan and returns every one with its outcome, in the order of the plan.
///
/// Steps that do not need each other run at the same time. A step that fails skips what needs it and nothing else.
/// After a wish to stop, pulls and builds are given up, other steps under way are finished and none is begun. An engine that goes away is waited for.
pub async fn apply<L: Listener + ?Sized + 'static>(
    plan: &Plan,
    engine: &impl Engine,
    listener: &std::sync::Arc<L>,
    stop: &Stop,
) -> Vec<Done> {
    walk(plan, &Patient::new(engine, listener, stop), listener, stop).await
}

/// Does the same as [`apply`] on an engine that is waited for anyway.
pub async fn walk<L: Listener + ?Sized + 'static>(
    plan: &Plan,
    engine: &Patient<'_, impl Engine>,
    listener: &std::sync::Arc<L>,
    stop: &Stop,
) -> Vec<Done> {
    let steps: BTreeMap<u32, &Step> = plan.steps.iter().map(|step| (step.id, step)).collect();
    let mut queue = Queue::new(&plan.steps, is_heavy);
    let mut ended: BTreeMap<u32, Done> = BTreeMap::new();
    let mut running = FuturesUnordered::new();
    let (mut heavy, mut light) = (0, 0);
    let learned = Learned::default();
    loop {
        if stop.is_wished() {
            for step in queue.clear() {
                let done = skipped(step, "interrupted".to_owned());
                listener.finished(&done);
                ended.insert(step.id, done);
            }
        }
        for (is_heavy, used, limit) in [(true, &mut heavy, HEAVY), (false, &mut light, LIGHT)] {
            while *used < limit
                && let Some(step) = queue.take(is_heavy)
            {
                *used += 1;
                listener.started(step);
                running.push(carry_out(step, engine, listener, stop, learned.clone()));
            }
        }
        let Some(done) = running.next().await else { break };
        if is_heavy(&done.step) {
            heavy -= 1;
        } else {
            light -= 1;
        }
        listener.finished(&done);
        if done.outcome == Outcome::Done {
            queue.done(done.step.id);
        } else if let Some(failed) = steps.get(&done.step.id) {
            for (step, missing) in queue.abandon(failed) {
                let how = if missing.id == failed.id {
                    done.outcome
                } else {
                    Outcome::Skipped
                };
                let Resource { kind, name } = &missing.resource;
                let why = format!("needs {} {name}, which {}", kind.as_str(), word(how));
                let done = skipped(step, why);
                listener.finished(&done);
                ended.insert(step.id, done);
            }
        }
        ended.insert(done.step.id, done);
    }
    ended.into_values().collect()
}

/// Returns the outcome of a step that cannot begin any more.
fn skipped(step: &Step, why: String) -> Done {
    Done {
        step: step.clone(),
        outcome: Outcome::Skipped,
        seconds: 0.0,
        retries: None,
        error: Some(Failure::new(why)),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "was done",
        Outcome::Failed => "failed",
        Outcome::Skipped => "was skipped",
        Outcome::Blocked => "is blocked",
    }
}

fn is_heavy(step: &Step) -> bool {
    match step.action {
        Action::Pull | Action::Build | Action::Snapshot | Action::Populate => true,
        Action::Create
        | Action::Start
        | Action::Unpause
        | Action::Update
        | Action::Connect
        | Action::Disconnect
        | Action::Rename
        | Action::Restart
        | Action::Replace
        | Action::Stop
        | Action::Tag
        | Action::Remove => false,
    }
}

/// Says whether a step is not waited for once the pass is to end: nothing is lost with an image that is half made, and
/// the engine gives up when nobody listens any more. What it has done so far makes the next try shorter.
fn is_dropped(step: &Step) -> bool {
    match &step.work {
        Work::Build { .. } => true,
        Work::Calls(calls) => calls.iter().all(|call| matches!(call, Call::PullImage { .. })),
        Work::Guarded { .. }
        | Work::Network { .. }
        | Work::Clear(_)
        | Work::Phase(_)
        | Work::Identity(_)
        | Work::Populate(_)
        | Work::Create(_)
        | Work::Start { .. }
        | Work::Replace { .. } => false,
    }
}

/// Says whether a step is given up once the pass is to end, and removes what it works in: the next pass begins it anew.
fn is_cleared(step: &Step) -> bool {
    matches!(step.work, Work::Phase(_))
}

async fn carry_out<L: Listener + ?Sized + 'static>(
    step: &Step,
    engine: &Patient<'_, impl Engine>,
    listener: &std::sync::Arc<L>,
    stop: &Stop,
    learned: Learned,
) -> Done {
    let begun = Instant::now();
    let engine = engine.view();
    let progress = Progress::to({
        let (listener, step) = (std::sync::Arc::clone(listener), step.clone());
        move |event| listener.progress(&step, event)
    });
    let mut protocol = protocol::of(step, &learned);
    let carried = if is_dropped(step) {
        tokio::select! {
            biased;
            carried = protocol::drive(protocol.as_mut(), &engine, &progress) => carried,
            () = stop.wished() => Err(Undone::Used("interrupted".to_owned())),
        }
    } else if is_cleared(step) {
        // Whatever runs inside ends with its container; a call under way is not cut, or what it makes stays.
        let ended = protocol::drive_until(protocol.as_mut(), &engine, &progress, stop.wished()).await;
        ended.unwrap_or_else(|| Err(Undone::Used("interrupted".to_owned())))
    } else {
        protocol::drive(protocol.as_mut(), &engine, &progress).await
    };
    let (outcome, error) = match carried {
        Ok(()) => (Outcome::Done, None),
        Err(Undone::Failed(failure)) => (Outcome::Failed, Some(failure)),
        Err(Undone::Used(who)) => (Outcome::Skipped, Some(Failure::new(who))),
        Err(Undone::Busy(detail)) => (Outcome::Blocked, Some(Failure::new(format!("busy: {detail}")))),
    };
    let seconds = begun.elapsed().as_secs_f64();
    tracing::debug!(
        id = step.id,
        action = step.action.as_str(),
        name = step.resource.name,
        ?outcome,
        seconds,
        "step"
    );
    Done {
        step: step.clone(),
        outcome,
        seconds,
        retries: engine.retries(),
        error,
    }
}
