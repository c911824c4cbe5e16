//! What nobody uses any more: listed, and gone only with a yes; what anybody uses stays.
//!
//! The engine is everybody's, so every run names the manifests that are meant.

use serde_json::{Value, json};

use crate::project::{Project, Run, project, text};
use crate::raw;

fn prune(project: &Project, options: &[&str]) -> Run {
    project.run(&[&["prune", &project.name], options].concat())
}

/// Removes until something is as it should be: an apply of somebody else's holds back what it might be about to use.
fn pruned(project: &Project, options: &[&str], is_so: impl Fn() -> bool) {
    raw::until("everything that nobody uses is gone", || {
        let run = prune(project, &[&["--yes"], options].concat());
        assert_eq!(run.code, Some(0), "{run:#?}");
        is_so().then_some(())
    });
}

/// Returns what is listed, as `kind name`.
fn listed(run: &Run) -> Vec<String> {
    let items = run.json["items"].as_array().expect("items");
    let mut names: Vec<String> = items
        .iter()
        .map(|item| format!("{} {}", text(&item["kind"]), text(&item["name"])))
        .collect();
    names.sort();
    names
}

fn images(project: &Project) -> Vec<String> {
    let mut tags: Vec<String> = raw::images(&project.label())
        .iter()
        .flat_map(|image| image["RepoTags"].as_array().cloned().unwrap_or_default())
        .map(|tag| text(&tag).to_owned())
        // Every one has a name that proves what it is, besides.
        .filter(|tag| tag.matches('-').count() < 3)
        .collect();
    tags.sort();
    tags
}

/// Applies a manifest whose foundation is built, in so many versions.
fn built(versions: usize) -> Project {
    let project = project();
    for version in 1..=versions {
        project.write(
            "Dockerfile",
            &format!("FROM {}\nENV V={version}\n", project.image),
        );
        project.manifest_on(
            "{ dockerfile: Dockerfile }",
            "containers:\n  a: { home: tmpfs, stop: { timeout: 1s } }\n",
        );
        project.converge();
    }
    project
}

#[test]
fn images_that_nobody_uses_go_and_the_newest_of_each_kind_stays() {
    let project = built(3);
    let before = images(&project);
    // Three foundations, three of those with a user, and the name that follows the newest foundation.
    assert_eq!(before.len(), 7, "{before:?}");
    // An apply of somebody else's holds back what it might be about to use.
    let run = raw::until("what nobody uses is listed", || {
        let run = prune(&project, &[]);
        (run.code == Some(1) && listed(&run).len() == 2).then_some(run)
    });
    assert_eq!(run.json["kept"], 2, "{run:#?}");
    assert_eq!(images(&project), before, "it only lists");
    let old = prune(&project, &["--older-than", "1h"]);
    assert_eq!((old.code, listed(&old)), (Some(0), Vec::new()), "{old:#?}");

    pruned(&project, &[], || images(&project).len() == 5);
    project.settled();
    let again = prune(&project, &["--yes"]);
    assert_eq!((again.code, listed(&again)), (Some(0), Vec::new()), "{again:#?}");

    // What the manifest uses is left.
    pruned(&project, &["--keep", "0"], || images(&project).len() == 3);
    project.settled();
}

#[test]
fn what_a_stranger_uses_or_has_given_a_name_stays() {
    let project = built(3);
    let own = raw::images(&project.label());
    let kind = |kind: &str| {
        let of = move |image: &&Value| image["Labels"]["aishell.kind"] == kind;
        let mut found: Vec<&Value> = own.iter().filter(of).collect();
        found.sort_by_key(|image| image["Created"].as_i64());
        found
            .into_iter()
            .map(|image| text(&image["RepoTags"][0]).to_owned())
            .collect::<Vec<_>>()
    };
    let label = json!({ "aishelltest": project.name });
    let options = json!({ "Image": kind("identity")[0], "Cmd": ["true"], "Labels": label });
    let made = raw::post("/containers/create", &options);
    // A name of somebody's own, and an image built on ours.
    let named = format!("aishelltest-{}", project.name);
    let second = &kind("identity")[1];
    raw::post(
        &format!("/images/{second}/tag?repo={named}&tag=mine"),
        &Value::Null,
    );
    let before = images(&project);
    let run = prune(&project, &["--yes", "--keep", "0"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(images(&project), before, "{run:#?}");
    raw::delete(&format!("/containers/{}?force=1", text(&made["Id"])));
    raw::delete(&format!("/images/{named}:mine"));
    pruned(&project, &["--keep", "0"], || images(&project).len() == 3);
    project.settled();
}

#[test]
fn what_a_manifest_owned_that_is_gone_goes_and_its_data_only_with_consent() {
    let project = project();
    project.manifest("containers:\n  a: { stop: { timeout: 1s } }\n  b: { command: [sleep, '1000'], home: tmpfs, stop: { timeout: 1s } }\n");
    project.converge();
    raw::said(&project.object("a"), &["sh", "-c", "echo kept > ~/note"]);
    let there = prune(&project, &["--keep", "0"]);
    assert_eq!((there.code, listed(&there)), (Some(0), Vec::new()), "{there:#?}");

    std::fs::remove_file(project.path().join("aishell.yaml")).expect("a manifest");
    let session = raw::detached(&project.object("a"), &["sleep", "1000"], true);
    let run = prune(&project, &["--yes"]);
    assert_eq!(run.code, Some(6), "{run:#?}");
    let why = |name: &str| {
        let blocked = run.json["blocked"].as_array().expect("blocked");
        let found = blocked
            .iter()
            .find(|one| one["name"] == project.object(name).as_str());
        text(&found.unwrap_or(&Value::Null)["detail"]).to_owned()
    };
    assert_eq!(why("a"), "1 terminal session", "{run:#?}");
    assert_eq!(why("b"), "its command runs", "{run:#?}");
    assert_eq!(project.container("a")["State"]["Running"], true);
    assert_eq!(project.container("b")["State"]["Running"], true);
    drop(session);

    let run = prune(&project, &["--yes", "--allow", "interrupt"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.only(&[]);
    assert_eq!(raw::networks(&project.label()), Vec::<Value>::new());
    let data = raw::volumes(&project.label());
    assert_eq!(data.len(), 1, "{data:#?}");
    assert!(run.stdout.contains(text(&data[0]["Name"])), "{run:#?}");
    pruned(&project, &["--allow", "data-loss", "--keep", "0"], || {
        raw::volumes(&project.label()).is_empty() && images(&project).is_empty()
    });
}

#[test]
fn a_harness_set_goes_with_what_vouches_for_it_once_nobody_has_it() {
    let project = project();
    let versions = [crate::apply::version(), crate::apply::version()];
    for version in &versions {
        project.manifest(&format!(
            "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool], runtime: image }}\ncontainers:\n  \
             a: {{ harness: tool, home: tmpfs, stop: {{ timeout: 1s }} }}\n"
        ));
        project.converge();
    }
    let kept = prune(&project, &[]);
    assert_eq!(
        (kept.code, listed(&kept)),
        (Some(0), Vec::new()),
        "going back needs no network: {kept:#?}"
    );
    pruned(&project, &["--keep", "0"], || {
        raw::volumes(&project.label()).len() == 1
    });
    assert_eq!(raw::said(&project.object("a"), &["tool"]), versions[1]);
    project.settled();
}
