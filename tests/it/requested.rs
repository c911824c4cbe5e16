//! Replacements that a person asks for, and what goes with the layers of containers.

use std::collections::BTreeSet;

use aishell::call::Call;
use aishell::engine::memory::{Fate, MemoryEngine};
use aishell::plan::{Consent, Requested, deletion};
use aishell::reconcile::inquire;
use aishell::report::Outcome;
use aishell::step::{Cause, Plan};
use serde_json::{Value, json};

use crate::world::{
    Wish, converged, looked, looked_with, passed_with, planned, run, steps, told, wish, world,
};

fn request(names: &[&str]) -> Consent {
    Consent {
        replace: Requested::Named(names.iter().map(|name| (*name).to_owned()).collect()),
        ..Consent::default()
    }
}

/// Two agents, and one that may write to its own layer.
fn demo() -> Wish {
    wish()
        .container("api", json!({ "security": "legacy" }))
        .container("web", json!({}))
}

fn applied(wish: &Wish) -> MemoryEngine {
    let engine = MemoryEngine::new(world());
    converged(&engine, wish);
    engine.forget();
    engine
}

fn id(engine: &MemoryEngine, wish: &Wish, name: &str) -> String {
    let world = engine.world();
    let container = world.container(&wish.object(name)).expect("a container");
    container.reply.id.clone()
}

/// Returns how many layers were looked at.
fn looks(engine: &MemoryEngine) -> usize {
    let calls = engine.calls();
    let asks = calls
        .iter()
        .filter(|call| matches!(call, Call::ListChanges { .. }));
    asks.count()
}

fn discards(plan: &Plan) -> Vec<(&str, Option<usize>)> {
    let steps = plan.steps.iter();
    steps
        .map(|step| (step.resource.name.as_str(), step.discards))
        .collect()
}

#[test]
fn what_is_asked_for_is_replaced_once_and_nothing_else() {
    let wish = demo();
    let engine = applied(&wish);
    let (api, web) = (id(&engine, &wish, "api"), id(&engine, &wish, "web"));
    let plan = looked_with(&engine, &wish, request(&["api"])).plan;
    assert_eq!(steps(&plan), ["replace container api"]);
    let causes: Vec<Cause> = plan.steps[0]
        .because
        .iter()
        .map(|because| because.cause)
        .collect();
    assert_eq!(causes, [Cause::Requested]);
    let report = passed_with(&engine, &wish, request(&["api"])).expect("a report");
    assert_eq!(told(&report), "done replace api");
    assert!(report.converged);
    assert_ne!(id(&engine, &wish, "api"), api);
    assert_eq!(id(&engine, &wish, "web"), web);
    assert!(planned(&engine, &wish).is_empty());
}

#[test]
fn a_request_joins_what_differs_anyway() {
    let engine = applied(&demo());
    let wish = demo().container("api", json!({ "security": "legacy", "env": { "A": "b" } }));
    let plan = looked_with(&engine, &wish, request(&["api"])).plan;
    assert_eq!(steps(&plan), ["replace container api"]);
    assert_eq!(plan.steps[0].because.len(), 2);
    let report = passed_with(&engine, &wish, request(&["api"])).expect("a report");
    assert_eq!(told(&report), "done replace api");
    assert!(report.converged);
}

#[test]
fn whoever_is_missing_is_made_once() {
    let wish = demo();
    let engine = MemoryEngine::new(world());
    let report = passed_with(&engine, &wish, request(&["api", "web"])).expect("a report");
    assert!(report.converged, "{}", told(&report));
    assert!(!told(&report).contains("replace"), "{}", told(&report));
}

#[test]
fn a_requested_replacement_that_does_not_work_is_tried_once() {
    let before = demo().container("api", json!({ "command": ["once"] }));
    let engine = applied(&before);
    let old = id(&engine, &before, "api");
    engine.by_hand(|world| *world = std::mem::take(world).with_fate("once", Fate::Ends(3)));
    let report = passed_with(&engine, &before, request(&["api"])).expect("a report");
    let failed = report.steps.iter().filter(|done| done.outcome == Outcome::Failed);
    assert_eq!(failed.count(), 1, "{}", told(&report));
    assert_eq!(id(&engine, &before, "api"), old);
}

#[test]
fn whoever_somebody_works_in_is_not_replaced_for_the_asking() {
    let wish = demo();
    let engine = applied(&wish);
    engine
        .open_terminal(&wish.object("api"), &["sh"])
        .expect("a shell");
    let plan = looked_with(&engine, &wish, request(&["api"])).plan;
    assert_eq!(steps(&plan), Vec::<String>::new());
    assert_eq!(
        plan.blocked[0].unblock.as_deref(),
        Some("aishell apply --replace api --allow interrupt")
    );
    let consent = Consent {
        interrupt: true,
        ..request(&["api"])
    };
    let report = passed_with(&engine, &wish, consent).expect("a report");
    assert_eq!(told(&report), "done replace api");
}

#[test]
fn what_a_layer_holds_is_counted_where_it_would_be_lost_and_nowhere_else() {
    let wish = demo();
    let engine = applied(&wish);
    let api = wish.object("api");
    engine.write(&api, "/srv/notes", b"mine").expect("written");
    engine.write(&api, "/srv/more/notes", b"mine").expect("written");
    engine.write(&api, "/home/me/kept", b"mine").expect("written");
    assert!(looked(&engine, &wish).plan.is_empty());
    assert_eq!(looks(&engine), 0, "nothing is lost");

    let plan = looked_with(&engine, &wish, request(&["api", "web"])).plan;
    assert_eq!(discards(&plan), [("api", Some(2)), ("web", None)]);
    assert_eq!(looks(&engine), 1, "a read-only root has nothing");

    let left = demo().without("api");
    assert_eq!(discards(&planned(&engine, &left)), [("api", Some(2))]);
    engine.open_terminal(&api, &["sh"]).expect("a shell");
    let plan = looked_with(&engine, &wish, request(&["api"])).plan;
    assert_eq!(plan.blocked[0].discards, Some(2));
}

#[test]
fn a_deletion_says_what_goes_with_the_layers() {
    let wish = demo();
    let engine = applied(&wish);
    engine
        .write(&wish.object("api"), "/srv/notes", b"mine")
        .expect("written");
    let mut observed = looked(&engine, &wish).observed;
    let owner = &wish.prepared().facts.owner;
    let info = planned(&engine, &wish).manifest;
    let plan = deletion(&observed, owner, &info, &Consent::default());
    assert!(run(inquire(&engine, &plan, &mut observed)).expect("the engine answers"));
    let plan = deletion(&observed, owner, &info, &Consent::default());
    let lost: BTreeSet<_> = discards(&plan)
        .into_iter()
        .filter(|(_, files)| files.is_some())
        .collect();
    assert_eq!(lost, [("api", Some(1))].into());
    let value: Value = json!(plan.steps.len());
    assert_eq!(value, 3, "two containers and a network");
}
