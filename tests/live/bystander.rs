//! Whoever works in one container does not notice what is done to others.

use serde_json::{Value, json};

use crate::project::{Project, failures, project, step};
use crate::raw::{self, Events, Terminal};

/// What the other container is, apart from the one that somebody works in.
fn manifest(project: &Project, other: &str) {
    project.manifest(&format!("containers:\n  a: {{ }}\n{other}"));
}

/// Returns the number of the last tick on the screen, and insists that none was left out.
fn ticks(screen: &str) -> usize {
    // The first may stand behind a prompt that was late, and the command itself has no number.
    let numbers: Vec<usize> = screen
        .lines()
        .filter_map(|line| line.trim().rsplit_once("tick ")?.1.parse().ok())
        .collect();
    // The last line may not be whole yet.
    let whole = &numbers[..numbers.len().saturating_sub(1)];
    assert!(whole.iter().copied().eq(1..=whole.len()), "{screen}");
    whole.len()
}

#[test]
fn a_session_does_not_notice_what_is_done_to_other_containers() {
    let project = project();
    let other = |fields: &str| format!("  b: {{ stop: {{ timeout: 1s }}, {fields} }}\n");
    manifest(&project, &other("env: { MODE: fast }"));
    project.converge();
    let mut terminal = Terminal::open(&project.id("a"));
    terminal.types("i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done\n");
    raw::until("it ticks", || (ticks(&terminal.screen()) > 1).then_some(()));
    let (before, session) = (project.container("a"), terminal.inspect());
    let (events, networks) = (Events::of("container"), Events::of("network"));
    let goes_on = |what: &str| {
        let so_far = ticks(&terminal.screen());
        raw::until(what, || (ticks(&terminal.screen()) > so_far + 1).then_some(()));
        raw::same(&project.container("a"), &before);
        let now = terminal.inspect();
        assert_eq!(
            (&now["Running"], &now["Pid"]),
            (&Value::Bool(true), &session["Pid"]),
            "{what}"
        );
    };

    manifest(&project, &other("env: { MODE: safe }"));
    let b = project.id("b");
    project.converge();
    assert_ne!(project.id("b"), b);
    goes_on("the other one was replaced");

    manifest(
        &project,
        &other("env: { MODE: safe }, resources: { memory: 64MiB, pids: 99 }, restart: always"),
    );
    let b = project.id("b");
    project.converge();
    assert_eq!(project.id("b"), b);
    goes_on("the other one was changed in place");

    let network = project.object(&project.name);
    let who = json!({ "Container": b });
    raw::post(&format!("/networks/{network}/disconnect"), &who);
    project.converge();
    goes_on("the network of the other one was repaired");

    manifest(&project, &other("command: [sh, -c, exit 3]"));
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert_eq!(failures(&run.json), ["failed replace container b"]);
    goes_on("a replacement of the other one was taken back");

    manifest(&project, &other("env: { MODE: safe }"));
    raw::post(&format!("/containers/{b}/stop?t=0"), &Value::Null);
    let run = project.run(&["apply", "--allow", "interrupt"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(step(&run.json, "container", "b")["outcome"], "done");
    goes_on("the other one was started, and whoever is interrupted allowed");

    manifest(&project, "");
    project.converge();
    project.only(&["a"]);
    goes_on("the other one was removed");

    // The engine says so too: nothing happened to it but that its session was looked at.
    let id = before["Id"].as_str().expect("an id");
    let about =
        |event: &&Value| event["Actor"]["ID"] == id || event["Actor"]["Attributes"]["container"] == id;
    for events in [&events, &networks] {
        let seen = events.seen();
        let acts: Vec<&Value> = seen.iter().filter(about).map(|event| &event["Action"]).collect();
        assert!(acts.iter().all(|act| *act == "top"), "{acts:?}");
    }
    terminal.types("\u{3}");
    terminal.types("exit 7\n");
    raw::until("the shell has ended", || {
        (terminal.inspect()["Running"] == false).then_some(())
    });
    assert_eq!(terminal.inspect()["ExitCode"], 7);
}
