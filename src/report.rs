//! [`Report`] and [`Status`]: what came of a plan, and how every resource stands.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::lock::Change;
use crate::manifest::place::Place;
use crate::observed::{EngineInfo, Health, Hold, RunState};
use crate::step::{Blocked, ManifestInfo, Resource, ResourceKind, Step};

/// What came of one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The manifest.
    pub manifest: ManifestInfo,
    /// The engine.
    pub engine: EngineInfo,
    /// What changed in the lock before anything was done.
    pub pinned: Vec<Change>,
    /// Every step with its outcome.
    pub steps: Vec<Done>,
    /// What needs a person first.
    pub blocked: Vec<Blocked>,
    /// What was as it should be.
    pub unchanged: Vec<Resource>,
    /// What else the person should know.
    pub notes: Vec<String>,
    /// How the manifest stands after the pass.
    pub conditions: Vec<Condition>,
    /// Whether nothing was left to do when it was looked at again.
    pub converged: bool,
    /// Whether the pass was ended early by a signal.
    pub interrupted: bool,
}

/// A step with its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The step.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How often the engine had to be asked again; `None` if never.
    pub retries: Option<Retries>,
    /// Why it failed or was skipped.
    pub error: Option<Failure>,
}

/// How often the engine was asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// How often a request was sent again.
    pub times: u32,
    /// How long was waited before that, all in all.
    pub waited: Duration,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It was not.
    Failed,
    /// Something it needs failed, or the pass was interrupted.
    Skipped,
    /// Somebody began to work in what it would have interrupted; nothing was touched.
    Blocked,
}

impl Outcome {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Blocked => "blocked",
        }
    }
}

/// Why a step failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// Where that is written, if it is in a file.
    pub at: Option<Place>,
    /// The last lines of its output.
    pub log: Vec<String>,
    /// What most often helps.
    pub hint: Option<String>,
}

impl Failure {
    /// Returns a failure without output.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// Adds where it is written.
    #[must_use]
    pub fn at(self, at: Option<Place>) -> Self {
        Self { at, ..self }
    }

    /// Adds the last lines of the output.
    #[must_use]
    pub fn log(self, log: Vec<String>) -> Self {
        Self { log, ..self }
    }

    /// Adds what most often helps.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// One condition, as in Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionKind,
    /// Whether it holds.
    pub status: Truth,
    /// Why, in one `CamelCase` word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when, RFC 3339, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum ConditionKind {
    /// The resource is as the manifest wants it.
    Converged,
    /// The resource can be used.
    Ready,
    /// A person is needed.
    Blocked,
    /// Something is wrong that aishell cannot put right.
    Degraded,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    Unknown,
}

impl Condition {
    /// Returns a condition.
    pub fn new(kind: ConditionKind, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        let status = if holds { Truth::True } else { Truth::False };
        Self {
            kind,
            status,
            reason: reason.to_owned(),
            message: message.into(),
            since: None,
        }
    }
}

/// How every resource of a manifest stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The manifest.
    pub manifest: ManifestInfo,
    /// The engine.
    pub engine: EngineInfo,
    /// Every resource.
    pub resources: Vec<ResourceStatus>,
    /// How the manifest stands as a whole.
    pub conditions: Vec<Condition>,
    /// What else the person should know.
    pub notes: Vec<String>,
}

/// How one resource stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceStatus {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// What containers have besides.
    pub container: Option<ContainerStatus>,
    /// What harness volumes have besides.
    pub harness_set: Option<SetStatus>,
}

/// What the status of a harness volume says besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetStatus {
    /// Its members with their versions.
    pub members: Vec<(String, String)>,
    /// The containers that have it mounted: those of the manifest by their names there, others by the engine's.
    pub users: Vec<String>,
    /// How many files it has and how large they are, in bytes, where that was looked at.
    pub size: Option<(u64, u64)>,
}

/// What the status of a container says besides.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStatus {
    /// What it is doing; `None` when it does not exist.
    pub state: Option<RunState>,
    /// The verdict of its health check.
    pub health: Option<Health>,
    /// Whether it can be used.
    pub ready: bool,
    /// Who stopped it by hand, if it is to stay so.
    pub hold: Option<Hold>,
    /// Its image.
    pub image: String,
    /// The harness its sessions open.
    pub harness: Option<String>,
    /// Open sessions, where that is known.
    pub sessions: Option<u32>,
    /// When it was created, RFC 3339.
    pub created: Option<String>,
    /// When it was last started, RFC 3339.
    pub started_at: Option<String>,
}

impl Status {
    /// Says whether every resource is converged, and ready unless somebody wants it to stay stopped.
    pub fn is_good(&self) -> bool {
        self.resources.iter().all(|resource| {
            let held = |container: &ContainerStatus| container.hold.is_some();
            let held = resource.container.as_ref().is_some_and(held);
            resource.conditions.iter().all(|condition| match condition.kind {
                ConditionKind::Ready if held => true,
                ConditionKind::Converged | ConditionKind::Ready => condition.status == Truth::True,
                ConditionKind::Blocked | ConditionKind::Degraded => condition.status != Truth::True,
            })
        })
    }
}
