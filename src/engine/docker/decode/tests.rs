//! The fixtures were written by engine 20.10; identifiers, addresses and paths of the machine are made up.

use super::*;
use crate::spec::Probe;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const RICH: &str = include_str!("../fixtures/container-rich.json");
const PLAIN: &str = include_str!("../fixtures/container-plain.json");

fn parsed<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("a fixture")
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

/// Decodes the plain container with one value changed; a missing value is removed.
fn plain_with(pointer: &str, value: Option<Value>) -> ContainerReply {
    let mut document: Value = parsed(PLAIN);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = document
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("the parent");
    match value {
        Some(value) => parent.insert(field.to_owned(), value),
        None => parent.remove(field),
    };
    container(serde_json::from_value(document).expect("an answer"))
}

#[test]
fn a_container_with_everything_is_read() {
    let reply = container(parsed(RICH));
    insta::assert_snapshot!(pretty(&reply.spec), @r#"
    {
      "image": "debian:bookworm-slim",
      "command": [
        "sleep",
        "1000"
      ],
      "entrypoint": [],
      "env": {
        "EMPTY": "",
        "MODE": "fast",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
      },
      "user": "1000:1000",
      "workdir": "/srv",
      "hostname": "box",
      "labels": {
        "com.example.team": "core"
      },
      "mounts": {
        "/data": {
          "type": "volume",
          "name": "fixture-data",
          "readOnly": false
        },
        "/host": {
          "type": "bind",
          "source": "/usr/share",
          "readOnly": true
        },
        "/run/x": {
          "type": "tmpfs",
          "options": "uid=1000,mode=0700"
        }
      },
      "ports": {
        "3000/tcp": [
          {
            "address": "127.0.0.1",
            "port": 0
          }
        ]
      },
      "security": {
        "noNewPrivileges": true,
        "capDrop": [
          "ALL"
        ],
        "capAdd": [
          "CHOWN"
        ],
        "readOnly": true,
        "privileged": false
      },
      "stop": {
        "signal": "SIGINT",
        "timeout": 3
      },
      "init": true,
      "shm": 33554432,
      "runtime": "runc",
      "resources": {
        "memory": 67108864,
        "memorySwap": 67108864,
        "reservation": 33554432,
        "cpus": 500000000,
        "pids": 100
      },
      "restart": {
        "on-failure": 3
      },
      "networks": {
        "fixture-net": {
          "aliases": [
            "api",
            "box",
            "web"
          ]
        }
      }
    }
    "#);
    assert_eq!(
        (reply.name.as_str(), reply.state),
        ("fixture-rich", RunState::Running)
    );
    assert!(reply.created.ends_with('Z') && reply.started.is_some());
    assert_eq!((reply.restarts, reply.health, reply.error), (0, None, None));
    assert_eq!(
        reply.labels.get("aishell.uid").map(String::as_str),
        Some("0f1e2d3c4b5a6978")
    );
    assert_eq!(reply.labels.len(), 4);
}

#[test]
fn a_container_with_nothing_is_read() {
    let reply = container(parsed(PLAIN));
    insta::assert_snapshot!(pretty(&reply.spec), @r#"
    {
      "image": "debian:bookworm-slim",
      "command": [
        "bash"
      ],
      "env": {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
      },
      "labels": {},
      "mounts": {},
      "ports": {},
      "security": {
        "noNewPrivileges": false,
        "capDrop": [],
        "capAdd": [],
        "readOnly": false,
        "privileged": false
      },
      "stop": {},
      "init": false,
      "shm": 67108864,
      "resources": {},
      "restart": "no",
      "networks": {
        "bridge": {
          "aliases": []
        }
      }
    }
    "#);
    assert_eq!((reply.state, reply.started), (RunState::Created, None));
}

#[test]
fn different_spellings_are_one_value() {
    let plain = container(parsed(PLAIN)).spec;
    let spellings: &[(&str, &[Option<Value>])] = &[
        (
            "/HostConfig/PidsLimit",
            &[None, Some(json!(null)), Some(json!(0)), Some(json!(-1))],
        ),
        (
            "/HostConfig/RestartPolicy",
            &[
                None,
                Some(json!(null)),
                Some(json!({"Name": "no", "MaximumRetryCount": 0})),
            ],
        ),
        ("/HostConfig/Memory", &[None, Some(json!(null))]),
        ("/HostConfig/MemorySwap", &[None, Some(json!(null))]),
        (
            "/HostConfig/NetworkMode",
            &[None, Some(json!("")), Some(json!("bridge"))],
        ),
        ("/HostConfig/CapAdd", &[None, Some(json!([]))]),
        ("/HostConfig/CapDrop", &[None, Some(json!([]))]),
        (
            "/HostConfig/SecurityOpt",
            &[
                None,
                Some(json!([])),
                Some(json!(["no-new-privileges:false", "label=disable"])),
            ],
        ),
        ("/HostConfig/Init", &[Some(json!(null)), Some(json!(false))]),
        (
            "/HostConfig/PortBindings",
            &[
                None,
                Some(json!({})),
                Some(json!({"80/tcp": null})),
                Some(json!({"80/tcp": []})),
            ],
        ),
        ("/HostConfig/Mounts", &[Some(json!(null)), Some(json!([]))]),
        ("/HostConfig/Tmpfs", &[Some(json!(null)), Some(json!({}))]),
        ("/HostConfig/Binds", &[None, Some(json!([]))]),
        ("/HostConfig/KernelMemory", &[None]),
        (
            "/Config/Labels",
            &[
                None,
                Some(json!(null)),
                Some(json!({"aishell.kind": "container"})),
            ],
        ),
        ("/Config/Volumes", &[None, Some(json!({}))]),
        (
            "/Config/ExposedPorts",
            &[None, Some(json!(null)), Some(json!({"80/tcp": {}}))],
        ),
        ("/Config/WorkingDir", &[None, Some(json!(null))]),
        ("/Config/User", &[None, Some(json!(null))]),
        ("/Config/StopSignal", &[Some(json!(null)), Some(json!(""))]),
        ("/Config/StopTimeout", &[Some(json!(null))]),
        ("/Config/Hostname", &[None, Some(json!(""))]),
        ("/Config/Entrypoint", &[None]),
        (
            "/NetworkSettings/Networks/bridge/Aliases",
            &[None, Some(json!([])), Some(json!(["080808080808"]))],
        ),
        ("/NetworkSettings/Networks/none", &[Some(json!({}))]),
    ];
    for (pointer, values) in spellings {
        for value in *values {
            assert_eq!(
                plain_with(pointer, value.clone()).spec,
                plain,
                "{pointer} = {value:?}"
            );
        }
    }
}

#[test]
fn values_come_out_in_normal_form() {
    let with = |pointer: &str, value: Value| plain_with(pointer, Some(value)).spec;
    let capabilities = json!(["cap_net_admin", "ALL", "CAP_CHOWN", "chown"]);
    assert_eq!(
        with("/HostConfig/CapDrop", capabilities).security.cap_drop,
        ["ALL", "CHOWN", "NET_ADMIN"]
    );
    for option in [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges=true",
    ] {
        assert!(
            with("/HostConfig/SecurityOpt", json!(["x", option]))
                .security
                .no_new_privileges,
            "{option}"
        );
    }
    for (policy, expected) in [
        (json!({"Name": "always"}), Restart::Always),
        (
            json!({"Name": "unless-stopped", "MaximumRetryCount": 0}),
            Restart::UnlessStopped,
        ),
        (
            json!({"Name": "on-failure", "MaximumRetryCount": 0}),
            Restart::OnFailure(0),
        ),
        (
            json!({"Name": "on-failure", "MaximumRetryCount": 4}),
            Restart::OnFailure(4),
        ),
    ] {
        assert_eq!(with("/HostConfig/RestartPolicy", policy).restart, expected);
    }
    assert_eq!(
        with("/HostConfig/MemorySwap", json!(-1)).resources.memory_swap,
        Some(-1)
    );
    let bindings =
        json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "81"}, {"HostIp": "", "HostPort": ""}]});
    let binding = |address: &str, port| Binding {
        address: address.to_owned(),
        port,
    };
    assert_eq!(
        with("/HostConfig/PortBindings", bindings).ports,
        BTreeMap::from([(
            "80/tcp".to_owned(),
            vec![binding("0.0.0.0", 0), binding("127.0.0.1", 81)]
        )])
    );
    assert_eq!(with("/Config/Entrypoint", json!([])).entrypoint, Some(vec![]));
    assert_eq!(with("/Config/Cmd", json!([])).command, None);
    assert_eq!(with("/Config/Env", json!(["A=b=c", "B=", "C"])).env.len(), 2);
    let aliases = json!(["web", "080808080808", "api", "web"]);
    assert_eq!(
        with("/NetworkSettings/Networks/bridge/Aliases", aliases).networks["bridge"].aliases,
        ["api", "web"]
    );
    assert_eq!(
        plain_with("/NetworkSettings/Networks", Some(json!({"none": {}})))
            .spec
            .networks,
        BTreeMap::new()
    );
}

#[test]
fn mounts_made_in_other_ways_are_seen_too() {
    let binds = plain_with("/HostConfig/Binds", Some(json!(["/a:/b", "v:/c:z,ro", "odd"])))
        .spec
        .mounts;
    assert_eq!(
        binds,
        BTreeMap::from([
            (
                "/b".to_owned(),
                Mount::Bind {
                    source: "/a".to_owned(),
                    read_only: false
                }
            ),
            (
                "/c".to_owned(),
                Mount::Volume {
                    name: "v".to_owned(),
                    read_only: true
                }
            ),
        ])
    );
    let mounts = json!([
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 448}},
        {"Type": "image", "Target": "/i", "Source": "x"},
    ]);
    let shown: Vec<_> = plain_with("/HostConfig/Mounts", Some(mounts))
        .spec
        .mounts
        .values()
        .map(Mount::display)
        .collect();
    assert_eq!(shown, ["volume image:x", "tmpfs (size=1024,mode=700)"]);
}

#[test]
fn every_state_is_told() {
    for (status, expected) in [
        ("created", RunState::Created),
        ("running", RunState::Running),
        ("paused", RunState::Paused),
        ("restarting", RunState::Restarting),
        ("removing", RunState::Removing),
        ("exited", RunState::Exited { code: 137 }),
        ("dead", RunState::Dead),
        ("stopping", RunState::Running),
    ] {
        let state =
            json!({"Status": status, "ExitCode": 137, "Error": "x", "Health": {"Status": "unhealthy"}});
        let reply = plain_with("/State", Some(state));
        assert_eq!(reply.state, expected);
        assert_eq!(
            (reply.health, reply.error.as_deref()),
            (Some(Health::Unhealthy), Some("x"))
        );
    }
    let reply = plain_with(
        "/State",
        Some(json!({"Status": "running", "Health": {"Status": "none"}})),
    );
    assert_eq!(reply.health, None);
}

#[test]
fn listings_are_read() {
    let containers: Vec<ContainerSummary> = parsed(include_str!("../fixtures/containers.json"));
    let mut listed: Vec<_> = containers.into_iter().map(listed_container).collect();
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = listed
        .iter()
        .map(|container| (container.name.as_str(), container.running))
        .collect();
    assert_eq!(names, [("fixture-plain", false), ("fixture-rich", true)]);
    assert_eq!(listed[1].volumes, BTreeSet::from(["fixture-data".to_owned()]));
    assert!(listed[1].image_id.starts_with("sha256:"));
    assert_eq!(listed[1].labels.len(), 4);

    let images: Vec<ImageSummary> = parsed(include_str!("../fixtures/images.json"));
    let images: Vec<_> = images.into_iter().map(listed_image).collect();
    assert_eq!(images[0].tags, BTreeSet::from(["fixture:img".to_owned()]));
    assert_eq!(images[0].digests, BTreeSet::new());
    assert_eq!(
        named(vec!["<none>:<none>".to_owned(), "a:b".to_owned()]),
        BTreeSet::from(["a:b".to_owned()])
    );

    let volume = volume(parsed(include_str!("../fixtures/volume.json")));
    assert_eq!(
        (volume.name.as_str(), volume.created.len()),
        ("fixture-data", "2026-11-21T03:23:23Z".len())
    );
    assert_eq!(volume.labels.len(), 1);
}

#[test]
fn a_container_with_links_has_the_name_without_a_second_slash() {
    let names = Some(vec!["/other/link".to_owned(), "/own".to_owned()]);
    assert_eq!(
        listed_container(ContainerSummary {
            names,
            ..ContainerSummary::default()
        })
        .name,
        "own"
    );
}

#[test]
fn an_image_is_read_with_what_containers_inherit() {
    let reply = image(parsed(include_str!("../fixtures/image.json")));
    let ImageConfig {
        env,
        command,
        entrypoint,
        user,
        workdir,
        stop_signal,
        health,
        on_build,
    } = reply.config;
    assert!(on_build.is_empty());
    assert_eq!(reply.platform, "linux/amd64");
    assert_eq!((env.len(), env["B"].as_str()), (3, "x=y"));
    assert_eq!(
        (command, entrypoint),
        (Some(vec!["c".to_owned()]), Some(vec!["/e".to_owned()]))
    );
    assert_eq!(
        (user.as_deref(), workdir.as_deref(), stop_signal.as_deref()),
        (Some("1000"), Some("/srv"), Some("SIGINT"))
    );
    assert_eq!(reply.image.labels.len(), 2);
    assert_eq!(health, None);
}

#[test]
fn a_health_check_is_the_images_or_none_or_its_own_with_the_engines_defaults() {
    let read = |check: Value| plain_with("/Config/Healthcheck", Some(check)).spec.health;
    assert_eq!(read(json!({})), HealthCheck::Image);
    assert_eq!(read(json!({ "Test": ["NONE"] })), HealthCheck::Off);
    let probe = |interval, start_period, retries| {
        HealthCheck::Own(Probe {
            test: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
            interval,
            timeout: 30_000,
            start_period,
            retries,
        })
    };
    assert_eq!(
        read(json!({ "Test": ["CMD-SHELL", "true"] })),
        probe(30_000, 0, 3)
    );
    let full = json!({ "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000, "StartPeriod": 1_000_000, "Retries": 9 });
    assert_eq!(read(full), probe(1000, 1, 9));
}

#[test]
fn an_engine_is_read() {
    let info = engine("unix:///s", parsed(include_str!("../fixtures/version.json")));
    assert_eq!(
        (info.api_version.as_str(), info.platform.as_str()),
        ("1.41", "linux/amd64")
    );
    assert!(info.version.starts_with("20.10."));
}

#[test]
fn volumes_that_an_image_declares_are_mounts_and_what_was_named_is_not_shown_twice() {
    let anonymous = "0123456789abcdef".repeat(4);
    let shown = json!([
        {"Type": "volume", "Name": anonymous, "Destination": "/data", "RW": true},
        {"Type": "volume", "Name": "named", "Destination": "/named", "RW": true},
        {"Type": "bind", "Source": "/a", "Destination": "/b", "RW": true},
    ]);
    assert_eq!(
        plain_with("/Mounts", Some(shown)).spec.mounts,
        BTreeMap::from([(
            "/data".to_owned(),
            Mount::Volume {
                name: anonymous,
                read_only: false
            }
        )])
    );
}
