//! Builds that fail, that are given up, and that are killed.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use serde_json::Value;

use crate::project::{Project, Victim, project, step, text};
use crate::proxy::{Proxy, Verdict};
use crate::raw;

/// Writes a manifest of one stage, whose context is a directory of its own.
fn one(project: &Project, dockerfile: &str, more: &str) {
    let _ = std::fs::create_dir(project.path().join("image"));
    project.write("image/Dockerfile", dockerfile);
    project.manifest_on(
        "{ dockerfile: image/Dockerfile }",
        &format!("{more}containers:\n  a: {{ home: tmpfs, stop: {{ timeout: 1s }} }}\n"),
    );
}

/// Insists that of the images of a project each has a name, and that none is half made.
fn nothing_half_made(project: &Project) {
    for image in raw::images(&project.label()) {
        let tags = image["RepoTags"].to_string();
        assert!(
            tags.contains("aishell-") && !tags.contains(":making-"),
            "{image:#}"
        );
    }
}

#[test]
fn a_build_that_fails_names_the_line_and_keeps_what_the_step_said() {
    let project = project();
    let tiny = &project.image;
    let word = &project.name;
    let loud = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; done";
    project.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    for (dockerfile, line, message, said) in [
        (
            format!(
                "# comment\nARG V=1\nFROM {tiny} AS one\nRUN echo {word} && \\\n  true\nFROM one\nENV A=1\n\n\
                 RUN {loud} \\\n  && exit 7\nRUN true\n"
            ),
            9,
            "exit code: 7",
            "line 100",
        ),
        (
            format!("FROM {tiny} AS one\nRUN echo {word}1\nFROM one\nRUN echo {word}1; false\n"),
            4,
            "exit code: 1",
            "",
        ),
        (
            format!("FROM {tiny}\nWORKDIR /x\nCOPY missing /\n"),
            3,
            "missing",
            "",
        ),
        (format!("FROM {tiny}\nRUNN true\n"), 2, "unknown instruction", ""),
        (
            format!("FROM {tiny}\nFROM 127.0.0.1:1/none:1\n"),
            2,
            "127.0.0.1:1/none:1",
            "",
        ),
    ] {
        for more in ["", "certificates: [ca.pem]\n"] {
            one(&project, &dockerfile, more);
            let run = project.apply();
            assert_eq!(run.code, Some(5), "{run:#?}");
            let error = &step(&run.json, "image", ":foundation-")["error"];
            assert_eq!(
                (&error["at"]["file"], &error["at"]["line"]),
                (&Value::from("image/Dockerfile"), &Value::from(line)),
                "{dockerfile}{error:#}"
            );
            assert!(text(&error["message"]).contains(message), "{dockerfile}{error:#}");
            let log = error["log"].to_string();
            assert!(log.contains(said), "{dockerfile}{error:#}");
            if said == "line 100" {
                assert!(log.contains("\"line 1\""), "all of it: {error:#}");
                let plain = project.plain(&["apply", "--progress", "none"]);
                let told = plain.stdout;
                assert!(
                    told.contains("--> image/Dockerfile:9")
                        && told.contains("line 100")
                        && told.contains("lines before these")
                        && !told.contains("│ line 1\n"),
                    "{told}"
                );
            }
        }
    }
    project.only(&[]);
    nothing_half_made(&project);
}

/// Begins an apply and waits until a build of it says something.
fn begun(project: &Project, word: &str) -> Child {
    let mut child = project.begin(&["apply", "--progress", "json"]);
    let talk = BufReader::new(child.stderr.take().expect("stderr"));
    let mut lines = talk.lines().map_while(Result::ok);
    assert!(
        lines.any(|line| {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            event["event"] == "line" && event["text"] == word
        }),
        "the build never said {word}"
    );
    // What it says from now on is nobody's, but must not be refused.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Says whether a process of the machine has these words.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes");
    processes.flatten().any(|process| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.trim() == words
    })
}

/// Returns a time that nobody else sleeps.
fn sleep() -> String {
    let mut random = [0; 4];
    getrandom::fill(&mut random).expect("random numbers");
    format!("sleep {}", 100_000 + u32::from_ne_bytes(random) % 1_000_000_000)
}

/// Ends an apply in the middle of a build, and insists that the engine gives the build up and that the next is as if
/// nothing had been.
fn ended(end: impl Fn(&mut Child), code: Option<i32>) {
    let project = project();
    let tiny = &project.image;
    let (word, sleep) = (&project.name, sleep());
    one(
        &project,
        &format!("FROM {tiny}\nRUN echo {word} >/made\nRUN echo begun; {sleep}\n"),
        "",
    );
    let mut child = begun(&project, "begun");
    raw::until("the step runs", || runs(&sleep).then_some(()));
    end(&mut child);
    assert_eq!(child.wait().expect("an end").code(), code);
    raw::until("the engine gave it up", || (!runs(&sleep)).then_some(()));
    project.unclaimed();
    project.only(&[]);
    one(&project, &format!("FROM {tiny}\nRUN echo {word} >/made\n"), "");
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["cat", "/made"]), project.name);
    nothing_half_made(&project);
}

#[test]
fn a_build_that_is_interrupted_ends_in_the_engine() {
    let interrupt = |child: &mut Child| {
        let id = i32::try_from(child.id()).expect("a number");
        let id = rustix::process::Pid::from_raw(id).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("a signal");
    };
    ended(interrupt, Some(130));
}

#[test]
fn a_build_whose_aishell_is_killed_ends_in_the_engine() {
    ended(|child| child.kill().expect("a kill"), None);
}

#[test]
fn what_is_built_anew_reaches_its_containers_though_the_first_try_is_killed_before() {
    let mut project = project();
    let tiny = project.image.clone();
    let random = "cat /proc/sys/kernel/random/uuid >/made";
    one(&project, &format!("FROM {tiny}\nRUN {random}\n"), "");
    project.converge();
    let made = |project: &Project| raw::said(&project.object("a"), &["cat", "/made"]);
    let before = made(&project);
    // Whoever builds is killed before the first request for the new container.
    let victim = Victim::default();
    let proxy = Proxy::ruled({
        let (victim, next) = (victim.clone(), format!("{}.next", project.object("a")));
        move |request| {
            if request.is_write() && request.query.contains(&next) {
                victim.kill();
                return Verdict::Cut;
            }
            Verdict::Pass
        }
    });
    project.through(&proxy);
    let run = project.killable(&victim, &["apply", "--rebuild"]);
    project.at(None);
    assert_eq!(run.code, None, "{run:#?}");
    assert_eq!(made(&project), before);
    project.unclaimed();
    let diff = project.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    assert_eq!(text(&step(&diff.json, "container", "a")["action"]), "replace");
    project.converge();
    let after = made(&project);
    assert_ne!(after, before);
    let newest = raw::get(&format!("/images/aishell-{}:foundation/json", project.name));
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(made(&project), after, "it is built anew only once");
    let now = raw::get(&format!("/images/aishell-{}:foundation/json", project.name));
    assert_eq!(now["Id"], newest["Id"]);
    nothing_half_made(&project);
}

#[test]
fn what_a_context_may_hold_and_what_a_build_cannot_have() {
    let project = project();
    let tiny = &project.image;
    let (word, path) = (&project.name, project.path());
    // Links that lead nowhere or round in circles are links; sockets are left out, as docker does, and pipes are sent,
    // whatever the builder makes of them.
    one(
        &project,
        &format!("FROM {tiny}\nRUN echo {word}\nCOPY . /all\n"),
        "",
    );
    project.write("image/file", "1");
    for (target, link) in [("b", "a"), ("a", "b"), (".", "here"), ("/nowhere", "gone")] {
        std::os::unix::fs::symlink(target, path.join("image").join(link)).expect("a link");
    }
    let made = std::process::Command::new("mkfifo")
        .arg(path.join("image/pipe"))
        .status();
    assert!(made.expect("mkfifo").success());
    let theirs = format!("aishelltest-{word}:theirs");
    raw::build_directory(&theirs, &path.join("image"), &serde_json::json!({}));
    let there = raw::export(&theirs);
    raw::delete(&format!("/images/{theirs}?force=true"));
    let mut there = tar::Archive::new(there.as_slice());
    let pipes = there.entries().expect("an archive").filter(|entry| {
        let entry = entry.as_ref().expect("an entry");
        entry.header().entry_type() == tar::EntryType::Fifo
    });
    let pipe = if pipes.count() == 0 { "" } else { " pipe" };
    let socket = std::os::unix::net::UnixListener::bind(path.join("image/socket")).expect("a socket");
    project.converge();
    assert_eq!(
        raw::said(&project.object("a"), &["sh", "-c", "cd /all; echo *"]),
        format!("Dockerfile a b file gone here{pipe}")
    );
    drop(socket);

    // A Dockerfile may be outside of its context.
    project.write(
        "Outside",
        &format!("FROM {tiny}\nRUN echo {word} out\nCOPY file /outside\n"),
    );
    project.manifest_on(
        "{ dockerfile: Outside, context: image }",
        "containers:\n  a: { home: tmpfs, stop: { timeout: 1s } }\n",
    );
    project.converge();
    assert_eq!(raw::said(&project.object("a"), &["cat", "/outside"]), "1");
    let before = project.id("a");

    // What cannot be built is told with its place, and nothing is touched.
    for (dockerfile, line, hint) in [
        (
            format!("FROM {tiny}\n\nRUN --mount=type=secret,id=x,required=true echo {word} secret\n"),
            3,
            "builds get no secrets",
        ),
        (
            format!("FROM {tiny}\nRUN echo {word} from\nCOPY --from=127.0.0.1:1/none:1 /x /\n"),
            3,
            "docker pull 127.0.0.1:1/none:1",
        ),
    ] {
        one(&project, &dockerfile, "");
        let run = project.apply();
        assert_eq!(run.code, Some(5), "{run:#?}");
        let error = &step(&run.json, "image", ":foundation-")["error"];
        assert!(
            error["at"]["line"] == line && text(&error["hint"]).contains(hint),
            "{dockerfile}{error:#}"
        );
        assert_eq!(project.id("a"), before);
    }
    for (file, content, said) in [
        (
            "image/.dockerignore",
            "ok\na[\n",
            "image/.dockerignore: `a[` is not a pattern",
        ),
        (
            "image/Dockerfile",
            "FROM aishell:nothing\n",
            "image/Dockerfile:1:6",
        ),
    ] {
        let old = std::fs::read(path.join(file)).ok();
        project.write(file, content);
        let run = project.plain(&["apply"]);
        assert_eq!(run.code, Some(3), "{run:#?}");
        assert!(run.stderr.contains(said), "{said}: {run:#?}");
        match old {
            Some(old) => std::fs::write(path.join(file), old).expect("a file"),
            None => std::fs::remove_file(path.join(file)).expect("gone"),
        }
    }
    std::fs::remove_file(path.join("image/Dockerfile")).expect("gone");
    std::fs::create_dir(path.join("image/Dockerfile")).expect("a directory");
    let run = project.plain(&["apply"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    assert!(run.stderr.contains("image/Dockerfile"), "{run:#?}");
    assert_eq!(project.id("a"), before);
    nothing_half_made(&project);
}

#[test]
fn a_here_document_is_built_or_told_for_what_it_is() {
    let project = project();
    let (tiny, word) = (&project.image, &project.name);
    one(
        &project,
        &format!("FROM {tiny}\n\nRUN <<EOF\necho {word} >/said\nEOF\n"),
        "",
    );
    let run = project.apply();
    // Builders older than 2021 do not know them.
    if run.code == Some(0) {
        assert_eq!(raw::said(&project.object("a"), &["cat", "/said"]), *word);
        return;
    }
    assert_eq!(run.code, Some(5), "{run:#?}");
    let error = &step(&run.json, "image", ":foundation-")["error"];
    assert!(
        text(&error["message"]).contains("knows no here-documents") && error["at"]["line"] == 3,
        "{error:#}"
    );
    assert!(
        text(&error["hint"]).contains("# syntax=docker/dockerfile:1"),
        "{error:#}"
    );
    nothing_half_made(&project);
}

/// Returns the names of what is there under names of images that are being made.
fn half_made(project: &Project) -> Vec<String> {
    let images = raw::images(&project.label());
    let tags = images
        .iter()
        .flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
    let names = tags.map(|tag| text(tag).to_owned());
    names.filter(|tag| tag.contains(":making-")).collect()
}

#[test]
fn what_an_engine_makes_for_one_who_was_killed_is_gone_after_the_next_that_sees_it() {
    let mut project = project();
    let tiny = project.image.clone();
    // Enough that a commit takes its time.
    let mut much = vec![0; 96 << 20];
    getrandom::fill(&mut much).expect("random bytes");
    std::fs::write(project.path().join("much"), much).expect("a file");
    let files = "[{ source: much, target: /much }]";
    project.manifest_on(
        &format!("{{ phases: {{ base: {{ image: \"{tiny}\" }}, files: {files} }} }}"),
        "containers:\n  a: { home: tmpfs, stop: { timeout: 1s } }\n",
    );
    let victim = Victim::default();
    let proxy = Proxy::ruled({
        let victim = victim.clone();
        move |request| {
            if request.path == "/commit" {
                victim.kill();
                Verdict::CutAfter
            } else {
                Verdict::Pass
            }
        }
    });
    project.through(&proxy);
    let run = project.killable(&victim, &["apply"]);
    project.at(None);
    assert_eq!(run.code, None, "{run:#?}");
    project.unclaimed();
    // The next one may look before the engine is done with what the killed one asked for.
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    raw::until("what was left is gone", || {
        if half_made(&project).is_empty() {
            return (project.diff().code == Some(0)).then_some(());
        }
        let diff = project.diff();
        assert_eq!(diff.code, Some(1), "{diff:#?}");
        let run = project.apply();
        assert_eq!(run.code, Some(0), "{run:#?}");
        None
    });
    nothing_half_made(&project);
}

#[test]
fn an_image_that_was_made_and_not_named_is_told_and_removed() {
    let project = project();
    let (tiny, word) = (&project.image, &project.name);
    one(&project, &format!("FROM {tiny}\nRUN echo {word}\n"), "");
    project.converge();
    let image = raw::get(&format!("/images/aishell-{word}:foundation/json"));
    let key = &text(&image["Config"]["Labels"]["aishell.key"])[..12];
    let hash = project
        .object("x")
        .trim_start_matches("aishell-")
        .trim_end_matches("-x")
        .to_owned();
    let left = format!("aishell-{word}:making-{hash}-{key}");
    // It has the labels of what it was made like, and no other name.
    raw::build(
        &left,
        &format!("aishell-{word}:foundation"),
        "RUN echo half >/made\n",
    );
    let strange = format!("aishell-{word}:making-00000000-{key}");
    raw::build(
        &strange,
        &format!("aishell-{word}:foundation"),
        "RUN echo other >/made\n",
    );
    let diff = project.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let told = step(&diff.json, "image", ":making-");
    assert_eq!(
        (text(&told["name"]), text(&told["action"])),
        (left.as_str(), "remove")
    );
    project.converge();
    let there = |tag: &str| raw::ask("GET", &format!("/images/{tag}/json"), &Value::Null).0 == 200;
    assert!(!there(&left) && there(&strange));
    raw::delete(&format!("/images/{strange}"));
}
