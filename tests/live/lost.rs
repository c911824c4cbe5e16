//! A manifest that was emptied by mistake, a directory that is gone, a file that is extended and is not there: nothing is
//! removed, whoever looks.

use std::fs;

use serde_json::Value;

use crate::project::{Project, project, text};
use crate::raw;
use crate::watch::Watching;

const TEAM: &str = "containers:\n  b: { home: tmpfs, stop: { timeout: 1s } }\n";

/// A project with two containers, one of them from a file that it extends.
fn made() -> Project {
    let project = project();
    project.write("team.yaml", TEAM);
    project.manifest("extends: [team.yaml]\ncontainers:\n  a: { stop: { timeout: 1s } }\n");
    project.converge();
    project
}

/// Returns everything that the engine has of a project, containers with all that is known of them.
fn everything(project: &Project) -> Value {
    let label = project.label();
    let mut all = [raw::volumes(&label), raw::networks(&label), raw::images(&label)].concat();
    for container in raw::containers(&label) {
        all.extend(raw::container(text(&container["Id"])));
    }
    let mut all: Vec<Value> = all
        .into_iter()
        .map(|mut one| {
            // The order of these is another one each time; others may give images names.
            for field in ["Mounts", "RepoTags"] {
                one[field] = Value::Null;
            }
            one
        })
        .collect();
    all.sort_by_key(|one| text(&one["Id"]).to_owned() + text(&one["Name"]));
    Value::Array(all)
}

/// What may happen to a manifest: what it is called, what is done, and whether it is still a manifest.
type Loss = (&'static str, fn(&Project, &str), bool);

const LOSSES: [Loss; 9] = [
    ("empty", |project, _| project.write("aishell.yaml", ""), false),
    (
        "comments",
        |project, _| project.write("aishell.yaml", "# none\n\n"),
        false,
    ),
    (
        "half of it",
        |project, text| project.write("aishell.yaml", &text[..text.len() - 20]),
        false,
    ),
    (
        "without containers",
        |project, text| {
            let head: Vec<&str> = text.lines().take(3).collect();
            project.write("aishell.yaml", &(head.join("\n") + "\n"));
        },
        true,
    ),
    (
        "with none",
        |project, text| {
            let head: Vec<&str> = text.lines().take(3).collect();
            project.write("aishell.yaml", &(head.join("\n") + "\ncontainers: {}\n"));
        },
        true,
    ),
    (
        "nothing but its version",
        |project, _| project.write("aishell.yaml", "apiVersion: aishell/v1\n"),
        true,
    ),
    (
        "a directory",
        |project, _| {
            fs::remove_file(project.path().join("aishell.yaml")).expect("a manifest");
            fs::create_dir(project.path().join("aishell.yaml")).expect("a directory");
        },
        false,
    ),
    (
        "what it extends is gone",
        |project, _| fs::remove_file(project.path().join("team.yaml")).expect("a file"),
        false,
    ),
    (
        "what it extends is half of it",
        |project, _| project.write("team.yaml", &TEAM[..TEAM.len() - 9]),
        false,
    ),
];

/// Brings the manifest back.
fn restore(project: &Project, text: &str) {
    let _ = fs::remove_dir(project.path().join("aishell.yaml"));
    project.write("aishell.yaml", text);
    project.write("team.yaml", TEAM);
}

#[test]
fn apply_and_prune_remove_nothing() {
    let project = made();
    let good = fs::read_to_string(project.path().join("aishell.yaml")).expect("a manifest");
    let before = everything(&project);
    for (what, lose, is_manifest) in LOSSES {
        lose(&project, &good);
        let code = if is_manifest { 0 } else { 3 };
        for words in [
            &["apply"][..],
            &["apply", "--allow", "interrupt,data-loss"],
            &["watch", "--once-ready"],
        ] {
            let run = project.plain(words);
            assert_eq!(run.code, Some(code), "{what}: {words:?}: {run:#?}");
            raw::same(&everything(&project), &before);
        }
        let all = [
            "prune",
            &project.name,
            "--yes",
            "--keep",
            "0",
            "--allow",
            "data-loss,interrupt",
        ];
        let run = project.plain(&all);
        assert_eq!(run.code, Some(0), "{what}: {run:#?}");
        raw::same(&everything(&project), &before);
        restore(&project, &good);
        project.settled();
    }
    // Nobody is there any more. Whoever prunes sees what would go, and has to say so.
    let elsewhere = project.twin();
    let (path, lost) = (project.path(), project.path().with_extension("lost"));
    let file = path.join("aishell.yaml").display().to_string();
    fs::rename(&path, &lost).expect("a directory");
    let run = elsewhere.plain(&["-f", &file, "apply"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    raw::same(&everything(&project), &before);
    let run = elsewhere.plain(&["prune", &project.name]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    fs::rename(&lost, &path).expect("a directory");
    raw::same(&everything(&project), &before);
    project.settled();
}

#[test]
fn watch_removes_nothing() {
    let project = made();
    let good = fs::read_to_string(project.path().join("aishell.yaml")).expect("a manifest");
    let before = everything(&project);
    let mut watching = Watching::converged(&project, &[]);
    for (_, lose, _) in LOSSES.iter().filter(|(_, _, is_manifest)| !is_manifest) {
        lose(&project, &good);
        watching.hears("InvalidManifest True");
        restore(&project, &good);
        watching.hears("InvalidManifest False");
        raw::same(&everything(&project), &before);
    }
    watching.ends_well(&project);
    raw::same(&everything(&project), &before);
}
