//! A project that was moved, and a manifest that was renamed: the data goes along, and nobody starts without it unasked.

use crate::project::{project, text};
use crate::raw;

const CONTAINER: &str = "containers:\n  a: { stop: { timeout: 1s } }\n";

#[test]
fn a_moved_project_is_asked_about_its_data_and_takes_it_along() {
    let before = project();
    before.manifest(CONTAINER);
    before.converge();
    raw::said(&before.object("a"), &["sh", "-c", "echo kept > ~/note"]);
    let (old, moved) = (before.path(), before.twin());
    std::fs::remove_file(old.join("aishell.yaml")).expect("a manifest");

    moved.manifest(CONTAINER);
    let run = moved.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    let blocked = run.json["blocked"].as_array().expect("blocked");
    let volume = blocked
        .iter()
        .find(|one| one["kind"] == "volume")
        .expect("the home");
    assert_eq!(volume["reason"], "moved", "{run:#?}");
    assert!(
        text(&volume["unblock"]).contains(&old.display().to_string()),
        "{run:#?}"
    );
    assert_eq!(raw::volumes(&moved.label()).len(), 1, "no empty one: {run:#?}");

    moved.manifest(&format!(
        "formerly: [{{ project: {} }}]\n{CONTAINER}",
        old.display()
    ));
    moved.converge();
    moved.settled();
    assert_eq!(raw::said(&moved.object("a"), &["sh", "-c", "cat ~/note"]), "kept");
    // What it had elsewhere is not what nobody wants any more, whatever is allowed.
    let run = moved.run(&["prune", &moved.name, "--yes", "--allow", "data-loss,interrupt"]);
    let items = run.json["items"].as_array().expect("items");
    assert!(items.iter().all(|item| item["kind"] == "image"), "{run:#?}");
    moved.settled();
    assert_eq!(raw::volumes(&moved.label()).len(), 1);
    moved.only(&["a"]);
}

#[test]
fn an_empty_start_is_possible_for_whoever_says_so() {
    let before = project();
    before.manifest(CONTAINER);
    before.converge();
    let other = before.twin();
    other.manifest(CONTAINER);
    let beside = other.diff();
    // Whoever is still there has not been moved.
    assert_eq!(beside.json["blocked"], serde_json::json!([]), "{beside:#?}");
    std::fs::remove_file(before.path().join("aishell.yaml")).expect("a manifest");
    let now = other.diff();
    assert_eq!(now.json["blocked"][0]["reason"], "moved", "{now:#?}");
    let run = other.run(&["apply", "--allow", "empty-volumes"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    other.settled();
    assert_eq!(raw::volumes(&other.label()).len(), 2);
}
