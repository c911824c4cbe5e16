//! Documents for programs: the shapes of `-o json`, written down by hand so that nothing inside can change them.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::viewpoint::Viewpoint;
use crate::manifest::place::{Place as ManifestPlace, Problem as ManifestProblem};
use crate::observed::{EngineInfo, Health as EngineHealth, RunState};
use crate::report::{self, Condition, Outcome};
use crate::step::{self, Action, BlockedReason, Cause, Impact, ManifestInfo, ResourceKind, Summary, Work};

/// The version of every document.
pub const API_VERSION: &str = "aishell/v1";

/// Makes a document type with its version and kind.
macro_rules! document {
    ($(#[$attribute:meta])* $name:ident<$life:lifetime>, $kind:tt {
        $($(#[$field_attribute:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$attribute])*
        #[derive(Debug, Serialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        #[schemars(deny_unknown_fields)]
        pub struct $name<$life> {
            /// The version of this document.
            #[schemars(extend("const" = "aishell/v1"))]
            pub api_version: &'static str,
            /// What this document is.
            #[schemars(extend("const" = $kind))]
            pub kind: &'static str,
            $($(#[$field_attribute])* pub $field: $type,)*
        }

        impl $name<'_> {
            /// The kind of the document.
            pub const KIND: &'static str = $kind;
        }
    };
}

document! {
    /// What `diff` answers.
    Plan<'a>, "Plan" {
        /// The manifest the plan was made for.
        manifest: &'a ManifestInfo,
        /// The engine it was made on.
        engine: Engine<'a>,
        /// What will be done, in an order that respects every need.
        steps: Vec<Step<'a>>,
        /// What needs a person first.
        blocked: Vec<Blocked<'a>>,
        /// What cannot be said before other steps are done.
        unknown: &'a [step::Unknown],
        /// What is as it should be.
        unchanged: &'a [step::Resource],
        /// What else there is to know.
        notes: &'a [String],
        /// How many of everything.
        summary: Summary,
    }
}

document! {
    /// What `apply` and `delete` answer.
    Report<'a>, "Report" {
        /// The manifest.
        manifest: &'a ManifestInfo,
        /// The engine.
        engine: Engine<'a>,
        /// Every step with its outcome.
        steps: Vec<Done<'a>>,
        /// What needs a person first.
        blocked: Vec<Blocked<'a>>,
        /// What was as it should be.
        unchanged: &'a [step::Resource],
        /// What else there is to know.
        notes: &'a [String],
        /// How the manifest stands now.
        conditions: &'a [Condition],
        /// Whether nothing was left to do when it was looked at again.
        converged: bool,
        /// Whether a signal ended the run early.
        interrupted: bool,
    }
}

document! {
    /// What `status` answers.
    Status<'a>, "Status" {
        /// The manifest.
        manifest: &'a ManifestInfo,
        /// The engine.
        engine: Engine<'a>,
        /// Every resource.
        resources: Vec<ResourceStatus<'a>>,
        /// How the manifest stands as a whole.
        conditions: &'a [Condition],
        /// What else there is to know.
        notes: &'a [String],
    }
}

document! {
    /// What `ps` answers.
    ContainerList<'a>, "ContainerList" {
        /// The engine.
        engine: Engine<'a>,
        /// The containers, by manifest and name.
        items: Vec<Container<'a>>,
    }
}

document! {
    /// What `validate` answers.
    Validation<'a>, "Validation" {
        /// Whether nothing is wrong with the manifest.
        valid: bool,
        /// The manifest; absent when it could not be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        manifest: Option<&'a ManifestInfo>,
        /// Everything that is wrong with it.
        problems: Vec<Problem<'a>>,
    }
}

document! {
    /// What a command answers that could not do what it was asked.
    Error<'a>, "Error" {
        /// The code the program ends with.
        code: u8,
        /// Everything that is wrong, at least one.
        problems: Vec<Problem<'a>>,
    }
}

document! {
    /// One line of `--progress json`.
    Event<'a>, "Event" {
        /// When it happened, RFC 3339.
        time: String,
        /// What happened.
        event: Happening,
        /// The number of the step, counted from 1.
        step: u32,
        /// The resource of the step.
        resource: &'a step::Resource,
        /// What is done to it.
        action: Action,
        /// `line`: the line of output, `progress`: what is counted.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// `progress`: how much is done, in bytes or steps.
        #[serde(skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        /// `progress`: how much there is, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// `finished`: what came of it.
        #[serde(skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        /// `finished`: how long it took.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// `finished`: why it failed or was skipped.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<report::Failure>,
    }
}

/// What happened to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Happening {
    /// It began.
    Started,
    /// It came further.
    Progress,
    /// It had something to say.
    Line,
    /// It has an outcome.
    Finished,
}

/// The engine.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Engine", deny_unknown_fields)]
pub struct Engine<'a> {
    /// Where it is reached.
    pub host: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The version of its API.
    pub api_version: &'a str,
}

/// One step.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Step", deny_unknown_fields)]
pub struct Step<'a> {
    /// Its number, counted from 1.
    pub id: u32,
    /// The kind of its resource.
    pub kind: ResourceKind,
    /// The name of its resource.
    pub name: &'a str,
    /// What is done.
    pub action: Action,
    /// What that costs whoever uses the resource.
    pub impact: Impact,
    /// Why.
    pub because: Vec<Because<'a>>,
    /// The steps that must have succeeded before.
    pub needs: &'a [u32],
    /// What there is to know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// Creations and replacements of containers: every field of the new container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub spec: Option<&'a crate::spec::ContainerSpec>,
}

/// One step with its outcome.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Done", deny_unknown_fields)]
pub struct Done<'a> {
    /// Its number, counted from 1.
    pub id: u32,
    /// The kind of its resource.
    pub kind: ResourceKind,
    /// The name of its resource.
    pub name: &'a str,
    /// What was to be done.
    pub action: Action,
    /// What that costs whoever uses the resource.
    pub impact: Impact,
    /// Why.
    pub because: Vec<Because<'a>>,
    /// The steps that must have succeeded before.
    pub needs: &'a [u32],
    /// What there is to know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a report::Failure>,
}

/// One reason with its evidence.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Because", deny_unknown_fields)]
pub struct Because<'a> {
    /// Why.
    pub cause: Cause,
    /// The field that differs, as a path in the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    /// What it is; `null` is absent.
    pub from: &'a Value,
    /// What it should be; `null` is absent.
    pub to: &'a Value,
    /// The line of the manifest that decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Place", deny_unknown_fields)]
pub struct Place {
    /// The file: relative to the working directory if it lies below it, else absolute; `-` is standard input.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
}

/// Something that needs a person first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Blocked", deny_unknown_fields)]
pub struct Blocked<'a> {
    /// The kind of the resource.
    pub kind: ResourceKind,
    /// The name of the resource.
    pub name: &'a str,
    /// What would be done.
    pub action: Action,
    /// What that would cost.
    pub impact: Impact,
    /// Why it is not.
    pub reason: BlockedReason,
    /// The particulars.
    pub detail: &'a str,
    /// The one command that unblocks it; `null` if none does.
    pub unblock: Option<&'a str>,
    /// Why it would be done.
    pub because: Vec<Because<'a>>,
}

/// How one resource stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ResourceStatus", deny_unknown_fields)]
pub struct ResourceStatus<'a> {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: &'a str,
    /// Its conditions.
    pub conditions: &'a [Condition],
    /// What containers have besides.
    #[serde(flatten)]
    pub container: Option<ContainerStatus<'a>>,
}

/// How one container stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ContainerStatus")]
pub struct ContainerStatus<'a> {
    /// What it is doing; `null` when it does not exist.
    pub state: Option<State>,
    /// The code it ended with; `null` unless it ended.
    pub exit_code: Option<i64>,
    /// The verdict of its health check; `null` without one.
    pub health: Option<Health>,
    /// Whether it can be used.
    pub ready: bool,
    /// Its image.
    pub image: &'a str,
    /// The harness its sessions open; `null` when that is not known.
    pub harness: Option<&'a str>,
    /// Open sessions; `null` when that is not known.
    pub sessions: Option<u32>,
    /// When it was last started, RFC 3339; `null` when never.
    pub started_at: Option<&'a str>,
}

/// One container of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Container", deny_unknown_fields)]
pub struct Container<'a> {
    /// Its name in the manifest.
    pub name: &'a str,
    /// The engine's name for it.
    pub engine_name: &'a str,
    /// The manifest it was made for.
    pub manifest: &'a str,
    /// The project it belongs to.
    pub project: Option<&'a str>,
    /// When it was created, RFC 3339.
    pub created_at: Option<&'a str>,
    /// How it stands.
    #[serde(flatten)]
    pub status: ContainerStatus<'a>,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Created and never started, or failed to start.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed.
    Removing,
    /// Could not be removed.
    Dead,
}

/// The verdict of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Problem", deny_unknown_fields)]
pub struct Problem<'a> {
    /// What is wrong.
    pub message: &'a str,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
}

impl<'a> Plan<'a> {
    /// Makes the document of a plan.
    pub fn of(plan: &'a step::Plan, viewpoint: Viewpoint<'_>) -> Self {
        let summary = plan.summary();
        let step::Plan {
            manifest,
            engine,
            steps,
            blocked,
            unknown,
            unchanged,
            notes,
        } = plan;
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            manifest,
            engine: engine.into(),
            steps: steps.iter().map(|step| Step::of(step, viewpoint)).collect(),
            blocked: Blocked::all(blocked, viewpoint),
            unknown,
            unchanged,
            notes,
            summary,
        }
    }
}

impl<'a> Step<'a> {
    fn of(step: &'a step::Step, viewpoint: Viewpoint<'_>) -> Self {
        let step::Step {
            id,
            resource: step::Resource { kind, name },
            action,
            impact,
            because,
            needs,
            detail,
            work,
        } = step;
        let spec = match work {
            Work::Create(new) | Work::Replace { new, .. } => Some(&new.create.spec),
            Work::Calls(_)
            | Work::Guarded { .. }
            | Work::Build { .. }
            | Work::Identity(_)
            | Work::Populate(_)
            | Work::Start { .. }
            | Work::Unify(_) => None,
        };
        Self {
            id: *id,
            kind: *kind,
            name,
            action: *action,
            impact: *impact,
            because: Because::all(because, viewpoint),
            needs,
            detail: detail.as_deref(),
            spec,
        }
    }
}

impl<'a> Report<'a> {
    /// Makes the document of a report.
    pub fn of(report: &'a report::Report, viewpoint: Viewpoint<'_>) -> Self {
        let report::Report {
            manifest,
            engine,
            steps,
            blocked,
            unchanged,
            notes,
            conditions,
            converged,
            interrupted,
        } = report;
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            manifest,
            engine: engine.into(),
            steps: steps.iter().map(|done| Done::of(done, viewpoint)).collect(),
            blocked: Blocked::all(blocked, viewpoint),
            unchanged,
            notes,
            conditions,
            converged: *converged,
            interrupted: *interrupted,
        }
    }
}

impl<'a> Done<'a> {
    fn of(done: &'a report::Done, viewpoint: Viewpoint<'_>) -> Self {
        let report::Done {
            step,
            outcome,
            seconds,
            error,
        } = done;
        let Step {
            id,
            kind,
            name,
            action,
            impact,
            because,
            needs,
            detail,
            spec: _,
        } = Step::of(step, viewpoint);
        Self {
            id,
            kind,
            name,
            action,
            impact,
            because,
            needs,
            detail,
            outcome: *outcome,
            seconds: (*seconds * 1000.0).round() / 1000.0,
            error: error.as_ref(),
        }
    }
}

impl<'a> Because<'a> {
    fn all(because: &'a [step::Because], viewpoint: Viewpoint<'_>) -> Vec<Self> {
        let one = |because: &'a step::Because| {
            let step::Because {
                cause,
                field,
                from,
                to,
                at,
            } = because;
            Self {
                cause: *cause,
                field: field.as_deref(),
                from,
                to,
                at: at.as_ref().map(|place| Place::of(place, viewpoint)),
            }
        };
        because.iter().map(one).collect()
    }
}

impl Place {
    fn of(place: &ManifestPlace, viewpoint: Viewpoint<'_>) -> Self {
        let ManifestPlace { file, line, column } = viewpoint.see(place);
        Self {
            file: file.display().to_string(),
            line,
            column,
        }
    }
}

impl<'a> Blocked<'a> {
    fn all(blocked: &'a [step::Blocked], viewpoint: Viewpoint<'_>) -> Vec<Self> {
        let one = |blocked: &'a step::Blocked| {
            let step::Blocked {
                resource: step::Resource { kind, name },
                action,
                impact,
                reason,
                detail,
                unblock,
                because,
            } = blocked;
            Self {
                kind: *kind,
                name,
                action: *action,
                impact: *impact,
                reason: *reason,
                detail,
                unblock: unblock.as_deref(),
                because: Because::all(because, viewpoint),
            }
        };
        blocked.iter().map(one).collect()
    }
}

impl<'a> Status<'a> {
    /// Makes the document of a status.
    pub fn of(status: &'a report::Status) -> Self {
        let report::Status {
            manifest,
            engine,
            resources,
            conditions,
            notes,
        } = status;
        let resource = |resource: &'a report::ResourceStatus| {
            let report::ResourceStatus {
                kind,
                name,
                conditions,
                container,
            } = resource;
            ResourceStatus {
                kind: *kind,
                name,
                conditions,
                container: container.as_ref().map(ContainerStatus::of),
            }
        };
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            manifest,
            engine: engine.into(),
            resources: resources.iter().map(resource).collect(),
            conditions,
            notes,
        }
    }
}

impl<'a> ContainerStatus<'a> {
    /// Makes the part of a document that says how a container stands.
    pub fn of(status: &'a report::ContainerStatus) -> Self {
        let report::ContainerStatus {
            state,
            health,
            ready,
            image,
            harness,
            sessions,
            created: _,
            started_at,
        } = status;
        Self {
            state: state.map(State::from),
            exit_code: match state {
                Some(RunState::Exited { code }) => Some(*code),
                _ => None,
            },
            health: health.map(Health::from),
            ready: *ready,
            image,
            harness: harness.as_deref(),
            sessions: *sessions,
            started_at: started_at.as_deref(),
        }
    }
}

impl<'a> ContainerList<'a> {
    /// Makes the document of a list of containers.
    pub fn of(engine: &'a EngineInfo, items: Vec<Container<'a>>) -> Self {
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            engine: engine.into(),
            items,
        }
    }
}

impl<'a> Validation<'a> {
    /// Makes the document of a validation; without problems the manifest is valid.
    pub fn of(
        manifest: Option<&'a ManifestInfo>,
        problems: &'a [ManifestProblem],
        viewpoint: Viewpoint<'_>,
    ) -> Self {
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            valid: problems.is_empty(),
            manifest,
            problems: Problem::all(problems, viewpoint),
        }
    }
}

impl<'a> Error<'a> {
    /// Makes the document of a failure.
    pub fn of(code: u8, problems: &'a [ManifestProblem], viewpoint: Viewpoint<'_>) -> Self {
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            code,
            problems: Problem::all(problems, viewpoint),
        }
    }
}

impl<'a> Event<'a> {
    /// Makes the document of an event at the begin of a step; the rest is filled in.
    pub fn of(step: &'a step::Step, time: String) -> Self {
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            time,
            event: Happening::Started,
            step: step.id,
            resource: &step.resource,
            action: step.action,
            text: None,
            done: None,
            total: None,
            outcome: None,
            seconds: None,
            error: None,
        }
    }
}

impl<'a> Problem<'a> {
    fn all(problems: &'a [ManifestProblem], viewpoint: Viewpoint<'_>) -> Vec<Self> {
        let one = |problem: &'a ManifestProblem| {
            let ManifestProblem {
                place,
                message,
                hint,
                length: _,
            } = problem;
            Self {
                message,
                at: place.as_ref().map(|place| Place::of(place, viewpoint)),
                hint: hint.as_deref(),
            }
        };
        problems.iter().map(one).collect()
    }
}

impl<'a> From<&'a EngineInfo> for Engine<'a> {
    fn from(engine: &'a EngineInfo) -> Self {
        let EngineInfo {
            host,
            version,
            api_version,
            platform: _,
        } = engine;
        Self {
            host,
            version,
            api_version,
        }
    }
}

impl From<RunState> for State {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Created => Self::Created,
            RunState::Running => Self::Running,
            RunState::Paused => Self::Paused,
            RunState::Restarting => Self::Restarting,
            RunState::Exited { .. } => Self::Exited,
            RunState::Removing => Self::Removing,
            RunState::Dead => Self::Dead,
        }
    }
}

impl From<EngineHealth> for Health {
    fn from(health: EngineHealth) -> Self {
        match health {
            EngineHealth::Starting => Self::Starting,
            EngineHealth::Healthy => Self::Healthy,
            EngineHealth::Unhealthy => Self::Unhealthy,
        }
    }
}
