//! The drift matrix: whatever may be done to a container behind aishell's back, one container for each. All of it is
//! found in one look, each with the field that differs, and repaired in one pass, with the least force.

use serde_json::{Map, Value, json};

use crate::project::{project, text};
use crate::raw;

/// What is done to a container.
enum Deed {
    /// A request to the engine: the verb after the container's address, and the body.
    Post(&'static str, Value),
    /// The container is removed.
    Remove,
    /// The container is taken out of its network, and put in again with other names.
    Aliases(&'static [&'static str]),
    /// The container leaves its network.
    Leave,
    /// The container enters a network of somebody else.
    Enter,
    /// The container is made anew under its name and with its labels, with something changed: the path in the body of
    /// the creation, and the value.
    Anew(&'static str, Value),
}

/// What repairing costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// The same container goes on.
    Nothing,
    /// The same container starts again.
    Start,
    /// Another container takes its place.
    Replacement,
}

/// What those have besides whose probe is meddled with. A probe costs a process each time: not everybody gets one.
const PROBED: &str = "ready: { exec: [sh, -c, ':'], interval: 1s }";

/// One kind of drift: what is done, what is then planned for which field, and what that costs.
struct Row(Deed, &'static str, &'static str, Cost);

/// What every container is.
const FIELDS: &str = "command: [sleep, '1000'], restart: unless-stopped, home: tmpfs, env: { MODE: safe }, \
     labels: { team: core }, hostname: box, groups: ['27'], stop: { signal: SIGINT, timeout: 3s }, \
     mounts: [{ tmpfs: /scratch, size: 1MiB }, { volume: cache, target: /cache, readOnly: true }], \
     extraHosts: { db: 10.0.0.7 }, dns: [10.9.9.9], \
     resources: { memory: 64MiB, reservation: 32MiB, cpus: 1, pids: 100, ulimits: { nofile: 1000 } }";

fn rows() -> Vec<Row> {
    use Cost::{Nothing, Replacement, Start};
    let update = |body: Value| Deed::Post("update", body);
    let policy = |name: &str, times: u32| {
        update(json!({ "RestartPolicy": { "Name": name, "MaximumRetryCount": times } }))
    };
    let anew = Deed::Anew;
    vec![
        // ---- what the engine changes in place ----
        Row(
            update(json!({ "Memory": 96 << 20, "MemorySwap": 192 << 20 })),
            "update",
            "resources.memory",
            Nothing,
        ),
        Row(
            update(json!({ "Memory": 48 << 20 })),
            "update",
            "resources.memory",
            Nothing,
        ),
        Row(
            update(json!({ "MemorySwap": 256 << 20 })),
            "update",
            "resources.memorySwap",
            Nothing,
        ),
        Row(
            update(json!({ "MemorySwap": -1 })),
            "update",
            "resources.memorySwap",
            Nothing,
        ),
        Row(
            update(json!({ "MemoryReservation": 16 << 20 })),
            "update",
            "resources.reservation",
            Nothing,
        ),
        Row(
            update(json!({ "NanoCpus": 500_000_000 })),
            "update",
            "resources.cpus",
            Nothing,
        ),
        Row(
            update(json!({ "NanoCpus": 2_000_000_000_u64 })),
            "update",
            "resources.cpus",
            Nothing,
        ),
        Row(
            update(json!({ "PidsLimit": 50 })),
            "update",
            "resources.pids",
            Nothing,
        ),
        Row(
            update(json!({ "PidsLimit": -1 })),
            "update",
            "resources.pids",
            Nothing,
        ),
        Row(
            update(json!({ "CpuShares": 512 })),
            "update",
            "resources.shares",
            Nothing,
        ),
        Row(
            update(json!({ "CpusetCpus": "0" })),
            "replace",
            "resources.cpuset",
            Replacement,
        ),
        Row(policy("no", 0), "update", "restart", Nothing),
        Row(policy("always", 0), "update", "restart", Nothing),
        Row(policy("on-failure", 0), "update", "restart", Nothing),
        Row(policy("on-failure", 3), "update", "restart", Nothing),
        // ---- networks and names ----
        Row(Deed::Leave, "connect", "network.", Nothing),
        Row(Deed::Enter, "disconnect", "network.", Nothing),
        Row(Deed::Aliases(&[]), "connect", "network.", Nothing),
        Row(Deed::Aliases(&["other"]), "connect", "network.", Nothing),
        Row(
            Deed::Post("rename?name=aishelltest-", Value::Null),
            "rename",
            "name",
            Nothing,
        ),
        // ---- what it is doing ----
        Row(Deed::Post("pause", Value::Null), "unpause", "state", Nothing),
        Row(Deed::Post("stop?t=1", Value::Null), "start", "state", Start),
        Row(Deed::Post("kill", Value::Null), "start", "state", Start),
        Row(Deed::Remove, "create", "", Replacement),
        // ---- made anew by hand, with the labels of the one that was there ----
        Row(
            anew("/Cmd", json!(["sleep", "999"])),
            "replace",
            "command",
            Replacement,
        ),
        Row(
            anew("/Entrypoint", json!(["nice"])),
            "replace",
            "entrypoint",
            Replacement,
        ),
        Row(
            anew("/Env/MODE", json!("fast")),
            "replace",
            "env.MODE",
            Replacement,
        ),
        Row(anew("/Env/MORE", json!("1")), "replace", "env.MORE", Replacement),
        Row(anew("/Env/MODE", Value::Null), "replace", "env.MODE", Replacement),
        Row(anew("/User", json!("1:1")), "replace", "user", Replacement),
        Row(
            anew("/User", json!("65534:65534")),
            "replace",
            "user",
            Replacement,
        ),
        Row(
            anew("/WorkingDir", json!("/tmp")),
            "replace",
            "workdir",
            Replacement,
        ),
        Row(
            anew("/Hostname", json!("bag")),
            "replace",
            "hostname",
            Replacement,
        ),
        Row(
            anew("/Labels/team", json!("edge")),
            "replace",
            "labels.team",
            Replacement,
        ),
        Row(
            anew("/Labels/more", json!("1")),
            "replace",
            "labels.more",
            Replacement,
        ),
        Row(
            anew("/Labels/team", Value::Null),
            "replace",
            "labels.team",
            Replacement,
        ),
        Row(
            anew("/StopSignal", json!("SIGTERM")),
            "replace",
            "stop.signal",
            Replacement,
        ),
        Row(
            anew("/StopTimeout", json!(9)),
            "replace",
            "stop.timeout",
            Replacement,
        ),
        Row(
            anew("/Healthcheck/Test", json!(["CMD", "false"])),
            "replace",
            "ready",
            Replacement,
        ),
        Row(
            anew("/Healthcheck/Interval", json!(9_000_000_000_u64)),
            "replace",
            "ready",
            Replacement,
        ),
        Row(
            anew("/Healthcheck/Test", json!(["NONE"])),
            "replace",
            "ready",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Init", json!(false)),
            "replace",
            "init",
            Replacement,
        ),
        Row(
            anew("/HostConfig/ShmSize", json!(32 << 20)),
            "replace",
            "resources.shm",
            Replacement,
        ),
        Row(
            anew("/HostConfig/GroupAdd", json!(["27", "44"])),
            "replace",
            "groups",
            Replacement,
        ),
        Row(
            anew("/HostConfig/GroupAdd", json!([])),
            "replace",
            "groups",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Dns", json!(["10.8.8.8"])),
            "replace",
            "dns",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Dns", Value::Null),
            "replace",
            "dns",
            Replacement,
        ),
        Row(
            anew("/HostConfig/ExtraHosts", json!(["db:10.0.0.8"])),
            "replace",
            "extraHosts.db",
            Replacement,
        ),
        Row(
            anew("/HostConfig/ExtraHosts", json!([])),
            "replace",
            "extraHosts.db",
            Replacement,
        ),
        Row(
            anew(
                "/HostConfig/Ulimits",
                json!([{ "Name": "nofile", "Soft": 500, "Hard": 500 }]),
            ),
            "replace",
            "resources.ulimits.nofile",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Ulimits", json!([])),
            "replace",
            "resources.ulimits.nofile",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Memory", json!(0)),
            "update",
            "resources.memory",
            Nothing,
        ),
        Row(
            anew("/HostConfig/NanoCpus", json!(0)),
            "update",
            "resources.cpus",
            Nothing,
        ),
        Row(
            anew("/HostConfig/MemoryReservation", json!(0)),
            "update",
            "resources.reservation",
            Nothing,
        ),
        Row(
            anew("/HostConfig/PidsLimit", json!(0)),
            "update",
            "resources.pids",
            Nothing,
        ),
        Row(
            anew("/HostConfig/ReadonlyRootfs", json!(false)),
            "replace",
            "security.readOnly",
            Replacement,
        ),
        Row(
            anew("/HostConfig/SecurityOpt", json!([])),
            "replace",
            "security.noNewPrivileges",
            Replacement,
        ),
        Row(
            anew(
                "/HostConfig/SecurityOpt",
                json!(["no-new-privileges", "seccomp=unconfined"]),
            ),
            "replace",
            "security.seccomp",
            Replacement,
        ),
        Row(
            anew("/HostConfig/CapAdd", json!(["NET_ADMIN"])),
            "replace",
            "security.capAdd",
            Replacement,
        ),
        Row(
            anew("/HostConfig/CapDrop", json!([])),
            "replace",
            "security.capDrop",
            Replacement,
        ),
        Row(
            anew("/HostConfig/CapDrop", json!(["NET_RAW"])),
            "replace",
            "security.capDrop",
            Replacement,
        ),
        Row(
            anew(
                "/HostConfig/Devices",
                json!([{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "r" }]),
            ),
            "replace",
            "security.devices",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Tmpfs/~1scratch", json!("size=9m")),
            "replace",
            "mounts./scratch",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Tmpfs/~1more", json!("")),
            "replace",
            "mounts./more",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Tmpfs/~1scratch", Value::Null),
            "replace",
            "mounts./scratch",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Mounts/0/ReadOnly", json!(false)),
            "replace",
            "mounts.",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Mounts/0/Target", json!("/moved")),
            "replace",
            "mounts.",
            Replacement,
        ),
        Row(
            anew("/HostConfig/Binds", json!(["/usr/share:/share:ro"])),
            "replace",
            "mounts./share",
            Replacement,
        ),
        Row(
            anew(
                "/HostConfig/PortBindings/80~1tcp",
                json!([{ "HostIp": "127.0.0.1", "HostPort": "0" }]),
            ),
            "replace",
            "ports.80/tcp",
            Replacement,
        ),
        Row(
            anew("/HostConfig/NetworkMode", json!("none")),
            "replace",
            "network.",
            Replacement,
        ),
        Row(
            anew("/HostConfig/NetworkMode", json!("host")),
            "replace",
            "network.",
            Replacement,
        ),
    ]
}

/// Returns the body that makes a container as it is shown.
fn body(shown: &Value) -> Value {
    let mut body = shown["Config"].clone();
    let variables = body["Env"].as_array().cloned().unwrap_or_default();
    // By name, so that a path can lead to one.
    let variables: Map<String, Value> = variables
        .iter()
        .filter_map(|variable| variable.as_str()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    body["Env"] = variables.into();
    body["HostConfig"] = shown["HostConfig"].clone();
    body
}

/// Sets what a path leads to; `null` takes it away.
fn set(body: &mut Value, path: &str, value: &Value) {
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let name = name.replace("~1", "/");
    if body.pointer(parent).is_none_or(Value::is_null) {
        *body.pointer_mut(parent).expect("a field") = json!({});
    }
    let parent = body.pointer_mut(parent).expect("a parent");
    match value {
        Value::Null => {
            parent.as_object_mut().expect("a map").remove(&name);
        }
        value => parent[&name] = value.clone(),
    }
}

fn anew(container: &str, path: &str, value: &Value) {
    let shown = raw::container(container).expect("the container");
    let networks = &shown["NetworkSettings"]["Networks"];
    let mut body = body(&shown);
    set(&mut body, path, value);
    // What goes with another kind of network.
    if path == "/HostConfig/NetworkMode" {
        for field in ["Dns", "ExtraHosts"] {
            set(&mut body, &format!("/HostConfig/{field}"), &json!([]));
        }
        set(&mut body, "/Hostname", &json!("box"));
    } else {
        let mut endpoints = Map::new();
        for (network, endpoint) in networks.as_object().expect("networks") {
            let aliases = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
            // The engine adds the short id of the container that it was.
            let id = text(&shown["Id"]);
            let aliases: Vec<_> = aliases
                .into_iter()
                .filter(|alias| alias.as_str().is_some_and(|alias| !id.starts_with(alias)))
                .collect();
            endpoints.insert(network.clone(), json!({ "Aliases": aliases }));
        }
        body["NetworkingConfig"] = json!({ "EndpointsConfig": endpoints });
    }
    if path.starts_with("/HostConfig/PortBindings") {
        body["ExposedPorts"] = json!({ "80/tcp": {} });
    }
    if path == "/HostConfig/Memory" {
        set(&mut body, "/HostConfig/MemorySwap", &json!(0));
        set(&mut body, "/HostConfig/MemoryReservation", &json!(0));
    }
    let variables = body["Env"].as_object().expect("variables").clone();
    body["Env"] = variables
        .iter()
        .map(|(name, value)| json!(format!("{name}={}", text(value))))
        .collect();
    raw::delete(&format!("/containers/{container}?force=1"));
    raw::post(&format!("/containers/create?name={container}"), &body);
    raw::post(&format!("/containers/{container}/start"), &Value::Null);
}

#[test]
fn every_kind_of_drift_is_found_by_its_field_and_repaired_with_the_least_force() {
    let rows = rows();
    assert!(rows.len() >= 60, "{} kinds", rows.len());
    let project = project();
    let names: Vec<String> = (0..rows.len()).map(|row| format!("r{row:02}")).collect();
    let mut manifest = String::from("containers:\n");
    for (name, Row(_, _, field, _)) in names.iter().zip(&rows) {
        let probed = if *field == "ready" { PROBED } else { "" };
        manifest.push_str(&format!("  {name}: {{ {FIELDS}, {probed} }}\n"));
    }
    // One that nobody touches.
    manifest.push_str(&format!("  still: {{ {FIELDS} }}\n"));
    project.manifest(&manifest);
    project.converge();
    project.settled();

    let other = format!("aishelltest-{}", project.name);
    let label = json!({ "aishelltest": project.name });
    raw::post("/networks/create", &json!({ "Name": other, "Labels": label }));
    let own = project.object(&project.name);
    let mut before = Vec::new();
    for (name, Row(deed, ..)) in names.iter().zip(&rows) {
        let object = project.object(name);
        let of = json!({ "Container": object });
        match deed {
            Deed::Post(verb, body) => {
                let verb = verb.replace("aishelltest-", &format!("aishelltest-{name}-{}", project.name));
                raw::post(&format!("/containers/{object}/{verb}"), body);
            }
            Deed::Remove => raw::delete(&format!("/containers/{object}?force=1")),
            Deed::Leave => {
                raw::post(&format!("/networks/{own}/disconnect"), &of);
            }
            Deed::Enter => {
                raw::post(&format!("/networks/{other}/connect"), &of);
            }
            Deed::Aliases(aliases) => {
                raw::post(&format!("/networks/{own}/disconnect"), &of);
                let endpoint = json!({ "Container": object, "EndpointConfig": { "Aliases": aliases } });
                raw::post(&format!("/networks/{own}/connect"), &endpoint);
            }
            Deed::Anew(path, value) => anew(&object, path, value),
        }
        let renamed = format!("aishelltest-{name}-{}", project.name);
        before.push(raw::container(&object).or_else(|| raw::container(&renamed)));
    }
    let still = project.container("still");

    let diff = project.diff();
    let steps = diff.json["steps"].as_array().expect("steps");
    let mut wrong = Vec::new();
    for (name, Row(_, action, field, _)) in names.iter().zip(&rows) {
        let found: Vec<_> = steps.iter().filter(|step| step["name"] == json!(name)).collect();
        let [step] = found[..] else {
            wrong.push(format!(
                "{name}: {} steps instead of {action} for {field}",
                found.len()
            ));
            continue;
        };
        let because = step["because"].as_array().expect("reasons");
        let is_named = |because: &Value| {
            let named = because["field"].as_str().unwrap_or_default();
            named == *field || (field.ends_with('.') && named.starts_with(field))
        };
        if step["action"] != json!(action) || !because.iter().any(is_named) {
            wrong.push(format!(
                "{name}: {} because of {because:?} instead of {action} for {field}",
                step["action"]
            ));
        }
        let cause = if *action == "create" { "missing" } else { "drift" };
        if !because.iter().all(|because| because["cause"] == cause) {
            wrong.push(format!("{name}: {because:?} is not {cause}"));
        }
    }
    for step in steps {
        if !names.iter().any(|name| step["name"] == json!(name)) {
            wrong.push(format!(
                "nobody did anything to {}: {}",
                step["name"], step["because"]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );

    project.converge();
    project.settled();
    raw::same(&project.container("still"), &still);
    for ((name, Row(_, _, _, cost)), before) in names.iter().zip(&rows).zip(&before) {
        let now = project.container(name);
        assert_eq!(now["State"]["Status"], "running", "{name}");
        let same = |path: &str| before.as_ref().and_then(|before| before.pointer(path)) == now.pointer(path);
        let found = match (same("/Id"), same("/State/StartedAt")) {
            (true, true) => Cost::Nothing,
            (true, false) => Cost::Start,
            (false, _) => Cost::Replacement,
        };
        assert_eq!(found, *cost, "{name}");
    }
}
