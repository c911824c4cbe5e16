//! An agent that can write the project: what it is given is told, what says so is read-only inside, and nothing that it
//! plants runs on the host.

use std::fs;
use std::os::unix::fs::symlink;

use crate::project::{Project, changes, project, text};
use crate::raw;
use crate::watch::Watching;

/// Returns what steps give, as `name: what`.
fn widens(document: &serde_json::Value) -> Vec<String> {
    let steps = document["steps"].as_array().into_iter().flatten();
    let line = |step: &serde_json::Value| {
        let all: Vec<&str> = step["widens"].as_array()?.iter().map(text).collect();
        Some(format!("{}: {}", text(&step["name"]), all.join(", ")))
    };
    steps.filter_map(line).collect()
}

/// Writes the manifest into a directory of its own.
fn in_directory(project: &Project, containers: &str) {
    fs::create_dir_all(project.path().join(".aishell")).expect("a directory");
    let text = format!(
        "apiVersion: aishell/v1\nname: {}\nfoundation: {{ image: \"{}\" }}\ncontainers:\n{containers}",
        project.name, project.image
    );
    project.write(".aishell/manifest.yaml", &text);
}

#[test]
fn what_says_what_a_sandbox_may_do_is_read_only_inside() {
    let project = project();
    fs::create_dir(project.path().join(".sandbox")).expect("a directory");
    in_directory(
        &project,
        "  a: { mounts: [{ source: ., target: /again }, { source: .aishell, target: /own, readOnly: false }] }\n",
    );
    // Sources are written as seen from the manifest.
    let manifest = fs::read_to_string(project.path().join(".aishell/manifest.yaml")).expect("text");
    project.write(
        ".aishell/manifest.yaml",
        &manifest
            .replace("source: .,", "source: ..,")
            .replace("source: .aishell", "source: ."),
    );
    project.give_to((0, 0));
    project.converge();
    let (path, id) = (project.path().display().to_string(), project.id("a"));
    let writes = |path: &str| raw::exec(&id, &["sh", "-c", &format!("echo x > {path}")]).code == 0;
    assert!(writes(&format!("{path}/file")));
    assert!(writes("/again/file"));
    for directory in [
        &format!("{path}/.aishell"),
        &format!("{path}/.sandbox"),
        "/again/.aishell",
        "/own",
    ] {
        assert!(!writes(&format!("{directory}/manifest.yaml")), "{directory}");
        assert_ne!(
            raw::exec(&id, &["mv", directory, "/tmp/gone"]).code,
            0,
            "{directory}"
        );
    }
    assert_eq!(
        fs::read_to_string(project.path().join(".aishell/manifest.yaml"))
            .expect("text")
            .lines()
            .next(),
        Some("apiVersion: aishell/v1")
    );
}

#[test]
fn a_link_in_the_place_of_such_a_directory_is_not_followed() {
    let project = project();
    symlink("/usr", project.path().join(".sandbox")).expect("a link");
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    let mounts = &project.container("a")["HostConfig"]["Mounts"];
    assert!(!mounts.to_string().contains(".sandbox"), "{mounts:#}");
}

#[test]
fn whoever_types_apply_is_told_what_a_sandbox_gets() {
    let project = project();
    project.manifest("containers:\n  a: { }\n");
    let first = project.converge();
    assert_eq!(widens(&first.json), [] as [&str; 0]);
    symlink("/usr/share", project.path().join("link")).expect("a link");
    project.manifest("containers:\n  a: { mounts: [\"./link:/x:ro\"] }\n");
    assert_eq!(
        widens(&project.diff().json),
        ["a: /usr/share of the host (read-only)"]
    );
    let plain = project.plain(&["diff"]);
    assert!(
        plain
            .stdout
            .contains("widens: /usr/share of the host (read-only)"),
        "{plain:#?}"
    );
    let run = project.converge();
    assert_eq!(widens(&run.json), ["a: /usr/share of the host (read-only)"]);
    // It has it now.
    project.manifest("containers:\n  a: { mounts: [\"./link:/y:ro\"] }\n");
    assert_eq!(widens(&project.diff().json), [] as [&str; 0]);
    assert!(!changes(&project.diff().json).is_empty());
}

#[test]
fn a_file_that_a_sandbox_plants_outranks_nothing() {
    let project = project();
    in_directory(&project, "  a: { }\n");
    project.give_to((0, 0));
    project.converge();
    let (path, id) = (project.path(), project.id("a"));
    let plant = |script: &str| {
        let script = format!("cd '{}'; {script}", path.display());
        raw::said(&id, &["sh", "-c", &script]);
    };
    // Beside the owner's, and nearer to where the owner stands: behind what looks like the root of a repository.
    plant("mkdir -p sub/.git; echo 'apiVersion: aishell/v1' > sub/aishell.yaml");
    let run = project.run(&["-f", "sub/../.aishell/manifest.yaml", "diff"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    fs::create_dir(path.join(".git")).expect("a directory");
    let from_below = project.run_in("sub", &["diff"]);
    assert_eq!(from_below.code, Some(3), "{from_below:#?}");
    assert!(
        from_below.stderr.contains("more than one manifest"),
        "{from_below:#?}"
    );
    plant("rm -r sub; mkdir aishell.yaml");
    let run = project.run(&["diff"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    plant("rm -r aishell.yaml; ln -s /etc/passwd aishell.yaml");
    let run = project.run(&["diff"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    plant("rm aishell.yaml");
    project.settled();
}

#[test]
fn an_agent_that_writes_the_project_gets_nothing_wider_under_watch_and_runs_nothing_on_the_host() {
    let project = project();
    project.write("Dockerfile", &format!("FROM {}\nENV STAGE=one\n", project.image));
    project.manifest_on("{ dockerfile: Dockerfile }", "containers:\n  a: { }\n");
    fs::create_dir_all(project.path().join(".git/hooks")).expect("a directory");
    let mut watching = Watching::converged(&project, &[]);
    let path = project.path().display().to_string();
    let inside = |script: &str| {
        let script = format!("cd '{path}' && {script}");
        raw::said(&project.id("a"), &["sh", "-c", &script]);
    };
    let powers = || {
        let one = project.container("a");
        let host = &one["HostConfig"];
        [
            &host["Mounts"],
            &host["Privileged"],
            &host["CapAdd"],
            &host["SecurityOpt"],
            &one["Config"]["User"],
        ]
        .map(Clone::clone)
    };
    let before = powers();
    // What git would run, if anybody called it: hooks and a monitor of files, in both places where it is looked for.
    inside(
        "for hook in post-checkout pre-commit post-index-change fsmonitor-watchman; do \
         printf '#!/bin/sh\\ntouch %s/ran\\n' \"$PWD\" > .git/hooks/$hook; chmod 755 .git/hooks/$hook; done; \
         printf '[core]\\n fsmonitor = %s/.git/hooks/pre-commit\\n hooksPath = .git/hooks\\n' \"$PWD\" > .git/config; \
         printf 'ref: refs/heads/main\\n' > .git/HEAD; mkdir -p .git/objects .git/refs",
    );
    // Its Dockerfile is its own affair: the same sandbox from another image.
    inside("printf 'ENV STAGE=two\\n' >> Dockerfile");
    watching.hears("done replace container a");
    assert_eq!(raw::said(&project.id("a"), &["sh", "-c", "echo $STAGE"]), "two");
    assert_eq!(powers(), before);
    // A manifest put in the place of the owner's, with the host in it.
    let id = project.id("a");
    let manifest = fs::read_to_string(project.path().join("aishell.yaml")).expect("text");
    let wide = "a: { security: { allow: [host], privileged: true }, mounts: ['/:/host'] }";
    let wide = manifest.replace("a: { }", wide);
    inside(&format!(
        "cat > new.yaml <<'END' && mv new.yaml aishell.yaml\n{wide}END"
    ));
    let blocked = watching.hears("blocked a widens");
    assert_eq!(text(&blocked["blocked"]["unblock"]), "aishell apply");
    assert_eq!((project.id("a"), powers()), (id.clone(), before.clone()));
    // Whoever types it is told. What was removed by hand comes back as it was given, or not at all.
    let told = widens(&project.diff().json);
    assert_eq!(told, ["a: / of the host, every privilege of the host"]);
    // A second manifest, even where the first is looked for, outranks nothing.
    inside("mkdir .sandbox && cat aishell.yaml > .sandbox/manifest.yaml");
    watching.hears("InvalidManifest True");
    assert_eq!((project.id("a"), powers()), (id, before.clone()));
    fs::remove_dir_all(project.path().join(".sandbox")).expect("gone");
    project.manifest_on("{ dockerfile: Dockerfile }", "containers:\n  a: { }\n");
    watching.hears("converged");
    assert!(!project.path().join("ran").exists(), "something ran on the host");
    watching.ends_well(&project);
}
