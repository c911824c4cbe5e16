//! The user unit in the documentation is one that systemd takes, and calls what exists.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Returns the unit of the page.
fn unit() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/systemd.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, rest) = page
        .split_once("```ini title=\"aishell@.service\"\n")
        .expect("a unit");
    rest.split_once("```").expect("an end").0.to_owned()
}

#[test]
fn the_unit_of_the_documentation_is_well_formed() {
    let known: BTreeMap<&str, &[&str]> = [
        ("Unit", &["Description"][..]),
        (
            "Service",
            &[
                "Type",
                "WorkingDirectory",
                "ExecStart",
                "Restart",
                "RestartSec",
                "RestartPreventExitStatus",
                "KillSignal",
                "KillMode",
                "TimeoutStopSec",
                "SuccessExitStatus",
            ],
        ),
        ("Install", &["WantedBy"]),
    ]
    .into();
    let mut section = "";
    let text = unit();
    let mut values = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            continue;
        }
        let (key, value) = line.split_once('=').expect("an assignment");
        assert!(
            known.get(section).is_some_and(|keys| keys.contains(&key)),
            "[{section}] {key}"
        );
        values.insert(key, value);
    }
    assert_eq!(values["KillSignal"], "SIGTERM");
    assert_eq!(values["SuccessExitStatus"], "143");
    assert_eq!(values["WantedBy"], "default.target");
}

#[test]
fn the_unit_calls_a_command_that_exists() {
    let text = unit();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .expect("a command");
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("%h/.local/bin/aishell"));
    let ended = Command::new(env!("CARGO_BIN_EXE_aishell"))
        .args(words)
        .arg("--help")
        .output()
        .expect("the program");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
