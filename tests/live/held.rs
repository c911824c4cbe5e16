//! What a person does to containers by hand: stopped ones stay stopped, until somebody starts them.

use serde_json::{Value, json};

use crate::project::{Project, changes, project, text};
use crate::raw;
use crate::watch::Watching;

fn two(project: &Project) -> String {
    format!(
        "containers:\n  a:\n    image: {image}\n    command: [sleep, infinity]\n    restart: always\n    \
         stop: {{ timeout: 1s }}\n    env: {{ MODE: fast }}\n  \
         b:\n    image: {image}\n    command: [sleep, infinity]\n    stop: {{ timeout: 1s }}\n    dependsOn: [a]\n",
        image = project.image
    )
}

fn running(project: &Project, name: &str) -> bool {
    project.container(name)["State"]["Running"] == true
}

/// Returns how a container stands in a document of `status` or `ps`.
fn standing<'d>(list: &'d Value, name: &str) -> &'d Value {
    let all = list.as_array().expect("a list");
    let found = all
        .iter()
        .find(|one| one["name"] == name && one["kind"] != "volume");
    found.expect("it is listed")
}

#[test]
fn a_container_stopped_by_hand_stays_stopped_until_it_is_started() {
    let project = project();
    project.manifest(&two(&project));
    project.converge();
    let before = project.container("a");

    let stop = project.run(&["stop", "a"]);
    assert_eq!(stop.code, Some(0), "{stop:#?}");
    assert_eq!(changes(&stop.json), ["stop container a (requested)"]);
    assert!(!running(&project, "a") && running(&project, "b"));
    // Else the engine would start it when it is itself started.
    assert_eq!(
        project.container("a")["HostConfig"]["RestartPolicy"]["Name"],
        "no"
    );

    let again = project.run(&["stop", "a"]);
    assert_eq!(
        (again.code, changes(&again.json)),
        (Some(0), Vec::new()),
        "{again:#?}"
    );
    project.settled();
    let apply = project.apply();
    assert_eq!(
        (apply.code, changes(&apply.json)),
        (Some(0), Vec::new()),
        "{apply:#?}"
    );
    let notes = apply.json["notes"].as_array().expect("notes").iter().map(text);
    let told = |note: &str| {
        note.starts_with("container a is held (stopped by ") && note.ends_with("`aishell start a` starts it")
    };
    assert!(notes.into_iter().any(told), "{:#}", apply.json);
    assert!(!running(&project, "a"));

    let status = project.run(&["status", "--wait=1m"]);
    assert_eq!(
        status.code,
        Some(0),
        "what somebody wants stopped is not waited for: {status:#?}"
    );
    let a = standing(&status.json["resources"], "a");
    assert_eq!((&a["ready"], &a["state"]), (&json!(false), &json!("exited")));
    let ready = a["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .find(|one| one["type"] == "Ready");
    assert_eq!(ready.expect("it is told")["reason"], "Held");
    for arguments in [&["ps"] as &[_], &["ps", "--all-projects"]] {
        let ps = project.run(arguments);
        let items = ps.json["items"].as_array().expect("items").iter();
        let ours = items.filter(|one| one["engineName"] == project.object("a"));
        let items: Value = ours.cloned().collect();
        let hold = &standing(&items, "a")["hold"];
        assert!(
            text(&hold["by"]).contains('@') && text(&hold["since"]).contains('T'),
            "{hold}"
        );
    }

    let start = project.run(&["start", "a"]);
    assert_eq!(start.code, Some(0), "{start:#?}");
    let after = project.container("a");
    assert_eq!(
        (&after["Id"], &after["State"]["Running"]),
        (&before["Id"], &json!(true))
    );
    assert_eq!(after["HostConfig"]["RestartPolicy"]["Name"], "always");
    project.settled();
    project.only(&["a", "b"]);
    let twice = project.run(&["start", "a"]);
    assert_eq!(
        (twice.code, changes(&twice.json)),
        (Some(0), Vec::new()),
        "{twice:#?}"
    );
}

#[test]
fn watch_leaves_a_held_container_alone_and_what_is_changed_waits_for_its_start() {
    let project = project();
    project.manifest(&two(&project));
    let mut watching = Watching::converged(&project, &[]);
    let stop = project.run(&["stop", "a"]);
    assert_eq!(stop.code, Some(0), "{stop:#?}");
    // What it does for `b` shows that it has seen what happened to `a`.
    raw::post(&format!("/containers/{}/kill", project.object("b")), &Value::Null);
    raw::until("b is healed", || running(&project, "b").then_some(()));
    assert!(!running(&project, "a"));

    project.manifest(&two(&project).replace("fast", "safe"));
    watching.hears("blocked a held");
    let diff = project.diff();
    let blocked = &diff.json["blocked"][0];
    assert_eq!(
        (&blocked["reason"], &blocked["unblock"]),
        (&json!("held"), &json!("aishell start a"))
    );
    let id = project.id("a");
    let start = project.run(&["start", "a"]);
    assert_eq!(start.code, Some(0), "{start:#?}");
    assert!(running(&project, "a") && project.id("a") != id);
    watching.ends_well(&project);
}

#[test]
fn what_is_held_goes_with_its_container_and_with_its_manifest() {
    let project = project();
    project.manifest(&two(&project));
    project.converge();
    project.run(&["stop", "a", "b"]);
    let prefix = project.object("").replace("aishell-", "aishell-hold-");
    let holds = || {
        let volumes = raw::get("/volumes")["Volumes"].clone();
        let names = volumes.as_array().expect("a list").iter();
        let ours = names.filter(|one| text(&one["Name"]).starts_with(&prefix));
        ours.count()
    };
    assert_eq!(holds(), 2);
    let one = two(&project);
    let one = one.split("  b:").next().expect("a part");
    project.manifest(one);
    let apply = project.apply();
    assert_eq!(apply.code, Some(0), "{apply:#?}");
    assert_eq!(holds(), 1);
    let delete = project.run(&["delete", "--yes"]);
    assert_eq!(delete.code, Some(0), "{delete:#?}");
    assert_eq!(holds(), 0);
}

#[test]
fn only_what_is_named_is_touched() {
    let project = project();
    project.manifest(&two(&project));
    let apply = project.run(&["apply", "--only", "container/a"]);
    assert_eq!(apply.code, Some(0), "{apply:#?}");
    project.only(&["a"]);
    project.manifest(&two(&project).replace("  b:", "  c:"));
    let apply = project.run(&["apply", "--only", "container/c"]);
    assert_eq!(apply.code, Some(0), "{apply:#?}");
    project.only(&["a", "c"]);
    let missing = project.plain(&["diff", "--only", "container/aa"]);
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    assert!(missing.stderr.contains("there are: a, c"), "{missing:#?}");
    project.converge();
}

#[test]
fn a_restart_by_hand_ends_the_processes_and_keeps_the_container() {
    let project = project();
    project.manifest(&two(&project));
    project.converge();
    let before = project.container("a");
    let restart = project.run(&["restart", "a"]);
    assert_eq!(restart.code, Some(0), "{restart:#?}");
    let after = project.container("a");
    assert_eq!(after["Id"], before["Id"]);
    assert_ne!(after["State"]["StartedAt"], before["State"]["StartedAt"]);
    project.run(&["stop", "b"]);
    let held = project.plain(&["restart", "b"]);
    assert_eq!(held.code, Some(6), "{held:#?}");
    assert!(held.stdout.contains("start b"), "{held:#?}");
    assert!(!running(&project, "b"));
    let unknown = project.plain(&["stop", "aa", "b"]);
    assert_eq!(unknown.code, Some(2), "{unknown:#?}");
    assert!(unknown.stderr.contains("there are: a, b"), "{unknown:#?}");
}
