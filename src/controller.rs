//! The loop: wait for a trigger, make a pass, wait again, stop cleanly.
//!
//! What was observed is kept, so that a small change costs a small look; since notices get lost, everything is looked
//! at from time to time all the same. While the engine cannot be seen nothing is done: what cannot be seen is not
//! missing.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::apply::Stop;
use crate::claim::{Stake, Turn};
use crate::engine::{Engine, EngineError, Notices};
use crate::observe::Changes;
use crate::observed::Observed;
use crate::plan::{Consent, Widen};
use crate::reconcile::{Intent, Look};
use crate::report::{Condition, ConditionKind};
use crate::step::{BlockedReason, Resource};

pub mod backoff;
pub mod files;
pub mod news;
mod pass;
pub mod trigger;

pub use news::{Audience, News, Refusal};

use backoff::{Backoff, Jitter, delay};
use pass::Passed;
use trigger::{Inbox, Interest, Pending, Reason};

/// How often containers that wait for their sessions to end are asked again.
const BUSY: Duration = Duration::from_secs(2);
/// How long the engine is left alone at most before it is looked for again.
const RECONNECT: Duration = Duration::from_secs(30);
/// How often something may have failed in a row before whoever waits for it is told that it will not come.
const HOPELESS: u32 = 5;

/// Where the manifest comes from.
pub trait Source: Send {
    /// Waits until a file that the manifest is made of may have changed.
    ///
    /// # Cancel safety
    /// Nothing is missed when the future is dropped.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    /// Reads everything again; `None` if nothing has changed.
    ///
    /// # Errors
    /// Why what is there now is not taken up.
    fn reload(&mut self) -> impl Future<Output = Result<Option<Arc<dyn Intent>>, Refusal>> + Send;

    /// Returns why changes may be noticed late, if they may.
    fn obstacle(&self) -> Option<String> {
        None
    }
}

/// How the loop goes about it.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// How to ask for the turn to write; none where nobody else writes.
    pub turn: Option<Turn<'a>>,
    /// What the person allows.
    pub consent: Consent,
    /// How often everything is looked at.
    pub resync: Duration,
    /// Whether to end once everything is as wanted and ready.
    pub once_ready: bool,
    /// Chance for all delays.
    pub jitter: Jitter,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody wished so.
    Stopped,
    /// Everything is as wanted and ready.
    Ready,
    /// All that is left needs a person.
    Blocked,
    /// Something fails again and again.
    Failed,
}

/// Keeps the engine as the manifest wants it until somebody wishes otherwise.
///
/// # Guarantees
/// One pass at a time; whatever happens during one makes exactly one more. After the wish to stop, the step in hand is
/// finished and nothing else is begun.
///
/// # Errors
/// The engine could not be asked even once. Nothing was touched.
pub async fn watch<A: Audience + 'static>(
    engine: &impl Engine,
    (source, intent): (&mut impl Source, Arc<dyn Intent>),
    settings: Settings<'_>,
    audience: &Arc<A>,
    stop: &Stop,
) -> Result<End, EngineError> {
    let mut controller = Controller {
        engine,
        audience,
        stop,
        stake: None,
        intent,
        inbox: Arc::default(),
        listening: None,
        held: None,
        backoff: Backoff::default(),
        state: State::default(),
        link: Link::default(),
        resync_at: Instant::now() + settings.resync,
        settings,
    };
    let end = controller.keep(source).await;
    // It would end by itself, a little later.
    if let (Some(stake), Some(_)) = (controller.stake.take(), &controller.listening) {
        stake.remove(engine).await;
    }
    end
}

/// The loop with everything it remembers.
struct Controller<'a, E, A> {
    engine: &'a E,
    audience: &'a Arc<A>,
    stop: &'a Stop,
    settings: Settings<'a>,
    /// What makes the next claim quick.
    stake: Option<Stake>,
    /// The last good manifest.
    intent: Arc<dyn Intent>,
    inbox: Arc<Inbox>,
    /// The task that hears the engine; none while it is away.
    listening: Option<Listening>,
    /// What was seen last; none when that is worth nothing any more.
    held: Option<Observed>,
    backoff: Backoff,
    state: State,
    link: Link,
    resync_at: Instant,
}

/// What follows from the last pass, and what was told.
struct State {
    /// Whether no pass has succeeded yet.
    first: bool,
    /// Whether nothing was seen since the engine was found.
    found: bool,
    /// When something is tried again.
    retry_at: Option<Instant>,
    /// When containers in use are asked again.
    poll_at: Option<Instant>,
    /// How it would end now for whoever waits for it to be ready.
    end: Option<End>,
    conditions: BTreeMap<String, Condition>,
    blocked: BTreeSet<(Resource, BlockedReason, String)>,
    converged: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            first: true,
            found: false,
            retry_at: None,
            poll_at: None,
            end: None,
            conditions: BTreeMap::new(),
            blocked: BTreeSet::new(),
            converged: false,
        }
    }
}

/// The way to the engine.
#[derive(Default)]
struct Link {
    failures: u32,
    retry_at: Option<Instant>,
}

/// A task that ends with this value.
struct Listening(JoinHandle<()>);

impl Listening {
    fn to(mut notices: Notices, inbox: Arc<Inbox>) -> Self {
        Self(tokio::spawn(async move {
            while let Some(notice) = notices.next().await {
                match notice {
                    Ok(notice) => inbox.noticed(notice),
                    Err(error) => return inbox.lost(error),
                }
            }
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<E: Engine, A: Audience + 'static> Controller<'_, E, A> {
    /// Does what [`watch`] does.
    async fn keep(&mut self, source: &mut impl Source) -> Result<End, EngineError> {
        self.connect(Reason::Start).await?;
        self.unwatched(source);
        loop {
            let pending = tokio::select! {
                biased;
                () = self.stop.wished() => return Ok(End::Stopped),
                pending = self.next(source) => pending,
            };
            let changed = pending.files && self.reload(source).await;
            let only_files = pending.reasons.keys().all(|reason| *reason == Reason::Files);
            // Reconnecting looks at everything.
            if self.listening.is_none() || (only_files && !changed) {
                continue;
            }
            if let Err(error) = self.pass(pending).await {
                if self.state.first {
                    return Err(error);
                }
                self.lose(&error);
            }
            if self.stop.is_wished() {
                return Ok(End::Stopped);
            }
            if let Some(end) = self.state.end.filter(|_| self.settings.once_ready) {
                return Ok(end);
            }
        }
    }

    /// Waits until there is something to do, and returns what.
    async fn next(&mut self, source: &mut impl Source) -> Pending {
        loop {
            if let Some(error) = self.inbox.take_lost() {
                self.lose(&error);
            }
            if self.listening.is_none()
                && self.link.retry_at.is_none_or(|at| at <= Instant::now())
                && let Err(error) = self.connect(Reason::Connected).await
            {
                self.lose(&error);
            }
            self.post_due();
            if self.inbox.due().is_some_and(|due| due <= Instant::now()) {
                return self.inbox.take();
            }
            let wake = self.wake_at();
            tokio::select! {
                () = self.inbox.rung() => {}
                () = source.changed() => self.inbox.post(Reason::Files, Changes::default()),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Posts what the clock asks for.
    fn post_due(&mut self) {
        let now = Instant::now();
        if self.resync_at <= now {
            self.resync_at = now + self.settings.jitter.longer(self.settings.resync);
            self.inbox.post(Reason::Resync, Changes::everything());
            self.audience.waited();
        }
        if self.listening.is_none() {
            return;
        }
        if self.state.retry_at.is_some_and(|at| at <= now) {
            self.state.retry_at = None;
            self.inbox.post(Reason::Retry, Changes::default());
        }
        if self.state.poll_at.is_some_and(|at| at <= now) {
            self.state.poll_at = None;
            self.inbox.post(Reason::Idle, Changes::default());
        }
    }

    fn wake_at(&self) -> Instant {
        let clock = if self.listening.is_some() {
            [self.state.retry_at, self.state.poll_at]
        } else {
            [self.link.retry_at, None]
        };
        clock
            .into_iter()
            .chain([self.inbox.due()])
            .flatten()
            .fold(self.resync_at, Instant::min)
    }

    /// Subscribes, and asks for a look at everything: in this order, so that nothing falls between.
    async fn connect(&mut self, reason: Reason) -> Result<(), EngineError> {
        self.inbox.interested(None);
        let notices = self.engine.subscribe(self.intent.owner()).await?;
        self.listening = Some(Listening::to(notices, Arc::clone(&self.inbox)));
        self.held = None;
        self.state.found = true;
        self.inbox.post(reason, Changes::everything());
        Ok(())
    }

    /// Takes in that the engine cannot be seen.
    fn lose(&mut self, error: &EngineError) {
        self.listening = None;
        self.held = None;
        let _known = self.inbox.take_lost();
        if self.inbox.take().files {
            self.inbox.post(Reason::Files, Changes::default());
        }
        self.link.failures = self.link.failures.saturating_add(1);
        let wait = (delay(self.link.failures) / 2).min(RECONNECT);
        self.link.retry_at = Some(Instant::now() + self.settings.jitter.shorter(wait));
        self.state.converged = false;
        let reason = match error {
            EngineError::Unreachable { .. } => "EngineUnreachable",
            EngineError::NotFound { .. }
            | EngineError::Conflict { .. }
            | EngineError::Refused { .. }
            | EngineError::Failed { .. }
            | EngineError::Work { .. }
            | EngineError::Absent { .. }
            | EngineError::Unexpected { .. } => "EngineFails",
        };
        self.holds("Engine", Some((reason, error.to_string())), None);
    }

    /// Reads the manifest again, and says whether another one is in force now; one that is not good changes nothing.
    async fn reload(&mut self, source: &mut impl Source) -> bool {
        let reloaded = source.reload().await;
        self.unwatched(source);
        match reloaded {
            Ok(None) => self.holds("Manifest", None, None),
            Ok(Some(intent)) => {
                self.intent = intent;
                self.holds("Manifest", None, None);
                self.audience.told(News::Reloaded(self.intent.info()));
                return true;
            }
            Err(refusal) => {
                let reason = match &refusal {
                    Refusal::Invalid(_) => "InvalidManifest",
                    Refusal::Moved { .. } => "RestartNeeded",
                };
                self.holds("Manifest", Some((reason, refusal.summary())), Some(refusal));
            }
        }
        false
    }

    /// Tells why changes of files may be noticed late, if they may.
    fn unwatched(&mut self, source: &impl Source) {
        let obstacle = source.obstacle();
        self.holds("Files", obstacle.map(|text| ("FilesUnwatched", text)), None);
    }

    /// Tells of a condition when it begins, changes or ends.
    fn holds(&mut self, topic: &str, problem: Option<(&str, String)>, refusal: Option<Refusal>) {
        let degraded = ConditionKind::Degraded;
        match problem {
            Some((reason, message)) => {
                let condition = Condition::new(degraded, true, reason, message);
                if self.state.conditions.get(topic) != Some(&condition) {
                    self.audience.told(News::Condition(&condition, refusal));
                    self.state.conditions.insert(topic.to_owned(), condition);
                }
            }
            None => {
                if let Some(mut condition) = self.state.conditions.remove(topic) {
                    condition.status = crate::report::Truth::False;
                    self.audience.told(News::Condition(&condition, None));
                }
            }
        }
    }

    /// Makes one pass over what may have changed.
    async fn pass(&mut self, pending: Pending) -> Result<(), EngineError> {
        let begun = Instant::now();
        let why = pending.why();
        let everything = pending.changes.everything;
        let passed = pass::pass(self, pending.changes).await?;
        let now = Instant::now();
        if everything {
            self.resync_at = now + self.settings.jitter.longer(self.settings.resync);
        }
        tracing::info!(
            trigger = why,
            steps = passed.done.len(),
            left = passed.look.plan.steps.len(),
            blocked = passed.look.plan.blocked.len(),
            seconds = (now - begun).as_secs_f64(),
            "pass"
        );
        self.settle(passed, now);
        Ok(())
    }

    /// Tells that everything was seen, once.
    fn found(&mut self, look: &Look) {
        self.state.first = false;
        self.link = Link::default();
        self.holds("Engine", None, None);
        if std::mem::take(&mut self.state.found) {
            self.audience.told(News::Watching {
                manifest: &look.plan.manifest,
                engine: &look.plan.engine,
            });
        }
    }

    /// Draws the conclusions of a pass: what is told, and when the next one is due.
    fn settle(&mut self, passed: Passed, now: Instant) {
        let Passed { look, done, waits } = passed;
        let busy = pass::busy_containers(&look);
        self.inbox.interested(Some(Interest::of(&look, busy.clone())));
        self.inbox.asked();
        for wait in &waits {
            if wait.news {
                self.audience.told(News::Waits {
                    resource: &wait.resource,
                    attempts: wait.attempts,
                    delay: wait.until.map(|until| until.saturating_duration_since(now)),
                });
            }
        }
        let blocked: BTreeSet<_> = look
            .plan
            .blocked
            .iter()
            .map(|one| (one.resource.clone(), one.reason, one.detail.clone()))
            .collect();
        for one in &look.plan.blocked {
            let key = (one.resource.clone(), one.reason, one.detail.clone());
            if !self.state.blocked.contains(&key) {
                self.audience.told(News::Blocked(one));
            }
        }
        self.state.blocked = blocked;
        let converged = look.plan.is_empty();
        if converged && (!self.state.converged || !done.is_empty()) {
            self.audience.told(News::Converged(&look.plan));
        }
        self.state.converged = converged;
        self.state.poll_at = (!busy.is_empty()).then(|| now + BUSY);
        // What is left and waits for nothing was interrupted, or came up while the rest was done.
        let left = pass::open_steps(&look.plan, &waits);
        let next = left.then(|| now + delay(1));
        self.state.retry_at = waits.iter().filter_map(|wait| wait.until).chain(next).min();
        let failing = waits
            .iter()
            .any(|wait| wait.until.is_none() || wait.attempts >= HOPELESS);
        let waiting = !look.plan.steps.is_empty() || !look.plan.unknown.is_empty() || !busy.is_empty();
        self.state.end = if failing {
            Some(End::Failed)
        } else if waiting {
            None
        } else if !look.plan.blocked.is_empty() {
            Some(End::Blocked)
        } else {
            let status = crate::status::status(&look.desired, &look.observed, &look.plan);
            status.is_good().then_some(End::Ready)
        };
        self.learn(&look.observed);
        self.held = Some(look.observed);
    }

    /// Remembers what the sandboxes have: one that goes away may have it again.
    fn learn(&mut self, observed: &Observed) {
        if let Widen::UpTo(baseline) = &mut self.settings.consent.widen {
            Arc::make_mut(baseline).learn(observed);
        }
    }
}
