//! What is left of replacements that did not work, told and removed when it is time.

use aishell::engine::memory::{Fate, MemoryEngine};
use aishell::observed::RunState;
use aishell::plan::{Consent, deletion};
use aishell::spec::Restart;
use aishell::status::status;
use aishell::step::Plan;
use serde_json::json;

use crate::world::{Wish, converged, left_to_do, looked, passed, planned, steps, told, wish, world};

/// A container that works, or one that ends at once with 3.
fn demo(works: bool) -> Wish {
    let command = if works { "make" } else { "broken" };
    wish()
        .container("api", json!({ "command": [command], "restart": "always" }))
        .container("web", json!({}))
}

/// An engine on which the replacement of `api` has failed.
fn failed() -> MemoryEngine {
    let engine = MemoryEngine::new(world().with_fate("broken", Fate::Ends(3)));
    converged(&engine, &demo(true));
    refuse(&engine);
    engine
}

fn refuse(engine: &MemoryEngine) {
    let report = passed(engine, &demo(false)).expect("a report");
    assert_eq!(told(&report).lines().count(), 1, "{}", told(&report));
    assert!(
        told(&report).starts_with("failed replace api"),
        "{}",
        told(&report)
    );
}

fn names(engine: &MemoryEngine, wish: &Wish) -> Vec<String> {
    let (api, world) = (wish.object("api"), engine.world());
    let mut names: Vec<String> = world
        .containers()
        .filter_map(|one| one.name().strip_prefix(&api))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

fn details(plan: &Plan) -> Vec<&str> {
    plan.steps
        .iter()
        .filter_map(|step| step.detail.as_deref())
        .collect()
}

#[test]
fn the_old_one_goes_on_and_the_new_one_is_kept_where_nothing_starts_it() {
    let engine = failed();
    let wish = demo(false);
    assert_eq!(names(&engine, &wish), ["", ".failed"]);
    let world = engine.world();
    let old = world.container(&wish.object("api")).expect("the old one");
    assert_eq!(old.state(), RunState::Running);
    let kept = world
        .container(&format!("{}.failed", wish.object("api")))
        .expect("the new one");
    assert_eq!(kept.state(), RunState::Exited { code: 3 });
    assert_eq!(kept.reply.spec.restart, Restart::No);
}

#[test]
fn the_change_is_still_wanted_and_the_last_try_is_told() {
    let engine = failed();
    engine.by_hand(|world| {
        *world =
            std::mem::take(world).logging(&format!("{}.failed", demo(true).object("api")), &["no key", ""]);
    });
    let look = looked(&engine, &demo(false));
    assert_eq!(steps(&look.plan), ["replace container api"]);
    assert_eq!(
        details(&look.plan),
        ["the last try failed: it ended again and again, the last time with code 3: no key"]
    );
    let status = status(&look.desired, &look.observed, &look.plan);
    let api = status
        .resources
        .iter()
        .find(|one| one.name == "api")
        .expect("a resource");
    let reasons: Vec<&str> = api.conditions.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["Differences", "Running", "ReplacementFailed"]);
    // The same again: the newer one takes the place of the older.
    refuse(&engine);
    assert_eq!(names(&engine, &demo(false)), ["", ".failed"]);
}

#[test]
fn another_try_says_nothing_of_the_last_one() {
    let engine = failed();
    let other = demo(false).container("api", json!({ "command": ["broken", "again"] }));
    let plan = planned(&engine, &other);
    assert_eq!(
        (steps(&plan), details(&plan).len()),
        (vec!["replace container api".to_owned()], 0)
    );
}

#[test]
fn what_works_takes_what_did_not_along() {
    let engine = failed();
    let other = demo(true).container("api", json!({ "command": ["make", "more"] }));
    let report = converged(&engine, &other);
    assert_eq!(told(&report), "done replace api");
    assert_eq!(names(&engine, &other), [""]);
}

#[test]
fn what_nobody_wants_any_more_is_forgotten() {
    let engine = failed();
    assert_eq!(steps(&planned(&engine, &demo(true))), ["remove container api"]);
    converged(&engine, &demo(true));
    assert_eq!(names(&engine, &demo(true)), [""]);

    let engine = failed();
    let without = demo(true).without("api");
    converged(&engine, &without);
    assert_eq!(names(&engine, &without), Vec::<String>::new());

    let engine = failed();
    let look = looked(&engine, &demo(false));
    let plan = deletion(
        &look.observed,
        &look.desired.owner,
        &look.plan.manifest,
        &Consent::default(),
    );
    assert_eq!(
        plan.steps.len(),
        4,
        "three containers and a network: {:?}",
        steps(&plan)
    );
}

#[test]
fn whoever_is_removed_by_hand_is_made_anew_and_the_failed_one_goes() {
    let engine = failed();
    engine.rm(&demo(true).object("api")).expect("removed");
    assert_eq!(
        steps(&planned(&engine, &demo(true))),
        ["create container api", "remove container api"]
    );
    converged(&engine, &demo(true));
    assert_eq!(left_to_do(&engine, &demo(true)), None);
}
