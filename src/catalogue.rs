//! The harnesses that aishell knows by name. The data is `manifests/harnesses.yaml`, embedded.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// A harness that aishell knows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Known {
    /// Its npm package.
    pub npm: String,
    /// The programs it brings.
    pub bin: Vec<String>,
}

static CATALOGUE: LazyLock<BTreeMap<String, Known>> = LazyLock::new(|| {
    // The text is part of the binary and a test reads it; an unreadable one would be an empty catalogue.
    serde_saphyr::from_str(include_str!("../manifests/harnesses.yaml")).unwrap_or_default()
});

/// Returns what is known of a harness.
pub fn find(name: &str) -> Option<&'static Known> {
    CATALOGUE.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_catalogue_can_be_read() {
        assert_eq!(
            find("claude").map(|known| known.npm.as_str()),
            Some("@anthropic-ai/claude-code")
        );
        assert_eq!(find("nothing"), None);
    }
}
