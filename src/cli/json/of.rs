//! From what the library knows to the documents. Everything is taken apart by name, so that a new field of the library
//! cannot be forgotten here.

use super::{
    API_VERSION, Because, Blocked, Container, ContainerList, ContainerStatus, Done, Engine, Error, Failure,
    Health, Place, Plan, Problem, Report, ResourceStatus, Retries, SetMember, SetStatus, Starter, State,
    Status, Step, Validation,
};
use crate::cli::viewpoint::Viewpoint;
use crate::manifest::place::{Place as ManifestPlace, Problem as ManifestProblem};
use crate::observed::{EngineInfo, Health as EngineHealth, RunState};
use crate::report;
use crate::step::{self, ManifestInfo, Work};

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

impl<'a> Starter<'a> {
    /// Makes the document of a manifest that was written.
    pub fn of(path: &'a str, name: &'a str, next: &'a [&'static str]) -> Self {
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            path,
            name,
            next,
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
            discards,
            widens,
            interrupts: _,
            work,
        } = step;
        let spec = match work {
            Work::Create(new) | Work::Replace { new, .. } => Some(&new.create.spec),
            Work::Calls(_)
            | Work::Guarded { .. }
            | Work::Network { .. }
            | Work::Clear(_)
            | Work::Start { .. }
            | Work::Build { .. }
            | Work::Phase(_)
            | Work::Identity(_)
            | Work::Populate(_) => None,
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
            discards: *discards,
            widens,
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
            pinned,
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
            pinned,
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
            retries,
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
            discards,
            widens,
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
            discards,
            widens,
            outcome: *outcome,
            seconds: (*seconds * 1000.0).round() / 1000.0,
            retries: retries.as_ref().map(Retries::of),
            error: error.as_ref().map(|error| Failure::of(error, viewpoint)),
        }
    }
}

impl Retries {
    pub(super) fn of(retries: &report::Retries) -> Self {
        let report::Retries { times, waited } = retries;
        Self {
            times: *times,
            seconds: (waited.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }
}

impl<'a> Because<'a> {
    pub(super) fn all(because: &'a [step::Because], viewpoint: Viewpoint<'_>) -> Vec<Self> {
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
    /// Makes the document of a place.
    pub fn of(place: &ManifestPlace, viewpoint: Viewpoint<'_>) -> Self {
        let ManifestPlace { file, line, column } = viewpoint.see(place);
        Self {
            file: file.display().to_string(),
            line,
            column,
        }
    }
}

impl<'a> Blocked<'a> {
    /// Makes the documents of what needs a person.
    pub fn all(blocked: &'a [step::Blocked], viewpoint: Viewpoint<'_>) -> Vec<Self> {
        let one = |blocked: &'a step::Blocked| {
            let step::Blocked {
                resource: step::Resource { kind, name },
                action,
                impact,
                discards,
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
                discards: *discards,
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
                harness_set,
            } = resource;
            ResourceStatus {
                harness_set: harness_set.as_ref().map(SetStatus::of),
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

impl<'a> SetStatus<'a> {
    fn of(status: &'a report::SetStatus) -> Self {
        let report::SetStatus { members, users, size } = status;
        let members = members.iter();
        Self {
            members: members
                .map(|(name, version)| SetMember { name, version })
                .collect(),
            users,
            files: size.map(|(files, _)| files),
            bytes: size.map(|(_, bytes)| bytes),
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
            hold,
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
            hold: hold.as_ref().map(|hold| super::Hold {
                by: &hold.by,
                since: &hold.since,
            }),
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

impl<'a> Problem<'a> {
    /// Makes the documents of problems.
    pub fn all(problems: &'a [ManifestProblem], viewpoint: Viewpoint<'_>) -> Vec<Self> {
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
