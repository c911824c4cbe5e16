//! `--replace`, and what is said of the files that go with a container's layer.

use crate::project::{changes, project, step};
use crate::raw;

#[test]
fn a_container_is_replaced_for_the_asking_once() {
    let project = project();
    project.manifest("containers:\n  builder: { }\n  web: { }\n");
    project.converge();
    let (builder, web) = (project.container("builder"), project.container("web"));
    let diff = project.run(&["diff", "--replace", "builder"]);
    assert_eq!(
        (diff.code, changes(&diff.json)),
        (
            Some(1),
            vec!["replace container builder (requested, aishell.yaml:5)".to_owned()]
        )
    );
    raw::same(&project.container("builder"), &builder);
    let run = project.run(&["apply", "--replace", "builder"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(
        changes(&run.json),
        ["replace container builder (requested, aishell.yaml:5)"]
    );
    assert_ne!(project.container("builder")["Id"], builder["Id"]);
    raw::same(&project.container("web"), &web);
    let ready = project.run(&["apply", "--replace", "builder", "--replace", "web", "--wait=1m"]);
    assert_eq!(
        (ready.code, changes(&ready.json).len()),
        (Some(0), 2),
        "{ready:#?}"
    );
    project.settled();
    project.only(&["builder", "web"]);
}

#[test]
fn nobodys_name_is_wrong_usage() {
    let project = project();
    project.manifest("containers:\n  builder: { }\n  web: { }\n");
    for (name, hint) in [
        ("bulider", "did you mean `builder`?"),
        ("nobody-at-all", "there are: builder, web"),
        ("", "there are: builder, web"),
    ] {
        for verb in ["diff", "apply"] {
            let run = project.run(&[verb, "--replace", name]);
            assert_eq!(run.code, Some(2), "{run:#?}");
            assert_eq!(run.json["problems"][0]["hint"], hint, "{run:#?}");
        }
    }
    project.only(&[]);
}

#[test]
fn what_goes_with_a_layer_is_said_before_and_after() {
    let project = project();
    let manifest = |mode: &str| {
        format!(
            "containers:
  builder:
    security: legacy
    env: {{ MODE: {mode} }}
    mounts: [{{ volume: cache, target: /a/b/cache }}]
    preStart: [':']
  web: {{ env: {{ MODE: {mode} }} }}
"
        )
    };
    project.manifest(&manifest("fast"));
    project.converge();
    project.manifest(&manifest("safe"));
    let none = project.diff();
    assert!(
        step(&none.json, "container", "builder")["discards"].is_null(),
        "what a start makes is no file of anybody: {none:#?}"
    );
    raw::said(
        &project.object("builder"),
        &[
            "sh",
            "-c",
            "mkdir -p /srv/x/y; echo a >/srv/x/y/a; echo b >/srv/b; echo c >/a/b/cache/c; echo d >~/d; echo e >/bin/e",
        ],
    );
    let diff = project.diff();
    assert_eq!(
        step(&diff.json, "container", "builder")["discards"],
        3,
        "{diff:#?}"
    );
    assert!(step(&diff.json, "container", "web")["discards"].is_null());
    let shown = project.plain(&["diff"]);
    let line = "builder: replacing discards 3 files in the container layer (its home volume is kept)\n";
    assert!(shown.stdout.contains(line), "{shown:#?}");
    let listed = project.plain(&["delete", "--no-input"]);
    let line = "builder: removing discards 3 files in the container layer\n";
    assert!(listed.stderr.contains(line), "{listed:#?}");
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(step(&run.json, "container", "builder")["discards"], 3, "{run:#?}");
    project.settled();
}
