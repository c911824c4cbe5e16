use super::*;
use crate::spec::Binding;

fn map<V>(entries: impl IntoIterator<Item = (&'static str, V)>) -> BTreeMap<String, V> {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Returns a body as it is sent, its maps sorted.
fn sent(body: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(body).expect("JSON");
    serde_json::to_string_pretty(&value).expect("JSON")
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_container_with_everything_is_asked_for() {
    let spec = ContainerSpec {
        secrets: crate::spec::Secrets::default(),
        image: "aishell-demo:foundation-0123456789ab".to_owned(),
        command: Some(words("sleep 1000")),
        entrypoint: Some(vec![]),
        env: map([("A", "1".to_owned()), ("B", String::new())]),
        user: Some("1000:1000".to_owned()),
        workdir: Some("/srv".to_owned()),
        hostname: Some("box".to_owned()),
        labels: map([("team", "core".to_owned()), ("aishell.name", "mine".to_owned())]),
        mounts: map([
            (
                "/host",
                Mount::Bind {
                    source: "/usr/share".to_owned(),
                    read_only: true,
                },
            ),
            (
                "/data",
                Mount::Volume {
                    name: "data".to_owned(),
                    read_only: false,
                },
            ),
            (
                "/run/x",
                Mount::Tmpfs {
                    options: "uid=1000,mode=0700".to_owned(),
                },
            ),
        ]),
        ports: map([(
            "3000/tcp",
            vec![Binding {
                address: "127.0.0.1".to_owned(),
                port: 3000,
            }],
        )]),
        security: Security {
            no_new_privileges: true,
            cap_drop: words("ALL"),
            cap_add: words("CHOWN"),
            read_only: true,
            privileged: false,
            seccomp: Some("unconfined".to_owned()),
            devices: words("/dev/fuse:/dev/fuse:rwm"),
        },
        health: HealthCheck::Own(Probe {
            test: words("CMD true"),
            interval: 1000,
            timeout: 10_000,
            start_period: 1,
            retries: 60,
        }),
        groups: words("27 44"),
        dns: words("10.0.0.2"),
        extra_hosts: map([("db", "10.0.0.7".to_owned())]),
        runtime: Some("runsc".to_owned()),
        ulimits: map([(
            "nofile",
            Ulimit {
                soft: 1024,
                hard: 4096,
            },
        )]),
        stop: Stop {
            signal: Some("SIGINT".to_owned()),
            timeout: Some(3),
        },
        init: true,
        shm: 32 << 20,
        resources: Resources {
            memory: Some(64 << 20),
            memory_swap: Some(-1),
            reservation: Some(32 << 20),
            cpus: Some(1_500_000_000),
            pids: Some(100),
            shares: Some(512),
            cpuset: Some("0".to_owned()),
        },
        restart: Restart::OnFailure(3),
        networks: map([
            (
                "one",
                Endpoint {
                    aliases: words("a b"),
                },
            ),
            ("two", Endpoint::default()),
        ]),
    };
    let create = Create {
        name: "box".to_owned(),
        labels: map([("aishell.name", "box".to_owned())]),
        spec,
    };
    insta::assert_snapshot!(sent(&container(&create, "0123456789abcdef")), @r#"
    {
      "Cmd": [
        "sleep",
        "1000"
      ],
      "Entrypoint": [],
      "Env": [
        "A=1",
        "B="
      ],
      "ExposedPorts": {
        "3000/tcp": {}
      },
      "Healthcheck": {
        "Interval": 1000000000,
        "Retries": 60,
        "StartPeriod": 1000000,
        "Test": [
          "CMD",
          "true"
        ],
        "Timeout": 10000000000
      },
      "HostConfig": {
        "CapAdd": [
          "CHOWN"
        ],
        "CapDrop": [
          "ALL"
        ],
        "CpuShares": 512,
        "CpusetCpus": "0",
        "Devices": [
          {
            "CgroupPermissions": "rwm",
            "PathInContainer": "/dev/fuse",
            "PathOnHost": "/dev/fuse"
          }
        ],
        "Dns": [
          "10.0.0.2"
        ],
        "ExtraHosts": [
          "db:10.0.0.7"
        ],
        "GroupAdd": [
          "27",
          "44"
        ],
        "Init": true,
        "Memory": 67108864,
        "MemoryReservation": 33554432,
        "MemorySwap": -1,
        "Mounts": [
          {
            "ReadOnly": false,
            "Source": "data",
            "Target": "/data",
            "Type": "volume"
          },
          {
            "ReadOnly": true,
            "Source": "/usr/share",
            "Target": "/host",
            "Type": "bind"
          }
        ],
        "NanoCpus": 1500000000,
        "NetworkMode": "one",
        "PidsLimit": 100,
        "PortBindings": {
          "3000/tcp": [
            {
              "HostIp": "127.0.0.1",
              "HostPort": "3000"
            }
          ]
        },
        "Privileged": false,
        "ReadonlyRootfs": true,
        "RestartPolicy": {
          "MaximumRetryCount": 3,
          "Name": "on-failure"
        },
        "Runtime": "runsc",
        "SecurityOpt": [
          "no-new-privileges:true",
          "seccomp=unconfined"
        ],
        "ShmSize": 33554432,
        "Tmpfs": {
          "/run/x": "uid=1000,mode=0700"
        },
        "Ulimits": [
          {
            "Hard": 4096,
            "Name": "nofile",
            "Soft": 1024
          }
        ]
      },
      "Hostname": "box",
      "Image": "aishell-demo:foundation-0123456789ab",
      "Labels": {
        "aishell.name": "box",
        "aishell.uid": "0123456789abcdef",
        "team": "core"
      },
      "NetworkingConfig": {
        "EndpointsConfig": {
          "one": {
            "Aliases": [
              "a",
              "b"
            ]
          }
        }
      },
      "StopSignal": "SIGINT",
      "StopTimeout": 3,
      "User": "1000:1000",
      "WorkingDir": "/srv"
    }
    "#);
}

#[test]
fn a_container_with_nothing_says_so() {
    let spec = ContainerSpec {
        image: "x".to_owned(),
        ..ContainerSpec::default()
    };
    let create = Create {
        name: "box".to_owned(),
        labels: Labels::new(),
        spec,
    };
    insta::assert_snapshot!(sent(&container(&create, "0123456789abcdef")), @r#"
    {
      "Env": [],
      "ExposedPorts": {},
      "HostConfig": {
        "CapAdd": [],
        "CapDrop": [],
        "Devices": [],
        "Dns": [],
        "ExtraHosts": [],
        "GroupAdd": [],
        "Init": false,
        "Mounts": [],
        "NetworkMode": "none",
        "PortBindings": {},
        "Privileged": false,
        "ReadonlyRootfs": false,
        "RestartPolicy": {
          "MaximumRetryCount": 0,
          "Name": "no"
        },
        "SecurityOpt": [],
        "Tmpfs": {},
        "Ulimits": []
      },
      "Image": "x",
      "Labels": {
        "aishell.uid": "0123456789abcdef"
      }
    }
    "#);
}

#[test]
fn networks_of_the_engine_take_no_aliases() {
    let networks = map([("bridge", Endpoint { aliases: words("a") })]);
    let spec = ContainerSpec {
        networks,
        ..ContainerSpec::default()
    };
    let body = container(
        &Create {
            name: "x".to_owned(),
            labels: Labels::new(),
            spec,
        },
        "u",
    );
    assert_eq!(body.networking_config, None);
    assert_eq!(
        body.host_config.and_then(|host| host.network_mode).as_deref(),
        Some("bridge")
    );
}

#[test]
fn an_update_sends_only_what_is_given() {
    assert_eq!(sent(&update(None, None)), "{}");
    let restart = sent(&update(None, Some(Restart::No)));
    assert_eq!(
        restart.split_whitespace().collect::<String>(),
        r#"{"RestartPolicy":{"MaximumRetryCount":0,"Name":"no"}}"#
    );
    let resources = Resources {
        memory: Some(1),
        memory_swap: Some(2),
        ..Resources::default()
    };
    let limits = sent(&update(Some(&resources), None));
    assert_eq!(
        limits.split_whitespace().collect::<String>(),
        r#"{"Memory":1,"MemorySwap":2,"PidsLimit":-1}"#
    );
}

#[test]
fn a_commit_says_what_the_image_has() {
    let body = Commit {
        rebuilt: false,
        container: "c".to_owned(),
        tag: "a:b".to_owned(),
        labels: map([("l", "1".to_owned())]),
        env: map([("A", "1".to_owned())]),
        command: None,
        entrypoint: Some(vec![]),
        user: Some("0:0".to_owned()),
        workdir: None,
    };
    let body = commit(&body, "u");
    assert_eq!(body.entrypoint, Some(vec![]));
    assert_eq!((body.cmd, body.user.as_deref()), (None, Some("0:0")));
    assert_eq!(
        (body.env, body.labels.map(|labels| labels.len())),
        (Some(words("A=1")), Some(2))
    );
}

#[test]
fn a_tag_is_behind_the_last_colon_that_is_no_port() {
    for (reference, repository, tag) in [
        ("a:b", "a", "b"),
        ("h:5000/a:b", "h:5000/a", "b"),
        ("h:5000/a", "h:5000/a", "latest"),
        ("a", "a", "latest"),
    ] {
        assert_eq!(split_tag(reference), (repository.to_owned(), tag.to_owned()));
    }
}
