//! Containers that somebody works in are not interrupted, unless a person allows it.

use crate::project::{Project, Run, project, text};
use crate::proxy::{Proxy, Verdict};
use crate::raw;

/// Runs until a file appears.
const WORK: [&str; 3] = ["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.1; done"];

fn with(project: &Project, mode: &str) {
    project.manifest(&format!("containers:\n  a: {{ env: {{ MODE: {mode} }} }}\n"));
}

/// Returns the blocked steps of a document as `action name: reason: detail`.
fn blocked(run: &Run) -> Vec<String> {
    let blocked = run.json["blocked"].as_array().into_iter().flatten();
    let line = |one: &serde_json::Value| {
        let [action, name, reason, detail] =
            ["action", "name", "reason", "detail"].map(|field| text(&one[field]));
        format!("{action} {name}: {reason}: {detail}")
    };
    blocked.map(line).collect()
}

/// Insists that a change that needs a recreate waits for what is done in the container.
fn waits_for(project: &Project, evidence: &str, end: impl FnOnce(&str)) {
    let before = project.id("a");
    with(project, "safe");
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(
        blocked(&run),
        [format!("replace a: busy: {evidence}")],
        "{run:#?}"
    );
    assert_eq!(
        text(&run.json["blocked"][0]["unblock"]),
        "aishell apply --allow interrupt"
    );
    assert_eq!(project.id("a"), before);
    project.only(&["a"]);
    end(&before);
    project.converge();
    assert_ne!(project.id("a"), before);
}

#[test]
fn a_shell_in_a_terminal_is_not_interrupted() {
    let project = project();
    with(&project, "fast");
    project.converge();
    let shell = raw::detached(&project.object("a"), &WORK, true);
    let ps = project.run(&["ps"]);
    assert_eq!(ps.json["items"][0]["sessions"], 1, "{ps:#?}");
    waits_for(&project, "1 terminal session", |id| {
        raw::said(id, &["touch", "/tmp/end"]);
        raw::ended(&shell);
    });
    let ps = project.run(&["ps"]);
    assert_eq!(ps.json["items"][0]["sessions"], 0, "{ps:#?}");
}

/// As inside tmux or screen: a terminal that is made inside, by a process that belongs to nobody outside.
#[test]
fn a_terminal_that_no_command_of_the_engine_holds_is_not_interrupted() {
    let project = Project::on(crate::support::BASE.to_owned());
    with(&project, "fast");
    project.converge();
    let work = WORK[2];
    let detach = format!("setsid script -qc '{work}' /dev/null >/dev/null 2>&1 </dev/null &");
    raw::said(&project.object("a"), &["sh", "-c", &detach]);
    let terminal = || {
        raw::get(&format!(
            "/containers/{}/top?ps_args=-eo%20pid,tpgid",
            project.object("a")
        ))
    };
    raw::until("the terminal is open", || {
        let top = terminal();
        let rows = top["Processes"].as_array().expect("rows");
        rows.iter()
            .any(|row| !text(&row[1]).starts_with('-'))
            .then_some(())
    });
    assert_eq!(project.container("a")["ExecIDs"], serde_json::Value::Null);
    waits_for(&project, "1 terminal session", |id| {
        raw::said(id, &["touch", "/tmp/end"]);
        raw::until("the terminal is gone", || {
            let top = terminal();
            let rows = top["Processes"].as_array().expect("rows");
            rows.iter()
                .all(|row| text(&row[1]).starts_with('-'))
                .then_some(())
        });
    });
}

#[test]
fn a_command_without_a_terminal_is_not_interrupted() {
    let project = project();
    with(&project, "fast");
    project.converge();
    let command = raw::detached(&project.object("a"), &WORK, false);
    waits_for(&project, &format!("exec `{}`", WORK.join(" ")), |id| {
        raw::said(id, &["touch", "/tmp/end"]);
        raw::ended(&command);
    });
}

#[test]
fn a_container_says_itself_whether_it_is_at_work() {
    let project = project();
    let with = |mode: &str, words: &str| {
        project.manifest(&format!(
            "containers:\n  a: {{ env: {{ MODE: {mode} }}, busy: {{ exec: [{words}] }} }}\n"
        ));
    };
    with("fast", "sh, -c, test -e /tmp/at-work");
    project.converge();
    let before = project.id("a");
    raw::said(&before, &["touch", "/tmp/at-work"]);
    with("safe", "sh, -c, test -e /tmp/at-work");
    let run = project.apply();
    assert_eq!(
        blocked(&run),
        ["replace a: busy: `busy.exec` says so"],
        "{run:#?}"
    );
    with("safe", "no-such-command");
    let run = project.apply();
    assert!(blocked(&run)[0].contains("cannot be run"), "{run:#?}");
    with("safe", "sleep, \"1000\"");
    let run = project.apply();
    assert_eq!(
        blocked(&run),
        ["replace a: busy: `busy.exec` does not end"],
        "{run:#?}"
    );
    assert_eq!(project.id("a"), before);
    with("safe", "sh, -c, test -e /tmp/nothing");
    let run = project.run(&["apply", "--allow", "interrupt"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    with("fast", "sh, -c, test -e /tmp/nothing");
    project.converge();
}

#[test]
fn a_list_of_processes_from_inside_tells_the_same() {
    let mut project = project();
    with(&project, "fast");
    project.converge();
    raw::detached(&project.object("a"), &WORK, true);
    let proxy = Proxy::ruled(|request| {
        if request.path.ends_with("/top") {
            Verdict::Refuse
        } else {
            Verdict::Pass
        }
    });
    project.through(&proxy);
    with(&project, "safe");
    let run = project.apply();
    assert_eq!(blocked(&run), ["replace a: busy: 1 terminal session"], "{run:#?}");
}

#[test]
fn what_is_allowed_is_interrupted_and_deleting_asks_too() {
    let project = project();
    with(&project, "fast");
    project.converge();
    raw::detached(&project.object("a"), &WORK, true);
    with(&project, "safe");
    let run = project.run(&["apply", "--allow", "interrupt"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    raw::detached(&project.object("a"), &WORK, true);
    let run = project.run(&["delete", "--yes"]);
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(text(&run.json["blocked"][0]["reason"]), "busy", "{run:#?}");
    assert_eq!(
        text(&run.json["blocked"][0]["unblock"]),
        "aishell delete --allow interrupt"
    );
    project.only(&["a"]);
    let run = project.run(&["delete", "--yes", "--allow", "interrupt"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.only(&[]);
}
