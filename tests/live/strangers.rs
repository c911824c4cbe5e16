//! What is not ours is never touched, however much it looks like ours.

use serde_json::{Value, json};

use crate::project::{Project, changes, project, text};
use crate::raw;

/// Creates and starts a container that only the test knows, and returns its id.
pub fn stranger(project: &Project, name: &str, image: &str) -> String {
    let options = json!({
        "Image": image,
        "Cmd": ["sleep", "1000"],
        "Entrypoint": [],
        "Labels": { "aishelltest": project.name },
        "HostConfig": { "NetworkMode": "none" },
    });
    let made = raw::post(&format!("/containers/create?name={name}"), &options);
    let id = text(&made["Id"]).to_owned();
    raw::post(&format!("/containers/{id}/start"), &Value::Null);
    id
}

fn inspect(id: &str) -> Value {
    raw::container(id).expect("the container is still there")
}

#[test]
fn two_projects_do_not_see_each_other() {
    let (one, two) = (project(), project());
    // A clone: the same name and text, elsewhere.
    let clone = one.twin();
    for project in [&one, &two, &clone] {
        project.manifest("containers:\n  a: { }\n  b: { command: [sleep, \"1000\"] }\n");
        project.converge();
    }
    let ids: Vec<String> = [&one, &two, &clone]
        .iter()
        .map(|project| project.id("a"))
        .collect();
    assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
    for project in [&one, &two, &clone] {
        project.settled();
    }
    let look = || [&two, &clone].map(|project| ["a", "b"].map(|name| project.container(name)));
    let others = look();
    // What one does is no other's business: a change, a removal, an end.
    one.manifest("containers:\n  a: { env: { MODE: safe } }\n");
    one.converge();
    let gone = one.run(&["delete", "--yes"]);
    assert_eq!(gone.code, Some(0), "{gone:#?}");
    assert!(raw::container(&one.object("a")).is_none());
    for (now, before) in look().iter().flatten().zip(others.iter().flatten()) {
        raw::same(now, before);
    }
    for project in [&two, &clone] {
        project.settled();
    }
    // Both clones share images; they are still good.
    one.converge();
}

#[test]
fn two_manifests_in_one_directory_do_not_take_each_others_containers() {
    let project = project();
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    let ours = project.container("a");
    let other = format!(
        "apiVersion: aishell/v1\nname: other{}\nfoundation: {{ image: \"{}\" }}\ncontainers:\n  a: {{ }}\n  z: {{ }}\n",
        project.name, project.image
    );
    project.write("other.yaml", &other);
    let label = format!("aishell.manifest=other{}", project.name);
    let run = project.run(&["apply", "-f", "other.yaml"]);
    let (made, kept) = (raw::container(&project.object("z")), project.container("a"));
    raw::sweep(&label);
    assert_eq!(run.code, Some(6), "{run:#?}");
    // The container and its home are somebody's, and one is told whose.
    let blocked = run.json["blocked"].as_array().expect("blocked");
    let names: Vec<&str> = blocked.iter().map(|blocked| text(&blocked["name"])).collect();
    assert_eq!(names, [project.object("a-home").as_str(), "a"], "{run:#?}");
    for blocked in blocked {
        assert_eq!(blocked["reason"], "foreign", "{blocked:#}");
        assert!(text(&blocked["detail"]).contains(&project.name), "{blocked:#}");
    }
    assert!(made.is_some());
    raw::same(&kept, &ours);
    project.settled();
}

#[test]
fn a_stranger_under_our_name_blocks_that_container_alone() {
    let project = project();
    let id = stranger(&project, &project.object("a"), &project.image);
    let before = inspect(&id);
    project.manifest("containers:\n  a: { }\n  b: { }\n");
    let diff = project.diff();
    assert_eq!(diff.code, Some(1));
    assert!(
        changes(&diff.json)
            .contains(&"create container a blocked foreign (missing, aishell.yaml:5)".to_owned()),
        "{:#}",
        diff.json
    );
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    let blocked = &run.json["blocked"][0];
    assert_eq!(
        (text(&blocked["name"]), text(&blocked["reason"])),
        ("a", "foreign")
    );
    assert!(
        text(&blocked["detail"]).contains("aishell did not make"),
        "{blocked:#}"
    );
    assert_eq!(run.json["converged"], false);
    raw::same(&inspect(&id), &before);
    assert_eq!(project.container("b")["State"]["Status"], "running");
    // Once the stranger has gone, the way is free.
    raw::delete(&format!("/containers/{id}?force=1"));
    project.converge();
}

#[test]
fn a_copy_of_ours_and_a_container_from_our_image_are_nobodys() {
    let project = project();
    project.manifest("containers:\n  a: { }\n  b: { }\n");
    project.converge();
    let a = project.container("a");
    // A backup by hand: every label of ours is on the image now, and on what runs from it.
    let copy = format!("aishelltest-{}:copy", project.name);
    let (repository, tag) = copy.split_once(':').expect("a tag");
    raw::post(
        &format!(
            "/commit?container={}&repo={repository}&tag={tag}",
            project.object("a")
        ),
        &json!({}),
    );
    let from_copy = stranger(&project, &format!("aishelltest-{}-copy", project.name), &copy);
    let from_image = stranger(
        &project,
        &format!("aishelltest-{}-run", project.name),
        text(&a["Config"]["Image"]),
    );
    let before = [inspect(&from_copy), inspect(&from_image)];
    assert_eq!(before[0]["Config"]["Labels"]["aishell.name"], "a");
    let image = raw::get(&format!("/images/{copy}/json"));

    project.settled();
    let ps = project.run(&["ps"]);
    assert_eq!(
        ps.json["items"].as_array().map(Vec::len),
        Some(2),
        "{:#}",
        ps.json
    );
    project.manifest("containers:\n  b: { env: { MODE: safe } }\n");
    project.converge();
    raw::same(&inspect(&from_copy), &before[0]);
    raw::same(&inspect(&from_image), &before[1]);

    // The copy under the name of the original is still not the original.
    raw::post(
        &format!("/containers/{from_copy}/rename?name={}", project.object("a")),
        &Value::Null,
    );
    let renamed = inspect(&from_copy);
    project.manifest("containers:\n  a: { }\n  b: { env: { MODE: safe } }\n");
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(run.json["blocked"][0]["reason"], "foreign");
    raw::same(&inspect(&from_copy), &renamed);

    let gone = project.run(&["delete", "--yes", "--allow", "data-loss"]);
    assert_eq!(gone.code, Some(0), "{gone:#?}");
    raw::same(&inspect(&from_copy), &renamed);
    raw::same(&inspect(&from_image), &before[1]);
    assert_eq!(
        raw::get(&format!("/images/{copy}/json"))["RepoTags"],
        image["RepoTags"]
    );
}

#[test]
fn a_strangers_volume_is_neither_filled_nor_mounted() {
    let project = project();
    let label = json!({ "aishelltest": project.name });
    let home = project.object("a-home");
    raw::post("/volumes/create", &json!({ "Name": home, "Labels": label }));
    let before = raw::get(&format!("/volumes/{home}"));
    project.manifest("containers:\n  a: { }\n  b: { }\n");
    let run = project.apply();
    assert_eq!(run.code, Some(6), "{run:#?}");
    assert_eq!(
        changes(&json!({ "blocked": run.json["blocked"] })),
        [format!(
            "create volume {home} blocked foreign (missing, aishell.yaml:5)"
        )]
    );
    assert!(raw::container(&project.object("a")).is_none());
    assert_eq!(project.container("b")["State"]["Status"], "running");
    assert_eq!(raw::get(&format!("/volumes/{home}")), before);
}

#[test]
fn a_strangers_network_of_our_name_is_not_ours() {
    let project = project();
    let name = project.object(&project.name);
    let label = json!({ "aishelltest": project.name });
    let made = raw::post("/networks/create", &json!({ "Name": name, "Labels": label }));
    let id = text(&made["Id"]).to_owned();
    project.manifest("containers:\n  a: { }\n");
    let run = project.apply();
    // Engines let two networks have one name; whether ours is made beside it or the step is blocked, theirs is
    // left alone.
    let theirs = raw::get(&format!("/networks/{id}"));
    assert_eq!(theirs["Containers"], json!({}), "{run:#?}");
    assert_eq!(theirs["Labels"], label);
    assert_eq!(run.code, Some(6), "{run:#?}");
}

#[test]
fn a_strangers_job_name_is_no_reason_to_remove_it() {
    let project = project();
    let version = crate::apply::version();
    project.manifest(&format!(
        "harnesses:\n  tool: {{ npm: tool, version: {version}, bin: [tool] }}\ncontainers:\n  a: {{ harness: tool }}\n"
    ));
    let diff = project.diff();
    let volume = diff.json["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| text(&step["name"]))
        .find_map(|name| name.strip_prefix("aishell-harness-"))
        .expect("a harness volume");
    let id = stranger(
        &project,
        &format!("aishell-job-populate-{volume}"),
        &project.image,
    );
    let before = inspect(&id);
    let run = project.apply();
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert!(run.stdout.contains("left alone"), "{run:#?}");
    raw::same(&inspect(&id), &before);
    raw::delete(&format!("/containers/{id}?force=1"));
    project.converge();
}
