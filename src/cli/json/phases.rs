//! What the documents say of phases.

use schemars::JsonSchema;
use serde::Serialize;

use super::{API_VERSION, Because, Engine};
use crate::cli::viewpoint::Viewpoint;
use crate::observed::EngineInfo;
use crate::status::phase::{PhaseState, PhaseStatus, StageStatus};
use crate::step::ManifestInfo;

document! {
    /// What `phases` answers.
    Phases<'a>, "Phases" {
        /// The manifest.
        manifest: &'a ManifestInfo,
        /// The engine.
        engine: Engine<'a>,
        /// Every stage that is built in phases, in order.
        stages: Vec<PhasedStage<'a>>,
        /// What else there is to know.
        notes: &'a [String],
    }
}

/// A stage that is built in phases.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PhasedStage", deny_unknown_fields)]
pub struct PhasedStage<'a> {
    /// Its name: `foundation`, `base` or `extension`.
    pub name: &'a str,
    /// Every phase there is, in order.
    pub phases: Vec<Phase<'a>>,
}

/// One phase.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Phase", deny_unknown_fields)]
pub struct Phase<'a> {
    /// Its number.
    pub id: u8,
    /// Its name.
    pub name: &'a str,
    /// What phases of this name are for.
    pub description: &'a str,
    /// What it does in this manifest; absent, if it does nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// How it stands.
    pub state: Standing,
    /// `stale`: which inputs differ, or what it follows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Because<'a>>,
    /// `unknown`: why it cannot be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// `failed`: what is left of it, and how to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed<'a>>,
    /// The tag of its snapshot, there or to be; `null`, if it leaves none or the tag is not known yet.
    pub snapshot: Option<&'a str>,
    /// When its snapshot was made, RFC 3339; `null` where none is there.
    pub created_at: Option<String>,
    /// How large its snapshot is with everything that it was made on; `null` where none is there.
    pub bytes: Option<u64>,
}

/// How a phase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PhaseState")]
pub enum Standing {
    /// It does nothing.
    Empty,
    /// What it leaves is there, and is used as it is.
    Cached,
    /// It was never done.
    Missing,
    /// It is done anew.
    Stale,
    /// It was tried as it is, and failed.
    Failed,
    /// It cannot be said yet.
    Unknown,
}

/// What is left of a phase that failed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FailedPhase", deny_unknown_fields)]
pub struct Failed<'a> {
    /// The container it was done in.
    pub container: &'a str,
    /// The command that opens a shell there.
    pub shell: &'a str,
    /// The command that goes on from here.
    pub resume: &'a str,
}

impl<'a> Phases<'a> {
    /// Makes the document of phases; `resume` is the command that goes on with what failed.
    pub fn of(
        (manifest, engine): (&'a ManifestInfo, &'a EngineInfo),
        stages: &'a [StageStatus],
        notes: &'a [String],
        resume: &'a str,
        viewpoint: Viewpoint<'_>,
    ) -> Self {
        let stages = stages.iter().map(|stage| PhasedStage {
            name: stage.name.as_str(),
            phases: stage
                .phases
                .iter()
                .map(|phase| Phase::of(phase, resume, viewpoint))
                .collect(),
        });
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            manifest,
            engine: engine.into(),
            stages: stages.collect(),
            notes,
        }
    }
}

impl<'a> Phase<'a> {
    fn of(phase: &'a PhaseStatus, resume: &'a str, viewpoint: Viewpoint<'_>) -> Self {
        let PhaseStatus {
            name,
            detail,
            state,
            snapshot,
            created,
            bytes,
        } = phase;
        let (mut because, mut reason, mut failed) = (Vec::new(), None, None);
        let state = match state {
            PhaseState::Empty => Standing::Empty,
            PhaseState::Cached => Standing::Cached,
            PhaseState::Missing => Standing::Missing,
            PhaseState::Stale(why) => {
                because = Because::all(why, viewpoint);
                Standing::Stale
            }
            PhaseState::Failed { container, shell } => {
                failed = Some(Failed {
                    container,
                    shell,
                    resume,
                });
                Standing::Failed
            }
            PhaseState::Unknown(why) => {
                reason = Some(why.as_str());
                Standing::Unknown
            }
        };
        Self {
            id: name.id(),
            name: name.as_str(),
            description: name.description(),
            detail: (!detail.is_empty()).then_some(detail),
            state,
            because,
            reason,
            failed,
            snapshot: snapshot.as_deref(),
            created_at: created.map(|created| created.to_string()),
            bytes: *bytes,
        }
    }
}
