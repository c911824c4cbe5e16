//! Bad input from the engine's side: labels that are garbage or half there, values that it rounds, limits that the host
//! does not have. Each is a clear error or a correct plan, never a crash, and nobody else's container is touched.

use serde_json::{Map, Value, json};

use crate::project::{Project, changes, failures, project, step, text};
use crate::raw;

/// Returns the body that makes a container as one that is there, with other labels.
fn copied(shown: &Value, labels: &Value) -> Value {
    json!({
        "Image": shown["Config"]["Image"],
        "Cmd": ["sleep", "1000"],
        "Entrypoint": [],
        "Labels": labels,
        "HostConfig": { "NetworkMode": "none" },
    })
}

/// Makes a container under a name with labels, starts it and returns its id.
fn planted(name: &str, body: &Value) -> String {
    let made = raw::post(&format!("/containers/create?name={name}"), body);
    let id = text(&made["Id"]).to_owned();
    raw::post(&format!("/containers/{id}/start"), &Value::Null);
    id
}

fn labels_of(container: &Value) -> Map<String, Value> {
    container["Config"]["Labels"].as_object().expect("labels").clone()
}

/// What may have become of a label.
fn mangled(value: &str) -> Vec<Option<String>> {
    let huge = "x".repeat(60_000);
    let other = ["", " ", "null", "{", "[]", "\u{1b}[2J\n", "../../etc", "0", &huge];
    let mut all: Vec<Option<String>> = other.iter().map(|text| Some((*text).to_owned())).collect();
    all.push(None);
    all.push(Some(value.chars().rev().collect()));
    all.push(Some(format!("{value}{value}")));
    all
}

#[test]
fn labels_that_were_mangled_make_a_stranger_or_a_difference_and_never_a_crash() {
    let project = project();
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    let shown = project.container("a");
    let labels = labels_of(&shown);
    let marks = format!("aishelltest-{}", project.name);
    let mut tried = 0;
    for (label, value) in labels.iter().filter(|(label, _)| label.starts_with("aishell.")) {
        for (index, mangled) in mangled(text(value)).into_iter().enumerate() {
            let mut labels = labels.clone();
            labels.insert("aishelltest".to_owned(), json!(project.name));
            match mangled {
                Some(text) => labels.insert(label.clone(), json!(text)),
                None => labels.remove(label),
            };
            // Beside ours, under a name of its own.
            let name = format!("{marks}-{}-{index}", label.replace('.', "-"));
            let made = raw::post(
                &format!("/containers/create?name={name}"),
                &copied(&shown, &json!(labels)),
            );
            assert!(made["Id"].is_string(), "{label}: {made:#}");
            tried += 1;
        }
    }
    assert!(tried >= 100, "{tried}");
    let strangers: Vec<Value> = raw::containers(&format!("aishelltest={}", project.name));
    assert_eq!(strangers.len(), tried);
    let run = project.apply();
    assert_eq!((run.code, failures(&run.json)), (Some(0), Vec::new()), "{run:#?}");
    assert_eq!(project.id("a"), text(&shown["Id"]));
    let left = raw::containers(&format!("aishelltest={}", project.name));
    assert_eq!(left.len(), tried, "{:#?}", changes(&run.json));
    for verb in [&["status"][..], &["ps"], &["ps", "--all-projects"], &["diff"]] {
        let run = project.run(verb);
        assert_eq!(run.code, Some(0), "{verb:?}: {run:#?}");
    }
    let run = project.run(&["delete", "--yes"]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    let left = raw::containers(&format!("aishelltest={}", project.name));
    assert_eq!(left.len(), tried, "{:#?}", changes(&run.json));
}

#[test]
fn what_was_asked_for_may_be_unreadable_and_the_container_is_still_compared() {
    let project = project();
    let fields = "env: { MODE: safe }, home: tmpfs, workspace: none";
    for applied in [
        None,
        Some("not json".to_owned()),
        Some("{}".to_owned()),
        Some("[1, 2]".to_owned()),
        Some("null".to_owned()),
        Some(r#"{"image":7,"env":"x"}"#.to_owned()),
        Some(r#"{"schema":99,"image":"x","futureField":{"a":[1]}}"#.to_owned()),
    ] {
        project.manifest(&format!("containers:\n  a: {{ {fields} }}\n"));
        project.converge();
        let name = project.object("a");
        let shown = project.container("a");
        let mut body = shown["Config"].clone();
        let labels = body["Labels"].as_object_mut().expect("labels");
        match &applied {
            Some(text) => labels.insert("aishell.applied".to_owned(), json!(text)),
            None => labels.remove("aishell.applied"),
        };
        body["HostConfig"] = shown["HostConfig"].clone();
        let network = project.object(&project.name);
        body["NetworkingConfig"] = json!({ "EndpointsConfig": { network: { "Aliases": ["a"] } } });
        raw::delete(&format!("/containers/{name}?force=1"));
        let id = planted(&name, &body);
        // It is as it is wanted, whatever the label says; what then changes is found by its field.
        assert_eq!(changes(&project.diff().json), Vec::<String>::new(), "{applied:?}");
        assert_eq!(project.id("a"), id);
        project.manifest(&format!(
            "containers:\n  a: {{ {} }}\n",
            fields.replace("safe", "fast")
        ));
        let diff = project.diff();
        let lines = changes(&diff.json);
        assert_eq!(lines.len(), 1, "{applied:?}: {diff:#?}");
        assert!(
            lines[0].starts_with("replace container a: env.MODE \"safe\" -> \"fast\""),
            "{applied:?}: {lines:?}"
        );
        project.converge();
    }
}

#[test]
fn of_two_that_claim_one_name_the_elder_is_ours_and_the_other_is_left_alone() {
    let project = project();
    project.manifest("containers:\n  a: { }\n");
    project.converge();
    let shown = project.container("a");
    let mut labels = labels_of(&shown);
    labels.insert("aishelltest".to_owned(), json!(project.name));
    // Copied with the identifier, and with one of its own.
    let twin = planted(
        &format!("aishelltest-{}-twin", project.name),
        &copied(&shown, &json!(labels)),
    );
    labels.insert("aishell.uid".to_owned(), json!("0123456789abcdef"));
    let other = planted(
        &format!("aishelltest-{}-other", project.name),
        &copied(&shown, &json!(labels)),
    );
    let before = [&twin, &other].map(|id| raw::container(id).expect("a container"));
    let run = project.apply();
    assert_eq!((run.code, changes(&run.json)), (Some(0), Vec::new()), "{run:#?}");
    assert!(
        run.json["notes"]
            .to_string()
            .contains("has the labels of container a"),
        "{run:#?}"
    );
    raw::same(&project.container("a"), &shown);
    // Ours is moved away, and a copy takes its name: ours comes home.
    let name = project.object("a");
    raw::post(
        &format!("/containers/{name}/rename?name={name}-moved"),
        &Value::Null,
    );
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    assert_eq!(project.id("a"), text(&shown["Id"]));
    for (id, before) in [&twin, &other].iter().zip(&before) {
        raw::same(&raw::container(id).expect("still there"), before);
    }
}

#[test]
fn a_container_whose_image_was_removed_by_force_is_still_ours() {
    let project = project();
    project.manifest("containers:\n  a: { env: { MODE: safe } }\n");
    project.converge();
    let before = project.container("a");
    let image = text(&before["Config"]["Image"]).to_owned();
    // Both names of it: what runs keeps its content only.
    for image in raw::images(&project.label()) {
        for tag in image["RepoTags"].as_array().into_iter().flatten() {
            raw::delete(&format!("/images/{}?force=1&noprune=1", text(tag)));
        }
    }
    let diff = project.diff();
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    for verb in ["status", "ps"] {
        assert!(project.run(&[verb]).code.is_some_and(|code| code < 2));
    }
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    project.settled();
    let now = project.container("a");
    assert_eq!(now["Config"]["Image"], json!(image));
    assert_eq!(now["State"]["Status"], "running");
    project.only(&["a"]);
}

#[test]
fn what_the_engine_rounds_is_no_difference() {
    let project = project();
    let fields = [
        "resources: { cpus: 0.1234567 }",
        "resources: { cpus: 0.123456789 }",
        "resources: { cpus: 1.999999999 }",
        "resources: { memory: 100000001 }",
        "resources: { memory: 67108863, memorySwap: 134217729 }",
        "resources: { memory: 80000001, reservation: 70000003 }",
        "resources: { pids: 1 , memory: 32m }",
        "resources: { pids: 4194303 }",
        "resources: { shm: 1000001 }",
        "resources: { shm: 4097 }",
        "mounts: [{ tmpfs: /t, size: 1000003 }]",
        "stop: { timeout: 1500ms }",
    ];
    let mut manifest = String::from("containers:\n");
    for (index, fields) in fields.iter().enumerate() {
        let entry = format!("  r{index}: {{ home: tmpfs, {fields} }}\n");
        project.manifest(&format!("containers:\n{entry}"));
        // What cannot be meant is said with its place, before anything is touched.
        match project.run(&["validate"]).code {
            Some(0) => manifest.push_str(&entry),
            code => assert_eq!(code, Some(3), "{fields}"),
        }
    }
    project.manifest(&manifest);
    let run = project.apply();
    for failure in failures(&run.json) {
        // A process is not enough for an init and its child.
        assert_eq!(failure, "failed create container r6", "{run:#?}");
    }
    assert!(matches!(run.code, Some(0 | 5)), "{run:#?}");
    let left: Vec<String> = changes(&project.diff().json)
        .into_iter()
        .filter(|line| !line.contains(" r6"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // In place, too: another value that is rounded.
    project
        .manifest("containers:\n  r3: { home: tmpfs, resources: { memory: 120000007, cpus: 0.7654321 } }\n");
    project.converge();
}

/// Applies a container that this host cannot run, and insists that the other one is not disturbed by it.
fn refused(project: &Project, fields: &str) -> String {
    project.manifest(&format!(
        "containers:\n  a: {{ home: tmpfs, {fields} }}\n  b: {{ home: tmpfs }}\n"
    ));
    let b = project.container("b");
    let run = project.apply();
    raw::same(&project.container("b"), &b);
    match run.code {
        // Refused before anything was asked of the engine.
        Some(3) => run.json["problems"].to_string(),
        Some(5) => {
            assert_eq!(failures(&run.json), ["failed create container a"], "{run:#?}");
            step(&run.json, "container", "a")["error"]["message"].to_string()
        }
        // It is taken, and nothing differs afterwards.
        Some(0) => {
            assert_eq!(changes(&project.diff().json), Vec::<String>::new(), "{fields}");
            "taken".to_owned()
        }
        code => panic!("{code:?} for {fields}: {run:#?}"),
    }
}

#[test]
fn limits_that_the_host_does_not_have_are_said_by_name() {
    let project = project();
    project.manifest("containers:\n  b: { home: tmpfs }\n");
    project.converge();
    for (fields, told) in [
        ("resources: { cpus: 1000 }", "CPUs"),
        ("resources: { memory: 100TiB }", "taken"),
        ("resources: { memory: 9000PiB }", ""),
        ("resources: { memory: 1 }", ""),
        ("resources: { memory: 64m, memorySwap: 32m }", ""),
        ("resources: { memory: 64m, reservation: 128m }", ""),
        ("resources: { shm: 100TiB }", ""),
        ("resources: { pids: 0 }", ""),
        ("resources: { cpus: 0.000000001 }", ""),
        ("runtime: no-such-runtime", "no-such-runtime"),
        (
            "security: { devices: [/dev/no-such-device] }",
            "/dev/no-such-device",
        ),
        ("dns: [not-an-address]", "IP address"),
        ("groups: [no-such-group]", "no-such-group"),
    ] {
        let found = refused(&project, fields);
        assert!(found.contains(told), "{fields}: {found}");
        project.manifest("containers:\n  b: { home: tmpfs }\n");
        project.converge();
        project.only(&["b"]);
    }
}
