//! What happens behind aishell's back is seen field by field, named, and repaired with the least force.

use serde_json::{Value, json};

use crate::project::{changes, project};
use crate::raw;

/// What must not change when a container is repaired in place.
fn identity(container: &Value) -> (Value, Value) {
    (container["Id"].clone(), container["State"]["StartedAt"].clone())
}

#[test]
fn whatever_is_done_behind_its_back_is_named_and_repaired() {
    let project = project();
    let names = [
        "attached", "detached", "limited", "paused", "policy", "removed", "renamed", "stopped",
    ];
    let mut manifest = String::from("containers:\n");
    for name in names {
        manifest.push_str(&format!(
            "  {name}: {{ image: {}, command: [sleep, \"1000\"], restart: \"no\", resources: {{ memory: 64MiB }} }}\n",
            project.image
        ));
    }
    project.manifest(&manifest);
    project.converge();
    let before: Vec<Value> = names.iter().map(|name| project.container(name)).collect();

    let other = format!("aishelltest-{}", project.name);
    let label = json!({ "aishelltest": project.name });
    raw::post("/networks/create", &json!({ "Name": other, "Labels": label }));
    let act = |name: &str, verb: &str, body: &Value| {
        raw::post(&format!("/containers/{}/{verb}", project.object(name)), body);
    };
    let connect = |name: &str| json!({ "Container": project.object(name) });
    let own = project.object(&project.name);
    raw::post(&format!("/networks/{other}/connect"), &connect("attached"));
    raw::post(&format!("/networks/{own}/disconnect"), &connect("detached"));
    act(
        "limited",
        "update",
        &json!({ "Memory": 96 << 20, "MemorySwap": 128 << 20 }),
    );
    act("paused", "pause", &Value::Null);
    act(
        "policy",
        "update",
        &json!({ "RestartPolicy": { "Name": "always" } }),
    );
    raw::delete(&format!("/containers/{}?force=1", project.object("removed")));
    act("renamed", &format!("rename?name={other}"), &Value::Null);
    act("stopped", "kill", &Value::Null);

    let diff = project.diff();
    assert_eq!(diff.code, Some(1));
    let renamed = project.object("renamed");
    let expected = [
        format!("disconnect container attached: network.{other} [] -> null (drift)"),
        format!("connect container detached: network.{own} null -> [\"detached\"] (drift)"),
        "update container limited: resources.memory 100663296 -> 67108864 (drift)".to_owned(),
        "unpause container paused: state \"paused\" -> \"running\" (drift)".to_owned(),
        "update container policy: restart \"always\" -> \"no\" (drift)".to_owned(),
        "create container removed (missing, aishell.yaml:10)".to_owned(),
        format!("rename container renamed: name \"{other}\" -> \"{renamed}\" (drift)"),
        "start container stopped: state \"exited (137)\" -> \"running\" (drift)".to_owned(),
    ];
    assert_eq!(changes(&diff.json), expected);

    let run = project.converge();
    assert_eq!(changes(&run.json), expected);
    project.only(&names);
    for (name, before) in names.iter().zip(&before) {
        let now = project.container(name);
        assert_eq!(now["State"]["Status"], "running", "{name}");
        let (old, new) = (identity(before), identity(&now));
        match *name {
            "removed" => assert_ne!(new.0, old.0),
            "stopped" => assert_eq!(new.0, old.0),
            _ => assert_eq!(new, old, "{name} was disturbed"),
        }
    }
}

#[test]
fn a_container_that_ended_well_is_left_alone() {
    let project = project();
    project.manifest("containers:\n  once: { command: [sh, -c, \"exit 0\"] }\n");
    let run = project.apply();
    assert_eq!(run.code, Some(0), "{run:#?}");
    raw::until("the command ended", || {
        (project.container("once")["State"]["Status"] == "exited").then_some(())
    });
    let before = project.container("once");
    project.settled();
    assert_eq!(project.apply().code, Some(0));
    raw::same(&project.container("once"), &before);
}

#[test]
fn drift_and_an_edit_are_told_apart() {
    let project = project();
    project.manifest("containers:\n  a: { resources: { memory: 64MiB }, restart: always }\n");
    project.converge();
    let update = json!({ "RestartPolicy": { "Name": "unless-stopped" } });
    raw::post(&format!("/containers/{}/update", project.object("a")), &update);
    project.manifest("containers:\n  a: { resources: { memory: 64MiB, cpus: 1 }, restart: always }\n");
    assert_eq!(
        changes(&project.diff().json),
        [
            "update container a: resources.cpus null -> 1000000000 (manifest, aishell.yaml:5)",
            "update container a: restart \"unless-stopped\" -> \"always\" (drift)",
        ]
    );
    project.converge();
}

#[test]
fn a_lost_network_comes_back_and_everybody_is_in_it() {
    let project = project();
    project.manifest("containers:\n  a: { }\n  b: { }\n");
    project.converge();
    let network = project.object(&project.name);
    for name in ["a", "b"] {
        let body = json!({ "Container": project.object(name), "Force": true });
        raw::post(&format!("/networks/{network}/disconnect"), &body);
    }
    raw::delete(&format!("/networks/{network}"));
    let run = project.converge();
    assert_eq!(
        changes(&run.json)[0],
        format!("create network {network} (missing)")
    );
    for name in ["a", "b"] {
        assert_ne!(
            project.container(name)["NetworkSettings"]["Networks"][&network],
            Value::Null
        );
    }
}

#[test]
fn stopped_containers_whose_network_was_pruned_come_back() {
    let project = project();
    project.manifest("containers:\n  a: { }\n  b: { env: { MODE: fast } }\n");
    project.converge();
    for name in ["a", "b"] {
        raw::post(
            &format!("/containers/{}/stop?t=0", project.object(name)),
            &Value::Null,
        );
    }
    // What `docker network prune` does, to ours alone.
    let network = project.object(&project.name);
    raw::delete(&format!("/networks/{network}"));
    let a = project.id("a");
    project.manifest("containers:\n  a: { }\n  b: { env: { MODE: safe } }\n");
    project.converge();
    assert_eq!(project.id("a"), a);
    for name in ["a", "b"] {
        assert_eq!(project.container(name)["State"]["Status"], "running", "{name}");
    }
}

#[test]
fn a_network_that_was_made_anew_otherwise_gives_way_to_one_as_it_should_be() {
    let project = project();
    project.manifest("containers:\n  a: { }\n  b: { restart: \"no\" }\n");
    project.converge();
    let (a, b) = (project.container("a"), project.container("b"));
    let name = project.object(&project.name);
    let look = || raw::get(&format!("/networks/{name}"));
    let labels = look()["Labels"].clone();
    let driver = |options: Value| json!({ "Driver": "bridge", "Options": options });
    for (changed, fields) in [
        (json!({ "Internal": true }), &["internal"][..]),
        (
            json!({ "EnableIPv6": true, "IPAM": { "Config": [{ "Subnet": "fd00:a15e::/64" }] } }),
            &["ipv6"],
        ),
        (
            driver(json!({ "com.docker.network.bridge.enable_icc": "false" })),
            &["options.com.docker.network.bridge.enable_icc"],
        ),
    ] {
        let other = json!({ "Driver": "bridge" });
        // Elsewhere the engine itself may have added some, and nobody can tell.
        if fields[0].starts_with("options.") && !has_no_options_of_its_own() {
            continue;
        }
        // By hand: out of the old one, and into another one of that name.
        raw::post(
            &format!("/containers/{}/stop?t=0", project.object("b")),
            &Value::Null,
        );
        for name_of in ["a", "b"] {
            let of = json!({ "Container": project.object(name_of), "Force": true });
            raw::post(&format!("/networks/{name}/disconnect"), &of);
        }
        raw::delete(&format!("/networks/{name}"));
        let mut made = other;
        for (field, value) in changed.as_object().expect("a map") {
            made[field] = value.clone();
        }
        made["Name"] = json!(name);
        made["Labels"] = labels.clone();
        raw::post("/networks/create", &made);
        for name_of in ["a", "b"] {
            let of = json!({
                "Container": project.object(name_of),
                "EndpointConfig": { "Aliases": [name_of] },
            });
            raw::post(&format!("/networks/{name}/connect"), &of);
        }
        let diff = project.diff();
        let found: Vec<String> = changes(&diff.json)
            .into_iter()
            .filter(|line| line.starts_with("remove network"))
            .collect();
        assert_eq!(found.len(), fields.len(), "{diff:#?}");
        for (line, field) in found.iter().zip(fields) {
            let head = format!("remove network {name}: {field} ");
            assert!(line.starts_with(&head) && line.ends_with("(drift)"), "{line}");
        }
        project.converge();
        let now = look();
        assert_eq!(
            (&now["Internal"], &now["EnableIPv6"], &now["Driver"]),
            (&json!(false), &json!(false), &json!("bridge")),
            "{now:#}"
        );
        assert_eq!(
            now["Containers"].as_object().expect("containers").len(),
            2,
            "{now:#}"
        );
        assert_eq!(identity(&project.container("a")), identity(&a));
        assert_eq!(project.id("b"), b["Id"]);
        assert_eq!(raw::networks(&project.label()).len(), 1);
    }
}

/// Says whether the engine is older than the first that can be told options for every network.
fn has_no_options_of_its_own() -> bool {
    let version = raw::get("/version");
    let minor = version["ApiVersion"]
        .as_str()
        .and_then(|text| text.strip_prefix("1."));
    minor
        .and_then(|minor| minor.parse::<u32>().ok())
        .is_some_and(|minor| minor < 43)
}
