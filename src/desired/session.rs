//! What sessions in a container have besides what the container itself is configured with.
//!
//! Nothing of it is in a key, a label or a container's configuration: it counts from the next session on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::manifest::place::Place;

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
}

/// Where a secret comes from, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where it comes from.
    pub source: Source,
    /// The part of the manifest that says so.
    pub place: Option<Place>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This host's environment.
    Variable {
        /// The variable.
        name: String,
        /// Whether it may be missing.
        optional: bool,
    },
    /// A file.
    File {
        /// Its path as the manifest has it, absolute.
        path: PathBuf,
        /// Where it has to lead, links resolved, if sandboxes could make it lead elsewhere.
        leads: Option<PathBuf>,
    },
    /// What a command on this host prints.
    Command {
        /// Its words.
        words: Vec<String>,
    },
}

impl Source {
    /// Returns where it comes from, in a person's words.
    pub fn display(&self) -> String {
        match self {
            Self::Variable { name, .. } => format!("${name}"),
            Self::File { path, leads } => leads.as_ref().unwrap_or(path).display().to_string(),
            Self::Command { words } => format!("`{}`", words.join(" ")),
        }
    }
}
