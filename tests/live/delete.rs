//! The end of a project: what it owns goes, data only with consent.

use serde_json::Value;

use crate::project::{Project, project, text};
use crate::raw;

fn applied() -> Project {
    let project = project();
    project.manifest(
        "containers:\n  a: { mounts: [{ volume: cache, target: /cache }] }\n  b: { command: [sleep, \"1000\"] }\n",
    );
    project.converge();
    project
}

fn volumes(project: &Project) -> Vec<String> {
    let mut names: Vec<String> = raw::volumes(&project.label())
        .iter()
        .map(|volume| text(&volume["Name"]).to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn delete_needs_a_yes_where_it_cannot_ask() {
    let project = applied();
    let before = [project.container("a"), project.container("b")];
    let run = project.run(&["delete"]);
    assert_eq!(run.code, Some(2), "{run:#?}");
    assert!(run.stdout.contains("--yes"), "{run:#?}");
    for (name, before) in ["a", "b"].iter().zip(&before) {
        raw::same(&project.container(name), before);
    }
}

#[test]
fn delete_keeps_data_unless_its_loss_is_allowed() {
    let project = applied();
    raw::said(&project.object("a"), &["sh", "-c", "echo kept > ~/note"]);
    let data = volumes(&project);
    assert_eq!(data.len(), 3, "{data:?}");
    let run = project.run(&["delete", "--yes"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.only(&[]);
    assert_eq!(raw::networks(&project.label()), Vec::<Value>::new());
    assert_eq!(volumes(&project), data);
    for volume in &data {
        assert!(run.stdout.contains(volume), "{volume} is not spoken of: {run:#?}");
    }
    // A second one has nothing to do.
    let again = project.run(&["delete", "--yes"]);
    assert_eq!(
        (again.code, &again.json["steps"]),
        (Some(0), &serde_json::json!([])),
        "{again:#?}"
    );
    // Applied again, the data is there.
    project.converge();
    assert_eq!(
        raw::said(&project.object("a"), &["sh", "-c", "cat ~/note"]),
        "kept"
    );

    let all = project.run(&["delete", "--yes", "--allow", "data-loss"]);
    assert_eq!(all.code, Some(0), "{all:#?}");
    assert_eq!(volumes(&project), Vec::<String>::new());
    project.only(&[]);
}

#[test]
fn delete_leaves_what_others_share() {
    let version = crate::apply::version();
    let (one, two) = (project(), project());
    for project in [&one, &two] {
        project.manifest(&format!(
            "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool] }}\ncontainers:\n  a: {{ harness: tool }}\n"
        ));
        project.converge();
    }
    let run = one.run(&["delete", "--yes", "--allow", "data-loss"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(raw::said(&two.object("a"), &["tool"]), version);
    two.settled();
}
