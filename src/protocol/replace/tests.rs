use std::collections::BTreeMap;

use super::*;
use crate::engine::Engine as _;
use crate::engine::memory::{Fate, MemoryEngine, World};
use crate::key::{Key, KeyKind};
use crate::label::{Kind, Labels, Mark, Owner};
use crate::progress::Progress;
use crate::protocol::settle::{Verdict, verdict};
use crate::protocol::{Undone, drive};
use crate::spec::{ContainerSpec, Mount};

const NAME: &str = "aishell-926574b4-api";

fn labels(uid: &str) -> Labels {
    let owner = Owner {
        project: "/srv/demo".to_owned(),
        manifest: "demo".to_owned(),
        host: "host".to_owned(),
        file: "/srv/demo/aishell.yaml".to_owned(),
        formerly: Vec::new(),
    };
    let mut labels = owner.labels(Kind::Container, "api", &Key::of(KeyKind::Container, &1));
    labels.insert(crate::label::UID.to_owned(), uid.to_owned());
    labels
}

fn create(name: &str, uid: &str, spec: &ContainerSpec) -> Create {
    Create {
        name: name.to_owned(),
        labels: labels(uid),
        spec: spec.clone(),
    }
}

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: "base:1".to_owned(),
        ..ContainerSpec::default()
    }
}

/// Replaces the container of the name by one of a specification.
async fn replace(engine: &MemoryEngine, new: ContainerSpec) -> Result<(), Undone> {
    let world = engine.world();
    let old = world.container(NAME).expect("the old container").shown();
    let mark = Mark::read(&old.labels).expect("our labels");
    let work = CreateWork {
        create: create(NAME, "new", &new),
        connect: Vec::new(),
        completes: false,
        patience: Duration::from_secs(60),
        awaited: false,
        shells: BTreeMap::new(),
    };
    let mut protocol = Replace::new(OwnedId::new(&old.id, &mark), work, None);
    drive(&mut protocol, engine, &Progress::default()).await
}

#[tokio::test(start_paused = true)]
async fn whoever_has_the_name_of_the_new_one_is_left_alone_and_so_is_the_old_one() {
    let next = format!("{NAME}.next");
    let world = World::new()
        .with_container(&create(NAME, "old", &spec()))
        .started(NAME)
        // A container of a committed copy has every label of the original.
        .with_container(&create(&next, "old", &spec()));
    let engine = MemoryEngine::new(world.clone());
    assert!(replace(&engine, spec()).await.is_err());
    for name in [NAME, &next] {
        assert_eq!(engine.world().container(name), world.container(name), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_that_the_image_declares_go_along_and_are_never_removed() {
    let volume = Mount::Volume {
        name: "0123456789abcdef".repeat(4),
        read_only: false,
    };
    let mut old = spec();
    old.mounts.insert("/var/lib/data".to_owned(), volume.clone());
    let world = World::new()
        .with_container(&create(NAME, "old", &old))
        .started(NAME);
    let engine = MemoryEngine::new(world);
    replace(&engine, spec()).await.expect("a replacement");
    let world = engine.world();
    let new = world.container(NAME).expect("the new container").shown();
    assert_eq!(new.spec.mounts.get("/var/lib/data"), Some(&volume));
    let kept = |call: &Call| !matches!(call, Call::RemoveContainer { volumes: true, .. });
    assert!(engine.calls().iter().all(kept));
    // Two never write to it at once.
    let act = |wanted: fn(&Call) -> bool| engine.calls().iter().position(wanted);
    let stopped = act(|call| matches!(call, Call::StopContainer { .. }));
    let started = act(|call| matches!(call, Call::StartContainer { .. }));
    assert!(stopped.is_some() && stopped < started, "{stopped:?} {started:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_one_that_appears_after_the_look_and_is_never_started_makes_room() {
    let next = format!("{NAME}.next");
    let world = World::new()
        .with_container(&create(NAME, "old", &spec()))
        .started(NAME)
        .with_container(&create(&next, "of another", &spec()));
    let engine = MemoryEngine::new(world);
    replace(&engine, spec()).await.expect("a replacement");
    let world = engine.world();
    assert!(world.container(&next).is_none());
    assert_eq!(
        world.container(NAME).expect("the new container").state(),
        RunState::Running
    );
}

/// Returns the names of the calls that change something.
fn writes(engine: &MemoryEngine) -> Vec<String> {
    let calls = engine.calls();
    let name = |call: &Call| {
        format!("{call:?}")
            .split(['(', ' ', '{'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    calls.iter().filter(|call| call.is_write()).map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn where_both_can_run_the_new_one_proves_itself_before_the_old_one_is_touched() {
    let world = World::new()
        .with_container(&create(NAME, "old", &spec()))
        .started(NAME);
    let engine = MemoryEngine::new(world);
    replace(&engine, spec()).await.expect("a replacement");
    assert_eq!(
        writes(&engine),
        [
            "CreateContainer",
            "StartContainer",
            "StopContainer",
            "RenameContainer",
            "RenameContainer",
            "RemoveContainer"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn where_both_cannot_run_the_old_one_stops_first() {
    let mut shared = spec();
    let home = Mount::Volume {
        name: "home".to_owned(),
        read_only: false,
    };
    shared.mounts.insert("/home/me".to_owned(), home);
    let mut published = spec();
    let binding = crate::spec::Binding {
        address: "127.0.0.1".to_owned(),
        port: 3000,
    };
    published.ports.insert("80/tcp".to_owned(), vec![binding]);
    for spec in [shared, published] {
        let world = World::new()
            .with_container(&create(NAME, "old", &spec))
            .started(NAME);
        let engine = MemoryEngine::new(world);
        replace(&engine, spec).await.expect("a replacement");
        assert_eq!(writes(&engine)[..2], ["CreateContainer", "StopContainer"]);
    }
}

#[test]
fn a_new_container_is_judged_by_what_it_does_and_for_how_long() {
    let world = World::new()
        .with_container(&create(NAME, "old", &spec()))
        .started(NAME);
    let mut reply = world.container(NAME).expect("a container").shown();
    let work = CreateWork {
        create: create(NAME, "new", &spec()),
        connect: Vec::new(),
        completes: false,
        patience: Duration::from_secs(9),
        awaited: false,
        shells: BTreeMap::new(),
    };
    let at = |second: i64| Timestamp::from_second(second).expect("a time");
    let judged = |reply: &ContainerReply, second: i64| verdict(reply, &work, at(100), at(second));
    let is_bad = |verdict: &Verdict| matches!(verdict, Verdict::Bad(_));
    assert_eq!(judged(&reply, 101), Verdict::Good);
    reply.health = Some(crate::observed::Health::Starting);
    assert_eq!(judged(&reply, 108), Verdict::Wait);
    assert!(is_bad(&judged(&reply, 109)));
    reply.health = Some(crate::observed::Health::Healthy);
    assert_eq!(judged(&reply, 109), Verdict::Good);
    reply.health = Some(crate::observed::Health::Unhealthy);
    assert!(is_bad(&judged(&reply, 101)));
    reply.health = None;
    reply.restarts = 1;
    assert!(is_bad(&judged(&reply, 101)));
    reply.restarts = 0;
    reply.state = RunState::Exited { code: 0 };
    assert!(is_bad(&judged(&reply, 101)), "it was to stay");
}

/// Goes on with a replacement that was cut when the new one, with such a command, had the name.
async fn go_on(engine: &MemoryEngine, new: ContainerSpec) -> Result<(), Undone> {
    let world = engine.world();
    let id = |name: &str| {
        let shown = world.container(name).expect("a container").shown();
        let mark = Mark::read(&shown.labels).expect("our labels");
        OwnedId::new(&shown.id, &mark)
    };
    let work = CreateWork {
        create: create(NAME, "new", &new),
        connect: Vec::new(),
        completes: false,
        patience: Duration::from_secs(60),
        awaited: false,
        shells: BTreeMap::new(),
    };
    let protocol = Replace::new(id(&format!("{NAME}.prev")), work, None);
    let mut protocol = protocol.begun(Some(&id(NAME)));
    drive(&mut protocol, engine, &Progress::default()).await
}

#[tokio::test(start_paused = true)]
async fn one_that_was_cut_goes_on_and_is_taken_back_if_the_new_one_does_not_work() {
    let aside = format!("{NAME}.prev");
    let command = |word: &str| ContainerSpec {
        command: Some(vec![word.to_owned()]),
        ..spec()
    };
    for (word, works) in [("works", true), ("broken", false)] {
        for started in [false, true] {
            let mut world = World::new()
                .with_fate("broken", Fate::Ends(3))
                .with_container(&create(&aside, "old", &spec()))
                .with_container(&create(NAME, "new", &command(word)));
            if started {
                world = world.started(NAME);
            }
            let old = world.container(&aside).expect("the old one").shown().id;
            let new = world.container(NAME).expect("the new one").shown().id;
            let engine = MemoryEngine::new(world);
            let done = go_on(&engine, command(word)).await;
            assert_eq!(done.is_ok(), works, "{word} {started}");
            let world = engine.world();
            assert!(world.container(&aside).is_none(), "{word} {started}");
            let now = world.container(NAME).expect("a container");
            assert_eq!(now.shown().id, if works { new } else { old }, "{word} {started}");
            assert_eq!(now.state(), RunState::Running, "{word} {started}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_was_done_without_an_answer_the_old_one_runs_again() {
    let losses: [fn(&Call) -> bool; 3] = [
        |call| matches!(call, Call::StopContainer { .. }),
        |call| matches!(call, Call::RenameContainer { .. }),
        |call| matches!(call, Call::RemoveContainer { .. }),
    ];
    let broken = ContainerSpec {
        command: Some(vec!["broken".to_owned()]),
        ..spec()
    };
    let mut old = spec();
    // They cannot run at once.
    old.mounts.insert(
        "/data".to_owned(),
        Mount::Volume {
            name: "0123456789abcdef".repeat(4),
            read_only: false,
        },
    );
    for lost in losses {
        let world = World::new()
            .with_fate("broken", Fate::Ends(3))
            .with_container(&create(NAME, "old", &old))
            .started(NAME);
        let engine = MemoryEngine::new(world);
        let shown = engine.world().container(NAME).expect("the old one").shown();
        let mark = Mark::read(&shown.labels).expect("our labels");
        let work = CreateWork {
            create: create(NAME, "new", &broken),
            connect: Vec::new(),
            completes: false,
            patience: Duration::from_secs(60),
            awaited: false,
            shells: BTreeMap::new(),
        };
        let mut protocol = Replace::new(OwnedId::new(&shown.id, &mark), work, None);
        loop {
            match protocol.next() {
                Next::Call(call) => {
                    let mut answer = engine.call(&call, &Progress::default()).await;
                    if lost(&call) {
                        answer = Err(EngineError::Failed {
                            message: "nobody heard".to_owned(),
                        });
                    }
                    protocol.heard(answer, Timestamp::now());
                }
                Next::Wait(time) => {
                    tokio::time::sleep(time).await;
                    protocol.waited();
                }
                Next::Failed(_) => break,
                Next::Fetch(_) | Next::Done | Next::Busy(_) | Next::Used(_) => panic!("it cannot work"),
            }
        }
        let world = engine.world();
        let states: Vec<RunState> = world
            .containers()
            .filter(|one| one.shown().id == shown.id)
            .map(crate::engine::memory::Container::state)
            .collect();
        assert_eq!(states, [RunState::Running]);
    }
}
