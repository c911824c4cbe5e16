//! What the documents say of what happens.

use schemars::JsonSchema;
use serde::Serialize;

use super::{API_VERSION, Blocked, Engine, Failure, Problem, Retries};
use crate::cli::output::clean;
use crate::cli::viewpoint::Viewpoint;
use crate::manifest::phase::PhaseName;
use crate::progress;
use crate::report::{self, Condition, Outcome};
use crate::step::{self, Action, ManifestInfo, Work};

document! {
    /// One line of `--progress json`, and of `watch -o json`.
    Event<'a>, "Event" {
        /// When it happened, RFC 3339.
        time: String,
        /// What happened.
        event: Happening,
        /// Of a step: its number, counted from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<u32>,
        /// Of a step, `waiting`: the resource.
        #[serde(skip_serializing_if = "Option::is_none")]
        resource: Option<&'a step::Resource>,
        /// Of a step: what is done to its resource.
        #[serde(skip_serializing_if = "Option::is_none")]
        action: Option<Action>,
        /// `cached`, `ready`, and of a step that does one: the phase.
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<PhaseEvent>,
        /// `line`: the line of output, `progress`: what is counted.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// `progress`: how much is done, in bytes or steps.
        #[serde(skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        /// `progress`: how much there is, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// `ready`: the phases that were not done, since what they leave was there.
        #[serde(skip_serializing_if = "Option::is_none")]
        cached: Option<Vec<u8>>,
        /// `finished`: what came of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        /// `finished`, `ready`: how long it took; `waiting`: how long until it is tried again, absent if it is not before its
        /// part of the manifest changes.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// `finished`: how often the engine had to be asked again; absent if never.
        #[serde(skip_serializing_if = "Option::is_none")]
        retries: Option<Retries>,
        /// `finished`: why it failed or was skipped.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Failure>,
        /// `waiting`: how often it was tried in a row.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: Option<u32>,
        /// `watching`, `reloaded`: the manifest.
        #[serde(skip_serializing_if = "Option::is_none")]
        manifest: Option<&'a ManifestInfo>,
        /// `watching`: the engine.
        #[serde(skip_serializing_if = "Option::is_none")]
        engine: Option<Engine<'a>>,
        /// `condition`: the condition.
        #[serde(skip_serializing_if = "Option::is_none")]
        condition: Option<&'a Condition>,
        /// `condition`: what is wrong with the manifest.
        #[serde(skip_serializing_if = "Option::is_none")]
        problems: Option<Vec<Problem<'a>>>,
        /// `blocked`: what needs a person.
        #[serde(skip_serializing_if = "Option::is_none")]
        blocked: Option<Blocked<'a>>,
    }
}

/// What happened: to a step, and in `watch` besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Happening {
    /// A step began.
    Started,
    /// A step came further.
    Progress,
    /// A step had something to say.
    Line,
    /// A step has an outcome.
    Finished,
    /// A phase is not done, since what it leaves is there.
    Cached,
    /// All phases of a stage are done.
    Ready,
    /// Everything was seen, for the first time or after the engine was away.
    Watching,
    /// The manifest was changed and is in force.
    Reloaded,
    /// A condition begins to hold, or no longer does.
    Condition,
    /// Something needs a person.
    Blocked,
    /// Something that did not work is tried again later.
    Waiting,
    /// Nothing is left to do.
    Converged,
}

/// A phase, or all of those of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PhaseEvent", deny_unknown_fields)]
pub struct PhaseEvent {
    /// The stage: `foundation`, `base` or `extension`.
    pub stage: String,
    /// The number of the phase; absent for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u8>,
    /// The name of the phase; absent for all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// The number of the last phase.
    pub last: u8,
    /// The courtesy tag of its snapshot; absent if it leaves none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

impl<'a> Event<'a> {
    /// Makes the document of something that happened; the rest is filled in.
    pub fn new(event: Happening, time: String) -> Self {
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            time,
            event,
            step: None,
            resource: None,
            action: None,
            phase: None,
            text: None,
            done: None,
            total: None,
            cached: None,
            outcome: None,
            seconds: None,
            retries: None,
            error: None,
            attempts: None,
            manifest: None,
            engine: None,
            condition: None,
            problems: None,
            blocked: None,
        }
    }

    /// Makes the document of an event at the begin of a step; the rest is filled in.
    pub fn of(step: &'a step::Step, time: String) -> Self {
        Self {
            step: Some(step.id),
            resource: Some(&step.resource),
            action: Some(step.action),
            phase: PhaseEvent::of(step),
            ..Self::new(Happening::Started, time)
        }
    }

    /// Fills in the outcome of a step.
    pub fn finished(&mut self, done: &report::Done, viewpoint: Viewpoint<'_>) {
        self.event = Happening::Finished;
        self.outcome = Some(done.outcome);
        self.seconds = Some(done.seconds);
        self.retries = done.retries.as_ref().map(Retries::of);
        self.error = done.error.as_ref().map(|error| Failure::of(error, viewpoint));
    }
}

impl Event<'_> {
    /// Fills in what a step had to tell.
    pub fn happened(&mut self, event: progress::Event) {
        match event {
            progress::Event::Line(text) => {
                self.event = Happening::Line;
                self.text = Some(clean(&text));
            }
            progress::Event::Amount { of, done, total } => {
                self.event = Happening::Progress;
                self.text = Some(clean(&of));
                self.done = Some(done);
                self.total = total;
            }
        }
    }
}

impl PhaseEvent {
    /// Makes the part of an event that tells of a phase, if the step does one.
    fn of(step: &step::Step) -> Option<Self> {
        let Work::Phase(work) = &step.work else {
            return None;
        };
        Some(Self {
            stage: work.stage.clone(),
            id: Some(work.name.id()),
            name: Some(work.name.as_str()),
            last: PhaseName::Final.id(),
            snapshot: work.alias().map(str::to_owned),
        })
    }
}
