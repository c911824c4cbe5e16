//! Sessions: commands and shells in containers, through streams and through a real terminal.

use std::io::{Read as _, Write as _};
use std::process::Child;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::project::{Project, Run, project};
use crate::proxy::Proxy;
use crate::raw;
use crate::support::BASE;

/// Returns a project with a container that runs.
fn running(image: String) -> Project {
    let project = Project::on(image);
    project.manifest("containers:\n  a: {}\n");
    project.converge();
    project
}

fn tiny() -> Project {
    running(raw::tiny())
}

fn debian() -> Project {
    running(BASE.to_owned())
}

fn sh(project: &Project, script: &str) -> Run {
    project.plain(&["exec", "a", "--", "sh", "-c", script])
}

/// Returns the command lines of what runs in a container besides its own.
fn inside(project: &Project) -> Vec<String> {
    let top = raw::get(&format!(
        "/containers/{}/top?ps_args=-eo%20pid,args",
        project.object("a")
    ));
    let rows = top["Processes"].as_array().expect("rows");
    let lines = rows.iter().filter_map(|row| row[1].as_str());
    let own = |line: &str| line.contains("docker-init") || line == "sleep infinity";
    lines.filter(|line| !own(line)).map(str::to_owned).collect()
}

/// Waits until nothing runs in a container besides its own, lifelines included.
fn nobody_is_left(project: &Project) {
    let mut left = Vec::new();
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        raw::until("nothing is left", || {
            left = inside(project);
            left.is_empty().then_some(())
        });
    }));
    assert!(gone.is_ok(), "left: {left:#?}");
}

fn sends(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a number"), signal).expect("a program");
}

#[test]
fn a_command_says_and_ends_as_it_likes() {
    let project = tiny();
    for code in [0, 1, 5, 42, 125, 126, 127, 128, 255] {
        assert_eq!(sh(&project, &format!("exit {code}")).code, Some(code));
    }
    assert_eq!(sh(&project, "kill -9 $$").code, Some(137));
    let run = sh(&project, "echo out; echo err >&2; exit 3");
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (Some(3), "out\n", "err\n")
    );
    // Nothing of it is ours, with or without the dashes.
    let run = project.plain(&[
        "exec",
        "a",
        "--",
        "sh",
        "-c",
        "echo \"$@\"",
        "x",
        "--help",
        "--",
        "-f",
        "x",
    ]);
    assert_eq!(run.stdout, "--help -- -f x\n");
    let run = project.plain(&["exec", "a", "sh", "-c", "echo \"$0\"", "-o"]);
    assert_eq!(run.stdout, "-o\n");
    nobody_is_left(&project);
}

#[test]
fn what_cannot_be_run_says_why() {
    let project = tiny();
    for (arguments, code, told) in [
        (
            ["exec", "a", "--", "nope"].as_slice(),
            127,
            "there is no program `nope`",
        ),
        (
            &["exec", "a", "--", "/etc"],
            126,
            "`/etc` in the container cannot be run",
        ),
        (
            &["exec", "-w", "/nope", "a", "--", "cat"],
            125,
            "there is no directory /nope",
        ),
        (&["exec", "aa", "--", "cat"], 2, "there is no container `aa`"),
        (
            &["exec", "../../version", "--", "cat"],
            2,
            "there is no container",
        ),
        (&["exec", "a"], 2, "required"),
        (
            &["exec", "-it", "a", "--", "cat"],
            2,
            "standard input is not a terminal",
        ),
        (&["exec", "-e", "=x", "a", "--", "cat"], 2, "is not a variable"),
        (
            &["exec", "--host", "unix:///nowhere.sock", "a", "--", "cat"],
            125,
            "cannot be reached",
        ),
        (&["attach", "b"], 2, "there is no container `b`"),
    ] {
        let run = project.plain(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?} {run:#?}");
        assert!(run.stderr.contains(told), "{arguments:?} {run:#?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
    raw::post(
        &format!("/containers/{}/pause", project.object("a")),
        &Value::Null,
    );
    let run = project.plain(&["exec", "a", "--", "cat"]);
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(run.stderr.contains("is paused"), "{run:#?}");
    raw::post(
        &format!("/containers/{}/unpause", project.object("a")),
        &Value::Null,
    );
    raw::post(&format!("/containers/{}/kill", project.object("a")), &Value::Null);
    let run = project.plain(&["exec", "a", "--", "cat"]);
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(
        run.stderr.contains("has ended with code 137") && run.stderr.contains("aishell start a"),
        "{run:#?}"
    );
    raw::delete(&format!("/containers/{}?force=1", project.object("a")));
    let run = project.plain(&["exec", "a", "--", "cat"]);
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(run.stderr.contains("is not there yet"), "{run:#?}");
}

#[test]
fn a_stranger_under_our_name_is_not_entered() {
    let project = project();
    project.manifest("containers:\n  a: {}\n");
    let options = serde_json::json!({ "Image": raw::tiny(), "Cmd": ["sleep", "1000"] });
    raw::post(
        &format!("/containers/create?name={}", project.object("a")),
        &options,
    );
    raw::post(
        &format!("/containers/{}/start", project.object("a")),
        &Value::Null,
    );
    let run = project.plain(&["exec", "a", "--", "cat"]);
    raw::delete(&format!("/containers/{}?force=1", project.object("a")));
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(run.stderr.contains("is not one that aishell made"), "{run:#?}");
}

#[test]
fn a_command_begins_where_its_caller_stands_with_what_it_is_given() {
    let mut project = tiny();
    std::fs::create_dir_all(project.path().join("src/x")).expect("a directory");
    project.variable("HERE", "here");
    let run = project.run_in(
        "src/x",
        &[
            "-f",
            "../../aishell.yaml",
            "exec",
            "-e",
            "A=1=2",
            "-e",
            "HERE",
            "-e",
            "NOWHERE",
            "a",
            "--",
            "sh",
            "-c",
            "pwd; echo $A $HERE ${NOWHERE-none} $LANG; echo $0 $1",
        ],
    );
    let path = project.path().join("src/x");
    assert_eq!(
        run.stdout,
        format!("{}\n1=2 here none C.UTF-8\n-o json\n", path.display())
    );
    let run = project.plain(&["exec", "-w", "src", "a", "--", "pwd"]);
    // The tiny image has no such program.
    assert_eq!(run.code, Some(127), "{run:#?}");
    let run = project.plain(&["exec", "-w", "src", "a", "--", "sh", "-c", "pwd"]);
    assert_eq!(
        run.stdout.trim(),
        project.path().join("src").display().to_string()
    );
}

#[test]
fn input_is_handed_on_to_its_end_and_output_still_comes() {
    let project = tiny();
    // Without being asked for it is not read, so that a loop over lines keeps its input.
    assert_eq!(project.told("x\n", &["exec", "a", "--", "cat"]).stdout, "");
    assert_eq!(
        project.told("x\n", &["exec", "-i", "a", "--", "cat"]).stdout,
        "x\n"
    );
    let run = project.told("", &["exec", "-i", "a", "--", "sh", "-c", "cat; echo after"]);
    assert_eq!(run.stdout, "after\n");
    // Where there is no terminal a shell reads its commands.
    let run = project.told("echo in $0; exit 7\n", &["attach", "a"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(7), "in /bin/sh\n"),
        "{run:#?}"
    );
    let closed = project.begin_shell("exec <&-; \"$AISHELL\" exec -i a -- cat");
    let ended = closed.wait_with_output().expect("an end");
    assert_eq!(
        (ended.status.code(), ended.stdout.as_slice()),
        (Some(0), [].as_slice())
    );
    let directory = project.begin_shell("\"$AISHELL\" exec -i a -- cat </");
    let ended = directory.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(125));
    nobody_is_left(&project);
}

#[test]
fn any_bytes_of_any_number_pass_both_ways_unharmed() {
    let project = tiny();
    let mut child = project.piped(&["exec", "-i", "a", "--", "cat"]);
    let mut stdin = child.stdin.take().expect("stdin");
    let mut stdout = child.stdout.take().expect("stdout");
    let total: usize = 64 << 20;
    // No two pieces are alike.
    let bytes = |at: usize| -> Vec<u8> {
        let mut state = u32::try_from(at).expect("a number") | 1;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(1 << 16)
        .collect()
    };
    let writing = thread::spawn(move || {
        for at in (0..total).step_by(1 << 16) {
            stdin.write_all(&bytes(at)).expect("a reader");
        }
    });
    let mut piece = vec![0; 1 << 16];
    for at in (0..total).step_by(1 << 16) {
        stdout.read_exact(&mut piece).expect("a writer");
        assert!(piece == bytes(at), "piece {at} differs");
    }
    writing.join().expect("a writer");
    assert_eq!(stdout.read(&mut piece).expect("an end"), 0);
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[test]
fn nobody_who_reads_is_a_quiet_end_inside_too() {
    let project = tiny();
    let mut child = project.begin(&["exec", "a", "--", "sh", "-c", "while echo y; do :; done"]);
    let mut stdout = child.stdout.take().expect("stdout");
    let mut piece = [0; 2];
    stdout.read_exact(&mut piece).expect("a writer");
    drop(stdout);
    let ended = child.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    nobody_is_left(&project);
}

#[test]
fn a_signal_reaches_the_command_and_its_code_comes_back() {
    let project = tiny();
    let script = "trap 'echo got it; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    for (script, signal, code, said) in [
        (script, Signal::INT, 5, "got it\n"),
        ("echo ready; exec sleep 1000", Signal::TERM, 143, ""),
        ("echo ready; exec sleep 1000", Signal::HUP, 129, ""),
    ] {
        let mut child = project.begin(&["exec", "a", "--", "sh", "-c", script]);
        let mut stdout = child.stdout.take().expect("stdout");
        stdout.read_exact(&mut [0; 6]).expect("a word");
        sends(&child, signal);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("text");
        assert_eq!(
            (child.wait().expect("an end").code(), rest.as_str()),
            (Some(code), said)
        );
        nobody_is_left(&project);
    }
    // Who insists is obeyed here, and the lifeline sees to the rest.
    let deaf = "trap '' INT HUP; echo ready; while :; do sleep 0.1; done";
    let mut child = project.begin(&["exec", "a", "--", "sh", "-c", deaf]);
    child
        .stdout
        .take()
        .expect("stdout")
        .read_exact(&mut [0; 6])
        .expect("a word");
    sends(&child, Signal::INT);
    let child = std::cell::RefCell::new(child);
    raw::until("it has ended", || {
        let mut child = child.borrow_mut();
        let ended = child.try_wait().expect("a program");
        if ended.is_none() {
            sends(&child, Signal::INT);
        }
        ended
    });
    nobody_is_left(&project);
}

#[test]
fn what_a_killed_client_leaves_behind_is_ended_children_and_deaf_ones_included() {
    for project in [tiny(), debian()] {
        let script =
            "(trap '' HUP TERM; exec sleep 1001) & env -i sleep 1002 & sleep 1003 & echo ready; wait";
        for terminal in [false, true] {
            let words = ["exec", "-t", "a", "--", "sh", "-c", script];
            let words: Vec<&str> = words
                .into_iter()
                .filter(|word| terminal || *word != "-t")
                .collect();
            let mut child = project.begin(&words);
            child
                .stdout
                .take()
                .expect("stdout")
                .read_exact(&mut [0; 6])
                .expect("a word");
            raw::until("it has a lifeline", || {
                inside(&project)
                    .iter()
                    .any(|line| line.contains("aishell-probe"))
                    .then_some(())
            });
            child.kill().expect("a kill");
            child.wait().expect("an end");
            nobody_is_left(&project);
        }
    }
}

#[test]
fn a_lifeline_makes_nobody_busy_and_a_session_does() {
    let project = tiny();
    let mut terminal = project.in_terminal(&["attach", "a"]);
    terminal.press("echo in $0 ${AISHELL_SESSION:+it}\r");
    terminal.shows("it\r\n");
    project.manifest("containers:\n  a: { env: { A: b } }\n");
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(run.json["blocked"][0]["detail"], "1 terminal session", "{run:#?}");
    terminal.press("exit 3\r");
    assert_eq!(terminal.ends(), 3);
    assert!(terminal.is_as_before());
    project.converge();
}

#[test]
fn a_shell_in_a_terminal_has_its_size_its_keys_and_its_jobs() {
    let project = debian();
    let mut terminal = project.in_terminal(&["attach", "a"]);
    terminal.is_taken();
    terminal.press("PS1=''; stty size; echo $TERM $LANG $-; shopt login_shell\r");
    terminal.shows("24 80\r\nxterm-256color C.UTF-8 ");
    terminal.shows("login_shell    \ton");
    terminal.resize(7, 33);
    terminal.press("until [ \"$(stty size)\" = '7 33' ]; do :; done; echo re\"sized\"\r");
    terminal.shows("resized");
    terminal.press("sh -c 'echo be\"gun\"; exec sleep 1000'\r");
    terminal.shows("begun");
    terminal.press("\x1a");
    terminal.shows("Stopped");
    terminal.press("fg\r");
    terminal.shows("fg\r\n");
    terminal.shows("sleep 1000'\r\n");
    terminal.press("\x03");
    terminal.shows("^C");
    terminal.press("echo co\"de\" $?\r");
    terminal.shows("code 130");
    terminal.press("exit 42\r");
    assert_eq!(terminal.ends(), 42);
    assert!(terminal.is_as_before());
    nobody_is_left(&project);
}

#[test]
fn a_megabyte_of_pasted_text_arrives_whole() {
    let project = debian();
    let mut terminal = project.in_terminal(&[
        "attach",
        "a",
        "--",
        "sh",
        "-c",
        "stty -echo -icanon; echo ready; head -c 1048576 | sha256sum",
    ]);
    terminal.shows("ready");
    let text: String = (0..1 << 20)
        .map(|at| char::from(b'a' + u8::try_from(at % 23).expect("a letter")))
        .collect();
    terminal.press(&text);
    terminal.shows(&aishell::key::digest(text.as_bytes()));
    assert_eq!(terminal.ends(), 0);
    assert!(terminal.is_as_before());
}

#[test]
fn a_terminal_is_given_back_however_the_session_ends() {
    let mut project = debian();
    // What a full-screen program makes of it, and what its death takes back.
    let made = "printf '\\033[?1049h\\033[?25l\\033[?1006h'; echo ready; exec sleep 1000";
    let plain = "\x1b[?25h\x1b[?1006l\x1b[?1049l";
    for (signal, code) in [
        (Signal::KILL, 137),
        (Signal::TERM, 143),
        (Signal::HUP, 129),
        (Signal::INT, 130),
        (Signal::ABORT, 134),
    ] {
        let mut terminal = project.in_terminal(&["attach", "a", "--", "sh", "-c", made]);
        terminal.shows("ready");
        assert!(!terminal.is_as_before());
        terminal.send(signal);
        assert_eq!(terminal.ends(), code);
        terminal.shows(plain);
        terminal.is_given_back();
        nobody_is_left(&project);
    }
    // The engine goes away.
    let proxy = Proxy::new();
    project.through(&proxy);
    let mut terminal = project.in_terminal(&["attach", "a", "--", "sh", "-c", made]);
    terminal.shows("ready");
    proxy.disconnect();
    assert_eq!(terminal.ends(), 125);
    terminal.shows(plain);
    terminal.shows("was lost in mid-session");
    terminal.is_given_back();
    project.at(None);
    nobody_is_left(&project);
    // The container goes away.
    let mut terminal = project.in_terminal(&["attach", "a", "--", "sh", "-c", made]);
    terminal.shows("ready");
    raw::post(&format!("/containers/{}/kill", project.object("a")), &Value::Null);
    assert_eq!(terminal.ends(), 137);
    terminal.shows(plain);
    terminal.is_given_back();
}

#[test]
fn a_terminal_that_nobody_inside_knows_is_another_one() {
    let mut project = debian();
    for (name, expected) in [
        ("xterm-nobody", "xterm-256color"),
        ("vt100", "vt100"),
        ("../../x", "xterm-256color"),
        ("sun", "sun"),
    ] {
        project.variable("TERM", name);
        let mut terminal = project.in_terminal(&["attach", "a", "--", "sh", "-c", "echo is $TERM."]);
        terminal.shows(&format!("is {expected}."));
        assert_eq!(terminal.ends(), 0);
    }
}

#[test]
fn without_a_shell_there_is_no_lifeline_and_a_command_runs_all_the_same() {
    let project = tiny();
    let tag = format!("aishelltest-noshell:{}", project.name);
    raw::derive(&tag, "RUN [\"rm\", \"/usr/bin/sh\"]\n");
    let without = Project::on(tag.clone());
    without.manifest("containers:\n  a: {}\n");
    without.converge();
    let mut terminal = without.in_terminal(&["attach", "a", "--", "cat"]);
    terminal.is_taken();
    terminal.press("word\r");
    terminal.shows("word\r\nword\r\n");
    terminal.press("\x04");
    assert_eq!(terminal.ends(), 0);
    let mut terminal = without.in_terminal(&["attach", "a"]);
    assert_eq!(terminal.ends(), 127);
    terminal.shows("there is no program `sh`");
    drop(without);
    raw::delete(&format!("/images/{tag}?force=1"));
}

/// Returns the process that holds a session for a project, which has a runtime directory of its own.
fn holder(runtime: &std::path::Path) -> rustix::process::Pid {
    let marker = format!("XDG_RUNTIME_DIR={}\0", runtime.display());
    let processes = std::fs::read_dir("/proc").expect("processes");
    let mut found = processes.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number: i32 = path.file_name()?.to_str()?.parse().ok()?;
        let words = std::fs::read(path.join("cmdline")).ok()?;
        let environment = std::fs::read(path.join("environ")).ok()?;
        let ours =
            words.ends_with(b"\0session-holder\0") && String::from_utf8_lossy(&environment).contains(&marker);
        ours.then(|| rustix::process::Pid::from_raw(number)).flatten()
    });
    found.next().expect("a holder")
}

#[test]
fn a_session_can_be_left_and_returned_to_and_taken_over() {
    let mut project = debian();
    let runtime = tempfile::tempdir().expect("a directory");
    project.variable("XDG_RUNTIME_DIR", &runtime.path().display().to_string());
    let mut first = project.in_terminal(&["attach", "--detachable", "a"]);
    first.is_taken();
    first.press("PS1=; X=kept; echo \"at work\" | tr a-z A-Z\r");
    first.shows("AT WORK");
    // Keys that only begin like those to leave are the session's.
    first.press("\x10\r");
    first.shows("AT WORK");
    first.press("\x10\x11");
    first.shows("the session goes on; return with `aishell attach --resume=");
    assert_eq!(first.ends(), 0);
    assert!(first.is_as_before());

    let mut second = project.in_terminal(&["attach", "--resume", "a"]);
    second.shows("AT WORK");
    second.resize(30, 90);
    second.press("until [ \"$(stty size)\" = '30 90' ]; do :; done; echo is $X.\r");
    second.shows("is kept.");
    let mut third = project.in_terminal(&["attach", "--resume", "a"]);
    second.shows("somebody else has sat down at the session");
    assert_eq!(second.ends(), 0);
    assert!(second.is_as_before());
    third.shows("is kept.");

    // Who is killed only leaves.
    third.send(Signal::KILL);
    assert_eq!(third.ends(), 137);
    third.is_given_back();
    let mut last = project.in_terminal(&["attach", "--resume", "a"]);
    last.shows("is kept.");
    last.press("exit 9\r");
    assert_eq!(last.ends(), 9);
    assert!(last.is_as_before());
    nobody_is_left(&project);
    let mut late = project.in_terminal(&["attach", "--resume", "a"]);
    late.shows("nobody has left a session of container `a`");
    assert_eq!(late.ends(), 2);
}

#[test]
fn a_session_ends_with_whatever_holds_it_and_with_its_container() {
    let mut project = debian();
    let runtime = tempfile::tempdir().expect("a directory");
    project.variable("XDG_RUNTIME_DIR", &runtime.path().display().to_string());
    let sockets = runtime.path().join("aishell/sessions");
    let left = || std::fs::read_dir(&sockets).expect("a directory").count();
    let work = [
        "attach",
        "--detachable",
        "a",
        "--",
        "sh",
        "-c",
        "echo re\"ady\"; exec sleep 1000",
    ];

    let mut terminal = project.in_terminal(&work);
    terminal.shows("ready");
    rustix::process::kill_process(holder(runtime.path()), Signal::KILL).expect("a holder");
    assert_eq!(terminal.ends(), 125);
    terminal.shows("whatever held the session is gone");
    terminal.is_given_back();
    nobody_is_left(&project);
    // What it left is swept by whoever looks.
    assert_eq!(left(), 1);
    let mut late = project.in_terminal(&["attach", "--resume", "a"]);
    assert_eq!(late.ends(), 2);
    assert_eq!(left(), 0);

    let mut terminal = project.in_terminal(&work);
    terminal.shows("ready");
    raw::post(&format!("/containers/{}/kill", project.object("a")), &Value::Null);
    assert_eq!(terminal.ends(), 137);
    terminal.is_given_back();
    raw::until("the socket is gone", || (left() == 0).then_some(()));

    let mut terminal = project.in_terminal(&["attach", "--detachable", "a"]);
    assert_eq!(terminal.ends(), 125);
    project.converge();
    let mut terminal = project.in_terminal(&["attach", "--detachable", "a", "--", "nope"]);
    assert_eq!(terminal.ends(), 127);
    terminal.shows("there is no program `nope`");
    let run = project.plain(&["attach", "--resume", "a"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
}
