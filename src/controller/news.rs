//! What the loop tells whoever listens.

use std::time::Duration;

use crate::apply::Listener;
use crate::manifest::load::LoadError;
use crate::observed::EngineInfo;
use crate::prepare::PrepareError;
use crate::report::Condition;
use crate::step::{Blocked, ManifestInfo, Plan, Resource};

/// Why a manifest that was read again is not taken up; the last good one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is wrong, or cannot be read.
    #[error(transparent)]
    Invalid(#[from] PrepareError),
    /// It is now the manifest of something else, and whoever watches it would leave everything behind.
    #[error("{what} has changed from {from} to {to}")]
    Moved {
        /// What has changed.
        what: &'static str,
        /// What it was.
        from: String,
        /// What it is.
        to: String,
    },
}

impl Refusal {
    /// Returns the first thing that is wrong, in one line, and how much more there is.
    pub fn summary(&self) -> String {
        let problems = match self {
            Self::Invalid(
                PrepareError::Problems { problems, .. }
                | PrepareError::Load(LoadError::Invalid { problems, .. }),
            ) => problems.as_slice(),
            Self::Invalid(PrepareError::Load(_) | PrepareError::Lock(_)) | Self::Moved { .. } => &[],
        };
        let Some((first, rest)) = problems.split_first() else {
            return chain(self);
        };
        let place = first.place.as_ref().map_or_else(String::new, |place| {
            let file = place.file.file_name().unwrap_or_default().display();
            format!("{file}:{}: ", place.line)
        });
        let more = match rest.len() {
            0 => String::new(),
            count => format!(" (and {count} more)"),
        };
        format!("{place}{}{more}", first.message)
    }
}

/// Returns an error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        Self::Invalid(error.into())
    }
}

/// One thing that happened in the loop.
#[derive(Debug)]
pub enum News<'a> {
    /// Everything was seen for the first time, or again after the engine was away.
    Watching {
        /// What is watched.
        manifest: &'a ManifestInfo,
        /// Where.
        engine: &'a EngineInfo,
    },
    /// The manifest was changed and is in force.
    Reloaded(&'a ManifestInfo),
    /// A condition of the loop begins to hold, or no longer does.
    Condition(&'a Condition, Option<Refusal>),
    /// Something needs a person.
    Blocked(&'a Blocked),
    /// Something that did not work is tried again later.
    Waits {
        /// What.
        resource: &'a Resource,
        /// How often it was tried in a row.
        attempts: u32,
        /// When it is tried again; `None`: not before its part of the manifest changes.
        delay: Option<Duration>,
    },
    /// Nothing is left to do.
    Converged(&'a Plan),
}

/// Who is told what the loop does. Nothing here may block.
pub trait Audience: Listener {
    /// Something happened.
    fn told(&self, _news: News<'_>) {}
    /// Some time has passed.
    fn waited(&self) {}
}

impl Audience for crate::apply::Silent {}
