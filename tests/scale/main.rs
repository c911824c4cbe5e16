//! What one container costs does not depend on how many others there are. Counted, never timed: what is allocated, and
//! what the engine is asked.
#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops where the world is not as expected"
)]

use aishell::engine::memory::{MemoryEngine, World};
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
const MANY: usize = 1_600;

/// How much more each of many may cost than each of a few, in percent. What grows with the square costs sixteen times as
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

/// Returns how many allocations it takes to plan for what was wanted, `after` somebody changed the world by hand.
fn planning(count: usize, wanted: Value, after: fn(&mut World, usize), consent: &Consent) -> u64 {
    let (_, engine) = many(count, json!({ "env": { "MODE": "a" } }));
    engine.by_hand(|world| after(world, count));
    let look = crowd(count, wanted).look(&engine);
    let mut steps = 0;
    let told = allocation_counter::measure(|| {
        let plan = plan(&look.desired, &look.observed, &ManifestInfo::default(), consent);
        let status = status(&look.desired, &look.observed, &plan);
        steps = plan.steps.len() + plan.blocked.len();
        assert!(status.resources.len() >= count);
    });
    told.count_total + u64::try_from(steps).expect("a number")
}

fn untouched(_: &mut World, _: usize) {}

#[test]
fn planning_for_what_is_as_it_should_be() {
    grows_linearly("nothing changed", |count| {
        let wanted = json!({ "env": { "MODE": "a" } });
        planning(count, wanted, untouched, &Consent::default())
    });
}
