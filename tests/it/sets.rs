//! Harness sets of which something is broken: whenever the repair is cut, the next one completes it, and nothing that was
//! for the repair alone is left.

use std::collections::BTreeMap;

use aishell::call::{Call, Content as Bytes, Create};
use aishell::engine::memory::{Cut, MemoryEngine, World};
use aishell::host::Host;
use aishell::label::{Labels, OwnedId};
use aishell::manifest::load::parse;
use aishell::observed::{Content, Damage, Observed, RunState};
use aishell::plan::{Consent, Depth};
use aishell::prepare::Prepared;
use aishell::progress::Progress;
use aishell::reconcile::Intent as _;
use aishell::spec::{ContainerSpec, Mount};
use serde_json::json;

use crate::world::{
    BASE, Wish, converged, fork, left_to_do, looked, looked_with, passed_with, steps, told, wish, world,
};

fn demo() -> Wish {
    wish()
        .harness("claude", "2.0.22")
        .harness("codex", "0.89.0")
        .container("api", json!({ "harness": "claude" }))
        .container("web", json!({ "harness": "codex" }))
}

/// Returns the volume of the set, and the name of what vouches for it.
fn names(engine: &MemoryEngine) -> (String, String) {
    let look = looked(engine, &demo());
    let set = look.desired.harness_set().expect("a set");
    (set.volume(), set.receipt())
}

/// An engine on which a set was installed and then broken.
fn broken() -> MemoryEngine {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    let (volume, _) = names(&engine);
    let helper = Create {
        name: "helper".to_owned(),
        labels: Labels::new(),
        spec: ContainerSpec {
            image: BASE.to_owned(),
            mounts: [(
                "/v".to_owned(),
                Mount::Volume {
                    name: volume,
                    read_only: false,
                },
            )]
            .into(),
            ..ContainerSpec::default()
        },
    };
    engine.by_hand(|world| *world = std::mem::take(world).with_container(&helper));
    engine
        .write("helper", "/v/bin/claude", b"broken")
        .expect("writes");
    engine.rm("helper").expect("removes");
    engine.forget();
    engine
}

fn program(world: &World, volume: &str) -> String {
    let volume = world.volume(volume).expect("the volume");
    match volume.files.get("/bin/claude") {
        Some(Bytes::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// Returns what somebody has to have read who finds what was broken.
fn found(receipt: &str) -> Consent {
    let damage = Damage {
        member: Some("claude".to_owned()),
        path: "bin/claude".to_owned(),
        from: Some("sha256:1".to_owned()),
        to: Some("sha256:2".to_owned()),
    };
    let content = Content {
        damage: vec![damage],
        ..Content::default()
    };
    Consent {
        depth: Depth::Content(BTreeMap::from([(receipt.to_owned(), content)])),
        ..Consent::default()
    }
}

/// Cuts a repair at every request, before and after its effect.
fn cut_everywhere(start: &MemoryEngine) {
    let (volume, voucher) = names(start);
    let vouching = |engine: &MemoryEngine| engine.world().container(&voucher).map(|one| one.reply.id.clone());
    let receipt = vouching(start);
    // Whoever looks again finds it broken only as long as somebody vouches for what was broken.
    let consent = |engine: &MemoryEngine| match (&receipt, vouching(engine)) {
        (Some(before), Some(now)) if *before == now => found(before),
        (_, _) => Consent::default(),
    };
    let sandboxes = |world: &World| {
        let one = |name: &str| {
            let container = world.container(&demo().object(name)).expect("a sandbox");
            (
                container.reply.id.clone(),
                container.reply.started.clone(),
                container.state(),
            )
        };
        ["api", "web"].map(one)
    };
    let before = sandboxes(&start.world());
    assert!(before.iter().all(|(_, _, state)| *state == RunState::Running));
    let trial = fork(start);
    let report = passed_with(&trial, &demo(), consent(&trial)).expect("the engine answers");
    assert_eq!(told(&report), format!("done populate {volume}"));
    let calls = trial.calls().len();
    assert!(calls > 10, "{calls}");
    for at in 0..calls {
        for cut in [Cut::Before, Cut::After] {
            let engine = fork(start);
            engine.cut(at, cut);
            let _ = passed_with(&engine, &demo(), consent(start));
            engine.mend();
            let between = vouching(&engine);
            // Nobody vouches for what is broken once anything of it may have changed.
            let world = engine.world();
            if between.is_some() && between != receipt {
                assert_eq!(program(&world, &volume), "claude 2.0.22", "{cut:?} {at}");
            }
            let report = passed_with(&engine, &demo(), consent(&engine)).expect("the engine answers");
            assert_eq!(
                left_to_do(&engine, &demo()),
                None,
                "{cut:?} {at}: {}",
                told(&report)
            );
            let world = engine.world();
            assert_eq!(
                program(&world, &volume),
                "claude 2.0.22",
                "{cut:?} {at}: {}",
                told(&report)
            );
            assert_eq!(sandboxes(&world), before, "{cut:?} {at}");
            let after = vouching(&engine);
            assert!(after.is_some() && after != receipt, "{cut:?} {at}");
            let sets = world
                .volumes()
                .filter(|one| one.reply.name.starts_with("aishell-harness-"));
            assert_eq!(sets.count(), 1, "{cut:?} {at}");
            let names: Vec<&str> = world
                .containers()
                .map(aishell::engine::memory::Container::name)
                .collect();
            assert_eq!(names.len(), 3, "{cut:?} {at}: {names:?}");
        }
    }
}

#[test]
fn cut_anywhere_what_nobody_vouches_for_is_repaired_by_the_next_pass() {
    let engine = broken();
    let receipt = looked(&engine, &demo())
        .desired
        .harness_set()
        .expect("a set")
        .receipt();
    engine.rm(&receipt).expect("removes");
    engine.forget();
    cut_everywhere(&engine);
}

#[test]
fn cut_anywhere_what_was_found_broken_is_repaired_by_the_next_pass() {
    let engine = broken();
    assert_eq!(steps(&looked(&engine, &demo()).plan), Vec::<String>::new());
    engine.forget();
    cut_everywhere(&engine);
}

#[test]
fn who_is_gone_when_he_is_asked_vouches_for_nothing() {
    let engine = broken();
    let deep = || Consent {
        depth: Depth::of(true),
        ..Consent::default()
    };
    let (volume, voucher) = names(&engine);
    let receipt = engine
        .world()
        .container(&voucher)
        .expect("a receipt")
        .reply
        .id
        .clone();
    let trial = fork(&engine);
    looked_with(&trial, &demo(), deep());
    let asked = trial.calls();
    let at = asked
        .iter()
        .position(|call| matches!(call, Call::TakeStock { .. }))
        .expect("a deep look");
    engine.forget();
    engine.before(at, move |world| {
        let remove = Call::RemoveContainer {
            container: OwnedId::made(&receipt),
            volumes: false,
        };
        world.answer(&remove, &Progress::default()).expect("removes");
    });
    let plan = looked_with(&engine, &demo(), deep()).plan;
    assert_eq!(steps(&plan), [format!("populate volume {volume}")]);
}

/// Returns the volume of the set of a manifest with harnesses as they are written.
fn volume_of(harnesses: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("aishell.yaml");
    let text = format!(
        "apiVersion: aishell/v1\nname: demo\nproject: .\nfoundation: {{ image: \"{BASE}\" }}\n\
         harnesses: {harnesses}\ncontainers: {{ a: {{}} }}\n"
    );
    let host = Host {
        home: "/home/me".into(),
        uid: 1000,
        gid: 1000,
        user: "me".to_owned(),
        directory: directory.path().to_owned(),
        environment: BTreeMap::new(),
        machine: "0123456789ab".to_owned(),
        hostname: "box".to_owned(),
        accounts: Vec::new(),
    };
    let loaded = parse(&text, &file, &host).expect("a manifest");
    let prepared = Prepared::of(loaded, &host).expect("facts");
    let desired = prepared.resolve(&Observed::default());
    desired.harness_set().expect("a set").volume()
}

#[test]
fn equal_sets_are_one_volume_however_they_are_written_and_others_never() {
    let sha256 = "0e".repeat(32);
    let written = volume_of(&format!(
        "{{ claude: 2.0.22, bot: {{ npm: bot, version: 1.0.0, bin: [bot] }}, get: {{ url: \"https://a.example.org/get\", sha256: {sha256} }} }}"
    ));
    for same in [
        // Another order, and the long form of what is short.
        format!(
            "{{ get: {{ bin: [get], sha256: {sha256}, url: \"https://a.example.org/get\" }}, bot: {{ version: 1.0.0, npm: bot }}, \
             claude: {{ version: \"2.0.22\" }} }}"
        ),
        // What is of no account: where it is fetched from, how long that may take, what sessions are given.
        format!(
            "{{ claude: 2.0.22, bot: {{ npm: bot, version: 1.0.0, env: [TOKEN], args: [--quiet], config: [~/.bot], timeout: 1h }}, \
             get: {{ url: \"https://b.example.org/{{version}}/get\", version: {version}, sha256: {upper} }} }}",
            version = &sha256[..12],
            upper = sha256.to_uppercase(),
        ),
    ] {
        assert_eq!(volume_of(&same), written, "{same}");
    }
    let bot = "npm: bot, version: 1.0.0";
    let mut all = std::collections::BTreeSet::from([written]);
    for other in [
        "{ claude: 2.0.22 }".to_owned(),
        "{ claude: 2.0.23 }".to_owned(),
        format!("{{ bot: {{ {bot} }} }}"),
        format!("{{ bat: {{ {bot} }} }}"),
        format!("{{ bot: {{ {bot}, bin: [bot, more] }} }}"),
        format!("{{ bot: {{ {bot}, runtime: image }} }}"),
        "{ bot: { npm: \"@other/bot\", version: 1.0.0 } }".to_owned(),
        format!("{{ bot: {{ url: \"https://example.org/bot\", version: 1.0.0, sha256: {sha256} }} }}"),
    ] {
        assert!(all.insert(volume_of(&other)), "{other}");
    }
}
