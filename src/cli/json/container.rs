//! What the documents say of containers.

use schemars::JsonSchema;
use serde::Serialize;

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
    /// Who stopped it by hand, if it is to stay so; `null` if nobody did.
    pub hold: Option<Hold<'a>>,
    /// Its image.
    pub image: &'a str,
    /// The harness its sessions open; `null` when that is not known.
    pub harness: Option<&'a str>,
    /// Open sessions; `null` when that is not known.
    pub sessions: Option<u32>,
    /// When it was last started, RFC 3339; `null` when never.
    pub started_at: Option<&'a str>,
}

/// That somebody stopped a container by hand, and wants it to stay so.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Hold<'a> {
    /// Who, as `user@host`.
    pub by: &'a str,
    /// Since when, RFC 3339.
    pub since: &'a str,
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
