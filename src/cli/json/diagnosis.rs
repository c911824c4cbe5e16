//! What the documents say of what was found.

use schemars::JsonSchema;
use serde::Serialize;

use super::{API_VERSION, Place};
use crate::cli::viewpoint::Viewpoint;
use crate::status::diagnosis::{self, Finding as Found, Level as How};

document! {
    /// What `doctor` answers.
    Diagnosis<'a>, "Diagnosis" {
        /// Whether nothing was found that does not work.
        well: bool,
        /// Everything that was looked at.
        findings: Vec<Finding<'a>>,
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Finding", deny_unknown_fields)]
pub struct Finding<'a> {
    /// What it is about.
    pub check: Check,
    /// How it was found.
    pub level: Level,
    /// What is the matter, or what is well.
    pub message: &'a str,
    /// The line of the manifest that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'a str>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Check")]
pub enum Check {
    /// The manifest and its lock.
    Manifest,
    /// The engine.
    Engine,
    /// What containers are given beyond what every sandbox has.
    Security,
    /// The harness set.
    Harnesses,
    /// Whether the engine is as the manifest wants it.
    Converged,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Level")]
pub enum Level {
    /// Well.
    Good,
    /// It works, and a person should know.
    Warning,
    /// It does not work.
    Bad,
}

impl<'a> Diagnosis<'a> {
    /// Makes the document of what was found.
    pub fn of(findings: &'a [Found], well: bool, viewpoint: Viewpoint<'_>) -> Self {
        let finding = |found: &'a Found| {
            let Found {
                check,
                level,
                problem,
            } = found;
            Finding {
                check: match check {
                    diagnosis::Check::Manifest => Check::Manifest,
                    diagnosis::Check::Engine => Check::Engine,
                    diagnosis::Check::Security => Check::Security,
                    diagnosis::Check::Harnesses => Check::Harnesses,
                    diagnosis::Check::Converged => Check::Converged,
                },
                level: match level {
                    How::Good => Level::Good,
                    How::Warning => Level::Warning,
                    How::Bad => Level::Bad,
                },
                message: &problem.message,
                at: problem.place.as_ref().map(|place| Place::of(place, viewpoint)),
                fix: problem.hint.as_deref(),
            }
        };
        Self {
            api_version: API_VERSION,
            kind: Self::KIND,
            well,
            findings: findings.iter().map(finding).collect(),
        }
    }
}
