//! Why a step failed, as a document.

use schemars::JsonSchema;
use serde::Serialize;

use super::Place;
use crate::cli::viewpoint::Viewpoint;
use crate::report;

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub struct Failure {
    /// What went wrong.
    pub message: String,
    /// Where that is written: builds name the line of the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// Its output, of a build that of the step that failed; what is very long begins later.
    pub log: Vec<String>,
    /// What most often helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// Makes the document of a failure.
    pub fn of(failure: &report::Failure, viewpoint: Viewpoint<'_>) -> Self {
        let report::Failure {
            message,
            at,
            log,
            hint,
        } = failure;
        Self {
            message: message.clone(),
            at: at.as_ref().map(|place| Place::of(place, viewpoint)),
            log: log.clone(),
            hint: hint.clone(),
        }
    }
}
