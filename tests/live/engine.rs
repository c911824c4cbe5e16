//! Every call, against a real engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use aishell::call::{Answer, Build, Call, Commit, ContainerReply, Content, Create, File};
use aishell::engine::docker::{DockerEngine, Host};
use aishell::engine::{Engine as _, EngineError};
use aishell::label::{self, Kind};
use aishell::observed::{ImageReply, RunState};
use aishell::progress::{Event, Progress};
use aishell::spec::{Binding, ContainerSpec, Endpoint, Mount, Resources, Restart, Security, Stop, Ulimit};

use crate::support::{BASE, World, id, owned, world};

/// A container that runs until it is stopped.
fn idle() -> ContainerSpec {
    ContainerSpec {
        image: BASE.to_owned(),
        command: Some(words("sleep 1000")),
        init: true,
        shm: 64 << 20,
        ..ContainerSpec::default()
    }
}

/// A container that runs a script.
fn script(text: &str) -> ContainerSpec {
    ContainerSpec {
        command: Some(vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()]),
        ..idle()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn map<V>(entries: impl IntoIterator<Item = (&'static str, V)>) -> BTreeMap<String, V> {
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

async fn inspect(world: &World, container: &str) -> ContainerReply {
    match world
        .call(Call::InspectContainer {
            container: container.to_owned(),
        })
        .await
    {
        Answer::Container(reply) => *reply,
        other => panic!("no container: {other:?}"),
    }
}

async fn image(world: &World, image: &str) -> ImageReply {
    match world
        .call(Call::InspectImage {
            image: image.to_owned(),
        })
        .await
    {
        Answer::Image(reply) => *reply,
        other => panic!("no image: {other:?}"),
    }
}

/// Returns the specification without what the image brings.
async fn without_image(world: &World, mut reply: ContainerReply) -> ContainerSpec {
    let config = image(world, &reply.image_id).await;
    let inherited = config.config;
    reply
        .spec
        .env
        .retain(|name, value| inherited.env.get(name) != Some(value));
    reply
        .spec
        .labels
        .retain(|name, value| config.image.labels.get(name) != Some(value));
    // Some engines add the host name to the aliases.
    for endpoint in reply.spec.networks.values_mut() {
        endpoint
            .aliases
            .retain(|alias| Some(alias) != reply.spec.hostname.as_ref());
    }
    for (own, inherited) in [
        (&mut reply.spec.command, inherited.command),
        (&mut reply.spec.entrypoint, inherited.entrypoint),
    ] {
        if *own == inherited {
            *own = None;
        }
    }
    // What the engine chooses where nothing is asked for; nothing here asks for it.
    reply.spec.runtime = reply.spec.runtime.filter(|runtime| runtime != "runc");
    reply.spec
}

fn listening() -> (Progress, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    (
        Progress::to(move |event| sink.lock().expect("events").push(event)),
        events,
    )
}

fn lines(events: &Mutex<Vec<Event>>) -> Vec<String> {
    let events = events.lock().expect("events");
    events
        .iter()
        .filter_map(|event| match event {
            Event::Line(line) => Some(line.clone()),
            Event::Amount { .. } => None,
        })
        .collect()
}

#[tokio::test]
async fn the_engine_says_what_it_is() {
    let world = world().await;
    let Answer::Engine(info) = world.call(Call::Version).await else {
        panic!("no engine")
    };
    assert_eq!(info.host, world.engine.host());
    assert!(
        info.version.contains('.') && info.api_version.starts_with("1."),
        "{info:?}"
    );
    assert!(info.platform.starts_with("linux/"), "{info:?}");
}

#[tokio::test]
async fn no_engine_is_said_with_the_systems_words() {
    let engine =
        DockerEngine::at(&Host::parse("unix:///nowhere/docker.sock").expect("an address")).expect("a client");
    let error = engine
        .call(&Call::Version, &Progress::default())
        .await
        .expect_err("nobody is there");
    let EngineError::Unreachable {
        host,
        message,
        denied: false,
        heard: false,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(host, "unix:///nowhere/docker.sock");
    assert!(message.contains("No such file"), "{message}");
}

#[tokio::test]
async fn a_rich_container_comes_back_as_it_was_asked_for() {
    let world = world().await;
    let (one, two, data) = (
        world.network("one").await,
        world.network("two").await,
        world.volume("data").await,
    );
    let first = one.clone().min(two.clone());
    let asked = ContainerSpec {
        command: Some(words("sleep 1000")),
        entrypoint: Some(vec![]),
        env: map([
            ("A", "1".to_owned()),
            ("EMPTY", String::new()),
            ("EQUALS", "a=b".to_owned()),
        ]),
        user: Some("1000:1000".to_owned()),
        workdir: Some("/srv".to_owned()),
        hostname: Some("box".to_owned()),
        labels: map([("com.example.team", "core".to_owned())]),
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
                    name: data,
                    read_only: false,
                },
            ),
            (
                "/run/x",
                Mount::Tmpfs {
                    options: "uid=1000,gid=1000,mode=0700,size=1048576".to_owned(),
                },
            ),
            (
                "/run/y",
                Mount::Tmpfs {
                    options: String::new(),
                },
            ),
        ]),
        ports: map([
            (
                "3000/tcp",
                vec![Binding {
                    address: "127.0.0.1".to_owned(),
                    port: 0,
                }],
            ),
            (
                "53/udp",
                vec![Binding {
                    address: "127.0.0.1".to_owned(),
                    port: 0,
                }],
            ),
        ]),
        security: Security {
            no_new_privileges: true,
            cap_drop: vec!["ALL".to_owned()],
            cap_add: vec!["CHOWN".to_owned(), "NET_BIND_SERVICE".to_owned()],
            read_only: true,
            privileged: false,
            seccomp: Some("unconfined".to_owned()),
            devices: vec!["/dev/null:/dev/nothing:rwm".to_owned()],
        },
        groups: vec!["27".to_owned(), "44".to_owned()],
        dns: vec!["10.9.9.9".to_owned(), "10.9.9.8".to_owned()],
        extra_hosts: map([("db", "10.0.0.7".to_owned()), ("six", "fd00::7".to_owned())]),
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
        shm: 32 << 20,
        resources: Resources {
            memory: Some(64 << 20),
            memory_swap: Some(64 << 20),
            reservation: Some(32 << 20),
            cpus: Some(500_000_000),
            pids: Some(100),
            shares: Some(512),
            cpuset: Some("0".to_owned()),
        },
        restart: Restart::OnFailure(3),
        networks: BTreeMap::from([(
            first.clone(),
            Endpoint {
                aliases: vec!["a".to_owned(), "b".to_owned()],
            },
        )]),
        ..idle()
    };
    let container = world.create("rich", asked.clone()).await;
    let reply = inspect(&world, &container).await;
    assert_eq!(
        reply.labels.get(label::MANIFEST),
        world.labels(Kind::Container).get(label::MANIFEST)
    );
    assert_eq!(reply.labels.get(label::UID).map(String::len), Some(16));
    assert_eq!(
        (reply.state, reply.started.clone(), reply.restarts),
        (RunState::Created, None, 0)
    );
    assert_eq!(reply.name, world.name("rich"));
    assert_eq!(without_image(&world, reply).await.differences(&asked), []);
    world
        .call(Call::StartContainer {
            container: container.clone(),
        })
        .await;
    let reply = inspect(&world, &container).await;
    assert_eq!(reply.state, RunState::Running);
    assert!(reply.started.is_some());
    assert_eq!(without_image(&world, reply).await.differences(&asked), []);

    // A second network, and away from it again.
    let second = one.max(two);
    let endpoint = Endpoint {
        aliases: vec!["box".to_owned(), "c".to_owned()],
    };
    let connect = Call::ConnectNetwork {
        network: second.clone(),
        container: container.clone(),
        endpoint: endpoint.clone(),
    };
    world.call(connect).await;
    assert_eq!(
        inspect(&world, &container).await.spec.networks.get(&second),
        Some(&endpoint)
    );
    world
        .call(Call::DisconnectNetwork {
            network: second.clone(),
            container: container.clone(),
        })
        .await;
    assert_eq!(
        inspect(&world, &container)
            .await
            .spec
            .networks
            .keys()
            .collect::<Vec<_>>(),
        [&first]
    );
}

#[tokio::test]
async fn a_plain_container_has_no_differences_either() {
    let world = world().await;
    let asked = idle();
    let container = world.create("plain", asked.clone()).await;
    let reply = inspect(&world, &container).await;
    assert_eq!(without_image(&world, reply).await, asked);
}

#[tokio::test]
async fn containers_are_listed_started_changed_renamed_stopped_and_removed() {
    let world = world().await;
    let volume = world.volume("home").await;
    let mounts = map([(
        "/home",
        Mount::Volume {
            name: volume.clone(),
            read_only: false,
        },
    )]);
    let container = world.create("life", ContainerSpec { mounts, ..idle() }).await;
    let listed = async || {
        let Answer::Containers(all) = world.call(Call::ListContainers).await else {
            panic!("no containers")
        };
        all.into_iter()
            .find(|listed| listed.id == container)
            .expect("it is listed")
    };
    let seen = listed().await;
    assert_eq!((seen.name, seen.running), (world.name("life"), false));
    assert_eq!(seen.volumes, BTreeSet::from([volume]));
    assert_eq!(seen.image_id, image(&world, BASE).await.image.id);

    // Twice is once.
    world
        .call(Call::StartContainer {
            container: container.clone(),
        })
        .await;
    world
        .call(Call::StartContainer {
            container: container.clone(),
        })
        .await;
    assert!(listed().await.running);
    let resources = Resources {
        memory: Some(64 << 20),
        memory_swap: Some(128 << 20),
        pids: Some(50),
        ..Resources::default()
    };
    let update = |resources, restart| Call::UpdateContainer {
        container: container.clone(),
        resources,
        restart,
    };
    world
        .call(update(Some(resources.clone()), Some(Restart::UnlessStopped)))
        .await;
    let reply = inspect(&world, &container).await;
    assert_eq!(
        (reply.spec.resources, reply.spec.restart),
        (resources.clone(), Restart::UnlessStopped)
    );
    world
        .call(update(
            Some(Resources {
                pids: None,
                ..resources.clone()
            }),
            None,
        ))
        .await;
    world.call(update(None, Some(Restart::No))).await;
    let reply = inspect(&world, &container).await;
    assert_eq!(
        (reply.spec.resources.pids, reply.spec.restart),
        (None, Restart::No)
    );

    let other = world.name("other");
    world
        .call(Call::RenameContainer {
            container: owned(&container),
            name: other.clone(),
        })
        .await;
    assert_eq!(inspect(&world, &other).await.id, container);
    world
        .call(Call::StopContainer {
            container: owned(&container),
        })
        .await;
    world
        .call(Call::StopContainer {
            container: owned(&container),
        })
        .await;
    assert!(matches!(
        inspect(&world, &container).await.state,
        RunState::Exited { .. }
    ));
    world
        .call(Call::RemoveContainer {
            container: owned(&container),
            volumes: true,
        })
        .await;
    let gone = world.try_call(Call::InspectContainer { container }).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn errors_say_what_can_be_done() {
    let world = world().await;
    let container = world.create("one", idle()).await;
    let again = Create {
        name: world.name("one"),
        labels: world.labels(Kind::Container),
        spec: idle(),
    };
    let taken = world.try_call(Call::CreateContainer(Box::new(again))).await;
    assert!(
        matches!(&taken, Err(EngineError::Conflict { message }) if message.contains("in use")),
        "{taken:?}"
    );
    let unpause = world
        .try_call(Call::UnpauseContainer {
            container: container.clone(),
        })
        .await;
    assert!(
        matches!(
            unpause,
            Err(EngineError::Conflict { .. } | EngineError::Failed { .. })
        ),
        "{unpause:?}"
    );

    let missing = world
        .create(
            "missing",
            ContainerSpec {
                command: Some(words("/no/such")),
                init: false,
                ..idle()
            },
        )
        .await;
    let start = world
        .try_call(Call::StartContainer {
            container: missing.clone(),
        })
        .await;
    assert!(
        matches!(&start, Err(EngineError::Refused { message }) if message.contains("/no/such")),
        "{start:?}"
    );
    let reply = inspect(&world, &missing).await;
    assert_eq!(reply.state, RunState::Created);
    assert!(reply.error.is_some_and(|error| error.contains("/no/such")));

    let mounts = map([(
        "/x",
        Mount::Bind {
            source: "/no/such/directory".to_owned(),
            read_only: true,
        },
    )]);
    let create = Create {
        name: world.name("bind"),
        labels: world.labels(Kind::Container),
        spec: ContainerSpec { mounts, ..idle() },
    };
    let refused = world.try_call(Call::CreateContainer(Box::new(create))).await;
    assert!(
        matches!(&refused, Err(EngineError::Refused { message }) if message.contains("/no/such")),
        "{refused:?}"
    );

    let no_image = Create {
        name: world.name("no-image"),
        labels: world.labels(Kind::Container),
        spec: ContainerSpec {
            image: world.name("none"),
            ..idle()
        },
    };
    let no_image = world.try_call(Call::CreateContainer(Box::new(no_image))).await;
    assert!(
        matches!(no_image, Err(EngineError::NotFound { .. })),
        "{no_image:?}"
    );

    for call in [
        Call::InspectImage {
            image: world.name("none"),
        },
        Call::InspectVolume {
            volume: world.name("none"),
        },
        Call::InspectNetwork {
            network: world.name("none"),
        },
        Call::ReadFile {
            container: container.clone(),
            path: "/no/such".to_owned(),
        },
    ] {
        let absent = world.try_call(call).await;
        assert!(matches!(absent, Err(EngineError::NotFound { .. })), "{absent:?}");
    }
    let odd = world
        .try_call(Call::InspectContainer {
            container: "../images/json?".to_owned(),
        })
        .await;
    assert!(matches!(odd, Err(EngineError::Refused { .. })), "{odd:?}");
}

#[tokio::test]
async fn a_taken_port_is_refused_at_the_start_with_its_number() {
    let world = world().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let network = world.network("net").await;
    let spec = ContainerSpec {
        ports: map([(
            "80/tcp",
            vec![Binding {
                address: "127.0.0.1".to_owned(),
                port,
            }],
        )]),
        networks: BTreeMap::from([(network, Endpoint::default())]),
        ..idle()
    };
    let container = world.create("port", spec).await;
    let start = world.try_call(Call::StartContainer { container }).await;
    assert!(
        matches!(&start, Err(EngineError::Refused { message }) if message.contains(&port.to_string())),
        "{start:?}"
    );
}

#[tokio::test]
async fn volumes_and_networks_are_made_listed_and_removed() {
    let world = world().await;
    let volume = world.volume("v").await;
    let Answer::Volume(first) = world
        .call(Call::InspectVolume {
            volume: volume.clone(),
        })
        .await
    else {
        panic!()
    };
    assert_eq!(first.name, volume);
    assert!(first.created.contains('T'), "{first:?}");
    // A second creation answers with what the first one made.
    let again = world
        .call(Call::CreateVolume {
            name: volume.clone(),
            labels: world.labels(Kind::Harness),
        })
        .await;
    let Answer::Volume(again) = again else {
        panic!("no volume")
    };
    assert_eq!(again.labels, first.labels);
    let Answer::Volumes(volumes) = world.call(Call::ListVolumes).await else {
        panic!("no volumes")
    };
    assert!(volumes.contains(&first));
    world
        .call(Call::RemoveVolume {
            volume: owned(&volume),
        })
        .await;
    let gone = world
        .try_call(Call::RemoveVolume {
            volume: owned(&volume),
        })
        .await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");

    let network = world.network("n").await;
    let Answer::Network(first) = world
        .call(Call::InspectNetwork {
            network: network.clone(),
        })
        .await
    else {
        panic!()
    };
    assert_eq!(first.name, network);
    let Answer::Networks(networks) = world.call(Call::ListNetworks).await else {
        panic!("no networks")
    };
    assert!(networks.contains(&first));
    world
        .call(Call::RemoveNetwork {
            network: owned(&first.id),
        })
        .await;
    let gone = world.try_call(Call::InspectNetwork { network }).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn what_is_uploaded_can_be_read_and_committed() {
    let world = world().await;
    let container = world.create("files", idle()).await;
    let file = |path: &str, mode, content| File {
        path: path.to_owned(),
        uid: 1000,
        gid: 1001,
        mode,
        content,
    };
    let long = format!("srv/{}", "long/".repeat(30));
    let mut files = vec![
        file("srv/d", 0o750, Content::Directory),
        file("srv/d/one", 0o640, Content::Bytes(b"hello\n".to_vec())),
        file("srv/d/link", 0o777, Content::Link("../d/one".to_owned())),
        file("srv/d/absolute", 0o777, Content::Link("/srv/d/link".to_owned())),
        file("srv/d/round", 0o777, Content::Link("round".to_owned())),
        file(
            "srv/d/big",
            0o600,
            Content::Bytes(vec![b'x'; (16 << 20) + 100_000]),
        ),
        file("srv/d/full", 0o600, Content::Bytes(vec![b'x'; 16 << 20])),
    ];
    files.push(file(
        &format!("{long}file"),
        0o644,
        Content::Bytes(b"deep".to_vec()),
    ));
    world
        .call(Call::Upload {
            container: container.clone(),
            files: files.into(),
        })
        .await;
    let read = async |path: &str| {
        let call = Call::ReadFile {
            container: container.clone(),
            path: path.to_owned(),
        };
        match world.try_call(call).await {
            Ok(Answer::Bytes(bytes)) => Ok(bytes),
            Ok(other) => panic!("no bytes: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    for path in ["/srv/d/one", "/srv/d/link", "/srv/d/absolute"] {
        assert_eq!(read(path).await.as_deref(), Ok(b"hello\n".as_slice()), "{path}");
    }
    assert_eq!(
        read(&format!("/{long}file")).await.as_deref(),
        Ok(b"deep".as_slice())
    );
    assert_eq!(read("/srv/d/full").await.map(|bytes| bytes.len()), Ok(16 << 20));
    assert!(read("/srv/d/big").await.expect_err("too big").contains("16 MiB"));
    assert!(
        read("/srv/d")
            .await
            .expect_err("a directory")
            .contains("is a directory")
    );
    assert!(
        read("/srv/d/round")
            .await
            .expect_err("a loop")
            .contains("too many links")
    );

    let tag = world.tag("committed");
    let commit = Commit {
        rebuilt: false,
        container: container.clone(),
        tag: tag.clone(),
        labels: world.labels(Kind::Identity),
        env: map([("ADDED", "yes".to_owned())]),
        command: Some(words("stat -c %u:%g:%a:%n srv/d srv/d/one")),
        entrypoint: Some(vec![]),
        user: Some("1000:1001".to_owned()),
        workdir: None,
    };
    let made = id(world.call(Call::CommitContainer(Box::new(commit))).await);
    let reply = image(&world, &tag).await;
    assert_eq!(reply.image.id, made);
    assert_eq!(reply.image.tags, BTreeSet::from([tag.clone()]));
    assert_eq!(reply.image.labels.get(label::UID).map(String::len), Some(16));
    assert_eq!(reply.config.env.get("ADDED").map(String::as_str), Some("yes"));
    assert_eq!(
        (reply.config.user.as_deref(), reply.config.entrypoint),
        (Some("1000:1001"), None)
    );
    let Answer::Images(images) = world.call(Call::ListImages).await else {
        panic!("no images")
    };
    assert!(images.contains(&reply.image));

    let run = world
        .create(
            "run",
            ContainerSpec {
                image: tag.clone(),
                command: None,
                ..idle()
            },
        )
        .await;
    world
        .call(Call::StartContainer {
            container: run.clone(),
        })
        .await;
    let Answer::Log(log) = world.call(Call::FollowLog { container: run }).await else {
        panic!("no log")
    };
    assert_eq!(log, ["1000:1001:750:srv/d", "1000:1001:640:srv/d/one"]);

    let alias = world.tag("alias");
    world
        .call(Call::TagImage {
            image: tag.clone(),
            tag: alias.clone(),
        })
        .await;
    assert_eq!(
        image(&world, &alias).await.image.tags,
        BTreeSet::from([tag, alias.clone()])
    );
    world.call(Call::RemoveImage { image: alias.clone() }).await;
    let gone = world.try_call(Call::InspectImage { image: alias }).await;
    assert!(matches!(gone, Err(EngineError::NotFound { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_read_only_root_takes_no_upload() {
    let world = world().await;
    let security = Security {
        read_only: true,
        ..Security::default()
    };
    let container = world.create("fixed", ContainerSpec { security, ..idle() }).await;
    let file = File {
        path: "x".to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o644,
        content: Content::Bytes(vec![]),
    };
    let refused = world
        .try_call(Call::Upload {
            container,
            files: [file].into(),
        })
        .await;
    assert!(
        matches!(&refused, Err(EngineError::Refused { message }) if message.contains("read-only")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let world = world().await;
    let text = "echo one; echo two >&2; i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done; printf '\\033[31mlast\\n'";
    let container = world.create("log", script(text)).await;
    world
        .call(Call::StartContainer {
            container: container.clone(),
        })
        .await;
    let (progress, events) = listening();
    let answer = world
        .engine
        .call(
            &Call::FollowLog {
                container: container.clone(),
            },
            &progress,
        )
        .await;
    let Ok(Answer::Log(log)) = answer else {
        panic!("{answer:?}")
    };
    let told = lines(&events);
    assert_eq!(log, told[told.len() - 200..]);
    // Each stream is in order; how the two are interleaved is the engine's choice.
    let (two, out): (Vec<_>, Vec<_>) = told.iter().map(String::as_str).partition(|line| *line == "two");
    assert_eq!((two.len(), out.len()), (1, 302));
    assert_eq!(
        (out[0], out[1], out[300], out[301]),
        ("one", "line 0", "line 299", "last")
    );
    let reply = inspect(&world, &container).await;
    assert_eq!(reply.state, RunState::Exited { code: 0 });
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_told_in_the_engines_words() {
    let world = world().await;
    let reference = format!("127.0.0.1:1/{}:none", world.name("pull"));
    let pull = world.try_call(Call::PullImage { reference }).await;
    assert!(
        matches!(&pull, Err(EngineError::Work { message, .. }) if message.contains("127.0.0.1:1")),
        "{pull:?}"
    );
}

#[tokio::test]
async fn a_hundred_inspects_share_their_connections() {
    let world = world().await;
    let container = world.create("many", idle()).await;
    let began = tokio::time::Instant::now();
    let engine = &world.engine;
    let call = Call::InspectContainer { container };
    let call = &call;
    let all =
        (0..100).map(|_| async move { engine.call(call, &Progress::default()).await.expect("an answer") });
    let count = futures_util::StreamExt::count(futures_util::StreamExt::buffer_unordered(
        futures_util::stream::iter(all),
        8,
    ))
    .await;
    eprintln!("100 inspects, 8 at a time: {:?}", began.elapsed());
    assert_eq!(count, 100);
}

/// A directory with files, to be sent as a context.
struct Context {
    directory: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Context {
    fn of(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        }
        Self {
            directory,
            files: files.iter().map(|(path, _)| PathBuf::from(path)).collect(),
        }
    }

    fn build(&self, world: &World, tag: &str, dockerfile: &str) -> Build {
        Build {
            tag: tag.to_owned(),
            labels: world.labels(Kind::Foundation),
            dockerfile: dockerfile.to_owned(),
            triggers: Vec::new(),
            path: None,
            context: self.directory.path().to_owned(),
            files: self.files.clone().into(),
            digest: None,
            args: BTreeMap::new(),
            target: None,
            certificates: None,
            cache: true,
        }
    }
}

/// Returns what a command says in a container of an image.
async fn said(world: &World, name: &str, image: &str, text: &str) -> Vec<String> {
    let spec = ContainerSpec {
        image: image.to_owned(),
        ..script(text)
    };
    let container = world.create(name, spec).await;
    world
        .call(Call::StartContainer {
            container: container.clone(),
        })
        .await;
    match world.call(Call::FollowLog { container }).await {
        Answer::Log(log) => log,
        other => panic!("no log: {other:?}"),
    }
}

#[tokio::test]
async fn an_image_is_built_from_its_context_and_nothing_else() {
    let world = world().await;
    let mut context = Context::of(&[
        ("a", "1"),
        ("d/script", "2"),
        ("Dockerfile", "of the context"),
        (".aishell/x", "3"),
    ]);
    context.files.push("link".into());
    std::os::unix::fs::symlink("d/script", context.directory.path().join("link")).expect("a link");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o750);
    std::fs::set_permissions(context.directory.path().join("d/script"), permissions).expect("permissions");
    let tag = world.tag("built");
    let word = world.name("word");
    let text = format!(
        "FROM {BASE} AS one\nARG WORD\nRUN echo \"word is $WORD\" && echo {word} > /word\nCOPY . /all/\n\
         RUN --mount=type=bind,target=/s cat /s/a\nFROM one\nRUN false\n"
    );
    let mut build = context.build(&world, &tag, &text);
    build.target = Some("one".to_owned());
    build.args.insert("WORD".to_owned(), "given".to_owned());
    let (progress, events) = listening();
    let answer = world
        .engine
        .call(&Call::BuildImage(Box::new(build.clone())), &progress)
        .await;
    let made = id(answer.expect("an image"));
    let reply = image(&world, &tag).await;
    assert_eq!(reply.image.id, made);
    assert_eq!(
        reply.image.labels.get(label::KIND).map(String::as_str),
        Some("foundation")
    );
    assert_eq!(reply.image.labels.get(label::UID).map(String::len), Some(16));
    let told = lines(&events);
    assert!(
        told.iter().any(|line| line.starts_with("[one 2/4] RUN echo")),
        "{told:#?}"
    );
    assert!(told.contains(&"word is given".to_owned()), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("internal")), "{told:#?}");
    assert_eq!(
        said(
            &world,
            "look",
            &tag,
            "cd /all && find . -type f -o -type l | sort && stat -c '%u:%g %a %y' d/script && readlink link"
        )
        .await,
        [
            "./.aishell/x",
            "./Dockerfile",
            "./a",
            "./d/script",
            "./link",
            "0:0 750 1980-01-02 00:00:00.000000000 +0000",
            "d/script"
        ]
    );
    // The same once more costs nothing.
    let (progress, events) = listening();
    world
        .engine
        .call(&Call::BuildImage(Box::new(build)), &progress)
        .await
        .expect("an image");
    let told = lines(&events);
    assert!(
        told.iter()
            .any(|line| line.starts_with("[one 3/4] COPY") && line.ends_with("(cached)")),
        "{told:#?}"
    );
}

#[tokio::test]
async fn certificates_reach_every_run_and_stay_nowhere() {
    let world = world().await;
    let context = Context::of(&[("a", "1")]);
    let tag = world.tag("certified");
    let unique = world.name("unique");
    let text = format!(
        "FROM {BASE}\nCOPY . /all/\nRUN echo {unique}; cat $SSL_CERT_FILE && cat $APT_CONFIG && apt-config dump > /apt && \
         ls /dev > /devices && env > /env\nUSER 1000\nRUN [\"cat\", \"/dev/aishell/ca.pem\"]\n"
    );
    let mut build = context.build(&world, &tag, &text);
    build.certificates = Some(b"-----BUNDLE-----\n".to_vec());
    let (progress, events) = listening();
    world
        .engine
        .call(&Call::BuildImage(Box::new(build)), &progress)
        .await
        .expect("an image");
    let told = lines(&events);
    assert_eq!(
        told.iter().filter(|line| *line == "-----BUNDLE-----").count(),
        2,
        "{told:#?}"
    );
    let reply = image(&world, &tag).await;
    assert_eq!(reply.config.env.keys().collect::<Vec<_>>(), ["PATH"]);
    let log = said(
        &world,
        "look",
        &tag,
        "find / -xdev -name '*aishell*' 2>/dev/null; ls -A /all; grep -c CAInfo /apt; env | grep CERT",
    )
    .await;
    assert_eq!(log, ["a", "1"]);
}

#[tokio::test]
async fn a_build_that_fails_shows_the_end_of_the_failing_step() {
    let world = world().await;
    let context = Context::of(&[("a", "1"), ("large", &"x".repeat(32 << 20))]);
    let unique = world.name("unique");
    let text = format!(
        "FROM {BASE}\nRUN exec >&2; echo {unique}; for i in $(seq 60); do echo line $i; done; echo wrong; exit 7\n"
    );
    let build = context.build(&world, &world.tag("failing"), &text);
    let failed = world.try_call(Call::BuildImage(Box::new(build))).await;
    let Err(EngineError::Work { message, line, log }) = failed else {
        panic!("{failed:?}")
    };
    assert!(message.contains("exit code: 7"), "{message}");
    assert_eq!((line, log.len()), (Some(2), 63), "{log:#?}");
    assert!(log[0].starts_with("[2/2] RUN exec"), "{log:#?}");
    assert!(
        log.contains(&"line 60".to_owned()) && log.contains(&"wrong".to_owned()),
        "{log:#?}"
    );

    for (text, expected) in [
        ("NONSENSE x\n", "NONSENSE"),
        ("FROM debian:bookworm-slim\nCOPY missing /\n", "missing"),
        ("", "empty"),
    ] {
        let build = context.build(&world, &world.tag("failing"), text);
        let failed = world.try_call(Call::BuildImage(Box::new(build))).await;
        assert!(
            matches!(&failed, Err(EngineError::Work { message, .. }) if message.contains(expected)),
            "{failed:?}"
        );
    }

    let text = "FROM 127.0.0.1:1/none:none\nRUN x\n";
    let build = context.build(&world, &world.tag("failing"), text);
    let failed = world.try_call(Call::BuildImage(Box::new(build))).await;
    assert!(
        matches!(&failed, Err(EngineError::Absent { image, .. }) if image == "127.0.0.1:1/none:none"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_context_that_cannot_be_read_is_named() {
    let world = world().await;
    let mut context = Context::of(&[("a", "1")]);
    context.files.push("gone".into());
    let build = context.build(&world, &world.tag("none"), &format!("FROM {BASE}\nCOPY a /\n"));
    let failed = world.try_call(Call::BuildImage(Box::new(build))).await;
    assert!(
        matches!(&failed, Err(EngineError::Refused { message }) if message.contains("gone: No such file")),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_large_context_is_sent_in_pieces() {
    let world = world().await;
    let context = Context::of(&[("large", &"x".repeat(64 << 20)), ("small", "1")]);
    let tag = world.tag("large");
    let text = format!("FROM {BASE}\nCOPY large small /\nRUN wc -c < /large > /size\n");
    world
        .call(Call::BuildImage(Box::new(context.build(&world, &tag, &text))))
        .await;
    assert_eq!(said(&world, "look", &tag, "cat /size").await, ["67108864"]);
}
