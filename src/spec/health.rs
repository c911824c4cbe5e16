//! [`HealthCheck`]: how the engine tells whether what runs in a container can be used.

use serde::{Deserialize, Serialize};

/// Where a container's health check comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HealthCheck {
    /// The image, if it has one.
    #[default]
    Image,
    /// Nowhere: what the image would check does not run.
    Off,
    /// The container itself.
    Own(Probe),
}

/// A command that the engine runs again and again; it succeeds while the container can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The engine's form of a command: `CMD` and words, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    /// Milliseconds between two runs.
    pub interval: u64,
    /// Milliseconds a run may take.
    pub timeout: u64,
    /// Milliseconds after a start in which failures do not count.
    pub start_period: u64,
    /// How many failures in a row count.
    pub retries: u32,
}

impl HealthCheck {
    /// Says whether it is the image's.
    pub fn is_image(&self) -> bool {
        *self == Self::Image
    }

    /// Returns what there is to run, where the image brings something or nothing.
    pub fn probe<'p>(&'p self, image: Option<&'p Probe>) -> Option<&'p Probe> {
        match self {
            Self::Image => image,
            Self::Off => None,
            Self::Own(probe) => Some(probe),
        }
    }
}
