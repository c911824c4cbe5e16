//! [`MemoryEngine`]: a whole engine held in a value, for laws, simulation and documentation.
//!
//! It answers every call as Docker 20.10 does, its traps included; what is said of the engine here was measured on
//! one. It runs no processes: what commands and jobs do is told to it beforehand (see [`Nature`]).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::{Answer, Call};
use crate::engine::{Engine, EngineError, Lifeline, Notice, Notices};
use crate::label::Owner;
use crate::progress::Progress;

mod build;
mod container;
mod difference;
mod file;
mod fixture;
mod hand;
mod image;
mod job;
mod limits;
mod merge;
mod nature;
mod network;
mod session;
mod tell;
mod volume;
mod world;

#[cfg(test)]
mod tests;

pub use file::Files;
pub use fixture::Blueprint;
pub use nature::{Fate, Job, Lister, Nature};
pub use volume::Volume;
pub use world::{Attachment, Container, Image, Network, World};

/// An engine whose objects are values of this process.
///
/// ```
/// use aishell::call::{Answer, Call};
/// use aishell::engine::Engine;
/// use aishell::engine::memory::{MemoryEngine, World};
/// use aishell::progress::Progress;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let engine = MemoryEngine::new(World::new().stranger_container("db"));
/// assert_eq!(engine.call(&Call::ListContainers, &Progress::default()).await?, Answer::Containers(vec![]));
/// assert_eq!(engine.calls(), [Call::ListContainers]);
/// # Ok::<(), aishell::engine::EngineError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct MemoryEngine(Arc<Mutex<Inside>>);

/// Whether the call at which the connection breaks still takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The engine never saw it.
    Before,
    /// The engine carried it out, and the answer was lost.
    After,
}

/// The calls at which the connection breaks, by their number.
type Outage = (std::ops::Range<usize>, Cut);

type Fault = Box<dyn Fn(&Call) -> Option<EngineError> + Send>;
type Event = Box<dyn FnOnce(&mut World) + Send>;

#[derive(Default)]
struct Inside {
    world: World,
    journal: Vec<Call>,
    cut: Option<Outage>,
    effects: Vec<Call>,
    faults: Vec<Fault>,
    events: Vec<(usize, Event)>,
    listeners: tell::Listeners,
}

impl MemoryEngine {
    /// Makes an engine of a world.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            world,
            ..Inside::default()
        })))
    }

    /// Returns a copy of the world as it is now.
    pub fn world(&self) -> World {
        self.inside().world.clone()
    }

    /// Returns every call so far, those that failed included.
    pub fn calls(&self) -> Vec<Call> {
        self.inside().journal.clone()
    }

    /// Returns the calls so far that could change anything.
    pub fn writes(&self) -> Vec<Call> {
        self.inside()
            .journal
            .iter()
            .filter(|call| call.is_write())
            .cloned()
            .collect()
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        let mut inside = self.inside();
        inside.journal.clear();
        inside.effects.clear();
    }

    /// Breaks the connection at a call, counted from now and from 0: it and every later one are
    /// [`EngineError::Unreachable`].
    pub fn cut(&self, at: usize, cut: Cut) {
        self.outage(at, usize::MAX, cut);
    }

    /// Breaks the connection at so many calls in a row, the first counted from now and from 0: [`Cut::After`] lets
    /// the first of them take effect, the others never do.
    pub fn outage(&self, at: usize, calls: usize, cut: Cut) {
        let mut inside = self.inside();
        let first = inside.journal.len() + at;
        inside.cut = Some((first..first.saturating_add(calls), cut));
    }

    /// Returns every change so far that took effect, heard or not.
    pub fn effects(&self) -> Vec<Call> {
        self.inside().effects.clone()
    }

    /// Lets every call for which a function names an error fail with it, without effect.
    pub fn fault(&self, fault: impl Fn(&Call) -> Option<EngineError> + Send + 'static) {
        self.inside().faults.push(Box::new(fault));
    }

    /// Takes away cuts, faults and events.
    pub fn mend(&self) {
        let mut inside = self.inside();
        inside.cut = None;
        inside.faults.clear();
        inside.events.clear();
    }

    /// Lets something happen right before a call, counted from now and from 0.
    pub fn before(&self, at: usize, event: impl FnOnce(&mut World) + Send + 'static) {
        let mut inside = self.inside();
        let index = inside.journal.len() + at;
        inside.events.push((index, Box::new(event)));
    }

    /// Changes the world behind aishell's back; no call is journalled.
    pub fn by_hand<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.inside().change(change)
    }

    /// From now on notices get lost, or arrive again.
    pub fn deafen(&self, deaf: bool) {
        self.inside().listeners.deaf = deaf;
    }

    /// Ends every subscription, as an engine does that is stopped.
    pub fn hang_up(&self) {
        self.inside().listeners.hang_up();
    }

    /// Tells everybody something whether or not it happened.
    pub fn notify(&self, notice: &Notice) {
        self.inside().listeners.tell(notice, None);
    }

    /// A panic in a test must not hide the world from the assertion that explains it.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody at the standard input of a container, who goes away with this value.
struct Input {
    inside: Arc<Mutex<Inside>>,
    container: String,
}

impl Drop for Input {
    fn drop(&mut self) {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.change(|world| world.hang_up(&self.container));
    }
}

impl Inside {
    /// Changes the world, and tells whoever listens what became of it.
    fn change<T>(&mut self, change: impl FnOnce(&mut World) -> T) -> T {
        if !self.listeners.any() {
            return change(&mut self.world);
        }
        let before = self.world.clone();
        let changed = change(&mut self.world);
        self.listeners.compare(&before, &self.world);
        changed
    }

    fn call(&mut self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        let index = self.journal.len();
        self.journal.push(call.clone());
        let due: Vec<_> = self.events.extract_if(.., |(at, _)| *at <= index).collect();
        for (_, event) in due {
            self.change(event);
        }
        match &self.cut {
            Some((calls, Cut::After)) if calls.start == index => {
                let _answer = self.answer(call, progress);
                return Err(self.lost());
            }
            Some((calls, _)) if calls.contains(&index) => return Err(self.lost()),
            Some(_) | None => {}
        }
        if let Some(error) = self.faults.iter().find_map(|fault| fault(call)) {
            return Err(error);
        }
        self.answer(call, progress)
    }

    fn answer(&mut self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        if !call.is_write() {
            return self.world.answer(call, progress);
        }
        let answer = self.change(|world| world.answer(call, progress));
        if answer.is_ok() {
            self.effects.push(call.clone());
        }
        answer
    }

    /// Says whether the connection is broken now.
    fn is_away(&self) -> bool {
        let next = self.journal.len();
        self.cut.as_ref().is_some_and(|(calls, _)| calls.contains(&next))
    }

    fn lost(&self) -> EngineError {
        EngineError::Unreachable {
            host: self.world.host().to_owned(),
            message: "the connection was cut".to_owned(),
            denied: false,
            heard: true,
        }
    }
}

impl Engine for MemoryEngine {
    async fn call(&self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        // Calls of concurrent branches interleave as they would on a socket.
        tokio::task::yield_now().await;
        self.inside().call(call, progress)
    }

    async fn attach(&self, container: &str) -> Result<Lifeline, EngineError> {
        tokio::task::yield_now().await;
        let inside = self.inside();
        if inside.is_away() {
            return Err(inside.lost());
        }
        let container = inside.world.container_id(container)?;
        Ok(Lifeline::new(Input {
            inside: Arc::clone(&self.0),
            container,
        }))
    }

    fn identifier(&self) -> Result<String, EngineError> {
        Ok(self.inside().world.identifier())
    }

    async fn subscribe(&self, owner: &Owner) -> Result<Notices, EngineError> {
        tokio::task::yield_now().await;
        let mut inside = self.inside();
        let lost = inside.lost();
        if inside.is_away() {
            return Err(lost);
        }
        Ok(inside.listeners.subscribe(owner, lost))
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.inside();
        formatter
            .debug_struct("MemoryEngine")
            .field("world", &inside.world)
            .field("calls", &inside.journal)
            .finish()
    }
}

fn not_found(message: impl Into<String>) -> EngineError {
    EngineError::NotFound {
        message: message.into(),
    }
}

fn conflict(message: impl Into<String>) -> EngineError {
    EngineError::Conflict {
        message: message.into(),
    }
}

fn refused(message: impl Into<String>) -> EngineError {
    EngineError::Refused {
        message: message.into(),
    }
}

fn failed(message: impl Into<String>) -> EngineError {
    EngineError::Failed {
        message: message.into(),
    }
}
