//! What a Python package is installed with: itself and all that it needs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FileName, Integrity, LockedVersion, PythonPackage};

/// One package of those that a Python package is installed with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LockedPart")]
pub struct Part {
    /// Its version.
    pub version: LockedVersion,
    /// The file that it was in where it was pinned. Other machines and other Pythons may get another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileName>,
    /// What that file is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
}

/// The package itself and all that it needs, by name.
pub type Parts = BTreeMap<PythonPackage, Part>;

/// Returns the part of a package, whatever its extras, and however its name is written.
pub(super) fn of<'p>(parts: &'p Parts, package: &str) -> Option<&'p Part> {
    let plain = |name: &str| {
        let name = name.split('[').next().unwrap_or_default().to_ascii_lowercase();
        let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-")
    };
    let mut parts = parts.iter();
    parts.find_map(|(name, part)| (plain(name.as_str()) == plain(package)).then_some(part))
}

/// Returns what of some packages is not as in others, each with its version, for people.
pub(super) fn differing(parts: &Parts, others: &Parts) -> String {
    let is_other = |(name, part): &(&PythonPackage, &Part)| others.get(*name) != Some(*part);
    let shown = |(name, part): (&PythonPackage, &Part)| format!("{name} {}", part.version);
    let all: Vec<String> = parts.iter().filter(is_other).map(shown).collect();
    if all.is_empty() {
        "without more".to_owned()
    } else {
        format!("with {}", all.join(", "))
    }
}
