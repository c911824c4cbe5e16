//! What one container costs does not depend on how many others there are. Counted, never timed: what is allocated, and
//! what the engine is asked.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops where the world is not as expected"
)]

use aishell::engine::memory::MemoryEngine;
use aishell::plan::{Baseline, Consent, Widen, plan};
use aishell::status::status;
use aishell::step::ManifestInfo;
use serde_json::{Value, json};

#[path = "../support/crowd.rs"]
mod crowd;
#[path = "../support/world.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod world;

use crowd::{Crowd, crowd};

/// A few, and many more.
const FEW: usize = 100;
const MANY: usize = 800;

/// How much more each of many may cost than each of a few, in percent. What grows with the square costs eight times as
/// much each; maps of more entries only have a few more nodes.
const MORE: u64 = 125;

fn many(count: usize, fields: Value) -> (Crowd, MemoryEngine) {
    let crowd = crowd(count, fields);
    let engine = MemoryEngine::new(world::world());
    assert!(crowd.pass(&engine).converged);
    engine.forget();
    (crowd, engine)
}

/// Asserts that something costs each of many what it costs each of a few.
#[track_caller]
fn grows_linearly(what: &str, cost: impl Fn(usize) -> u64) {
    let few = cost(FEW).max(1);
    let many = cost(MANY);
    let each = |cost: u64, count: usize| cost * 1_000 / u64::try_from(count).expect("a number");
    let (few, many) = (each(few, FEW), each(many, MANY));
    assert!(
        many * 100 <= few * MORE,
        "{what}: each of {MANY} costs {many} thousandths, and each of {FEW} {few}"
    );
}

/// What somebody did to the world behind aishell's back.
type Hand = fn(&MemoryEngine, &[String]);

/// Returns how many allocations it takes to plan for what is wanted, and to say how everything stands.
fn planning(count: usize, wanted: Value, hand: Hand, consent: &Consent) -> u64 {
    let (there, engine) = many(count, json!({ "env": { "MODE": "a" } }));
    let world = engine.world();
    let names: Vec<String> = world.containers().map(|one| one.name().to_owned()).collect();
    hand(&engine, &names);
    let look = crowd(count, wanted).look(&engine);
    drop(there);
    let told = allocation_counter::measure(|| {
        let plan = plan(&look.desired, &look.observed, &ManifestInfo::default(), consent);
        let status = status(&look.desired, &look.observed, &plan);
        assert!(status.resources.len() >= count);
    });
    told.count_total
}

fn same() -> Value {
    json!({ "env": { "MODE": "a" } })
}

fn untouched(_: &MemoryEngine, _: &[String]) {}

#[test]
fn planning_for_what_is_as_it_should_be() {
    let consent = Consent::default();
    grows_linearly("nothing changed", |count| {
        planning(count, same(), untouched, &consent)
    });
}

#[test]
fn planning_for_what_all_differs() {
    let consent = Consent::default();
    let wanted =
        json!({ "env": { "MODE": "b" }, "labels": { "team": "x" }, "resources": { "memory": "1g" } });
    grows_linearly("everything changed", |count| {
        planning(count, wanted.clone(), untouched, &consent)
    });
}

#[test]
fn planning_for_what_is_all_missing() {
    let gone: Hand = |engine, names| {
        for name in names {
            engine.rm(name).expect("it goes");
        }
    };
    let consent = Consent::default();
    grows_linearly("everything missing", |count| {
        planning(count, same(), gone, &consent)
    });
}

#[test]
fn planning_for_what_was_all_renamed_and_stopped() {
    let moved: Hand = |engine, names| {
        for (index, name) in names.iter().enumerate() {
            engine.stop(name).expect("it stops");
            engine
                .rename(name, &format!("elsewhere-{index}"))
                .expect("it is renamed");
        }
    };
    let consent = Consent::default();
    grows_linearly("everything renamed", |count| {
        planning(count, same(), moved, &consent)
    });
}

#[test]
fn planning_for_what_nobody_has_consented_to() {
    let wanted = json!({ "security": { "capAdd": ["NET_RAW"] } });
    let consent = Consent {
        widen: Widen::UpTo(Baseline::default().into()),
        ..Consent::default()
    };
    grows_linearly("everything held back", |count| {
        planning(count, wanted.clone(), untouched, &consent)
    });
}

/// Returns what a pass costs: allocations, and requests.
fn pass(crowd: &Crowd, engine: &MemoryEngine) -> (u64, u64) {
    engine.forget();
    let told = allocation_counter::measure(|| assert!(crowd.pass(engine).converged));
    let calls = u64::try_from(engine.calls().len()).expect("a number");
    (told.count_total, calls)
}

/// Returns what converging costs from nothing, with nothing to do, and with everything changed.
fn converging(count: usize) -> [(u64, u64); 3] {
    let engine = MemoryEngine::new(world::world());
    let (one, other) = (
        crowd(count, same()),
        crowd(count, json!({ "env": { "MODE": "b" } })),
    );
    [pass(&one, &engine), pass(&one, &engine), pass(&other, &engine)]
}

#[test]
fn converging_asks_and_allocates_alike_for_each_container() {
    let (few, many) = (converging(FEW), converging(MANY));
    for (index, what) in ["from nothing", "nothing to do", "everything changed"]
        .into_iter()
        .enumerate()
    {
        let of = |all: &[(u64, u64); 3]| all[index];
        grows_linearly(what, |count| if count == FEW { of(&few).0 } else { of(&many).0 });
        grows_linearly(what, |count| if count == FEW { of(&few).1 } else { of(&many).1 });
    }
}
