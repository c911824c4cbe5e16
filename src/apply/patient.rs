//! [`Patient`]: an engine that is waited for when it goes away, and asked again.
//!
//! While a plan is carried out the engine may be started anew, or the way to it may break. Whoever gave up at once
//! would leave half of the work behind; whoever sent everything again would do it twice. So a question is asked again,
//! a change is sent again where that does no harm, and where it would, [`Doubt`] looks first whether it was made.
//!
//! A first look is made without this: an engine that was never there is told at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::doubt::{self, Seen};
use super::{Listener, Stop};
use crate::call::{Answer, Call};
use crate::engine::{Engine, EngineError, Lifeline, Notices};
use crate::label::{OwnedId, Owner, UID};
use crate::progress::Progress;
use crate::report::Retries;

/// How long an engine may be away.
const LIMIT: Duration = Duration::from_secs(30);
/// How long to wait before the first repetition; doubled each time.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two repetitions.
const LONGEST: Duration = Duration::from_secs(3);
/// How often a call is sent that the engine answers with a failure of its own.
const TRIES: u32 = 4;
/// How long an engine may be away before anybody is told.
const MOMENT: Duration = Duration::from_secs(1);
/// How often to look again where the engine may still be at work on a change that it was cut off from.
const LOOKS: u32 = 20;
/// How long to wait between two such looks.
const LOOK: Duration = Duration::from_millis(100);

/// An engine that is waited for. All views of one share what they know of its absence.
pub struct Patient<'e, E> {
    engine: &'e E,
    shared: Arc<Shared>,
    /// How often calls through this view were repeated.
    tally: Arc<Mutex<Retries>>,
}

/// What all views know.
struct Shared {
    stop: Stop,
    tell: Box<dyn Fn(&str) + Send + Sync>,
    away: Mutex<Away>,
    /// When containers were started last, by id, as far as that was seen.
    started: Mutex<BTreeMap<String, Option<String>>>,
}

/// Whether the engine is away.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    told: bool,
}

/// What one call has gone through.
#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
    lost: u32,
    failed: u32,
    /// Whether it may have been carried out already.
    doubtful: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'e, E: Engine> Patient<'e, E> {
    /// Waits for an engine until somebody wishes to stop; whoever listens is told when that takes long.
    pub fn new<L: Listener + ?Sized + 'static>(engine: &'e E, listener: &Arc<L>, stop: &Stop) -> Self {
        let listener = Arc::clone(listener);
        let shared = Shared {
            stop: stop.clone(),
            tell: Box::new(move |text| listener.said(text)),
            away: Mutex::default(),
            started: Mutex::default(),
        };
        Self {
            engine,
            shared: Arc::new(shared),
            tally: Arc::default(),
        }
    }

    /// Returns a view that counts for itself.
    pub(super) fn view(&self) -> Self {
        Self {
            engine: self.engine,
            shared: Arc::clone(&self.shared),
            tally: Arc::default(),
        }
    }

    /// Returns how often calls through this view were repeated.
    pub(super) fn retries(&self) -> Option<Retries> {
        let retries = *lock(&self.tally);
        (retries.times > 0).then_some(retries)
    }

    /// Sends a call until it is answered, as far as that makes sense.
    async fn persist(&self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        let mut trouble = Trouble::default();
        let since = Instant::now();
        loop {
            let asked = Instant::now();
            let result = if trouble.doubtful {
                self.settle(call, since, progress).await
            } else {
                self.engine.call(call, progress).await
            };
            let error = match result {
                Err(error @ (EngineError::Unreachable { .. } | EngineError::Failed { .. })) => error,
                result => {
                    self.answered();
                    return result;
                }
            };
            let heard = !matches!(error, EngineError::Unreachable { heard: false, .. });
            trouble.doubtful |= call.is_write() && heard;
            let wait = if trouble.doubtful && doubt::is_final(call) {
                None
            } else {
                self.wait(call, (&error, asked), &mut trouble)
            };
            let Some(wait) = wait else { return Err(error) };
            if !self.waited(call, &error, (wait, &trouble), progress).await {
                return Err(error);
            }
        }
    }

    /// Returns how long to wait before a call is sent again; `None` where it is not.
    fn wait(
        &self,
        call: &Call,
        (error, asked): (&EngineError, Instant),
        trouble: &mut Trouble,
    ) -> Option<Duration> {
        let now = Instant::now();
        if self.shared.stop.is_wished() {
            return None;
        }
        let begun = *trouble.since.get_or_insert(now);
        if matches!(error, EngineError::Unreachable { .. }) {
            let away = *lock(&self.shared.away).since.get_or_insert(now);
            let left = LIMIT.checked_sub(now - begun.min(away))?;
            // One that takes connections and says nothing would be asked for minutes.
            let mute = now - asked >= LIMIT && !doubt::takes_long(call);
            trouble.lost += 1;
            (!left.is_zero() && !mute).then(|| self.spread(FIRST, trouble.lost).min(left))
        } else {
            self.answered();
            trouble.failed += 1;
            (trouble.failed < TRIES).then(|| self.spread(FIRST * 2, trouble.failed))
        }
    }

    /// Returns a wait that is doubled each time, up to a fifth shorter by chance.
    fn spread(&self, first: Duration, times: u32) -> Duration {
        let doubled = first.saturating_mul(1_u32.checked_shl(times - 1).unwrap_or(u32::MAX));
        let chance = self.engine.identifier().unwrap_or_default();
        let chance = chance
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let part = f64::from(chance.unwrap_or_default()) / f64::from(u8::MAX);
        doubled.min(LONGEST).mul_f64(1.0 - part / 5.0)
    }

    /// Waits, and says whether to go on.
    async fn waited(
        &self,
        call: &Call,
        error: &EngineError,
        (wait, trouble): (Duration, &Trouble),
        progress: &Progress,
    ) -> bool {
        tracing::info!(
            call = call.name(),
            %error,
            again = trouble.lost + trouble.failed,
            wait = wait.as_secs_f64(),
            "trying again"
        );
        progress.line(format!("waiting for the engine: {error}"));
        let long = {
            let mut away = lock(&self.shared.away);
            let long = away
                .since
                .is_some_and(|since| Instant::now() + wait - since >= MOMENT);
            long && !std::mem::replace(&mut away.told, long)
        };
        if long {
            (self.shared.tell)(&format!("waiting for the engine: {error}"));
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = self.shared.stop.wished() => return false,
        }
        let mut tally = lock(&self.tally);
        tally.times = tally.times.saturating_add(1);
        tally.waited += wait;
        true
    }

    /// Takes in that the engine is there.
    fn answered(&self) {
        let away = std::mem::take(&mut *lock(&self.shared.away));
        if let (Some(since), true) = (away.since, away.told) {
            let seconds = since.elapsed().as_secs_f64();
            (self.shared.tell)(&format!("the engine answers again after {seconds:.1} s"));
        }
    }

    /// Sends a call again that may have been carried out, unless it was.
    async fn settle(&self, call: &Call, since: Instant, progress: &Progress) -> Result<Answer, EngineError> {
        let mut looks = 0;
        loop {
            match self.look(call).await? {
                Seen::Done(answer) => return Ok(answer),
                Seen::Taken => return self.engine.call(call, progress).await,
                Seen::Unclear(message) => return Err(EngineError::Refused { message }),
                Seen::Undone if doubt::shows_late(call) && looks < LOOKS => {}
                Seen::Undone => match self.engine.call(call, progress).await {
                    Err(EngineError::NotFound { .. }) if doubt::removes(call) => return Ok(Answer::Done),
                    // Engines that are stopped while they make a volume leave it without labels.
                    Ok(Answer::Volume(reply)) if reply.labels.is_empty() && looks < LOOKS => {
                        if !doubt::is_half_made(call, &reply, self.engine_time(since).await) {
                            return Ok(Answer::Volume(reply));
                        }
                        let volume = OwnedId::made(&reply.name);
                        let remove = Call::RemoveVolume { volume };
                        if self.engine.call(&remove, &Progress::default()).await.is_err() {
                            return Ok(Answer::Volume(reply));
                        }
                    }
                    // It is being made, or on its way out.
                    Err(EngineError::Conflict { .. }) if doubt::meets_itself(call) && looks < LOOKS => {}
                    result => return result,
                },
            }
            looks += 1;
            sleep(LOOK).await;
        }
    }

    /// Returns when something was by the clock of the engine; by the own one where the engine does not tell.
    async fn engine_time(&self, when: Instant) -> Timestamp {
        let now = match self.engine.call(&Call::Clock, &Progress::default()).await {
            Ok(Answer::Time(now)) => now,
            Ok(_) | Err(_) => Timestamp::now(),
        };
        now.checked_sub(when.elapsed()).unwrap_or(now)
    }

    /// Looks whether a change was made.
    async fn look(&self, call: &Call) -> Result<Seen, EngineError> {
        let mut answers = Vec::new();
        loop {
            let judged = {
                let started = lock(&self.shared.started);
                doubt::judge(call, &answers, &started)
            };
            let question = match judged {
                Ok(seen) => return Ok(seen),
                Err(question) => question,
            };
            answers.push(match self.engine.call(&question, &Progress::default()).await {
                Ok(answer) => Some(answer),
                Err(error @ (EngineError::Unreachable { .. } | EngineError::Failed { .. })) => {
                    return Err(error);
                }
                // It is not there, or not for us to see.
                Err(_) => None,
            });
        }
    }

    /// Remembers when a container was started last.
    fn note(&self, call: &Call, answer: &Answer) {
        let (id, started) = match (call, answer) {
            (Call::InspectContainer { .. }, Answer::Container(reply)) => (&reply.id, &reply.started),
            (Call::CreateContainer(_), Answer::Id(id)) => (id, &None),
            _ => return,
        };
        lock(&self.shared.started).insert(id.clone(), started.clone());
    }
}

impl<E: Engine> Engine for Patient<'_, E> {
    async fn call(&self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        let call = labelled(call, || self.engine.identifier())?;
        let answer = self.persist(&call, progress).await?;
        self.note(&call, &answer);
        Ok(answer)
    }

    async fn attach(&self, container: &str) -> Result<Lifeline, EngineError> {
        self.engine.attach(container).await
    }

    fn identifier(&self) -> Result<String, EngineError> {
        self.engine.identifier()
    }

    async fn subscribe(&self, owner: &Owner) -> Result<Notices, EngineError> {
        self.engine.subscribe(owner).await
    }
}

/// Returns a call with a random identifier in the labels of what it makes.
fn labelled(
    call: &Call,
    identifier: impl FnOnce() -> Result<String, EngineError>,
) -> Result<Cow<'_, Call>, EngineError> {
    if doubt::labels(call).is_none_or(|labels| labels.contains_key(UID)) {
        return Ok(Cow::Borrowed(call));
    }
    let mut call = call.clone();
    if let Some(labels) = doubt::labels_mut(&mut call) {
        labels.insert(UID.to_owned(), identifier()?);
    }
    Ok(Cow::Owned(call))
}
