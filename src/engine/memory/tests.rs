//! The traps of Docker 20.10, each as it was measured.

use std::collections::BTreeMap;

use super::*;
use crate::call::{Build, Commit, Content, Create, File};
use crate::label::{KIND, Labels, Mark, OwnedId, UID};
use crate::observed::RunState;
use crate::spec::{Binding, ContainerSpec, Endpoint, Mount, Resources, Restart};

fn world() -> World {
    World::new().with_image_of(
        "base:1",
        &Blueprint::new()
            .env("A", "image")
            .env("B", "image")
            .label("who", "image")
            .user("5:6")
            .file("/data/f", b"x"),
    )
}

fn engine() -> MemoryEngine {
    MemoryEngine::new(world())
}

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: "base:1".to_owned(),
        command: Some(vec!["sleep".to_owned()]),
        init: true,
        networks: [("bridge".to_owned(), Endpoint::default())].into(),
        ..ContainerSpec::default()
    }
}

fn create(name: &str, spec: ContainerSpec) -> Call {
    Call::CreateContainer(Box::new(Create {
        name: name.to_owned(),
        labels: Labels::new(),
        spec,
    }))
}

fn owned(id: &str) -> OwnedId {
    OwnedId::made(id)
}

fn start(name: &str) -> Call {
    Call::StartContainer {
        container: name.to_owned(),
    }
}

fn stop(name: &str) -> Call {
    Call::StopContainer {
        container: owned(name),
    }
}

fn remove(name: &str) -> Call {
    Call::RemoveContainer {
        container: owned(name),
        volumes: true,
    }
}

fn volume(name: &str, labels: Labels) -> Call {
    Call::CreateVolume {
        name: name.to_owned(),
        labels,
    }
}

fn network(name: &str) -> Call {
    Call::CreateNetwork {
        name: name.to_owned(),
        labels: Labels::new(),
    }
}

fn connect(network: &str, container: &str, aliases: &[&str]) -> Call {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    Call::ConnectNetwork {
        network: network.to_owned(),
        container: container.to_owned(),
        endpoint: Endpoint { aliases },
    }
}

fn disconnect(network: &str, container: &str) -> Call {
    Call::DisconnectNetwork {
        network: network.to_owned(),
        container: container.to_owned(),
    }
}

fn commit(container: &str, tag: &str) -> Commit {
    Commit {
        rebuilt: false,
        container: container.to_owned(),
        tag: tag.to_owned(),
        labels: Labels::new(),
        env: BTreeMap::new(),
        command: None,
        entrypoint: None,
        user: None,
        workdir: None,
    }
}

fn mount(name: &str, read_only: bool) -> Mount {
    Mount::Volume {
        name: name.to_owned(),
        read_only,
    }
}

fn file(path: &str) -> File {
    File {
        path: path.to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o644,
        content: Content::Bytes(b"x".to_vec()),
    }
}

impl MemoryEngine {
    /// One call, without waiting.
    fn say(&self, call: Call) -> Result<Answer, EngineError> {
        self.inside().call(&call, &Progress::default())
    }

    fn id(&self, call: Call) -> String {
        match self.say(call) {
            Ok(Answer::Id(id)) => id,
            other => panic!("no id: {other:?}"),
        }
    }

    fn ran(&self, name: &str, spec: ContainerSpec) -> String {
        let id = self.id(create(name, spec));
        assert_eq!(self.say(start(name)), Ok(Answer::Done));
        id
    }

    fn inspect(&self, name: &str) -> crate::call::ContainerReply {
        match self.say(Call::InspectContainer {
            container: name.to_owned(),
        }) {
            Ok(Answer::Container(reply)) => *reply,
            other => panic!("no container: {other:?}"),
        }
    }

    fn state(&self, name: &str) -> RunState {
        self.inspect(name).state
    }
}

#[track_caller]
fn kind(result: Result<Answer, EngineError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(EngineError::Conflict { .. }) => "conflict",
        Err(EngineError::NotFound { .. }) => "not found",
        Err(EngineError::Refused { .. }) => "refused",
        Err(EngineError::Failed { .. }) => "failed",
        Err(EngineError::Work { .. }) => "work",
        Err(EngineError::Absent { .. }) => "absent",
        Err(EngineError::Unreachable { .. }) => "unreachable",
        Err(EngineError::Unexpected { .. }) => "unexpected",
    }
}

#[test]
fn a_name_is_a_mutex() {
    let engine = engine();
    engine.id(create("api", spec()));
    assert_eq!(kind(engine.say(create("api", spec()))), "conflict");
    engine.id(create("web", spec()));
    let rename = |name: &str| Call::RenameContainer {
        container: owned("web"),
        name: name.to_owned(),
    };
    assert_eq!(kind(engine.say(rename("api"))), "conflict");
    assert_eq!(kind(engine.say(rename("web"))), "refused", "its own name");
    assert_eq!(kind(engine.say(rename("-x"))), "refused");
    engine.say(rename("old")).expect("free");
    engine.id(create("web", spec()));
}

#[test]
fn a_missing_image_is_not_found_before_anything_else_is() {
    let engine = engine();
    let missing = ContainerSpec {
        image: "nope:1".to_owned(),
        ..spec()
    };
    engine.id(create("api", spec()));
    assert_eq!(kind(engine.say(create("api", missing))), "not found");
}

#[test]
fn a_missing_bind_source_is_refused_at_creation() {
    let engine = MemoryEngine::new(world().without_path("/gone"));
    let mut bound = spec();
    bound.mounts.insert(
        "/x".to_owned(),
        Mount::Bind {
            source: "/gone".to_owned(),
            read_only: true,
        },
    );
    assert_eq!(kind(engine.say(create("api", bound))), "refused");
}

#[test]
fn an_existing_volume_is_answered_with_its_own_labels() {
    let engine = engine();
    let nonce = |value: &str| Labels::from([("nonce".to_owned(), value.to_owned())]);
    let Ok(Answer::Volume(first)) = engine.say(volume("data", nonce("1"))) else {
        panic!("no volume")
    };
    let second = engine.say(volume("data", nonce("2")));
    assert_eq!(second, Ok(Answer::Volume(first.clone())));
    assert!(first.labels.contains_key(UID));
}

#[test]
fn every_container_keeps_its_volumes_from_being_removed() {
    let engine = engine();
    let mut mounted = spec();
    mounted.mounts.insert("/v".to_owned(), mount("data", false));
    // A volume that does not exist is made, without labels.
    engine.id(create("api", mounted));
    assert_eq!(
        engine.world().volume("data").expect("made").reply.labels,
        Labels::new()
    );
    let gone = || Call::RemoveVolume {
        volume: owned("data"),
    };
    assert_eq!(kind(engine.say(gone())), "conflict", "created");
    engine.say(start("api")).expect("starts");
    engine.say(stop("api")).expect("stops");
    assert_eq!(kind(engine.say(gone())), "conflict", "exited");
    engine.say(remove("api")).expect("goes");
    assert_eq!(
        kind(engine.say(gone())),
        "ok",
        "named volumes outlive their containers, until now"
    );
    assert_eq!(kind(engine.say(gone())), "not found");
}

#[test]
fn an_empty_volume_is_filled_from_the_image_at_creation() {
    let engine = engine();
    let mut mounted = spec();
    mounted.mounts.insert("/data".to_owned(), mount("data", true));
    engine.id(create("api", mounted));
    assert!(
        engine
            .world()
            .volume("data")
            .expect("made")
            .files
            .contains_key("/f")
    );
}

#[test]
fn only_running_containers_keep_a_network() {
    let engine = engine();
    let id = engine.id(network("net"));
    let attached = ContainerSpec {
        networks: [("net".to_owned(), Endpoint::default())].into(),
        ..spec()
    };
    engine.ran("api", attached);
    let gone = || Call::RemoveNetwork { network: owned(&id) };
    assert_eq!(kind(engine.say(gone())), "refused");
    engine.say(stop("api")).expect("stops");
    assert_eq!(kind(engine.say(gone())), "ok");
}

#[test]
fn a_container_starts_on_the_very_network_it_ran_on() {
    let engine = engine();
    let first = engine.id(network("net"));
    let attached = ContainerSpec {
        networks: [("net".to_owned(), Endpoint::default())].into(),
        ..spec()
    };
    engine.ran("api", attached.clone());
    engine.id(create("web", attached));
    engine.say(stop("api")).expect("stops");
    engine
        .say(Call::RemoveNetwork {
            network: owned(&first),
        })
        .expect("nobody runs");
    engine.id(network("net"));
    assert_eq!(
        kind(engine.say(start("api"))),
        "not found",
        "the name is another network now"
    );
    assert_eq!(
        kind(engine.say(start("web"))),
        "ok",
        "it never ran, so it knows only the name"
    );
    // Connecting is a no-op as long as the old attachment is noted.
    assert_eq!(kind(engine.say(connect("net", "api", &[]))), "ok");
    assert_eq!(kind(engine.say(start("api"))), "not found");
    engine.say(disconnect("net", "api")).expect("noted");
    engine.say(connect("net", "api", &["x"])).expect("noted anew");
    assert_eq!(kind(engine.say(start("api"))), "ok");
    assert_eq!(engine.inspect("api").spec.networks["net"].aliases, ["x"]);
}

#[test]
fn several_networks_have_one_name_and_then_the_name_means_none() {
    let engine = engine();
    let (first, second) = (engine.id(network("net")), engine.id(network("net")));
    assert_eq!(engine.world().networks_named("net").len(), 2);
    assert_eq!(
        kind(engine.say(Call::InspectNetwork {
            network: "net".to_owned()
        })),
        "refused"
    );
    let by_id = ContainerSpec {
        networks: [(first.clone(), Endpoint::default())].into(),
        ..spec()
    };
    engine.id(create("api", by_id));
    assert_eq!(
        kind(engine.say(start("api"))),
        "refused",
        "it starts by name, whatever it was created with"
    );
    engine
        .say(Call::RemoveNetwork {
            network: owned(&second),
        })
        .expect("unused");
    assert_eq!(kind(engine.say(start("api"))), "ok");
    let recent = MemoryEngine::new(World::new().recent().stranger_network("net"));
    assert_eq!(kind(recent.say(network("net"))), "conflict");
}

#[test]
fn a_running_container_is_attached_at_once_and_only_once() {
    let engine = engine();
    engine.id(network("net"));
    engine.ran("api", spec());
    assert_eq!(kind(engine.say(connect("nope", "api", &[]))), "not found");
    engine.say(connect("net", "api", &["x"])).expect("attached");
    assert_eq!(kind(engine.say(connect("net", "api", &["y"]))), "refused");
    assert_eq!(engine.inspect("api").spec.networks["net"].aliases, ["x"]);
    engine.say(disconnect("net", "api")).expect("detached");
    assert_eq!(kind(engine.say(disconnect("net", "api"))), "failed");
    // One that does not run takes anything, and fails to start.
    engine.say(stop("api")).expect("stops");
    assert_eq!(kind(engine.say(connect("nope", "api", &[]))), "ok");
    assert_eq!(kind(engine.say(start("api"))), "not found");
}

#[test]
fn a_container_without_network_takes_none() {
    let engine = engine();
    engine.id(network("net"));
    engine.ran(
        "api",
        ContainerSpec {
            networks: BTreeMap::new(),
            ..spec()
        },
    );
    assert!(engine.inspect("api").spec.networks.is_empty());
    assert_eq!(kind(engine.say(connect("net", "api", &[]))), "refused");
    engine
        .say(disconnect("none", "api"))
        .expect("detached from nothing");
    assert_eq!(kind(engine.say(connect("net", "api", &[]))), "ok");
}

#[test]
fn labels_and_environment_of_the_image_are_inherited_and_its_own_win() {
    let engine = engine();
    let mut own = spec();
    own.env.insert("A".to_owned(), "own".to_owned());
    own.labels.insert("mine".to_owned(), "1".to_owned());
    own.command = None;
    engine.id(create("api", own));
    let reply = engine.inspect("api");
    assert_eq!(
        (reply.spec.env["A"].as_str(), reply.spec.env["B"].as_str()),
        ("own", "image")
    );
    assert_eq!(
        (reply.labels["who"].as_str(), reply.labels["mine"].as_str()),
        ("image", "1")
    );
    assert_eq!(
        reply.spec.labels.keys().collect::<Vec<_>>(),
        ["mine", "who"],
        "aishell's own are elsewhere"
    );
    assert_eq!(reply.spec.command, Some(vec!["bash".to_owned()]));
    assert_eq!(reply.spec.user.as_deref(), Some("5:6"));
    assert_eq!(reply.spec.shm, 64 << 20);
}

#[test]
fn an_entrypoint_of_ones_own_drops_the_images_command() {
    let engine = engine();
    let words = |word: &str| Some(vec![word.to_owned()]);
    engine.id(create(
        "api",
        ContainerSpec {
            entrypoint: words("run"),
            command: None,
            ..spec()
        },
    ));
    let reply = engine.inspect("api");
    assert_eq!((reply.spec.entrypoint, reply.spec.command), (words("run"), None));
    engine.id(create(
        "web",
        ContainerSpec {
            entrypoint: Some(vec![]),
            command: None,
            ..spec()
        },
    ));
    assert_eq!(engine.inspect("web").spec.command, words("bash"));
    assert_eq!(
        kind(engine.say(create(
            "no",
            ContainerSpec {
                entrypoint: words(""),
                command: None,
                ..spec()
            }
        ))),
        "refused",
        "no command"
    );
}

#[test]
fn a_commit_bakes_the_configuration_of_the_container() {
    let engine = engine();
    let mut own = spec();
    own.env.insert("A".to_owned(), "own".to_owned());
    own.labels.insert("mine".to_owned(), "1".to_owned());
    own.mounts.insert("/v".to_owned(), mount("data", false));
    engine.id(create("api", own));
    engine
        .say(Call::Upload {
            container: "api".to_owned(),
            files: [file("v/in"), file("etc/x")].into(),
        })
        .expect("up");
    engine.id(Call::CommitContainer(Box::new(Commit {
        env: [("C".to_owned(), "c".to_owned())].into(),
        entrypoint: Some(vec![]),
        user: Some("0:0".to_owned()),
        workdir: None,
        ..commit("api", "snap:1")
    })));
    let world = engine.world();
    let image = world.image("snap:1").expect("committed");
    let config = &image.reply.config;
    assert_eq!(
        config.env.values().collect::<Vec<_>>(),
        ["own", "image", "c", "/usr/local/bin:/usr/bin:/bin"]
    );
    assert_eq!(
        (config.command.clone(), config.entrypoint.clone()),
        (Some(vec!["sleep".to_owned()]), Some(vec![]))
    );
    assert_eq!(config.user.as_deref(), Some("0:0"));
    assert_eq!(image.reply.image.labels["mine"], "1");
    assert!(image.files.contains_key("/etc/x") && image.files.contains_key("/data/f"));
    assert!(!image.files.contains_key("/v/in"), "mounts are not committed");
    assert_ne!(image.reply.image.labels[UID], engine.inspect("api").labels[UID]);
}

#[test]
fn a_commit_by_hand_and_what_is_made_of_it_carry_labels_that_are_not_theirs() {
    let engine = engine();
    engine.id(create("api", spec()));
    engine.commit("api", "backup:1").expect("commits");
    engine.id(create(
        "copy",
        ContainerSpec {
            image: "backup:1".to_owned(),
            ..spec()
        },
    ));
    let world = engine.world();
    let image = &world.image("backup:1").expect("committed").reply.image.labels;
    assert_eq!(image[UID], engine.inspect("api").labels[UID]);
    assert_eq!(Mark::read_container(&engine.inspect("copy").labels, image), None);
}

#[test]
fn a_moved_tag_leaves_the_container_its_image() {
    let engine = engine();
    engine.id(create("api", spec()));
    let before = engine.inspect("api").image_id;
    engine.id(Call::CommitContainer(Box::new(commit("api", "base:1"))));
    assert_eq!(engine.inspect("api").image_id, before);
    assert!(
        engine
            .world()
            .image(&before)
            .expect("still there")
            .reply
            .image
            .tags
            .is_empty()
    );
    assert_ne!(
        engine.world().image("base:1").expect("moved").reply.image.id,
        before
    );
}

#[test]
fn an_image_in_use_loses_tags_but_not_the_last() {
    let engine = engine();
    let gone = |image: &str| Call::RemoveImage {
        image: image.to_owned(),
    };
    engine.id(create("api", spec()));
    assert_eq!(kind(engine.say(gone("base:1"))), "conflict");
    engine
        .say(Call::TagImage {
            image: "base:1".to_owned(),
            tag: "alias".to_owned(),
        })
        .expect("tags");
    assert_eq!(kind(engine.say(gone("base:1"))), "ok");
    assert_eq!(kind(engine.say(gone("alias:latest"))), "conflict");
    engine.say(remove("api")).expect("goes");
    assert_eq!(kind(engine.say(gone("alias"))), "ok");
    assert_eq!(kind(engine.say(gone("alias"))), "not found");
}

#[test]
fn an_image_that_others_are_made_of_stays_nameless_until_they_are_gone() {
    let engine = engine();
    let gone = |image: &str| Call::RemoveImage {
        image: image.to_owned(),
    };
    engine.id(create("api", spec()));
    let parent = engine.inspect("api").image_id;
    engine.id(Call::CommitContainer(Box::new(commit("api", "snap:1"))));
    engine.say(remove("api")).expect("goes");
    assert_eq!(kind(engine.say(gone(&parent))), "conflict");
    assert_eq!(kind(engine.say(gone("base:1"))), "ok");
    assert!(engine.world().image(&parent).is_some());
    let nameless = MemoryEngine::new(engine.world());
    nameless.say(gone("snap:1")).expect("goes");
    assert!(nameless.world().image(&parent).is_some(), "it may be somebody's");
    engine.rmi("snap:1").expect("goes");
    assert_eq!(engine.world().images().count(), 0);
}

#[test]
fn a_pull_moves_the_tag_and_keeps_the_digest() {
    let published = Blueprint::new().env("V", "1");
    let engine = MemoryEngine::new(World::new().with_published_of("debian", &published));
    let pull = |reference: &str| Call::PullImage {
        reference: reference.to_owned(),
    };
    assert_eq!(kind(engine.say(pull("nope:1"))), "work");
    engine
        .say(pull("docker.io/library/debian:latest"))
        .expect("pulled");
    let world = engine.world();
    let first = world.image("debian").expect("pulled").reply.image.clone();
    engine.say(pull("debian")).expect("again");
    assert_eq!(engine.world().images().count(), 1, "nothing new");
    engine.by_hand(|world| *world = std::mem::take(world).with_published_of("debian", &published));
    engine.say(pull("debian")).expect("moved");
    let world = engine.world();
    let digest = first.digests.first().expect("has one");
    assert_eq!(world.image(digest).expect("kept").reply.image.id, first.id);
    assert_ne!(
        world.image("debian:latest").expect("pulled").reply.image.id,
        first.id
    );
}

#[test]
fn a_build_inherits_from_its_base_and_fails_with_its_output() {
    let engine = engine();
    let build = |dockerfile: &str| {
        Call::BuildImage(Box::new(Build {
            tag: "own:1".to_owned(),
            labels: Labels::from([("own".to_owned(), "1".to_owned())]),
            dockerfile: dockerfile.to_owned(),
            triggers: Vec::new(),
            path: None,
            context: "/".into(),
            files: [].into(),
            digest: None,
            args: [("BASE".to_owned(), "base:1".to_owned())].into(),
            target: None,
            certificates: None,
            cache: true,
        }))
    };
    engine.id(build(
        "ARG BASE=no\nFROM ${BASE} AS one\nENV C=\"c\"\nFROM one\nCMD [\"run\"]\n",
    ));
    let world = engine.world();
    let image = world.image("own:1").expect("built");
    assert_eq!(
        (
            image.reply.config.env["A"].as_str(),
            image.reply.config.env["C"].as_str()
        ),
        ("image", "c")
    );
    assert_eq!(image.reply.config.command, Some(vec!["run".to_owned()]));
    assert_eq!(
        (
            image.reply.image.labels["who"].as_str(),
            image.reply.image.labels["own"].as_str()
        ),
        ("image", "1")
    );
    assert!(image.files.contains_key("/data/f"));
    for wrong in ["FROM base:1\nRUN exit 3\n", "FROM base:1\nRUN false\n"] {
        let Err(EngineError::Work { log, .. }) = engine.say(build(wrong)) else {
            panic!("built {wrong}")
        };
        assert!(!log.is_empty());
    }
    for missing in ["nope:1", &image.reply.image.id] {
        let Err(EngineError::Absent { image, .. }) = engine.say(build(&format!("FROM {missing}\n"))) else {
            panic!("built from {missing}")
        };
        assert_eq!(image, missing);
    }
}

#[test]
fn a_taken_port_is_noticed_at_the_start_and_no_earlier() {
    let engine = MemoryEngine::new(world().with_taken_port(90));
    let on = |address: &str, port: u16| {
        let binding = Binding {
            address: address.to_owned(),
            port,
        };
        ContainerSpec {
            ports: [("80/tcp".to_owned(), vec![binding])].into(),
            ..spec()
        }
    };
    engine.ran("one", on("127.0.0.1", 80));
    engine.id(create("two", on("127.0.0.1", 80)));
    assert_eq!(kind(engine.say(start("two"))), "refused");
    let reply = engine.inspect("two");
    assert_eq!((reply.state, reply.started), (RunState::Created, None));
    assert!(
        reply
            .error
            .expect("says why")
            .contains("port is already allocated")
    );
    engine.ran("three", on("127.0.0.2", 80));
    engine.id(create("any", on("0.0.0.0", 80)));
    assert_eq!(kind(engine.say(start("any"))), "refused");
    engine.id(create("host", on("127.0.0.1", 90)));
    assert_eq!(kind(engine.say(start("host"))), "refused");
    engine.say(stop("one")).expect("stops");
    engine.say(start("two")).expect("free now");
    assert_eq!(engine.inspect("two").error, None);
    assert_eq!(kind(engine.say(start("one"))), "refused");
    assert_eq!(
        engine.state("one"),
        RunState::Exited { code: 143 },
        "as it ended before"
    );
}

#[test]
fn the_states_of_a_container() {
    let engine = engine();
    let unpause = || Call::UnpauseContainer {
        container: "api".to_owned(),
    };
    engine.id(create("api", spec()));
    assert_eq!(kind(engine.say(stop("api"))), "ok");
    assert_eq!(engine.state("api"), RunState::Created, "stopping it does nothing");
    assert_eq!(kind(engine.say(unpause())), "failed");
    engine.say(start("api")).expect("starts");
    assert_eq!(kind(engine.say(start("api"))), "ok", "again");
    engine.pause("api").expect("pauses");
    assert_eq!(kind(engine.say(start("api"))), "conflict");
    engine.say(unpause()).expect("goes on");
    engine.pause("api").expect("pauses");
    engine.say(stop("api")).expect("stops what is frozen");
    assert_eq!(engine.state("api"), RunState::Exited { code: 143 });
    engine.ran(
        "bare",
        ContainerSpec {
            init: false,
            ..spec()
        },
    );
    engine.say(stop("bare")).expect("kills");
    assert_eq!(engine.state("bare"), RunState::Exited { code: 137 });
    engine.ran("gone", spec());
    assert_eq!(kind(engine.say(remove("gone"))), "ok", "running or not");
    assert_eq!(kind(engine.say(remove("gone"))), "not found");
}

#[test]
fn a_missing_command_fails_to_start_without_init_and_ends_at_once_with_one() {
    let engine = MemoryEngine::new(
        world()
            .with_fate("nope", Fate::Missing)
            .with_fate("crash", Fate::Ends(3)),
    );
    let runs = |word: &str, init: bool| ContainerSpec {
        command: Some(vec![word.to_owned()]),
        init,
        ..spec()
    };
    engine.id(create("bare", runs("nope", false)));
    assert_eq!(kind(engine.say(start("bare"))), "refused");
    assert_eq!(engine.state("bare"), RunState::Created);
    engine.ran("init", runs("nope", true));
    assert_eq!(engine.state("init"), RunState::Exited { code: 127 });
    engine.ran("crash", runs("crash", true));
    assert_eq!(engine.state("crash"), RunState::Exited { code: 3 });
    engine.ran(
        "loop",
        ContainerSpec {
            restart: Restart::Always,
            ..runs("crash", true)
        },
    );
    assert_eq!(
        (engine.state("loop"), engine.inspect("loop").restarts),
        (RunState::Restarting, 1)
    );
    engine.say(stop("loop")).expect("stops");
    assert_eq!(engine.state("loop"), RunState::Exited { code: 3 });
    engine.ran(
        "tried",
        ContainerSpec {
            restart: Restart::OnFailure(2),
            ..runs("crash", true)
        },
    );
    assert_eq!(
        (engine.state("tried"), engine.inspect("tried").restarts),
        (RunState::Exited { code: 3 }, 2)
    );
}

#[test]
fn an_update_merges_and_zero_means_unchanged() {
    let engine = engine();
    let memory = |memory: u64, swap: Option<i64>| Resources {
        memory: Some(memory << 20),
        memory_swap: swap.map(|swap| swap << 20),
        ..Resources::default()
    };
    engine.ran(
        "api",
        ContainerSpec {
            resources: memory(100, None),
            ..spec()
        },
    );
    let limits = || engine.inspect("api").spec.resources;
    assert_eq!(limits().memory_swap, Some(200 << 20), "twice the memory");
    let update = |resources: Resources| {
        engine.say(Call::UpdateContainer {
            container: "api".to_owned(),
            resources: Some(resources),
            restart: None,
        })
    };
    assert_eq!(
        kind(update(memory(500, None))),
        "conflict",
        "above memory and swap together"
    );
    assert_eq!(kind(update(memory(500, Some(400)))), "refused");
    assert_eq!(kind(update(memory(1, Some(2)))), "refused", "too little");
    assert_eq!(kind(update(memory(500, Some(1000)))), "ok");
    assert_eq!(
        kind(update(Resources {
            memory: Some(0),
            cpus: Some(0),
            ..Resources::default()
        })),
        "ok"
    );
    assert_eq!(limits().memory, Some(500 << 20));
    let more = Resources {
        cpus: Some(1_500_000_000),
        pids: Some(100),
        ..Resources::default()
    };
    assert_eq!(kind(update(more)), "ok");
    assert_eq!(
        (limits().memory, limits().cpus, limits().pids),
        (Some(500 << 20), Some(1_500_000_000), Some(100))
    );
    assert_eq!(
        kind(update(Resources {
            cpus: Some(64_000_000_000),
            ..Resources::default()
        })),
        "refused"
    );
    update(Resources::default()).expect("nothing but processes can be unset");
    assert_eq!((limits().cpus, limits().pids), (Some(1_500_000_000), None));
    engine.pause("api").expect("pauses");
    assert_eq!(kind(update(memory(300, Some(600)))), "ok", "frozen or not");
}

#[test]
fn a_limit_below_what_is_used_is_refused() {
    let engine = engine();
    let id = engine.ran("api", spec());
    engine.by_hand(|world| world.at_mut(&id).expect("there").memory_used = 1 << 30);
    let less = Resources {
        memory: Some(1 << 29),
        memory_swap: Some(1 << 30),
        ..Resources::default()
    };
    let update = Call::UpdateContainer {
        container: id,
        resources: Some(less),
        restart: Some(Restart::Always),
    };
    assert_eq!(kind(engine.say(update)), "refused");
    assert_eq!(engine.inspect("api").spec.restart, Restart::No, "all or nothing");
}

#[test]
fn limits_that_nothing_can_be_created_with_keep_it_from_starting() {
    let engine = engine();
    let id = engine.id(create("api", spec()));
    let swap = |swap| Call::UpdateContainer {
        container: id.clone(),
        resources: Some(Resources {
            memory_swap: Some(swap),
            ..Resources::default()
        }),
        restart: None,
    };
    let start = || {
        kind(engine.say(Call::StartContainer {
            container: id.clone(),
        }))
    };
    assert_eq!(kind(engine.say(swap(256 << 20))), "ok");
    assert_eq!(start(), "refused");
    assert_eq!(engine.inspect("api").error, None, "it was not even tried");
    assert_eq!(kind(engine.say(swap(-1))), "ok");
    assert_eq!(start(), "ok");
}

#[test]
fn files_go_where_the_mounts_lead() {
    let engine = engine();
    let mut mounted = spec();
    mounted.mounts.insert("/v".to_owned(), mount("data", false));
    mounted.mounts.insert("/r".to_owned(), mount("data", true));
    mounted.mounts.insert(
        "/h".to_owned(),
        Mount::Bind {
            source: "/host".to_owned(),
            read_only: false,
        },
    );
    engine.id(create("api", mounted));
    let upload = |path: &str| Call::Upload {
        container: "api".to_owned(),
        files: [file(path)].into(),
    };
    let read = |path: &str| {
        engine.say(Call::ReadFile {
            container: "api".to_owned(),
            path: path.to_owned(),
        })
    };
    engine.say(upload("v/x")).expect("to the volume");
    assert_eq!(read("/r/x"), Ok(Answer::Bytes(b"x".to_vec())), "the same volume");
    assert_eq!(kind(engine.say(upload("r/y"))), "refused");
    assert_eq!(kind(read("/nope")), "not found");
    assert_eq!(read("/data/f"), Ok(Answer::Bytes(b"x".to_vec())), "the image's");
    engine.say(upload("h/x")).expect("through to the host");
    assert!(engine.world().host_files().contains_key("/host/x"));
    let mut read_only = spec();
    read_only.security.read_only = true;
    engine.id(create("ro", read_only));
    assert_eq!(
        kind(engine.say(Call::Upload {
            container: "ro".to_owned(),
            files: [file("x")].into()
        })),
        "refused"
    );
}

#[test]
fn the_creation_time_of_a_volume_is_the_last_change_of_its_root() {
    let engine = engine();
    let mut mounted = spec();
    mounted.mounts.insert("/v".to_owned(), mount("data", false));
    engine.id(create("api", mounted));
    let time = || engine.world().volume("data").expect("made").reply.created.clone();
    let upload = |path: &str| {
        engine
            .say(Call::Upload {
                container: "api".to_owned(),
                files: [file(path)].into(),
            })
            .expect("writes");
    };
    let mut last = time();
    for (path, changes) in [
        ("v/d/a", true),
        ("v/d/b", false),
        ("v/x", true),
        ("v/x", true),
        ("v/d/a", false),
    ] {
        upload(path);
        assert_eq!(time() != last, changes, "{path}");
        last = time();
    }
}

#[test]
fn jobs_run_to_their_end() {
    let job = |world: World| {
        let engine = MemoryEngine::new(world);
        let mut tools = spec();
        tools.mounts.insert("/tools".to_owned(), mount("set", false));
        let labels = Labels::from([(
            crate::label::HARNESSES.to_owned(),
            "codex 1.0, claude 2.0".to_owned(),
        )]);
        engine.say(volume("set", labels)).expect("made");
        let labels = Labels::from([(KIND.to_owned(), "job".to_owned())]);
        let create = Create {
            name: "job-1".to_owned(),
            labels,
            spec: tools,
        };
        engine.id(Call::CreateContainer(Box::new(create)));
        engine.say(start("job-1")).expect("starts");
        engine
    };
    let follow = || Call::FollowLog {
        container: "job-1".to_owned(),
    };
    let receipt = |engine: &MemoryEngine| {
        engine
            .world()
            .volume("set")
            .expect("made")
            .files
            .contains_key("/.aishell/receipt.json")
    };
    let engine = job(world());
    assert_eq!(engine.state("job-1"), RunState::Exited { code: 0 });
    assert!(receipt(&engine));
    let log = vec!["no".to_owned()];
    let engine = job(world().with_job(
        "job",
        Job::Fails {
            code: 65,
            log: log.clone(),
        },
    ));
    assert_eq!(engine.say(follow()), Ok(Answer::Log(log)));
    assert_eq!(engine.state("job-1"), RunState::Exited { code: 65 });
    assert!(!receipt(&engine));
    let engine = job(world().with_slow_jobs());
    assert_eq!(engine.state("job-1"), RunState::Running);
    engine.say(follow()).expect("a log");
    assert_eq!(engine.state("job-1"), RunState::Exited { code: 0 });
    let engine = job(world().with_job("job", Job::Hangs));
    engine.say(follow()).expect("a log");
    assert_eq!(engine.state("job-1"), RunState::Running);
}

#[test]
fn listings_show_what_carries_an_identifier() {
    let engine = MemoryEngine::new(
        world()
            .stranger_container("db")
            .stranger_volume("v")
            .stranger_network("n"),
    );
    assert_eq!(engine.say(Call::ListContainers), Ok(Answer::Containers(vec![])));
    assert_eq!(engine.say(Call::ListVolumes), Ok(Answer::Volumes(vec![])));
    assert_eq!(engine.say(Call::ListNetworks), Ok(Answer::Networks(vec![])));
    assert_eq!(engine.say(Call::ListImages), Ok(Answer::Images(vec![])));
    engine.id(create("api", spec()));
    engine.say(volume("data", Labels::new())).expect("made");
    engine.id(network("net"));
    engine.id(Call::CommitContainer(Box::new(commit("api", "snap:1"))));
    let Ok(Answer::Containers(listed)) = engine.say(Call::ListContainers) else {
        panic!("no list")
    };
    assert_eq!(
        listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        ["api"]
    );
    let count = |answer| match answer {
        Ok(Answer::Volumes(found)) => found.len(),
        Ok(Answer::Networks(found)) => found.len(),
        Ok(Answer::Images(found)) => found.len(),
        other => panic!("no list: {other:?}"),
    };
    for call in [Call::ListVolumes, Call::ListNetworks, Call::ListImages] {
        assert_eq!(count(engine.say(call)), 1);
    }
}

#[test]
fn a_cut_before_a_call_leaves_it_undone_and_one_after_it_done() {
    for (cut, there) in [(Cut::Before, false), (Cut::After, true)] {
        let engine = engine();
        engine.say(Call::Version).expect("not counted");
        engine.cut(1, cut);
        engine.say(volume("one", Labels::new())).expect("not yet cut");
        assert_eq!(kind(engine.say(volume("two", Labels::new()))), "unreachable");
        assert_eq!(kind(engine.say(volume("three", Labels::new()))), "unreachable");
        assert_eq!(engine.world().volume("two").is_some(), there);
        assert!(engine.world().volume("three").is_none());
        engine.mend();
        assert_eq!(engine.calls().len(), 4);
        assert_eq!(engine.writes().len(), 3);
        engine.say(volume("three", Labels::new())).expect("whole again");
    }
}

#[test]
fn faults_fail_without_effect_and_events_come_right_before_a_call() {
    let engine = engine();
    engine.fault(|call| matches!(call, Call::CreateVolume { .. }).then(|| failed("disk full")));
    assert_eq!(kind(engine.say(volume("one", Labels::new()))), "failed");
    engine.mend();
    engine.before(1, |world| *world = std::mem::take(world).stranger_volume("two"));
    engine.say(volume("one", Labels::new())).expect("made");
    assert!(engine.world().volume("two").is_none());
    assert_eq!(
        kind(engine.say(Call::InspectVolume {
            volume: "two".to_owned()
        })),
        "ok"
    );
}

#[test]
fn a_reboot_starts_what_its_policy_says() {
    let engine = engine();
    for (name, restart) in [
        ("no", Restart::No),
        ("unless", Restart::UnlessStopped),
        ("always", Restart::Always),
    ] {
        engine.ran(name, ContainerSpec { restart, ..spec() });
        let stopped = format!("{name}-stopped");
        engine.ran(&stopped, ContainerSpec { restart, ..spec() });
        engine.stop(&stopped).expect("stops");
    }
    engine.reboot();
    let world = engine.world();
    let running: Vec<&str> = world
        .containers()
        .filter(|one| one.state() == RunState::Running)
        .map(Container::name)
        .collect();
    let mut running = running;
    running.sort_unstable();
    assert_eq!(running, ["always", "always-stopped", "unless"]);
}

#[test]
fn worlds_differ_in_lines() {
    let engine = engine();
    engine.ran("api", spec());
    let before = engine.world();
    engine.stop("api").expect("stops");
    engine.say(volume("data", Labels::new())).expect("made");
    let after = engine.world();
    let id = engine.inspect("api").id;
    let short = &id[..6];
    assert_eq!(
        before.difference(&after),
        [
            format!("~ container api: {short} running -> {short} exited (143)"),
            "+ volume data: 0 files".to_owned()
        ]
    );
    assert_eq!(after.difference(&after), Vec::<String>::new());
}

#[test]
fn a_hundred_thousand_containers_are_nothing() {
    let engine = engine();
    for index in 0..100_000 {
        let name = format!("c{index}");
        engine.id(create(&name, spec()));
        engine.say(start(&name)).expect("starts");
    }
    engine.forget();
    for index in (0..100_000).step_by(10) {
        assert_eq!(engine.state(&format!("c{index}")), RunState::Running);
        engine.say(remove(&format!("c{index}"))).expect("goes");
    }
    let Ok(Answer::Containers(listed)) = engine.say(Call::ListContainers) else {
        panic!("no list")
    };
    assert_eq!(listed.len(), 90_000);
}

#[test]
fn a_volume_that_only_the_image_declares_may_go_with_its_container_and_a_named_one_never() {
    let declared = Blueprint::new().volume("/data").file("/data/f", b"x");
    let engine = MemoryEngine::new(World::new().with_image_of("db:1", &declared));
    let image = |spec: ContainerSpec| ContainerSpec {
        image: "db:1".to_owned(),
        ..spec
    };
    engine.id(create("one", image(spec())));
    let Mount::Volume { name, .. } = engine.inspect("one").spec.mounts["/data"].clone() else {
        panic!("none")
    };
    assert!(
        engine
            .world()
            .volume(&name)
            .expect("made")
            .files
            .contains_key("/f")
    );
    // Whoever names it keeps it.
    let mut carried = image(spec());
    carried.mounts.insert("/data".to_owned(), mount(&name, false));
    engine.id(create("two", carried));
    for (container, there) in [("one", true), ("two", true)] {
        engine.say(remove(container)).expect("goes");
        assert_eq!(engine.world().volume(&name).is_some(), there, "after {container}");
    }
    engine.id(create("three", image(spec())));
    let Mount::Volume { name, .. } = engine.inspect("three").spec.mounts["/data"].clone() else {
        panic!("none")
    };
    engine.say(remove("three")).expect("goes");
    assert!(engine.world().volume(&name).is_none());
}
