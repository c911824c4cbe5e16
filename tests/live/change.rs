//! An edited manifest: exactly what was edited is named, with its line, and exactly that is done.

use serde_json::Value;

use crate::apply::version;
use crate::project::{changes, project, text};
use crate::raw;

#[test]
fn a_changed_memory_limit_keeps_id_and_start_time() {
    let project = project();
    project.manifest("containers:\n  a:\n    resources: { memory: 64MiB }\n");
    project.converge();
    let before = project.container("a");
    project.manifest("containers:\n  a:\n    resources: { memory: 96MiB }\n");
    let diff = project.diff();
    assert_eq!(diff.code, Some(1));
    let lines = changes(&diff.json);
    assert_eq!(
        lines[0],
        "update container a: resources.memory 67108864 -> 100663296 (manifest, aishell.yaml:6)"
    );
    assert_eq!(diff.json["steps"].as_array().map(Vec::len), Some(1));
    assert_eq!(diff.json["steps"][0]["impact"], "live");
    let run = project.converge();
    assert_eq!(changes(&run.json), lines);
    let after = project.container("a");
    assert_eq!(after["HostConfig"]["Memory"], 96 << 20);
    assert_eq!(
        (&after["Id"], &after["State"]["StartedAt"], &after["State"]["Pid"]),
        (
            &before["Id"],
            &before["State"]["StartedAt"],
            &before["State"]["Pid"]
        )
    );
}

#[test]
fn an_edit_changes_exactly_what_was_edited() {
    let project = project();
    let (old, new) = (version(), version());
    let manifest = |version: &str, memory: &str, mode: &str, third: &str| {
        format!(
            "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool], runtime: image }}\ncontainers:\n  \
             bumped: {{ harness: tool }}\n  limited:\n    image: {image}\n    command: [sleep, \"1000\"]\n    \
             resources: {{ memory: {memory} }}\n  told:\n    image: {image}\n    command: [sleep, \"1000\"]\n    \
             env: {{ MODE: {mode}, LOG: debug }}\n  \
             same: {{ image: {image}, command: [sleep, \"1000\"] }}\n{third}",
            image = project.image
        )
    };
    project.manifest(&manifest(
        &old,
        "64MiB",
        "fast",
        "  gone: { command: [sleep, \"1000\"], network: none }\n",
    ));
    project.converge();
    let same = project.container("same");
    let (limited, told, bumped) = (
        project.container("limited"),
        project.id("told"),
        project.id("bumped"),
    );
    let old_volume = raw::volumes(&project.label())
        .into_iter()
        .find(|volume| text(&volume["Labels"]["aishell.kind"]) == "harness")
        .expect("a harness volume");
    raw::said(&bumped, &["sh", "-c", "echo kept > ~/note"]);

    project.manifest(&manifest(&new, "96MiB", "safe", ""));
    let diff = project.diff();
    assert_eq!(diff.code, Some(1));
    let planned = changes(&diff.json);
    let volume = text(&diff.json["steps"][0]["name"]).to_owned();
    let expected = [
        format!("populate volume {volume}: harnesses.tool \"{old}\" -> \"{new}\" (manifest, aishell.yaml:5)"),
        "remove container gone (orphan)".to_owned(),
        format!(
            "replace container bumped: harness \"tool {old}\" -> \"tool {new}\" (dependency, aishell.yaml:7)"
        ),
        "update container limited: resources.memory 67108864 -> 100663296 (manifest, aishell.yaml:11)"
            .to_owned(),
        "replace container told: env.MODE \"fast\" -> \"safe\" (manifest, aishell.yaml:15)".to_owned(),
    ];
    assert_eq!(planned, expected);

    let run = project.converge();
    assert_eq!(changes(&run.json), expected);
    raw::same(&project.container("same"), &same);
    let now = project.container("limited");
    assert_eq!(
        (&now["Id"], &now["State"]["StartedAt"]),
        (&limited["Id"], &limited["State"]["StartedAt"])
    );
    assert_ne!(project.id("told"), told);
    project.only(&["bumped", "limited", "same", "told"]);
    assert_eq!(
        raw::said(&project.object("told"), &["sh", "-c", "echo $MODE $LOG"]),
        "safe debug"
    );
    // The home survived; the tool is the new one; the old set is still there for whoever goes back.
    assert_eq!(
        raw::said(&project.object("bumped"), &["sh", "-c", "cat ~/note; tool"]),
        format!("kept\n{new}")
    );
    let name = text(&old_volume["Name"]);
    assert_eq!(raw::get(&format!("/volumes/{name}")), old_volume);
}

#[test]
fn what_only_people_read_changes_nothing() {
    let project = project();
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    project.manifest("description: what it is for\n# a comment\ncontainers:\n  a:\n    network: default\n    resources:\n      pids: 512\n");
    let diff = project.diff();
    assert_eq!((diff.code, changes(&diff.json)), (Some(0), Vec::new()));
}

#[test]
fn a_removed_container_stays_where_pruning_is_refused() {
    let project = project();
    project.manifest("containers:\n  a: { }\n  b: { }\n");
    project.converge();
    let b = project.container("b");
    project.manifest("containers:\n  a: { }\n");
    let kept = project.run(&["apply", "--no-prune"]);
    assert_eq!(
        (kept.code, changes(&kept.json)),
        (Some(0), Vec::new()),
        "{kept:#?}"
    );
    raw::same(&project.container("b"), &b);
    assert!(
        kept.json["notes"]
            .to_string()
            .contains("container b is not in the manifest and is kept"),
        "{kept:#?}"
    );

    let run = project.converge();
    assert_eq!(changes(&run.json), ["remove container b (orphan)"]);
    project.only(&["a"]);
    // Its home holds data: it is kept, and one is told so.
    let home = project.object("b-home");
    assert_eq!(raw::get(&format!("/volumes/{home}"))["Name"], home);
    assert!(run.json["notes"].to_string().contains(&home), "{run:#?}");
}

#[test]
fn an_emptied_home_comes_from_the_manifest_alone() {
    let project = project();
    project.manifest("containers:\n  a: { home: tmpfs }\n");
    project.converge();
    let volumes = raw::volumes(&project.label());
    assert_eq!(volumes, Vec::<Value>::new());
    raw::said(&project.object("a"), &["sh", "-c", "echo x > ~/x"]);
}
