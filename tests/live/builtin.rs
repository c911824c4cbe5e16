//! The foundation that ships with aishell, and harnesses on images that bring nothing to run them.

use crate::project::{OWNER, Project, step};
use crate::raw;

/// What the built-in foundation brings, and how each program says so.
const PROGRAMS: [&[&str]; 9] = [
    &["git", "--version"],
    &["curl", "--version"],
    &["rg", "--version"],
    &["jq", "--version"],
    &["less", "--version"],
    &["ps", "--version"],
    &["node", "--version"],
    &["npm", "--version"],
    &["tree", "--version"],
];

#[test]
fn the_built_in_foundation_brings_what_agents_reach_for() {
    raw::engine();
    let project = Project::on(raw::tiny());
    project.give_to(OWNER);
    let write = |packages: &str| {
        project.manifest_on(
            &format!("{{ builtin: {{ packages: [{packages}] }} }}"),
            "certificates: host\ncontainers: { shell: { command: [sleep, infinity] } }\n",
        );
    };
    write("tree");
    project.converge();
    let shell = project.object("shell");
    assert_eq!(raw::said(&shell, &["sh", "-c", "id -u; id -g; pwd"]), {
        let (uid, gid) = OWNER;
        format!("{uid}\n{gid}\n{}", project.path().display())
    });
    for program in PROGRAMS {
        let login = ["bash", "-lc", &program.join(" ")];
        for command in [program, &login] {
            assert!(!raw::said(&shell, command).is_empty(), "{command:?}");
        }
    }
    assert_ne!(raw::exec(&shell, &["sh", "-c", "command -v sudo"]).code, 0);
    let before = project.container("shell");

    // What the order of packages is, and who is named twice, makes no other image.
    write("tree, tree");
    assert_eq!(project.diff().code, Some(0));

    write("tree, no-such-package-at-all");
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(
        &run.json,
        "image",
        &format!("aishell-{}:foundation-", project.name),
    )["error"];
    assert!(
        error["log"]
            .to_string()
            .contains("E: Unable to locate package no-such-package-at-all"),
        "{error:#}"
    );
    raw::same(&project.container("shell"), &before);
}
