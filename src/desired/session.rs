//! What sessions in a container have besides what the container itself is configured with.
//!
//! Nothing of it is in a key, a label or a container's configuration: it counts from the next session on.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::place::Place;
use crate::secret::Source;

/// Where containers have the sockets of ssh agents.
pub const AGENTS: &str = "/run/ssh-agent";

/// What sessions in a container have besides its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The name of the container in the manifest.
    pub name: String,
    /// What `aishell run` starts: the program of the harness and its arguments; nothing without a harness.
    pub command: Vec<String>,
    /// Variables that harnesses need to be set.
    pub set: BTreeMap<String, String>,
    /// Variables passed on when this host has them.
    pub passed: BTreeSet<String>,
    /// Where secrets come from, by variable.
    pub secrets: BTreeMap<String, Origin>,
    /// Proxy variables.
    pub proxies: BTreeMap<String, String>,
    /// The project, if the container sees it.
    pub project: Option<String>,
    /// The directory that it shares with its repository, if it is a worktree of one elsewhere.
    pub common: Option<String>,
    /// Where on this host the socket of the ssh agent is put, if sessions may use one.
    pub agents: Option<String>,
}

/// Where a secret comes from, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where it comes from.
    pub source: Source,
    /// The part of the manifest that says so.
    pub place: Option<Place>,
}
