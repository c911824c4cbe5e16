//! Whoever fetches can be cut off at every request, or killed there: the next apply goes on at that phase.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::git::GitServer;
use crate::phases::{done, within, write};
use crate::project::{Project, Victim, text};
use crate::raw;
use crate::repos::{apart, runs};

/// What happens in an answer, or before the last byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Cut,
    Kill,
    KillLate,
}

const DEEDS: [Deed; 3] = [Deed::Cut, Deed::Kill, Deed::KillLate];

/// Has something happen at a request of what is applied, and insists that it did.
fn severed(project: &Project, server: &GitServer, (request, length): (usize, usize), deed: Deed) -> Value {
    let victim = Victim::default();
    let other = victim.clone();
    // git takes a head that breaks off for a whole one.
    let place = if deed == Deed::KillLate {
        length - 1
    } else {
        length - length / 5
    };
    match deed {
        Deed::Cut => server.cut(request, place),
        Deed::Kill | Deed::KillLate => server.interrupt(request, place, move || other.kill()),
    }
    let run = project.killable(&victim, &["apply", "-o", "json"]);
    let what = format!("{deed:?} at {request}: {run:#?}");
    if deed == Deed::Cut {
        assert_eq!(run.code, Some(5), "{what}");
        return serde_json::from_str(&run.stdout).expect("a document");
    }
    assert_eq!(run.code, None, "{what}");
    raw::until("git is gone", || (!runs(&server.url("a"))).then_some(()));
    server.stall(false);
    project.unclaimed();
    Value::Null
}

/// Insists that a cache has nothing that is half.
fn is_clean(cache: &Path) {
    let names = |kind: &str| -> Vec<String> {
        let entries = fs::read_dir(cache.join(kind)).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| kind == "work" || !name.contains('.'))
            .collect()
    };
    assert_eq!(names("work"), [""; 0]);
    for name in names("downloads") {
        let content = fs::read(cache.join("downloads").join(&name)).expect("a file");
        assert_eq!(aishell::key::digest(&content), name);
    }
}

#[test]
fn whoever_is_cut_off_or_killed_while_it_is_asked_what_is_there_has_pinned_nothing() {
    let (project, server) = (apart(), GitServer::start());
    let url = server.repository("a");
    let (tool, _) = server.file("tool", "#!/bin/sh\n".repeat(2000).as_bytes());
    let phases = json!({
        "base": { "image": project.image },
        "repos": [{ "url": url, "path": "/srv/a" }],
        "tools": [{ "name": "tool", "url": tool }],
        "final": { "workdir": format!("/{}", project.name) },
    });
    write(&project, &phases, "containers: {}\n");
    assert_eq!(project.run(&["update"]).code, Some(0));
    let (lock, answers) = (project.path().join("aishell.lock"), server.answers());
    let pinned = fs::read_to_string(&lock).expect("a lock");
    assert_eq!(answers.len(), 3, "a listing of two, and a download");
    for (request, length) in answers.into_iter().enumerate() {
        for deed in DEEDS {
            fs::remove_file(&lock).expect("a lock");
            let report = severed(&project, &server, (request, length), deed);
            if deed == Deed::Cut {
                let problem = &report["problems"][0];
                assert_eq!(problem["at"]["line"], 3, "{report:#}");
            }
            assert!(!lock.exists(), "{deed:?} at {request}");
            let update = project.run(&["update"]);
            assert_eq!(update.code, Some(0), "{update:#?}");
            assert_eq!(fs::read_to_string(&lock).expect("a lock"), pinned);
            is_clean(&project.path().join(".cache/aishell"));
        }
    }
}

#[test]
fn whoever_is_cut_off_or_killed_while_it_fetches_goes_on_at_that_phase() {
    let (project, server) = (apart(), GitServer::start());
    let url = server.repository("a");
    let (tool, digest) = server.file(
        "tool",
        format!("#!/bin/sh\necho tool\n{}", "#\n".repeat(9000)).as_bytes(),
    );
    let cache = project.path().join(".cache/aishell");
    let wants = |round: usize| {
        let phases = json!({
            "base": { "image": project.image },
            "setup": { "root": [format!("echo {} >/made", project.name)] },
            "repos": [{ "url": url, "path": "/srv/a", "branch": "main", "depth": 1 }],
            "tools": [{ "name": "tool", "url": tool, "sha256": digest }],
            "hooks": { "repos": { "after": [format!("echo {round} >/round")] } },
        });
        write(&project, &phases, "containers: {}\n");
        let _ = fs::remove_dir_all(&cache);
    };
    wants(0);
    assert_eq!(project.run(&["update"]).code, Some(0));
    let before = server.answers().len();
    project.converge();
    let answers = server.answers().split_off(before);
    assert_eq!(answers.len(), 3, "a repository in two, and a download");
    let mut round = 0;
    for (request, length) in answers.into_iter().enumerate() {
        let phase = if request < 2 { "8-repos" } else { "9-tools" };
        for deed in DEEDS {
            round += 1;
            wants(round);
            assert_eq!(done(&project.diff().json), ["8-repos", "9-tools", "12-final"]);
            let report = severed(&project, &server, (request, length), deed);
            if deed == Deed::Cut {
                let mut steps = report["steps"].as_array().expect("steps").iter();
                let failed = steps.find(|step| step["outcome"] == "failed").expect("one");
                let error = &failed["error"];
                let message = text(&error["message"]);
                assert!(message.starts_with(&format!("phase {phase}: ")), "{failed:#}");
                assert_eq!(error["at"]["line"], 3, "{failed:#}");
                // git says more than one line, and all of them are told.
                assert!(
                    request == 2 || !error["log"].as_array().expect("lines").is_empty(),
                    "{failed:#}"
                );
            }
            let rest = &["8-repos", "9-tools", "12-final"][request / 2..];
            assert_eq!(done(&project.diff().json), rest, "{deed:?} at {request}");
            project.converge();
            let look = "cat /round /srv/a/README; tool";
            let said = within(&project, &["sh", "-c", look]);
            assert_eq!(said, format!("{round}\na\ntool"), "{deed:?} at {request}");
            is_clean(&cache);
            assert_eq!(project.containers(), Vec::<String>::new());
        }
    }
}
