//! The harnesses aishell knows by name.
//!
//! The data is in `manifests/harnesses.yaml` and embedded.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::name::{HarnessName, VariableName};

const DATA: &str = include_str!("../manifests/harnesses.yaml");

/// The npm package that harnesses run on unless they say otherwise.
pub const RUNTIME: &str = "node";

/// The version of the runtime where none is pinned: the one that the built-in foundation has, so that it need not be
/// fetched there.
pub const RUNTIME_VERSION: &str = "24.21.0";

/// What aishell knows about a harness.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Known {
    /// What people call it.
    pub title: String,
    /// The npm package.
    pub npm: String,
    /// The commands it brings; the first is the harness.
    pub bin: Vec<String>,
    /// Where it keeps its configuration, below `~/`.
    #[serde(default)]
    pub config: Vec<String>,
    /// Files it cannot work with while they are empty, below `~/`, and what makes it work.
    #[serde(default)]
    pub seed: BTreeMap<String, String>,
    /// Variables passed to its sessions when the host has them.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// Arguments it is always given.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables set for its sessions.
    #[serde(default)]
    pub set: BTreeMap<VariableName, String>,
}

static ENTRIES: LazyLock<BTreeMap<HarnessName, Known>> =
    LazyLock::new(|| serde_saphyr::from_str(DATA).unwrap_or_default());

/// Returns every harness aishell knows, by name.
pub fn entries() -> &'static BTreeMap<HarnessName, Known> {
    &ENTRIES
}

/// Returns what aishell knows about a harness.
pub fn find(name: &str) -> Option<&'static Known> {
    ENTRIES.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalogue_is_complete() {
        serde_saphyr::from_str::<BTreeMap<HarnessName, Known>>(DATA).unwrap();
        let names: Vec<_> = entries().keys().map(HarnessName::as_str).collect();
        assert_eq!(names, ["claude", "codex", "gemini", "opencode", "openspec", "pi"]);
        for entry in entries().values() {
            assert!(!entry.bin.is_empty() && entry.config.iter().all(|path| path.starts_with("~/")));
        }
    }
}
