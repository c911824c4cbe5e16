//! Every field of a container does what it says, is seen when it changes, and goes when it is taken away.

use serde_json::{Value, json};

use crate::project::{changes, project};

/// A container with every field that only a new container can have.
const RICH: &str = r#"
    groups: ["27", "44"]
    dns: [10.9.9.9]
    extraHosts: { db: 10.0.0.7, host: host-gateway }
    hostname: box
    labels: { team: core }
    env: { MODE: safe }
    stop: { signal: SIGINT, timeout: 3s }
    security:
      profile: dev
      capAdd: [cap_net_raw]
      devices: [/dev/null:/dev/nothing:r]
      seccomp: profile.json
    resources:
      shm: 32MiB
      ulimits: { nofile: { soft: 1000, hard: 2000 }, core: 0 }
"#;

#[test]
fn every_field_reaches_the_engine_and_nothing_differs_afterwards() {
    let project = project();
    let manifest = |fields: &str| {
        project.manifest(&format!(
            "containers:\n  a:\n    image: {}\n    command: [sleep, \"1000\"]{fields}",
            project.image
        ));
    };
    project.write("profile.json", "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }");
    manifest(RICH);
    let run = project.converge();
    let weak = "container a is weaker than strict: may gain privileges, ";
    let notes = run.json["notes"].as_array().expect("notes");
    assert!(
        notes
            .iter()
            .any(|note| note.as_str().is_some_and(|note| note.starts_with(weak))),
        "{notes:?}"
    );
    project.settled();
    let host = &project.container("a")["HostConfig"];
    let named = |field: &str| host[field].clone();
    assert_eq!(named("GroupAdd"), json!(["27", "44"]));
    assert_eq!(named("Dns"), json!(["10.9.9.9"]));
    assert_eq!(named("ExtraHosts"), json!(["db:10.0.0.7", "host:host-gateway"]));
    assert_eq!(named("ReadonlyRootfs"), json!(false));
    assert_eq!(
        named("Devices"),
        json!([{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "r" }])
    );
    let profile = json!(["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]);
    assert_eq!(named("SecurityOpt"), profile);
    let limits = named("Ulimits");
    let limits = limits.as_array().expect("limits");
    assert!(
        limits.contains(&json!({ "Name": "nofile", "Soft": 1000, "Hard": 2000 })),
        "{limits:?}"
    );

    // How the profile is laid out is nobody's difference; what it says is.
    project.write("profile.json", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n");
    project.settled();
    project.write(
        "profile.json",
        r#"{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"] }"#,
    );
    let diff = project.diff();
    let [change] = &changes(&diff.json)[..] else {
        panic!("{diff:#?}");
    };
    assert!(
        change.starts_with("replace container a: security.seccomp "),
        "{change}"
    );
    project.converge();
    project.settled();

    // Taken away, every field goes back to what it is by default, and is named.
    manifest("\n");
    let diff = project.diff();
    let because = diff.json["steps"][0]["because"].as_array().expect("reasons");
    let fields: Vec<&str> = because
        .iter()
        .filter_map(|because| because["field"].as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "dns",
            "env.MODE",
            "extraHosts.db",
            "extraHosts.host",
            "groups",
            "hostname",
            "labels.team",
            "resources.shm",
            "resources.ulimits.core",
            "resources.ulimits.nofile",
            "security.capAdd",
            "security.devices",
            "security.noNewPrivileges",
            "security.readOnly",
            "security.seccomp",
            "stop.signal",
            "stop.timeout",
        ]
    );
    assert!(
        because.iter().all(|because| because["cause"] == "manifest"),
        "{because:?}"
    );
    project.converge();
    project.settled();
    assert_eq!(
        project.container("a")["HostConfig"]["ReadonlyRootfs"],
        json!(true)
    );
}

#[test]
fn containers_start_in_the_order_in_which_they_depend_on_each_other() {
    let project = project();
    let one = |after: &str| {
        let image = &project.image;
        format!("{{ image: {image}, command: [sleep, \"1000\"], dependsOn: [{after}] }}")
    };
    project.manifest(&format!(
        "containers:\n  a: {}\n  b: {}\n  c: {}\n",
        one("b"),
        one("c"),
        one("")
    ));
    project.converge();
    let since = |name: &str| -> Value { project.container(name)["State"]["StartedAt"].clone() };
    let times = ["c", "b", "a"].map(|name| since(name).as_str().expect("a time").to_owned());
    assert!(times.is_sorted(), "{times:?}");

    project.manifest(&format!("containers:\n  a: {}\n  b: {}\n", one("b"), one("a")));
    let run = project.run(&["diff"]);
    assert_eq!(run.code, Some(3));
    let problems = run.json["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 1, "{run:#?}");
    assert_eq!(
        problems[0]["message"],
        "containers wait for each other: a → b → a"
    );
}

#[test]
fn a_device_that_is_not_there_fails_its_container_and_says_so() {
    let project = project();
    project.manifest(&format!(
        "containers:\n  a: {{ image: {}, command: [sleep, \"1000\"], security: {{ devices: [/dev/none-such] }} }}\n",
        project.image
    ));
    let run = project.run(&["apply", "--wait=10m"]);
    assert_eq!(run.code, Some(5), "{run:#?}");
    assert!(run.stdout.contains("/dev/none-such"), "{run:#?}");
    // Nobody waits for what has failed.
    let conditions = run.json["conditions"].as_array().expect("conditions");
    assert!(
        conditions.iter().all(|condition| condition["type"] != "Ready"),
        "{conditions:?}"
    );
}
