//! The laws of reconciling, on random manifests in random worlds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aishell::call::{Call, Create};
use aishell::engine::EngineError;
use aishell::engine::memory::{Cut, Fate, Job, MemoryEngine, World};
use aishell::label::{Kind, Labels, Mark, UID};
use aishell::observed::NetworkShape;
use aishell::plan::{Baseline, Consent, Requested, Widen};
use aishell::progress::Progress;
use aishell::report::Outcome;
use aishell::spec::{Binding, ContainerSpec, Endpoint, Mount, Resources, Restart};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::world::{
    BASE, LAN, SIDECAR, Wish, converge, converged, explained, forgotten, fork, is_anonymous, left_to_do,
    looked, not_of, passed, passed_with, planned, told, wish, world,
};

/// What somebody does by hand to the containers of a manifest.
#[derive(Clone, Debug)]
pub enum Hand {
    Stop(usize),
    Pause(usize),
    Kill(usize),
    Crash(usize),
    Remove(usize),
    Rename(usize),
    Aside(usize),
    Limit(usize, u64),
    Policy(usize),
    Connect(usize),
    Disconnect(usize),
    Commit(usize),
    Copy(usize),
    RemoveReceipt,
    RemoveNetwork,
    OtherNetwork,
    SecondNetwork,
    Write(usize),
    MoveTag(usize),
    Untag(usize),
    RemoveVolumes,
    Repull,
    Reboot,
}

pub fn hand() -> impl Strategy<Value = Hand> {
    let which = 0..4_usize;
    prop_oneof![
        which.clone().prop_map(Hand::Stop),
        which.clone().prop_map(Hand::Pause),
        which.clone().prop_map(Hand::Kill),
        which.clone().prop_map(Hand::Crash),
        which.clone().prop_map(Hand::Remove),
        which.clone().prop_map(Hand::Rename),
        which.clone().prop_map(Hand::Aside),
        (which.clone(), 1..8_u64).prop_map(|(which, size)| Hand::Limit(which, size << 28)),
        which.clone().prop_map(Hand::Policy),
        which.clone().prop_map(Hand::Connect),
        which.clone().prop_map(Hand::Disconnect),
        which.clone().prop_map(Hand::Commit),
        which.clone().prop_map(Hand::Copy),
        which.clone().prop_map(Hand::Write),
        which.clone().prop_map(Hand::MoveTag),
        which.prop_map(Hand::Untag),
        Just(Hand::RemoveVolumes),
        Just(Hand::Repull),
        Just(Hand::RemoveReceipt),
        Just(Hand::RemoveNetwork),
        Just(Hand::OtherNetwork),
        Just(Hand::SecondNetwork),
        Just(Hand::Reboot),
    ]
}

/// Does something by hand; where the engine refuses, nothing has happened.
pub fn meddle(engine: &MemoryEngine, wish: &Wish, hand: &Hand) {
    let prepared = wish.prepared();
    let owner = &prepared.facts.owner;
    let names: Vec<String> = wish.containers.keys().map(|name| owner.object(name)).collect();
    let name = |which: &usize| names.get(which % names.len().max(1)).cloned().unwrap_or_default();
    let network = owner.object(&owner.manifest);
    let _said: Result<(), EngineError> = match hand {
        Hand::Stop(which) => engine.stop(&name(which)),
        Hand::Pause(which) => engine.pause(&name(which)),
        Hand::Kill(which) => engine.kill(&name(which)),
        Hand::Crash(which) => engine.crash(&name(which), 3),
        Hand::Remove(which) => engine.rm(&name(which)),
        Hand::Rename(which) => engine.rename(&name(which), &format!("moved-{which}")),
        Hand::Aside(which) => engine.rename(&name(which), &format!("{}.prev", name(which))),
        Hand::Limit(which, size) => {
            let limits = Resources {
                memory: Some(*size),
                memory_swap: i64::try_from(size * 2).ok(),
                ..Resources::default()
            };
            engine.update(&name(which), &limits, None)
        }
        Hand::Policy(which) => engine.update(&name(which), &Resources::default(), Some(Restart::Always)),
        Hand::Connect(which) => engine.connect(LAN, &name(which)),
        Hand::Disconnect(which) => engine.disconnect(&network, &name(which)),
        Hand::Commit(which) => engine.commit(&name(which), "backup:1").map(|_| ()),
        Hand::Copy(which) => {
            let copied = engine.commit(&name(which), "backup:2");
            copied.map(|_| {
                engine.by_hand(|world| *world = std::mem::take(world).with_container(&copy("backup:2")));
            })
        }
        Hand::RemoveReceipt => {
            let receipts: Vec<String> = engine
                .world()
                .containers()
                .map(|one| one.name().to_owned())
                .filter(|name| name.starts_with("aishell-receipt-"))
                .collect();
            receipts.iter().try_for_each(|receipt| engine.rm(receipt))
        }
        Hand::RemoveNetwork => engine.rm_network(&network),
        Hand::OtherNetwork => {
            let shape = NetworkShape {
                internal: true,
                ..NetworkShape::default()
            };
            engine.reshape(&network, &shape);
            Ok(())
        }
        Hand::SecondNetwork => {
            let labels = engine
                .world()
                .networks_named(&network)
                .first()
                .map(|one| one.reply.labels.clone());
            if let Some(mut labels) = labels {
                labels.insert(UID.to_owned(), "another".to_owned());
                engine.by_hand(|world| *world = std::mem::take(world).with_network(&network, labels));
            }
            Ok(())
        }
        Hand::MoveTag(which) => keyed(engine, *which).map_or(Ok(()), |tag| engine.tag(SIDECAR, &tag)),
        Hand::Untag(which) => keyed(engine, *which).map_or(Ok(()), |tag| engine.rmi(&tag)),
        Hand::RemoveVolumes => {
            let world = engine.world();
            let said: Vec<_> = world
                .volumes()
                .map(|one| engine.rm_volume(&one.reply.name))
                .collect();
            said.into_iter().collect()
        }
        Hand::Repull => {
            engine.by_hand(|world| *world = std::mem::take(world).with_published(BASE));
            engine
                .by_hand(|world| {
                    world.answer(
                        &Call::PullImage {
                            reference: BASE.to_owned(),
                        },
                        &Progress::default(),
                    )
                })
                .map(|_| ())
        }
        Hand::Write(which) => engine.write(&name(which), "/home/me/notes", b"mine"),
        Hand::Reboot => {
            engine.reboot();
            Ok(())
        }
    };
}

/// Returns one of the keyed tags of images that aishell made; the image has another tag, too.
fn keyed(engine: &MemoryEngine, which: usize) -> Option<String> {
    let world = engine.world();
    let mut tags: Vec<String> = world
        .images()
        .flat_map(|image| image.reply.image.tags.clone())
        .collect();
    tags.retain(|tag| tag.starts_with("aishell-demo:"));
    tags.sort();
    let tag = (!tags.is_empty()).then(|| tags[which % tags.len()].clone())?;
    let kept = format!("kept:{}", &world.image(&tag)?.reply.image.id["sha256:".len()..]);
    engine.tag(&tag, &kept).ok().map(|()| tag)
}

fn copy(image: &str) -> Create {
    let spec = ContainerSpec {
        image: image.to_owned(),
        command: Some(vec!["sleep".to_owned()]),
        ..ContainerSpec::default()
    };
    Create {
        name: "copy".to_owned(),
        labels: Labels::new(),
        spec,
    }
}

/// Returns the fields of a container; what it publishes is its own.
fn fields(port: u16) -> impl Strategy<Value = Map<String, Value>> {
    let what = prop_oneof![
        3 => Just(json!({ "harness": "claude" })),
        2 => Just(json!({ "harness": "codex" })),
        2 => Just(json!({})),
        2 => Just(json!({ "command": ["make", "watch"] })),
        1 => Just(json!({ "command": ["once"] })),
        2 => Just(json!({ "image": SIDECAR, "user": "image", "workspace": "none" })),
    ];
    let resources = (
        option::of(select(vec!["512MiB", "1GiB"])),
        option::of(select(vec!["1", "1.5"])),
        option::of(select(vec![json!(100), json!("unlimited")])),
    );
    let looks = (
        option::of(select(vec!["a", "b"])),
        option::of(select(vec!["one", "two"])),
        option::of(Just(json!([format!("{port}:80")]))),
        option::of(select(vec![json!("none"), json!([LAN]), json!([LAN, "wan"])])),
        option::of(select(vec!["always", "no", "on-failure:3"])),
        any::<bool>(),
        any::<bool>(),
    );
    (what, resources, looks).prop_map(|(what, (memory, cpus, pids), looks)| {
        let (mode, label, ports, network, restart, cache, tmpfs) = looks;
        let Value::Object(mut fields) = what else {
            unreachable!("a map")
        };
        let mut resources = Map::new();
        let set = |map: &mut Map<String, Value>, name: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(name.to_owned(), value);
            }
        };
        set(&mut resources, "memory", memory.map(Value::from));
        set(&mut resources, "cpus", cpus.map(Value::from));
        set(&mut resources, "pids", pids);
        set(&mut fields, "env", mode.map(|mode| json!({ "MODE": mode })));
        set(&mut fields, "labels", label.map(|label| json!({ "team": label })));
        set(&mut fields, "ports", ports);
        set(&mut fields, "network", network);
        // What ends at once and is started for ever never settles.
        let ends = fields.get("command") == Some(&json!(["once"]));
        let restart = restart.filter(|restart| !ends || *restart != "always");
        set(&mut fields, "restart", restart.map(Value::from));
        set(
            &mut fields,
            "mounts",
            cache.then(|| json!([{ "volume": "cache", "target": "/cache" }])),
        );
        let home = tmpfs && !fields.contains_key("image");
        set(&mut fields, "home", home.then(|| json!("tmpfs")));
        if !resources.is_empty() {
            fields.insert("resources".to_owned(), Value::Object(resources));
        }
        fields
    })
}

/// Stands for the foundation that ships with aishell.
const BUILTIN: &str = "";

pub fn wishes() -> impl Strategy<Value = Wish> {
    let containers = (option::of(fields(3001)), option::of(fields(3002)), fields(3003));
    let foundation = option::of(select(vec!["ENV A=1", "ENV A=2", BUILTIN]));
    let versions = (select(vec!["2.0.22", "2.1.0"]), select(vec!["0.9.0", "1.0.0"]));
    (containers, foundation, versions).prop_map(|((api, web, tool), foundation, (claude, codex))| {
        let mut wish = wish().harness("claude", claude).harness("codex", codex);
        match foundation {
            Some(BUILTIN) => wish = wish.builtin(),
            Some(instructions) => wish = wish.built(instructions),
            None => {}
        }
        for (name, fields) in [("api", api), ("web", web), ("tool", Some(tool))] {
            if let Some(fields) = fields {
                wish.containers.insert(name.to_owned(), fields);
            }
        }
        wish
    })
}

/// Returns worlds with strangers of every kind, other projects and other manifests among them.
pub fn worlds() -> impl Strategy<Value = World> {
    let any = any::<bool>;
    (any(), any(), any(), any(), any()).prop_map(|(pulled, neighbours, recent, slow, bare)| {
        let mut start = world()
            .stranger_network("wan")
            .stranger_container("db")
            .stranger_volume("data");
        start = start.with_fate("once", Fate::Ends(0));
        if pulled {
            start = start.with_image(BASE);
        }
        if bare {
            let log = vec!["npm: not found in the image".to_owned()];
            start = start.with_job(BASE, Job::Fails { code: 64, log });
        }
        if recent {
            start = start.recent();
        }
        if slow {
            start = start.with_slow_jobs();
        }
        if neighbours {
            let engine = MemoryEngine::new(start);
            let fields =
                json!({ "harness": "claude", "mounts": [{ "volume": "cache", "target": "/cache" }] });
            let one = wish().harness("claude", "2.0.22").container("api", fields);
            converged(&engine, &one.clone().of("/srv/other"));
            converged(&engine, &one.named("friend").of("/srv/friend"));
            start = engine.world();
        }
        start
    })
}

/// Returns the rules of a law that is tried so many times; ten times as often with `PROPTEST_CASES=2560`.
pub fn rules(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: (cases * ProptestConfig::default().cases / 256).max(1),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    }
}

/// A law that does not hold, with the circumstances.
pub type Law<T = ()> = Result<T, TestCaseError>;

/// Makes one pass, after which everything is as it should be.
pub fn made(engine: &MemoryEngine, wish: &Wish) -> Law {
    converge(engine, wish).map(|_| ()).map_err(TestCaseError::fail)
}

/// Whatever is not the manifest's is as it was.
pub fn untouched(before: &World, engine: &MemoryEngine, wish: &Wish) -> Law {
    prop_assert_eq!(
        not_of(before, wish),
        not_of(&engine.world(), wish),
        "strangers changed"
    );
    Ok(())
}

/// Returns the files of the data volumes of a manifest, and of those that images declare.
pub fn survivors(world: &World, wish: &Wish) -> BTreeMap<String, Vec<String>> {
    let prepared = wish.prepared();
    let owner = &prepared.facts.owner;
    world
        .volumes()
        .filter(|volume| {
            let mark = Mark::read(&volume.reply.labels);
            is_anonymous(&volume.reply.name)
                || mark.is_some_and(|mark| owner.owns(&mark) && mark.kind == Kind::Volume)
        })
        .map(|volume| (volume.reply.name.clone(), volume.files.keys().cloned().collect()))
        .collect()
}

/// Data volumes and what is in them are all there.
pub fn survived(before: &BTreeMap<String, Vec<String>>, engine: &MemoryEngine, wish: &Wish) -> Law {
    let after = survivors(&engine.world(), wish);
    for (volume, files) in before {
        prop_assert_eq!(after.get(volume), Some(files), "data volume {}", volume);
    }
    Ok(())
}

proptest! {
    #![proptest_config(rules(64))]

    #[test]
    fn a_satisfied_world_plans_nothing_and_is_left_alone(wish in wishes(), world in worlds()) {
        let engine = MemoryEngine::new(world);
        made(&engine, &wish)?;
        let before = engine.world();
        engine.forget();
        made(&engine, &wish)?;
        prop_assert_eq!(engine.writes(), vec![]);
        prop_assert_eq!(before.difference(&engine.world()), Vec::<String>::new());
    }

    #[test]
    fn whatever_was_done_by_hand_is_put_right_in_one_pass(
        wish in wishes(),
        world in worlds(),
        hands in vec(hand(), 1..6),
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &wish)?;
        for hand in &hands {
            meddle(&engine, &wish, hand);
        }
        let before = engine.world();
        let kept = survivors(&before, &wish);
        made(&engine, &wish)?;
        untouched(&before, &engine, &wish)?;
        survived(&kept, &engine, &wish)?;
    }

    #[test]
    fn nothing_that_is_in_use_is_interrupted_and_nothing_gets_wider_unasked(
        one in wishes(),
        other in wishes(),
        world in worlds(),
        used in 0..8_u8,
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &one)?;
        let prepared = one.prepared();
        let mut kept = Vec::new();
        for (index, name) in one.containers.keys().enumerate() {
            let name = prepared.facts.owner.object(name);
            if used & (1 << index) != 0 && engine.open_terminal(&name, &["sh"]).is_ok() {
                let world = engine.world();
                let container = world.container(&name).expect("a container");
                let networks: Vec<String> = container.attachments.keys().cloned().collect();
                kept.push((container.reply.id.clone(), container.reply.started.clone(), networks));
            }
        }
        let baseline = Baseline::of(&looked(&engine, &one).observed);
        let consent = Consent {
            widen: Widen::UpTo(Arc::new(baseline)),
            ..Consent::default()
        };
        let report = passed_with(&engine, &other, consent).expect("the engine answers");
        let world = engine.world();
        for (id, started, networks) in &kept {
            let container = world.containers().find(|one| one.reply.id == *id);
            prop_assert!(container.is_some(), "{} is gone: {}", id, told(&report));
            if let Some(container) = container {
                prop_assert_eq!(&container.reply.started, started);
                prop_assert!(!container.execs.is_empty(), "{}", told(&report));
                for network in networks {
                    prop_assert!(container.attachments.contains_key(network), "{}", told(&report));
                }
            }
        }
        for done in &report.steps {
            prop_assert!(done.step.widens.is_empty(), "{}", told(&report));
            prop_assert!(done.outcome != Outcome::Failed, "{}", told(&report));
        }
        // Whoever types it, and may, gets everything in one pass.
        let consent = Consent { interrupt: true, ..Consent::default() };
        passed_with(&engine, &other, consent).expect("the engine answers");
        prop_assert_eq!(left_to_do(&engine, &other), None);
    }

    #[test]
    fn whoever_is_asked_for_is_replaced_once_and_nobody_else(
        wish in wishes(),
        world in worlds(),
        asked in 0..8_u8,
        at in option::of(0..60_usize),
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &wish)?;
        let before = engine.world();
        let kept = survivors(&before, &wish);
        let asked = wish.containers.keys().enumerate().filter(|(index, _)| asked & (1 << index) != 0);
        let asked: BTreeSet<String> = asked.map(|(_, name)| name.clone()).collect();
        let consent = Consent { replace: Requested::Named(asked.clone()), ..Consent::default() };
        if let Some(at) = at {
            engine.cut(at, Cut::After);
            passed_with(&engine, &wish, consent);
            engine.mend();
            made(&engine, &wish)?;
        } else {
            engine.forget();
            let report = passed_with(&engine, &wish, consent).expect("the engine answers");
            prop_assert!(report.converged, "{}", told(&report));
            let made = engine.calls().iter().filter(|call| matches!(call, Call::CreateContainer(_))).count();
            prop_assert_eq!(made, asked.len(), "{}", told(&report));
            let world = engine.world();
            for name in wish.containers.keys() {
                let id = |world: &World| world.container(&wish.object(name)).map(|one| one.reply.id.clone());
                prop_assert_eq!(id(&before) != id(&world), asked.contains(name), "{}", name);
            }
        }
        prop_assert_eq!(left_to_do(&engine, &wish), None);
        untouched(&before, &engine, &wish)?;
        survived(&kept, &engine, &wish)?;
    }

    #[test]
    fn one_manifest_becomes_another_in_one_pass(one in wishes(), other in wishes(), world in worlds()) {
        let engine = MemoryEngine::new(world);
        made(&engine, &one)?;
        let before = engine.world();
        let kept = survivors(&before, &one);
        made(&engine, &other)?;
        untouched(&before, &engine, &other)?;
        survived(&kept, &engine, &other)?;
    }

    #[test]
    fn the_same_inputs_give_the_same_plan(
        one in wishes(),
        other in wishes(),
        world in worlds(),
        hands in vec(hand(), 0..4),
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &one)?;
        for hand in &hands {
            meddle(&engine, &one, hand);
        }
        let backwards = fork(&engine);
        backwards.by_hand(|world| world.nature().backwards = true);
        prop_assert_eq!(planned(&engine, &other), planned(&backwards, &other));
    }

    #[test]
    fn a_failed_step_skips_what_needs_it_and_nothing_else(
        one in wishes(),
        other in wishes(),
        world in worlds(),
        at in 0..40_usize,
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &one)?;
        let trial = fork(&engine);
        trial.forget();
        made(&trial, &other)?;
        let writes = trial.writes();
        prop_assume!(!writes.is_empty());
        let target = writes[at % writes.len()].clone();
        engine.fault(move |call| {
            (*call == target).then(|| EngineError::Failed { message: "injected".to_owned() })
        });
        let before = engine.world();
        let kept = survivors(&before, &one);
        let report = passed(&engine, &other).expect("the engine answers");
        let outcome = |id: u32| report.steps.iter().find(|done| done.step.id == id).map(|done| done.outcome);
        for done in &report.steps {
            let blocked = done.step.needs.iter().any(|need| outcome(*need) != Some(Outcome::Done));
            prop_assert_eq!(done.outcome == Outcome::Skipped, blocked, "{}", told(&report));
        }
        engine.mend();
        made(&engine, &other)?;
        untouched(&before, &engine, &other)?;
        survived(&kept, &engine, &other)?;
    }
}

/// Cuts a pass at every call, before and after its effect; the next pass makes everything right.
fn cut_everywhere(start: &MemoryEngine, wish: &Wish) -> Law {
    let trial = fork(start);
    made(&trial, wish)?;
    let before = start.world();
    let kept = survivors(&before, wish);
    for at in 0..trial.calls().len() {
        for cut in [Cut::Before, Cut::After] {
            let engine = fork(start);
            engine.cut(at, cut);
            let first = passed(&engine, wish);
            engine.mend();
            let between = engine.world();
            let report = passed(&engine, wish).expect("the engine answers");
            if let Some(left) = left_to_do(&engine, wish) {
                prop_assert!(
                    false,
                    "cut {cut:?} call {at}: {:?}\n{}\n--- left ---\n{left}\n--- the cut pass ---\n{}\n--- the world \
                     between ---\n{}\n--- the next pass ---\n{}\n--- manifest ---\n{}",
                    trial.calls()[at],
                    explained(&planned(start, wish)).join("\n"),
                    first.as_ref().map(told).unwrap_or_default(),
                    between.summary().join("\n"),
                    told(&report),
                    wish.text()
                );
            }
            untouched(&before, &engine, wish)?;
            survived(&kept, &engine, wish)?;
            let forgotten = forgotten(&engine.world());
            prop_assert!(
                forgotten.iter().all(|volume| kept.contains_key(volume)),
                "cut {cut:?} call {at}: {:?} forgot volumes",
                trial.calls()[at]
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(rules(10))]

    #[test]
    fn cut_anywhere_from_nothing_the_next_pass_completes(wish in wishes(), world in worlds()) {
        cut_everywhere(&MemoryEngine::new(world), &wish)?;
    }

    #[test]
    fn cut_anywhere_in_a_change_the_next_pass_completes(
        one in wishes(),
        other in wishes(),
        world in worlds(),
        hands in vec(hand(), 0..3),
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &one)?;
        for hand in &hands {
            meddle(&engine, &one, hand);
        }
        cut_everywhere(&engine, &other)?;
    }
}

/// Strangers under the very names that are needed.
fn squatters() -> impl Strategy<Value = BTreeMap<&'static str, bool>> {
    btree_map(
        select(vec!["api", "web", "tool", "api-home", "cache", "demo"]),
        any::<bool>(),
        1..4,
    )
}

proptest! {
    #![proptest_config(rules(32))]

    #[test]
    fn strangers_under_our_names_are_blocked_and_stay(wish in wishes(), world in worlds(), names in squatters()) {
        let prepared = wish.prepared();
    let owner = &prepared.facts.owner;
        let mut start = world;
        for (name, is_container) in names {
            let name = owner.object(name);
            start = if is_container { start.stranger_container(&name) } else { start.stranger_volume(&name) };
        }
        let engine = MemoryEngine::new(start);
        let before = engine.world();
        for _ in 0..2 {
            let _report = passed(&engine, &wish);
            untouched(&before, &engine, &wish)?;
        }
        let plan = looked(&engine, &wish).plan;
        prop_assert_eq!(plan.steps.len(), 0, "{:?}", explained(&plan));
    }
}

#[test]
fn a_world_of_strangers_with_our_ports_and_volumes_is_left_alone() {
    let prepared = wish().prepared();
    let owner = &prepared.facts.owner;
    let spec = ContainerSpec {
        image: SIDECAR.to_owned(),
        networks: [("bridge".to_owned(), Endpoint::default())].into(),
        ports: [(
            "80/tcp".to_owned(),
            vec![Binding {
                address: "127.0.0.1".to_owned(),
                port: 3000,
            }],
        )]
        .into(),
        mounts: [(
            "/cache".to_owned(),
            Mount::Volume {
                name: owner.object("cache"),
                read_only: false,
            },
        )]
        .into(),
        ..ContainerSpec::default()
    };
    let create = Create {
        name: "squatter".to_owned(),
        labels: Labels::new(),
        spec,
    };
    let engine = MemoryEngine::new(world().with_container(&create).started("squatter"));
    let before = engine.world();
    let wish = wish().container(
        "api",
        json!({ "ports": ["3000:80"], "mounts": [{ "volume": "cache", "target": "/cache" }] }),
    );
    let report = passed(&engine, &wish).expect("the engine answers");
    assert_eq!(not_of(&before, &wish), not_of(&engine.world(), &wish));
    assert!(!report.converged);
}
