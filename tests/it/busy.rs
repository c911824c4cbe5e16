//! Containers that somebody works in are not interrupted, unless a person allows it.

use aishell::call::Call;
use aishell::engine::memory::{Fate, Lister, MemoryEngine, World};
use aishell::plan::Consent;
use aishell::report::{Outcome, Report};
use aishell::spec::Resources;
use aishell::step::{BlockedReason, Plan};
use serde_json::{Value, json};

use crate::world::{
    LAN, Wish, converged, looked_with, passed, passed_with, planned, steps, told, wish, world,
};

const INTERRUPT: fn() -> Consent = || Consent {
    interrupt: true,
    ..Consent::default()
};

fn demo(mode: &str) -> Wish {
    let fields = json!({ "env": { "MODE": mode } });
    wish().container("api", fields.clone()).container("web", fields)
}

fn applied(wish: &Wish) -> MemoryEngine {
    applied_in(world(), wish)
}

fn applied_in(world: World, wish: &Wish) -> MemoryEngine {
    let engine = MemoryEngine::new(world);
    converged(&engine, wish);
    engine.forget();
    engine
}

/// Returns the container of a name as it is, with when it was started.
fn id(engine: &MemoryEngine, name: &str) -> Option<(String, Option<String>)> {
    let world = engine.world();
    let found = world.container(name)?;
    Some((found.reply.id.clone(), found.reply.started.clone()))
}

/// Returns what is blocked as `action name: detail`.
fn blocked(plan: &Plan) -> Vec<String> {
    let lines = plan.blocked.iter().map(|blocked| {
        assert_eq!(blocked.reason, BlockedReason::Busy);
        format!(
            "{} {}: {}",
            blocked.action.as_str(),
            blocked.resource.name,
            blocked.detail
        )
    });
    lines.collect()
}

fn ended(report: &Report, outcome: Outcome) -> Vec<String> {
    let with = report.steps.iter().filter(|done| done.outcome == outcome);
    with.map(|done| format!("{} {}", done.step.action.as_str(), done.step.resource.name))
        .collect()
}

#[test]
fn a_container_with_a_terminal_is_not_replaced_until_that_is_gone() {
    let (before, after) = (demo("fast"), demo("safe"));
    let engine = applied(&before);
    let api = before.object("api");
    let shell = engine.open_terminal(&api, &["sh"]).expect("a shell");
    let was = id(&engine, &api);
    let plan = planned(&engine, &after);
    assert_eq!(steps(&plan), ["replace container web"]);
    assert_eq!(blocked(&plan), ["replace api: 1 terminal session"]);
    assert_eq!(
        plan.blocked[0].unblock.as_deref(),
        Some("aishell apply --allow interrupt")
    );
    assert!(!plan.blocked[0].because.is_empty(), "the reason stays");
    let report = passed(&engine, &after).expect("a report");
    assert_eq!(ended(&report, Outcome::Done), ["replace web"]);
    assert!(!report.converged);
    assert_eq!(id(&engine, &api), was);
    engine.end_inside(&shell);
    converged(&engine, &after);
    assert_ne!(id(&engine, &api), was);
}

#[test]
fn what_a_person_allows_is_done() {
    let (before, after) = (demo("fast"), demo("safe"));
    let engine = applied(&before);
    engine
        .open_terminal(&before.object("api"), &["sh"])
        .expect("a shell");
    let report = passed_with(&engine, &after, INTERRUPT()).expect("a report");
    assert!(report.converged, "{}", told(&report));
}

#[test]
fn every_kind_of_use_is_seen_and_named() {
    let (before, after) = (demo("fast"), demo("safe"));
    let api = before.object("api");
    let use_it = |engine: &MemoryEngine| blocked(&planned(engine, &after));
    let engine = applied(&before);
    engine.abandon_terminals(&api, 2).expect("terminals");
    assert_eq!(use_it(&engine), ["replace api: 2 terminal sessions"]);
    engine.run_inside(&api, &["npm", "test"]).expect("a command");
    assert_eq!(
        use_it(&engine),
        ["replace api: 2 terminal sessions; exec `npm test`"]
    );
    engine.abandon_terminals(&api, 0).expect("no terminals");
    assert_eq!(use_it(&engine), ["replace api: exec `npm test`"]);
    // Ours carries a word of its own.
    let engine = applied(&before);
    engine
        .run_inside(&api, &["sh", "-c", "true", "aishell-probe"])
        .expect("a command");
    assert_eq!(use_it(&engine), [] as [&str; 0]);
}

#[test]
fn where_processes_cannot_be_listed_somebody_may_be_there() {
    let engine = applied_in(world().listed_by(Lister::Nobody), &demo("fast"));
    let plan = planned(&engine, &demo("safe"));
    assert_eq!(
        blocked(&plan)[0],
        "replace api: it cannot be seen whether anybody works in it"
    );
    assert_eq!(plan.blocked.len(), 2, "{:#?}", plan.blocked);
}

#[test]
fn where_the_machine_lists_no_processes_the_container_does() {
    let engine = applied_in(world().listed_by(Lister::Shell), &demo("fast"));
    let api = demo("fast").object("api");
    engine.open_terminal(&api, &["sh"]).expect("a shell");
    engine.abandon_terminals(&api, 1).expect("a terminal");
    let plan = planned(&engine, &demo("safe"));
    assert_eq!(blocked(&plan), ["replace api: 2 terminal sessions"]);
    assert_eq!(steps(&plan), ["replace container web"]);
}

#[test]
fn a_container_says_itself_whether_it_is_at_work() {
    let with = |mode: &str| {
        let fields = |word: &str| json!({ "env": { "MODE": mode }, "busy": { "exec": [word] } });
        wish()
            .container("idle", fields("says-no"))
            .container("odd", fields("is-not-there"))
            .container("slow", fields("never-ends"))
            .container("works", fields("says-yes"))
    };
    let world = world()
        .with_fate("says-no", Fate::Ends(1))
        .with_fate("says-yes", Fate::Ends(0))
        .with_fate("is-not-there", Fate::Missing);
    let engine = applied_in(world, &with("fast"));
    let plan = planned(&engine, &with("safe"));
    assert_eq!(steps(&plan), ["replace container idle"]);
    let evidence = [
        "replace odd: `busy.exec` cannot be run (code 127)",
        "replace slow: `busy.exec` does not end",
        "replace works: `busy.exec` says so",
    ];
    assert_eq!(blocked(&plan), evidence);
    // One that has not ended is not begun again; and whoever is not in the manifest any more is asked, too.
    let plan = planned(&engine, &wish().container("other", json!({})));
    assert_eq!(
        blocked(&plan),
        [
            "remove odd: `busy.exec` cannot be run (code 127)",
            "remove slow: exec `never-ends`",
            "remove works: `busy.exec` says so"
        ]
    );
}

#[test]
fn a_manifest_says_what_is_done_about_drift() {
    let with = |on_drift: &str| {
        wish().container(
            "api",
            json!({ "onDrift": on_drift, "resources": { "memory": "1GiB" } }),
        )
    };
    let engine = applied(&with("report"));
    let limits = Resources {
        memory: Some(2 << 30),
        memory_swap: Some(4 << 30),
        ..Resources::default()
    };
    engine
        .update(&with("report").object("api"), &limits, None)
        .expect("updated");
    let plan = planned(&engine, &with("report"));
    assert_eq!(steps(&plan), [] as [&str; 0]);
    assert_eq!(plan.blocked[0].reason, BlockedReason::Reported);
    assert_eq!(plan.blocked[0].unblock, None);
    assert_eq!(
        steps(&planned(&engine, &with("repair"))),
        ["update container api"]
    );
    assert_eq!(
        steps(&planned(&engine, &with("recreate"))),
        ["replace container api"]
    );
    // What the manifest itself changes is no drift.
    let more = wish().container(
        "api",
        json!({ "onDrift": "report", "resources": { "memory": "3GiB" } }),
    );
    assert_eq!(steps(&planned(&engine, &more)), ["update container api"]);
}

#[test]
fn only_what_would_be_interrupted_is_asked() {
    let with = |memory: &str| wish().container("api", json!({ "resources": { "memory": memory } }));
    let engine = applied(&with("1GiB"));
    engine
        .open_terminal(&with("1GiB").object("api"), &["sh"])
        .expect("a shell");
    converged(&engine, &with("2GiB"));
    let asked = |call: &Call| matches!(call, Call::ListProcesses { .. } | Call::InspectExec { .. });
    assert!(!engine.calls().iter().any(asked), "{:#?}", engine.calls());
}

#[test]
fn removing_and_leaving_a_network_wait_too() {
    let engine = applied(&demo("fast"));
    let (api, web) = (demo("fast").object("api"), demo("fast").object("web"));
    for name in [&api, &web] {
        engine.open_terminal(name, &["sh"]).expect("a shell");
    }
    engine.connect(LAN, &web).expect("attached");
    let plan = planned(&engine, &demo("fast").without("api"));
    assert_eq!(steps(&plan), [] as [&str; 0]);
    assert_eq!(
        blocked(&plan),
        [
            "remove api: 1 terminal session",
            "disconnect web: 1 terminal session"
        ]
    );
}

#[test]
fn what_needs_a_blocked_step_is_blocked_with_it() {
    let port = |mode: &str, api: u16| {
        let of = |port: u16| json!({ "env": { "MODE": mode }, "ports": [format!("{port}:80")] });
        wish().container("api", of(api)).container("web", of(5000 - api))
    };
    let (before, after) = (port("fast", 2000), port("fast", 3000));
    let engine = applied(&before);
    engine
        .open_terminal(&before.object("api"), &["sh"])
        .expect("a shell");
    let was = id(&engine, &before.object("web"));
    let plan = planned(&engine, &after);
    assert_eq!(steps(&plan), [] as [&str; 0], "{:#?}", plan.blocked);
    assert!(passed(&engine, &after).is_some());
    // Nothing is stopped for the sake of something that cannot be done.
    assert_eq!(id(&engine, &before.object("web")), was);
}

#[test]
fn a_manifest_says_whether_a_change_may_interrupt() {
    let with = |mode: &str, on_change: &str| {
        wish().container("api", json!({ "env": { "MODE": mode }, "onChange": on_change }))
    };
    let engine = applied(&with("fast", "when-idle"));
    let plan = planned(&engine, &with("safe", "never"));
    assert_eq!(
        blocked(&plan),
        ["replace api: its manifest says `onChange: never`"]
    );
    let consented = looked_with(&engine, &with("safe", "never"), INTERRUPT()).plan;
    assert_eq!(steps(&consented), ["replace container api"]);
    engine
        .open_terminal(&with("fast", "never").object("api"), &["sh"])
        .expect("a shell");
    converged(&engine, &with("safe", "immediately"));
}

#[test]
fn whoever_comes_between_the_look_and_the_act_is_not_interrupted() {
    // At every call of a pass somebody opens a terminal; whatever happens then, it is not interrupted.
    let (before, after) = (demo("fast"), demo("safe"));
    let clean = applied(&before);
    passed(&clean, &after).expect("a report");
    let calls = clean.calls().len();
    for at in 0..calls {
        let engine = applied(&before);
        let api = before.object("api");
        let was = engine
            .world()
            .container(&api)
            .map(|one| one.reply.id.clone())
            .expect("a container");
        let (name, opened) = (was.clone(), std::sync::Arc::new(std::sync::Mutex::new(false)));
        let seen = std::sync::Arc::clone(&opened);
        engine.before(at, move |world| {
            *seen.lock().expect("a lock") = world.open(&name).is_ok();
        });
        let report = passed(&engine, &after).expect("a report");
        let stopped_before = !*opened.lock().expect("a lock");
        let there = engine
            .world()
            .containers()
            .any(|one| one.reply.id == was && !one.execs.is_empty());
        // Only between the answer to the last question and the stop can nobody help it.
        let calls = engine.calls();
        let stop = calls
            .iter()
            .position(|call| matches!(call, Call::StopContainer { container } if container.id() == was));
        let asked = calls
            .iter()
            .rposition(|call| matches!(call, Call::ListProcesses { container } if *container == was));
        let late = stop
            .zip(asked)
            .is_some_and(|(stop, asked)| (asked + 1..=stop).contains(&at));
        assert!(
            there || stopped_before || late,
            "call {at}: {:#?}\n{}",
            calls.get(at),
            told(&report)
        );
        if there {
            assert!(ended(&report, Outcome::Failed).is_empty(), "{}", told(&report));
            assert_eq!(
                engine
                    .world()
                    .containers()
                    .filter(|one| one.name().contains("-api"))
                    .count(),
                1
            );
        }
    }
}

/// Keeps the type of what is written in JSON in sight.
#[test]
fn a_blocked_step_has_the_outcome_blocked() {
    assert_eq!(
        serde_json::to_value(Outcome::Blocked).expect("JSON"),
        Value::from("blocked")
    );
}
