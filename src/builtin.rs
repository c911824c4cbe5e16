//! The foundation that ships with aishell: Dockerfiles by version, embedded.
//!
//! The data is in `manifests/builtin/`, a directory for each version. A released version never changes, so that what
//! was pinned can be made again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;

use crate::call::Build;
use crate::key::{Key, KeyKind};
use crate::manifest::builtin::PackageName;

/// Every version there is, oldest first.
const VERSIONS: [(u32, &str); 1] = [(1, include_str!("../manifests/builtin/1/Dockerfile"))];

/// The image that every version so far starts from.
pub const BASE: &str = "debian:bookworm-slim";

/// One version of the built-in foundation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// Its Dockerfile.
    pub dockerfile: &'static str,
}

/// Returns a version by its number.
pub fn version(number: u32) -> Option<Version> {
    versions().find(|version| version.number == number)
}

/// Returns the newest version.
pub fn newest() -> Version {
    let [.., (number, dockerfile)] = VERSIONS;
    Version { number, dockerfile }
}

/// Returns every version, oldest first.
pub fn versions() -> impl Iterator<Item = Version> {
    VERSIONS
        .into_iter()
        .map(|(number, dockerfile)| Version { number, dockerfile })
}

impl Version {
    /// Returns the key of its image on a platform, with additional packages.
    pub fn key(self, platform: &str, packages: &BTreeSet<PackageName>) -> Key {
        let Self { number, dockerfile } = self;
        Key::of(
            KeyKind::Stage,
            &json!({
                "platform": platform,
                "builtin": number,
                "dockerfile": dockerfile,
                "packages": packages,
            }),
        )
    }

    /// Returns the build of its image, still without tag and labels. Packages are an argument and not part of the text, so that what does not
    /// depend on them is built once for everybody.
    pub fn build(self, packages: &BTreeSet<PackageName>) -> Build {
        let names: Vec<&str> = packages.iter().map(PackageName::as_str).collect();
        let mut args = BTreeMap::new();
        if !names.is_empty() {
            args.insert("PACKAGES".to_owned(), names.join(" "));
        }
        Build {
            tag: String::new(),
            labels: BTreeMap::new(),
            dockerfile: self.dockerfile.to_owned(),
            triggers: Vec::new(),
            path: None,
            // Nothing of the host is part of it.
            context: PathBuf::new(),
            files: std::sync::Arc::default(),
            digest: None,
            args,
            target: None,
            certificates: None,
            cache: true,
        }
    }

    /// Returns what it is called, with its additional packages.
    pub fn display(self, packages: &BTreeSet<PackageName>) -> String {
        let names: Vec<&str> = packages.iter().map(PackageName::as_str).collect();
        match names.as_slice() {
            [] => format!("built-in foundation {}", self.number),
            names => format!("built-in foundation {} with {}", self.number, names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::digest;

    #[test]
    fn a_released_version_never_changes() {
        // Whoever changes a Dockerfile that was released makes a directory with the next number instead.
        let released = [(
            1,
            "912a855af873808db633833daee66eda8bc63a0f2b4ae4fac9b0e9af009a85c4",
        )];
        let found: Vec<(u32, String)> = versions()
            .map(|version| (version.number, digest(version.dockerfile.as_bytes())))
            .collect();
        assert_eq!(
            found,
            released.map(|(number, digest)| (number, digest.to_owned()))
        );
        assert_eq!(version(1), Some(newest()));
        assert_eq!(version(0), None);
    }

    #[test]
    fn every_version_starts_from_the_base_and_takes_packages() {
        for version in versions() {
            let text = version.dockerfile;
            let from = text.lines().filter(|line| line.starts_with("FROM "));
            assert!(
                from.clone().count() > 0 && from.clone().all(|line| line.contains(BASE)),
                "{text}"
            );
            assert!(text.contains("ARG PACKAGES"), "{text}");
        }
    }

    #[test]
    fn the_key_is_that_of_the_packages_in_any_order() {
        let packages = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let key = |platform, names| newest().key(platform, &packages(names));
        assert_eq!(
            key("linux/amd64", &["gh", "jq"]),
            key("linux/amd64", &["jq", "gh", "jq"])
        );
        assert_ne!(key("linux/amd64", &["gh"]), key("linux/amd64", &[]));
        assert_ne!(key("linux/amd64", &[]), key("linux/arm64", &[]));
    }
}
