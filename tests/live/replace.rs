//! A container that has to be made anew: its home stays, and a new one that does not start gives way to the old.

use serde_json::Value;

use crate::failure::{busy_port, free_port};
use crate::project::{changes, failures, project, step, text};
use crate::raw;

#[test]
fn a_home_survives_a_recreate() {
    let project = project();
    project.manifest("containers:\n  a: { env: { MODE: fast } }\n");
    project.converge();
    let before = project.id("a");
    raw::said(
        &before,
        &["sh", "-c", "echo kept > ~/note; echo gone > /tmp/note"],
    );
    project.manifest("containers:\n  a: { env: { MODE: safe } }\n");
    let run = project.converge();
    assert_eq!(
        changes(&run.json),
        ["replace container a: env.MODE \"fast\" -> \"safe\" (manifest, aishell.yaml:5)"]
    );
    assert_ne!(project.id("a"), before);
    assert!(raw::container(&before).is_none());
    assert_eq!(
        raw::said(
            &project.object("a"),
            &["sh", "-c", "cat ~/note; ls /tmp; echo $MODE"]
        ),
        "kept\nsafe"
    );
    project.only(&["a"]);
}

#[test]
fn a_replacement_that_cannot_start_gives_way_to_the_old_container() {
    let project = project();
    let port = free_port();
    let manifest = |port: u16| format!("containers:\n  a: {{ ports: [\"{port}:80\"] }}\n");
    project.manifest(&manifest(port));
    project.converge();
    let before = project.container("a");
    let (taken, other) = busy_port();
    project.manifest(&manifest(other));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert_eq!(failures(&run.json), ["failed replace container a"]);
    let error = &step(&run.json, "container", "a")["error"];
    assert!(text(&error["message"]).contains(&other.to_string()), "{error:#}");
    // The old one has its name and runs, as it did before.
    let now = project.container("a");
    assert_eq!(now["Id"], before["Id"]);
    assert_eq!(now["State"]["Status"], "running");
    assert_eq!(now["HostConfig"], before["HostConfig"]);
    assert_eq!(
        now["NetworkSettings"]["Ports"],
        before["NetworkSettings"]["Ports"]
    );
    project.only(&["a", "a.failed"]);
    let diff = project.diff();
    let detail = text(&step(&diff.json, "container", "a")["detail"]).to_owned();
    assert!(
        detail.starts_with("the last try failed: ") && detail.contains(&other.to_string()),
        "{detail}"
    );
    drop(taken);
    project.converge();
    project.only(&["a"]);
    assert_ne!(project.id("a"), text(&before["Id"]));
}

#[test]
fn a_port_can_pass_from_a_removed_container_to_a_new_one() {
    let project = project();
    let port = free_port();
    project.manifest(&format!("containers:\n  a: {{ ports: [\"{port}:80\"] }}\n"));
    project.converge();
    project.manifest(&format!("containers:\n  b: {{ ports: [\"{port}:80\"] }}\n"));
    project.converge();
    project.only(&["b"]);
}

#[test]
fn containers_can_exchange_their_ports() {
    let project = project();
    let (one, two) = (free_port(), free_port());
    let manifest = |a: u16, b: u16| {
        format!("containers:\n  a: {{ ports: [\"{a}:80\"] }}\n  b: {{ ports: [\"{b}:80\"] }}\n")
    };
    project.manifest(&manifest(one, two));
    project.converge();
    project.manifest(&manifest(two, one));
    project.converge();
    for (name, port) in [("a", two), ("b", one)] {
        let ports = &project.container(name)["NetworkSettings"]["Ports"]["80/tcp"];
        assert_eq!(ports[0]["HostPort"], port.to_string(), "{name}");
    }
    project.only(&["a", "b"]);
}

#[test]
fn a_stopped_container_that_is_replaced_runs_afterwards() {
    let project = project();
    project.manifest("containers:\n  a: { env: { MODE: fast } }\n");
    project.converge();
    raw::post(
        &format!("/containers/{}/stop?t=0", project.object("a")),
        &Value::Null,
    );
    project.manifest("containers:\n  a: { env: { MODE: safe } }\n");
    project.converge();
    assert_eq!(project.container("a")["State"]["Status"], "running");
}

#[test]
fn a_limit_that_cannot_be_taken_away_in_place_recreates_and_says_so() {
    let project = project();
    project.manifest("containers:\n  a: { resources: { memory: 64MiB } }\n");
    project.converge();
    project.manifest("containers:\n  a: { }\n");
    let diff = project.diff();
    let step = &diff.json["steps"][0];
    assert_eq!(
        (text(&step["action"]), text(&step["impact"])),
        ("replace", "recreate"),
        "{diff:#?}"
    );
    assert!(
        text(&step["detail"]).contains("cannot unset resources.memory"),
        "{step:#}"
    );
    project.converge();
    assert_eq!(project.container("a")["HostConfig"]["Memory"], 0);
}

#[test]
fn a_changed_image_recreates_only_the_container_on_it() {
    let project = project();
    let file = |text: &str| {
        project.write(
            "Dockerfile",
            &format!("FROM {}\nENV STAGE={text}\n", project.image),
        );
    };
    let manifest = format!(
        "containers:\n  a: {{ }}\n  b: {{ image: {}, command: [sleep, \"1000\"] }}\n",
        project.image
    );
    file("one");
    project.manifest_on("{ dockerfile: Dockerfile }", &manifest);
    project.converge();
    let b = project.container("b");
    file("two");
    let diff = project.diff();
    let actions: Vec<String> = diff.json["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| format!("{} {}", text(&step["action"]), text(&step["kind"])))
        .collect();
    assert_eq!(
        actions,
        ["build image", "build image", "replace container"],
        "{:#}",
        diff.json
    );
    project.converge();
    assert_eq!(
        raw::said(&project.object("a"), &["sh", "-c", "echo $STAGE"]),
        "two"
    );
    raw::same(&project.container("b"), &b);
}

#[test]
fn a_replacement_that_ends_at_once_gives_way_and_its_last_words_are_told() {
    let project = project();
    let manifest = |command: &str| {
        format!("containers:\n  a: {{ command: [sh, -c, \"{command}\"], restart: always }}\n  b: {{ }}\n")
    };
    project.manifest(&manifest("sleep 1000"));
    project.converge();
    let before = project.container("a");
    for (command, words) in [
        (
            "echo these were the last words; exit 3",
            "these were the last words",
        ),
        ("no-such-program", "not found"),
    ] {
        project.manifest(&manifest(command));
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{run:#?}");
        assert_eq!(failures(&run.json), ["failed replace container a"]);
        let error = &step(&run.json, "container", "a")["error"];
        assert!(error["log"].to_string().contains(words), "{error:#}");
        let now = project.container("a");
        assert_eq!(
            (&now["Id"], &now["State"]["Status"], &now["HostConfig"]),
            (&before["Id"], &Value::from("running"), &before["HostConfig"])
        );
        project.only(&["a", "a.failed", "b"]);
        let kept = project.container("a.failed");
        assert_eq!(kept["HostConfig"]["RestartPolicy"]["Name"], "no");
    }
    // Nobody wants it any more: then it is gone, and nothing else.
    project.manifest(&manifest("sleep 1000"));
    let run = project.converge();
    let gone = format!(
        "remove container a: name \"{}\" -> null (orphan)",
        project.object("a.failed")
    );
    assert_eq!(changes(&run.json), [gone]);
    assert_eq!(project.id("a"), text(&before["Id"]));
    project.only(&["a", "b"]);
}
