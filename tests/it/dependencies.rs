//! What is depended on has a licence that `deny.toml` allows, and comes from the default registry.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Returns the licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let text = include_str!("../../deny.toml");
    let list = text
        .split_once("[licenses]")
        .and_then(|(_, section)| section.split_once("allow = ["))
        .and_then(|(_, list)| list.split_once(']'))
        .expect("deny.toml has a list of licences")
        .0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Tells whether one of the alternatives of a licence expression is allowed as a whole.
///
/// Parentheses in the expressions of crates only ever group alternatives that are joined by AND with others, so
/// AND is split first. Crates of earlier days write `/` for OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    expression.split(" AND ").all(|part| {
        part.trim_matches(['(', ')'])
            .replace('/', " OR ")
            .split(" OR ")
            .any(|licence| allowed.contains(licence.trim()))
    })
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let allowed = allowed();
    assert!(allowed.contains("MIT"), "{allowed:?}");
    let refused: Vec<String> = packages()
        .iter()
        .map(|package| (package["name"].to_string(), package["license"].as_str()))
        .filter(|(_, licence)| !licence.is_some_and(|licence| is_allowed(licence, &allowed)))
        .map(|(name, licence)| format!("{name}: {licence:?}"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn every_dependency_is_from_one_registry() {
    let packages = packages();
    let sources: BTreeSet<&str> = packages
        .iter()
        .filter(|package| package["name"] != env!("CARGO_PKG_NAME"))
        .map(|package| package["source"].as_str().unwrap_or_default())
        .collect();
    assert!(
        sources.len() == 1 && sources.iter().all(|source| source.starts_with("registry+")),
        "{sources:?}"
    );
}

#[test]
fn a_licence_counts_if_all_its_parts_are_allowed() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Unicode-3.0".to_owned()]);
    assert!(is_allowed("MIT OR LGPL-2.1-or-later", &allowed));
    assert!(is_allowed("Apache-2.0/MIT", &allowed));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
    assert!(!is_allowed("MIT AND BSD-3-Clause", &allowed));
    assert!(!is_allowed("GPL-3.0-only", &allowed));
}
