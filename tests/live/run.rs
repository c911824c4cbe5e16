//! The harness of a container in this terminal: what it needs is done first, and everything it is told is its own.

use std::fs;

use crate::apply::version;
use crate::project::{Project, project};
use crate::raw;

/// Returns a manifest with the harness `talker`, which says what it was given and ends with 7.
fn talkers(version: &str, containers: &str) -> String {
    format!(
        "harnesses:\n  talker: {{ npm: talker, version: {version}, bin: [talker], args: [--own], runtime: image }}\n\
         containers:\n{containers}"
    )
}

fn said(project: &Project, arguments: &[&str]) -> String {
    let run = project.plain(arguments);
    assert_eq!(run.code, Some(7), "{run:#?}");
    run.stdout
}

#[test]
fn what_a_harness_needs_is_done_first_and_its_arguments_are_its_own() {
    let project = project();
    let version = version();
    let one = "  a: { harness: talker, args: [-x], stop: { timeout: 1s } }\n  b: {}\n";
    project.manifest(&talkers(&version, one));
    // Nothing is there yet; what others need is left alone.
    let first = project.plain(&["run", "a", "--", "--help", "--", "-q", "two words"]);
    assert_eq!(first.code, Some(7), "{first:#?}");
    assert_eq!(
        first.stdout, "<--own>\n<-x>\n<--help>\n<-->\n<-q>\n<two words>\n",
        "what is told besides goes to standard error: {first:#?}"
    );
    assert!(first.stderr.contains("container"), "{first:#?}");
    project.only(&["a"]);
    let again = project.plain(&["run", "a", "--", "--help"]);
    assert_eq!(again.stdout, "<--own>\n<-x>\n<--help>\n", "{again:#?}");
    assert_eq!(again.stderr, "", "nothing was to be done: {again:#?}");

    // By the harness's name, with and without saying where.
    assert_eq!(
        said(&project, &["talker", "--name", "a", "x", "--name=b"]),
        "<--own>\n<-x>\n<x>\n<--name=b>\n"
    );
    assert_eq!(said(&project, &["talker", "--help"]), "<--own>\n<-x>\n<--help>\n");
    assert_eq!(
        said(&project, &["talker", "--", "--name", "x"]),
        "<--own>\n<-x>\n<--name>\n<x>\n"
    );

    // Stopped: started. Changed: made anew.
    let id = project.id("a");
    raw::post(
        &format!("/containers/{}/kill", project.object("a")),
        &serde_json::Value::Null,
    );
    raw::until("it has ended", || {
        (project.container("a")["State"]["Running"] == false).then_some(())
    });
    assert_eq!(said(&project, &["run", "a"]), "<--own>\n<-x>\n");
    assert_eq!(project.id("a"), id);
    project.manifest(&talkers(&version, &one.replace("args: [-x]", "env: { A: b }")));
    assert_eq!(said(&project, &["run", "a"]), "<--own>\n");
    assert_ne!(project.id("a"), id);

    // Held: that is said, and nothing is done about it.
    assert_eq!(project.plain(&["stop", "a"]).code, Some(0));
    let held = project.plain(&["run", "a"]);
    assert_eq!(held.code, Some(125), "{held:#?}");
    assert!(
        held.stderr.contains("is held") && held.stderr.contains("aishell start a"),
        "{held:#?}"
    );
}

#[test]
fn what_a_manifest_does_not_have_is_said_with_what_it_has() {
    let project = project();
    let two = "  a: { harness: talker }\n  b: { harness: talker }\n  shell: {}\n";
    project.manifest(&talkers(&version(), two));
    for (arguments, told) in [
        (&["talker"] as &[_], "say which with --name"),
        (&["talker", "--name", "shell"], "these do: a, b"),
        (&["talker", "--name", "c"], "there are: a, b, shell"),
        (&["run", "shell"], "aishell attach shell"),
        (&["run", "shel"], "did you mean `shell`?"),
        (&["claude"], "no container of the manifest opens claude"),
        (&["a"], "aishell run a"),
        (&["tolker"], "did you mean `talker`?"),
        (&["aply"], "did you mean `apply`?"),
    ] {
        let run = project.plain(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:#?}");
        assert!(run.stderr.contains(told), "{arguments:?}: {run:#?}");
    }
    project.only(&[]);
}

#[test]
fn whoever_works_in_a_container_is_not_interrupted_and_nothing_wider_is_given() {
    let project = project();
    let version = version();
    let one = |more: &str| {
        talkers(
            &version,
            &format!("  a: {{ harness: talker, stop: {{ timeout: 1s }}{more} }}\n"),
        )
    };
    project.manifest(&one(""));
    project.converge();
    let id = project.id("a");
    let busy = ", busy: { exec: [sh, -c, 'exit 0'] }, env: { A: b }";
    project.manifest(&one(busy));
    let run = project.plain(&["run", "a"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (Some(7), "<--own>\n"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("container a waits to be changed (busy"),
        "{run:#?}"
    );
    assert_eq!(project.id("a"), id);

    // A place of the host is given by `apply` only.
    let outside = tempfile::tempdir().expect("a directory");
    let mount = format!(", mounts: [\"{}:/outside\"]", outside.path().display());
    project.manifest(&one(&mount));
    let run = project.plain(&["run", "a"]);
    assert_eq!(run.code, Some(7), "{run:#?}");
    assert!(run.stderr.contains("waits to be changed (widens"), "{run:#?}");
    assert_eq!(project.id("a"), id);
    raw::delete(&format!("/containers/{id}?force=1"));
    let run = project.plain(&["run", "a"]);
    assert_eq!(run.code, Some(125), "{run:#?}");
    assert!(run.stderr.contains("blocked (widens)"), "{run:#?}");
}

/// Returns the names of the containers that were made for a session in a directory.
fn made_for(project: &Project) -> Vec<String> {
    let prefix = project.object("openspec-");
    let all = raw::get("/containers/json?all=1");
    let names = all
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["Names"][0].as_str());
    let names = names.map(|name| name.trim_start_matches('/').to_owned());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

#[test]
fn without_a_manifest_a_harness_has_a_container_of_its_own_that_goes_with_it() {
    let mut project = Project::on(crate::support::BASE.to_owned());
    let state = tempfile::tempdir().expect("a directory");
    project.variable("HOME", &state.path().display().to_string());
    project.write("note.txt", "hello");
    for _ in 0..2 {
        let run = project.plain(&["openspec", "--version"]);
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert!(run.stdout.trim().split('.').count() == 3, "{run:#?}");
    }
    assert_eq!(made_for(&project), [""; 0]);
    let ours = project.object("");
    assert!(!raw::get("/networks").to_string().contains(&ours));
    assert!(!raw::get("/volumes").to_string().contains(&ours));
    let left: Vec<_> = fs::read_dir(project.path()).expect("a directory").collect();
    assert_eq!(left.len(), 1, "{left:?}");

    // Whatever ends the program ends the container.
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::TERM] {
        let mut child = project.begin(&[
            "openspec",
            "--name",
            &format!("openspec-{}", signal.as_raw()),
            "view",
        ]);
        raw::until("the container runs", || {
            let made = made_for(&project).pop()?;
            (raw::container(&made)?["State"]["Running"] == true).then_some(())
        });
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a number"), signal).expect("a program");
        child.wait().expect("an end");
        raw::until("the container is gone", || {
            made_for(&project).is_empty().then_some(())
        });
    }
    only_what_was_left_is_swept(&project);
    let taken = project.plain(&["openspec", "--name", "no such name"]);
    assert_eq!(taken.code, Some(2), "{taken:#?}");
}

/// One that was created and never started goes with the next session; what was made from a commit of one stays.
fn only_what_was_left_is_swept(project: &Project) {
    let mut child = project.begin(&["openspec", "--name", "openspec-one", "view"]);
    let one = raw::until("the container runs", || {
        let made = raw::container(&made_for(project).pop()?)?;
        (made["State"]["Running"] == true).then_some(made)
    });
    let image = format!("aishelltest-commit:{}", project.name);
    let (repository, tag) = image.split_once(':').expect("a tag");
    let id = one["Id"].as_str().expect("an id");
    raw::post(
        &format!("/commit?container={id}&repo={repository}&tag={tag}"),
        &serde_json::Value::Null,
    );
    child.kill().expect("a program");
    child.wait().expect("an end");
    raw::until("the container is gone", || {
        made_for(project).is_empty().then_some(())
    });
    let create = |name: &str, image: &str, labels: &serde_json::Value| {
        let body = serde_json::json!({ "Image": image, "Labels": labels });
        raw::post(
            &format!("/containers/create?name={}", project.object(name)),
            &body,
        );
    };
    create("openspec-one", &image, &serde_json::Value::Null);
    let mut labels = one["Config"]["Labels"].clone();
    labels["aishell.name"] = "openspec-left".into();
    labels["aishell.uid"] = "another".into();
    create("openspec-left", one["Image"].as_str().expect("an image"), &labels);
    assert_eq!(project.plain(&["openspec", "--version"]).code, Some(0));
    assert_eq!(made_for(project), [project.object("openspec-one")]);
    raw::delete(&format!("/containers/{}", project.object("openspec-one")));
    raw::delete(&format!("/images/{image}"));
}
