//! What runs first, when a container counts as ready, and replacements that never come that far.

use serde_json::{Value, json};

use crate::project::{Project, Run, failures, project, step, text};
use crate::raw;

/// Returns what tells a container from others, and whether it was restarted.
fn identity(container: &Value) -> (Value, Value) {
    (container["Id"].clone(), container["Name"].clone())
}

fn health(container: &Value) -> &str {
    container["State"]["Health"]["Status"].as_str().unwrap_or("none")
}

#[test]
fn what_comes_first_is_done_once_per_start_and_then_it_is_ready() {
    let project = project();
    project.manifest(
        "containers:
  a:
    preStart:
      - echo one >>~/log
      - { run: \"pwd >>~/log; test $0 = /bin/sh\", workdir: /tmp }
    ready: { exec: [sh, -c, test -e /tmp/open], interval: 200ms, timeout: 60s }
",
    );
    let run = project.converge();
    assert_eq!(run.json["converged"], true);
    project.settled();
    let container = project.container("a");
    assert_eq!(health(&container), "starting");
    assert_eq!(project.run(&["status"]).code, Some(1));
    let impatient = project.run(&["apply", "--wait=1s"]);
    assert_eq!(impatient.code, Some(5), "{impatient:#?}");
    assert!(impatient.stdout.contains("a is not ready"), "{impatient:#?}");

    raw::said(&project.object("a"), &["touch", "/tmp/open"]);
    let patient = project.run(&["apply", "--wait=1m"]);
    assert_eq!(patient.code, Some(0), "{patient:#?}");
    assert_eq!(project.run(&["status", "--wait=1m"]).code, Some(0));
    assert_eq!(health(&project.container("a")), "healthy");
    let log = raw::said(&project.object("a"), &["sh", "-c", "cat ~/log"]);
    assert_eq!(log, "one\n/tmp");
    project.settled();

    // What comes first comes first again, and readiness begins anew.
    raw::post(
        &format!("/containers/{}/restart?t=1", project.object("a")),
        &Value::Null,
    );
    let log = raw::said(&project.object("a"), &["sh", "-c", "cat ~/log"]);
    assert!(log.starts_with("one\n/tmp\none"), "{log}");
    assert_eq!(health(&project.container("a")), "starting");
    project.settled();
}

#[test]
fn whoever_depends_on_a_container_starts_when_that_is_ready() {
    let project = project();
    project.manifest(
        "containers:
  a: { dependsOn: [z] }
  z: { preStart: [sleep 1; touch ~/up], ready: { exec: [sh, -c, \"test -e ~/up\"], interval: 200ms } }
",
    );
    project.converge();
    let first = |name: &str| text(&project.container(name)["State"]["StartedAt"]).to_owned();
    let ended = |entry: &Value| text(&entry["End"]).to_owned();
    let probes = project.container("z")["State"]["Health"]["Log"].clone();
    let passed = probes
        .as_array()
        .and_then(|probes| probes.iter().find(|probe| probe["ExitCode"] == 0))
        .map(ended)
        .expect("a probe that passed");
    // Both are written as 2026-01-01T00:00:00.1Z, of one clock.
    assert!(passed[..19] <= first("a")[..19], "{passed} {}", first("a"));
}

/// Applies a change that cannot work and insists that the old container goes on as if nothing had happened.
fn refused(project: &Project, manifest: &str) -> Run {
    let before = project.container("a");
    project.manifest(manifest);
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert_eq!(failures(&run.json), ["failed replace container a"]);
    let now = project.container("a");
    assert_eq!(identity(&now), identity(&before));
    assert_eq!(now["State"]["Status"], "running");
    assert_eq!(now["HostConfig"], before["HostConfig"]);
    project.only(&["a", "a.failed"]);
    run
}

#[test]
fn a_replacement_that_does_not_work_leaves_the_old_container_running() {
    let project = project();
    project.manifest("containers:\n  a: { home: volume }\n");
    project.converge();
    let cases = [
        (
            "command: [no-such-command]",
            "no-such-command",
            "the last try failed: it ended with code 127: ",
        ),
        (
            "command: [sh, -c, 'echo gone; exit 3']",
            "gone",
            "the last try failed: it ended with code 3: gone",
        ),
        (
            "command: [sh, -c, 'echo soon; sleep 0.6; exit 3']",
            "soon",
            "the last try failed: it ended with code 3: soon",
        ),
        (
            "ready: { exec: [\"false\"], interval: 200ms, timeout: 1s }",
            // Whichever of both notices first.
            "the new container",
            "the last try failed: it was not ready in time",
        ),
        (
            "ready: { exec: [\"false\"], startPeriod: 60s, interval: 200ms, timeout: 1s }",
            "not ready within 1 s",
            "the last try failed: it was not ready in time",
        ),
        (
            "preStart: [\"echo broken; exit 4\"]",
            "broken",
            "with code 4: broken",
        ),
    ];
    for home in ["volume", "tmpfs"] {
        project.manifest(&format!("containers:\n  a: {{ home: {home} }}\n"));
        project.converge();
        for (fields, told, why) in cases {
            let run = refused(
                &project,
                &format!("containers:\n  a: {{ home: {home}, {fields} }}\n"),
            );
            assert!(run.stdout.contains(told), "{fields} with {home}: {run:#?}");
            // It is still wanted, and what came of it is known.
            let diff = project.diff();
            let wanted = step(&diff.json, "container", "a");
            assert_eq!(wanted["action"], "replace", "{fields} with {home}");
            let detail = text(&wanted["detail"]);
            assert!(detail.contains(why), "{fields} with {home}: {detail}");
            let status = project.run(&["status"]);
            assert!(status.stdout.contains("ReplacementFailed"), "{status:#?}");
        }
    }
    project.manifest("containers:\n  a: { home: tmpfs, env: { A: b } }\n");
    project.converge();
}

#[test]
fn where_both_can_run_somebody_always_answers() {
    let project = project();
    project.manifest("containers:\n  a: { home: tmpfs, env: { A: a } }\n");
    project.converge();
    let events = raw::Events::of("container");
    project.manifest("containers:\n  a: { home: tmpfs, env: { A: b } }\n");
    project.converge();
    let acts: Vec<String> = events
        .seen()
        .iter()
        .filter(|event| event["Actor"]["Attributes"]["aishell.manifest"] == json!(project.name))
        .filter(|event| event["Actor"]["Attributes"]["aishell.kind"] == "container")
        .filter_map(|event| Some(event["Action"].as_str()?.to_owned()))
        .filter(|act| ["start", "die", "destroy"].contains(&act.as_str()))
        .collect();
    assert_eq!(
        acts,
        ["start", "die", "destroy"],
        "the new one starts before the old one ends"
    );
}
