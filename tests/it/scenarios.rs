//! What happens to sandboxes when one thing happens to them.

use std::sync::Arc;

use aishell::apply::{Silent, Stop, apply};
use aishell::call::Call;
use aishell::desired::HarnessSet;
use aishell::engine::memory::{Cut, Fate, Job, MemoryEngine, World};
use aishell::observed::{Hold, RunState};
use aishell::plan::{Consent, stopping};
use aishell::reconcile::{Subject, reconcile};
use aishell::report::{Outcome, Report};
use aishell::spec::{Resources, Restart};
use aishell::step::{Resource, ResourceKind};
use serde_json::{Value, json};

use crate::world::{
    BASE, Foundation, LAN, SIDECAR, Wish, converged, explained, fork, looked, passed, passed_with, planned,
    run, steps, told, wish, world,
};

/// Two agents of one harness set and a sidecar.
fn demo() -> Wish {
    wish()
        .harness("claude", "2.0.22")
        .container(
            "api",
            json!({ "harness": "claude", "resources": { "memory": "1GiB" } }),
        )
        .container("web", json!({ "harness": "claude" }))
        .container(
            "db",
            json!({ "image": SIDECAR, "user": "image", "workspace": "none" }),
        )
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

/// Returns what makes a container the one it is, and since when it runs.
fn one(engine: &MemoryEngine, wish: &Wish, name: &str) -> (String, Option<String>) {
    let world = engine.world();
    let container = world
        .container(&wish.object(name))
        .expect("the container is there");
    (container.reply.id.clone(), container.reply.started.clone())
}

fn state(engine: &MemoryEngine, wish: &Wish, name: &str) -> RunState {
    engine
        .world()
        .container(&wish.object(name))
        .expect("the container is there")
        .state()
}

/// Says what a pass did and failed to do, in a line each.
fn outcomes(report: &Report, outcome: Outcome) -> Vec<String> {
    let with = report.steps.iter().filter(|done| done.outcome == outcome);
    with.map(|done| format!("{} {}", done.step.action.as_str(), done.step.resource.name))
        .collect()
}

/// After something done by hand these are the steps, and then nothing is left; the container is the same one.
#[track_caller]
fn put_right(engine: &MemoryEngine, wish: &Wish, name: &str, expected: &[&str]) {
    let find = || {
        let world = engine.world();
        let found = world.containers().find(|one| {
            one.reply
                .labels
                .get("aishell.name")
                .is_some_and(|own| own == name)
        });
        found.map(|one| one.reply.id.clone())
    };
    let before = find();
    assert_eq!(steps(&planned(engine, wish)), expected);
    converged(engine, wish);
    assert_eq!(before, find(), "it is the same container");
}

#[test]
fn a_first_pass_makes_everything_and_a_second_only_looks() {
    let engine = MemoryEngine::new(world());
    let report = converged(&engine, &demo());
    assert_eq!(
        outcomes(&report, Outcome::Done).len(),
        9,
        "a pull, a network, two homes, an identity, a set and three containers:\n{}",
        told(&report)
    );
    engine.forget();
    converged(&engine, &demo());
    assert_eq!(engine.writes(), []);
}

#[test]
fn a_pass_that_finds_nothing_asks_for_listings_and_what_is_listed() {
    let engine = applied(&demo());
    passed(&engine, &demo()).expect("the engine answers");
    let inspected = engine
        .calls()
        .iter()
        .filter(|call| matches!(call, Call::InspectContainer { .. } | Call::InspectImage { .. }))
        .count();
    assert_eq!(
        inspected, 6,
        "three containers, their two images, and the one reference that is none of them"
    );
    assert_eq!(engine.calls().len(), 11, "{:#?}", engine.calls());
}

#[test]
fn a_stopped_container_is_started() {
    let engine = applied(&demo());
    engine.stop(&demo().object("api")).expect("stops");
    put_right(&engine, &demo(), "api", &["start container api"]);
}

#[test]
fn a_killed_container_is_started() {
    let engine = applied(&demo());
    engine.kill(&demo().object("api")).expect("dies");
    put_right(&engine, &demo(), "api", &["start container api"]);
}

#[test]
fn a_paused_container_goes_on() {
    let engine = applied(&demo());
    let before = one(&engine, &demo(), "api");
    engine.pause(&demo().object("api")).expect("pauses");
    put_right(&engine, &demo(), "api", &["unpause container api"]);
    assert_eq!(one(&engine, &demo(), "api"), before, "and was not started again");
}

#[test]
fn a_removed_container_is_made_again_and_finds_its_home() {
    let wish = demo();
    let engine = applied(&wish);
    let (before, web) = (one(&engine, &wish, "api"), one(&engine, &wish, "web"));
    engine
        .write(&wish.object("api"), "/home/me/notes", b"mine")
        .expect("writes");
    engine.rm(&wish.object("api")).expect("goes");
    assert_eq!(steps(&planned(&engine, &wish)), ["create container api"]);
    converged(&engine, &wish);
    assert_ne!(one(&engine, &wish, "api").0, before.0);
    assert_eq!(one(&engine, &wish, "web"), web);
    let world = engine.world();
    assert!(
        world
            .volume(&wish.object("api-home"))
            .expect("kept")
            .files
            .contains_key("/notes")
    );
}

#[test]
fn a_renamed_container_gets_its_name_back() {
    let engine = applied(&demo());
    engine.rename(&demo().object("api"), "mine-now").expect("free");
    put_right(&engine, &demo(), "api", &["rename container api"]);
}

#[test]
fn limits_changed_by_hand_are_changed_back_in_place() {
    let engine = applied(&demo());
    let before = one(&engine, &demo(), "api");
    let limits = Resources {
        memory: Some(1 << 29),
        memory_swap: Some(1 << 30),
        ..Resources::default()
    };
    engine
        .update(&demo().object("api"), &limits, Some(Restart::No))
        .expect("updates");
    let plan = planned(&engine, &demo());
    assert!(
        plan.steps[0]
            .because
            .iter()
            .all(|because| because.cause == aishell::step::Cause::Drift),
        "{:?}",
        explained(&plan)
    );
    put_right(&engine, &demo(), "api", &["update container api"]);
    assert_eq!(one(&engine, &demo(), "api"), before);
}

#[test]
fn limits_set_by_hand_where_none_are_wanted_cost_a_new_container() {
    let engine = applied(&demo());
    let before = one(&engine, &demo(), "web");
    let limits = Resources {
        memory: Some(1 << 29),
        memory_swap: Some(1 << 30),
        pids: Some(512),
        ..Resources::default()
    };
    engine
        .update(&demo().object("web"), &limits, None)
        .expect("updates");
    let plan = planned(&engine, &demo());
    assert_eq!(steps(&plan), ["replace container web"]);
    assert!(
        plan.steps[0]
            .detail
            .as_deref()
            .is_some_and(|detail| detail.contains("cannot unset"))
    );
    converged(&engine, &demo());
    assert_ne!(one(&engine, &demo(), "web").0, before.0);
}

#[test]
fn networks_changed_by_hand_are_changed_back_in_place() {
    let engine = applied(&demo());
    let before = one(&engine, &demo(), "api");
    engine.connect(LAN, &demo().object("api")).expect("attaches");
    put_right(&engine, &demo(), "api", &["disconnect container api"]);
    engine
        .disconnect(&demo().object("demo"), &demo().object("api"))
        .expect("detaches");
    put_right(&engine, &demo(), "api", &["connect container api"]);
    assert_eq!(one(&engine, &demo(), "api"), before);
}

#[test]
fn a_network_that_was_pruned_while_everything_was_stopped_is_made_and_attached_anew() {
    let engine = applied(&demo());
    for name in ["api", "web", "db"] {
        engine.stop(&demo().object(name)).expect("stops");
    }
    engine.rm_network(&demo().object("demo")).expect("nobody runs");
    let before = one(&engine, &demo(), "api");
    converged(&engine, &demo());
    assert_eq!(one(&engine, &demo(), "api").0, before.0);
    assert_eq!(state(&engine, &demo(), "db"), RunState::Running);
}

#[test]
fn of_two_networks_with_our_name_the_one_in_use_is_kept() {
    let wish = demo();
    let engine = applied(&wish);
    let name = wish.object("demo");
    let used = engine.world().networks_named(&name)[0].reply.clone();
    let mut labels = used.labels.clone();
    labels.insert("aishell.uid".to_owned(), "another".to_owned());
    engine.by_hand(|world| *world = std::mem::take(world).with_network(&name, labels));
    engine.rm(&wish.object("api")).expect("goes");
    converged(&engine, &wish);
    let left: Vec<String> = engine
        .world()
        .networks_named(&name)
        .iter()
        .map(|network| network.reply.id.clone())
        .collect();
    assert_eq!(left, [used.id]);
}

#[test]
fn changed_memory_is_changed_in_place() {
    let engine = applied(&demo());
    let before = one(&engine, &demo(), "api");
    let more = demo().container(
        "api",
        json!({ "harness": "claude", "resources": { "memory": "2GiB" } }),
    );
    assert_eq!(steps(&planned(&engine, &more)), ["update container api"]);
    converged(&engine, &more);
    assert_eq!(one(&engine, &more, "api"), before, "not even restarted");
}

#[test]
fn a_changed_variable_replaces_only_that_container() {
    let engine = applied(&demo());
    let (api, web) = (one(&engine, &demo(), "api"), one(&engine, &demo(), "web"));
    let changed = demo().container("web", json!({ "harness": "claude", "env": { "MODE": "fast" } }));
    let plan = planned(&engine, &changed);
    assert_eq!(
        explained(&plan),
        ["replace container web (Manifest env.MODE: null -> \"fast\")"]
    );
    converged(&engine, &changed);
    assert_eq!(one(&engine, &changed, "api"), api);
    assert_ne!(one(&engine, &changed, "web").0, web.0);
}

#[test]
fn what_a_sidecar_wrote_survives_its_replacement() {
    let wish = demo();
    let engine = applied(&wish);
    let db = wish.object("db");
    engine.write(&db, "/var/lib/data/rows", b"mine").expect("writes");
    let (before, volumes) = (one(&engine, &wish, "db"), engine.world().volumes().count());
    let changed = wish.container(
        "db",
        json!({ "image": SIDECAR, "user": "image", "workspace": "none", "env": { "MODE": "fast" } }),
    );
    converged(&engine, &changed);
    assert_ne!(one(&engine, &changed, "db").0, before.0);
    let call = Call::ReadFile {
        container: db,
        path: "/var/lib/data/rows".to_owned(),
    };
    let read = engine.by_hand(|world| world.answer(&call, &aishell::progress::Progress::default()));
    assert_eq!(read, Ok(aishell::call::Answer::Bytes(b"mine".to_vec())));
    assert_eq!(
        engine.world().volumes().count(),
        volumes,
        "and no other volume is left behind"
    );
}

#[test]
fn what_is_not_in_the_manifest_any_more_is_removed_but_for_its_data() {
    let engine = applied(&demo());
    let less = demo().without("web");
    assert_eq!(steps(&planned(&engine, &less)), ["remove container web"]);
    converged(&engine, &less);
    let world = engine.world();
    assert!(world.container(&less.object("web")).is_none());
    assert!(world.volume(&less.object("web-home")).is_some());
}

#[test]
fn an_empty_manifest_removes_nothing() {
    let engine = applied(&demo());
    let before = engine.world();
    let empty = Wish {
        containers: std::collections::BTreeMap::new(),
        ..demo()
    };
    passed(&engine, &empty).expect("the engine answers");
    assert_eq!(before.difference(&engine.world()), Vec::<String>::new());
}

#[test]
fn a_network_that_nobody_uses_any_more_is_removed() {
    let engine = applied(&wish().container("tool", json!({})));
    let without = wish().container("tool", json!({ "network": "none" }));
    converged(&engine, &without);
    assert!(engine.world().networks_named(&without.object("demo")).is_empty());
}

#[test]
fn a_new_harness_version_fills_a_new_volume_and_then_replaces_its_users() {
    let engine = applied(&demo());
    let db = one(&engine, &demo(), "db");
    let bumped = demo().harness("claude", "2.1.0");
    let plan = planned(&engine, &bumped);
    let kinds: Vec<String> = steps(&plan)
        .iter()
        .map(|step| step.rsplit_once(' ').expect("words").0.to_owned())
        .collect();
    assert_eq!(
        kinds,
        ["populate volume", "replace container", "replace container"]
    );
    assert!(plan.steps[1..].iter().all(|step| step.needs.contains(&1)));
    converged(&engine, &bumped);
    assert_eq!(one(&engine, &bumped, "db"), db, "the sidecar has no harness");
    let sets = engine
        .world()
        .volumes()
        .filter(|one| one.reply.name.starts_with("aishell-harness-"))
        .count();
    assert_eq!(sets, 2, "the old set is kept, to go back to");
}

#[test]
fn where_the_image_has_no_npm_the_built_in_foundation_installs() {
    for code in [64, 127] {
        let log = vec!["npm: not found".to_owned()];
        let engine = MemoryEngine::new(world().with_job(BASE, Job::Fails { code, log }));
        let wish = demo();
        converged(&engine, &wish);
        let tools: Vec<String> = engine
            .world()
            .images()
            .flat_map(|image| image.reply.image.tags.clone())
            .filter(|tag| tag.starts_with("aishell-demo:builtin-"))
            .collect();
        assert_eq!(tools.len(), 1, "{tools:?}");
        // The next set finds it there.
        let built = engine.calls().len();
        converged(&engine, &wish.harness("claude", "9.9.9"));
        let again = engine.calls().split_off(built);
        assert!(
            !again.iter().any(|call| matches!(call, Call::BuildImage(_))),
            "{again:?}"
        );
    }
}

#[test]
fn where_nothing_installs_the_failure_says_what_is_missing() {
    let log = vec!["npm: not found".to_owned()];
    let job = Job::Fails { code: 64, log };
    let engine = MemoryEngine::new(world().with_jobs(job.clone()));
    let report = passed(&engine, &demo()).expect("the engine answers");
    let failures: Vec<_> = report
        .steps
        .iter()
        .filter_map(|done| done.error.as_ref())
        .collect();
    assert!(failures[0].message.contains("no npm"), "{failures:?}");

    // The image of the foundation is a local one, and what the built-in one starts from is nowhere.
    let world = World::new().with_image("local:1").with_job("local:1", job);
    let mut wish = demo();
    wish.foundation = Foundation::Image("local:1".to_owned());
    wish.containers.remove("db");
    let report = passed(&MemoryEngine::new(world), &wish).expect("the engine answers");
    let failure = report
        .steps
        .iter()
        .find_map(|done| done.error.as_ref())
        .expect("a failure");
    assert!(
        failure
            .message
            .contains("has no npm, and the built-in foundation"),
        "{failure:?}"
    );
    assert!(
        failure
            .hint
            .as_ref()
            .is_some_and(|hint| hint.contains("docker pull debian:")),
        "{failure:?}"
    );
}

#[test]
fn the_smallest_manifest_gets_the_foundation_that_ships_with_aishell() {
    let engine = MemoryEngine::new(world());
    let wish = wish()
        .builtin()
        .harness("claude", "2.0.22")
        .container("claude", json!({ "harness": "claude" }));
    let report = converged(&engine, &wish);
    let made: Vec<&str> = report
        .steps
        .iter()
        .map(|done| done.step.action.as_str())
        .collect();
    assert!(made.contains(&"build") && !made.contains(&"pull"), "{made:?}");
    let desired = looked(&engine, &wish).desired;
    assert_eq!(
        (
            desired.harness_set().map(HarnessSet::display),
            desired.fallback.as_ref()
        ),
        (Some("claude 2.0.22, node 24.21.0".to_owned()), None)
    );
}

#[test]
fn a_sidecar_alone_needs_no_foundation() {
    let wish = wish().builtin().container(
        "db",
        json!({ "image": SIDECAR, "user": "image", "network": "none" }),
    );
    assert_eq!(
        outcomes(&converged(&MemoryEngine::new(world()), &wish), Outcome::Done),
        ["create db"]
    );
}

#[test]
fn a_set_that_cannot_be_installed_leaves_everything_as_it_is_and_says_why() {
    let wish = demo();
    let engine = applied(&wish);
    let (api, db) = (one(&engine, &wish, "api"), one(&engine, &wish, "db"));
    let log = vec!["npm error 404 no such version".to_owned()];
    engine.by_hand(|world| {
        world.nature().job = Job::Fails {
            code: 65,
            log: log.clone(),
        }
    });
    let bumped = wish.clone().harness("claude", "9.9.9");
    let report = passed(&engine, &bumped).expect("the engine answers");
    assert_eq!(
        outcomes(&report, Outcome::Skipped),
        ["replace api", "replace web"]
    );
    let failure = report.steps[0].error.as_ref().expect("it failed");
    assert_eq!(
        (failure.message.as_str(), &failure.log),
        ("npm could not install a harness", &log)
    );
    assert_eq!((one(&engine, &wish, "api"), one(&engine, &wish, "db")), (api, db));
    assert!(
        engine.world().container("aishell-failed-demo-populate").is_some(),
        "kept to be looked into"
    );
    engine.by_hand(|world| world.nature().job = Job::Installs);
    converged(&engine, &bumped);
    assert!(
        engine.world().container("aishell-failed-demo-populate").is_none(),
        "of no use any more"
    );
}

#[test]
fn a_lost_receipt_is_verified_and_made_again_without_touching_containers() {
    let wish = demo();
    let engine = applied(&wish);
    let api = one(&engine, &wish, "api");
    let receipt: Vec<String> = engine
        .world()
        .containers()
        .map(|one| one.name().to_owned())
        .filter(|name| name.starts_with("aishell-receipt-"))
        .collect();
    engine.rm(&receipt[0]).expect("goes");
    converged(&engine, &wish);
    assert_eq!(one(&engine, &wish, "api"), api);
    assert!(engine.world().container(&receipt[0]).is_some());
}

#[test]
fn a_port_that_a_stranger_has_fails_that_container_only() {
    let wish = demo().container("web", json!({ "harness": "claude", "ports": ["3000:80"] }));
    let engine = MemoryEngine::new(world().with_taken_port(3000));
    let report = passed(&engine, &wish).expect("the engine answers");
    assert_eq!(outcomes(&report, Outcome::Failed), ["create web"]);
    assert_eq!(state(&engine, &wish, "api"), RunState::Running);
    engine.by_hand(|world| world.nature().taken_ports.clear());
    assert_eq!(steps(&planned(&engine, &wish)), ["start container web"]);
    converged(&engine, &wish);
}

#[test]
fn a_replacement_that_cannot_start_is_taken_back() {
    let engine = applied_in(world().with_taken_port(3000), &demo());
    let before = one(&engine, &demo(), "web");
    let changed = demo().container("web", json!({ "harness": "claude", "ports": ["3000:80"] }));
    let report = passed(&engine, &changed).expect("the engine answers");
    assert_eq!(outcomes(&report, Outcome::Failed), ["replace web"]);
    let error = report.steps[0].error.as_ref().expect("it failed");
    assert!(
        error.message.contains("port is already allocated"),
        "{}",
        error.message
    );
    assert_eq!(
        one(&engine, &demo(), "web").0,
        before.0,
        "the old one is back under its name"
    );
    assert_eq!(state(&engine, &demo(), "web"), RunState::Running);
    assert!(engine.world().containers().all(|one| {
        [".next", ".prev"]
            .iter()
            .all(|suffix| !one.name().ends_with(suffix))
    }));
}

#[test]
fn a_replacement_that_ends_at_once_is_taken_back_with_its_last_words() {
    let world = world().with_fate("broken", Fate::Ends(1));
    let engine = applied_in(world, &demo());
    let before = one(&engine, &demo(), "web");
    let broken = json!({ "harness": "claude", "command": ["broken"] });
    let changed = demo().container("web", broken.clone());
    let report = passed(&engine, &changed).expect("the engine answers");
    assert_eq!(outcomes(&report, Outcome::Failed), ["replace web"]);
    let error = report.steps[0].error.as_ref().expect("it failed");
    assert_eq!(
        error.message,
        "the new container ended with code 1 as soon as it was started"
    );
    assert_eq!(one(&engine, &demo(), "web").0, before.0);
    assert_eq!(state(&engine, &demo(), "web"), RunState::Running);
    assert!(!report.converged);
    // One that its policy starts again and again is found out too.
    let Value::Object(mut broken) = broken else {
        unreachable!("a map")
    };
    broken.insert("restart".to_owned(), json!("always"));
    let changed = demo().container("web", Value::Object(broken));
    let report = passed(&engine, &changed).expect("the engine answers");
    assert_eq!(
        outcomes(&report, Outcome::Failed),
        ["replace web"],
        "{}",
        told(&report)
    );
    assert_eq!(one(&engine, &demo(), "web").0, before.0);
    converged(&engine, &demo());
}

#[test]
fn a_replacement_by_a_command_that_completes_is_a_success() {
    let engine = applied_in(world().with_fate("once", Fate::Ends(0)), &demo());
    converged(&engine, &demo().container("web", json!({ "command": ["once"] })));
}

#[test]
fn two_containers_swap_their_ports_in_one_pass() {
    let ports = |port: &str| json!({ "harness": "claude", "ports": [format!("{port}:80")] });
    let one = wish()
        .harness("claude", "2.0.22")
        .container("api", ports("3001"))
        .container("web", ports("3002"));
    let engine = applied(&one);
    let other = one
        .container("api", ports("3002"))
        .container("web", ports("3001"));
    converged(&engine, &other);
}

#[test]
fn a_port_moves_from_one_container_to_another_in_one_pass() {
    let with = json!({ "harness": "claude", "ports": ["3001:80"] });
    let without = json!({ "harness": "claude" });
    let one = wish()
        .harness("claude", "2.0.22")
        .container("api", with.clone())
        .container("web", without.clone());
    let engine = applied(&one);
    converged(&engine, &one.container("api", without).container("web", with));
}

#[test]
fn a_command_that_has_completed_is_satisfied_and_one_that_failed_is_not() {
    let world = world()
        .with_fate("once", Fate::Ends(0))
        .with_fate("broken", Fate::Ends(2));
    let done = wish().container("task", json!({ "command": ["once"] }));
    let engine = applied_in(world.clone(), &done);
    assert_eq!(state(&engine, &done, "task"), RunState::Exited { code: 0 });
    let failed = wish().container("task", json!({ "command": ["broken"] }));
    let engine = MemoryEngine::new(world);
    passed(&engine, &failed).expect("the engine answers");
    assert!(!planned(&engine, &failed).is_empty());
}

#[test]
fn a_copy_that_somebody_made_of_a_sandbox_is_theirs() {
    let wish = demo();
    let engine = applied(&wish);
    engine.commit(&wish.object("api"), "backup:1").expect("commits");
    let copy = aishell::call::Create {
        name: "copy".to_owned(),
        labels: aishell::label::Labels::new(),
        spec: aishell::spec::ContainerSpec {
            image: "backup:1".to_owned(),
            ..Default::default()
        },
    };
    engine.by_hand(|world| *world = std::mem::take(world).with_container(&copy).started("copy"));
    let before = engine.world().container("copy").expect("made").clone();
    converged(&engine, &wish);
    converged(&engine, &wish.clone().without("api"));
    assert_eq!(engine.world().container("copy"), Some(&before));
}

#[test]
fn a_container_exchanged_between_plan_and_act_is_left_alone() {
    let wish = demo();
    let engine = applied(&wish);
    let name = wish.object("web");
    let looks = {
        let trial = crate::world::fork(&engine);
        planned(&trial, &wish.clone().without("web"));
        trial.calls().len()
    };
    let stranger = name.clone();
    engine.before(looks, move |world| {
        let mut now = std::mem::take(world);
        let _answer = now.answer(
            &Call::RemoveContainer {
                container: aishell::label::OwnedId::made(&stranger),
                volumes: false,
            },
            &aishell::progress::Progress::default(),
        );
        *world = now.stranger_container(&stranger);
    });
    passed(&engine, &wish.clone().without("web")).expect("the engine answers");
    assert_eq!(
        engine.world().container(&name).expect("theirs").state(),
        RunState::Running
    );
}

#[test]
fn projects_that_want_the_same_set_fill_it_once() {
    let engine = MemoryEngine::new(world().with_image(BASE).with_slow_jobs());
    let wishes: Vec<Wish> = ["/srv/demo", "/srv/other", "/srv/friend"]
        .iter()
        .map(|project| demo().of(project))
        .collect();
    all_at_once(&engine, &wishes);
    for wish in &wishes {
        converged(&engine, wish);
    }
    let jobs = engine
        .writes()
        .iter()
        .filter(|call| matches!(call, Call::Upload { container, .. } if started(&engine, container)))
        .count();
    assert_eq!(jobs, 1, "one job was started");
}

/// Says whether a container was started.
fn started(engine: &MemoryEngine, id: &str) -> bool {
    engine
        .calls()
        .iter()
        .any(|call| matches!(call, Call::StartContainer { container } if container == id))
}

#[test]
fn two_passes_at_once_get_in_each_others_way_at_most_until_the_next() {
    let engine = MemoryEngine::new(world().with_slow_jobs());
    all_at_once(&engine, &[demo(), demo()]);
    converged(&engine, &demo());
    let changed = demo()
        .harness("claude", "2.1.0")
        .container("api", json!({ "harness": "claude", "env": { "A": "1" } }));
    all_at_once(&engine, &[changed.clone(), changed.clone()]);
    converged(&engine, &changed);
}

/// Makes passes on one engine at the same time.
fn all_at_once(engine: &MemoryEngine, wishes: &[Wish]) {
    let prepared: Vec<_> = wishes.iter().map(Wish::prepared).collect();
    run(async {
        let (listener, stop) = (Arc::new(Silent), Stop::never());
        let passes = prepared.iter().map(|prepared| {
            let subject = Subject {
                intent: &**prepared,
                consent: Consent::default(),
            };
            let (listener, stop) = (&listener, &stop);
            async move { reconcile(engine, &subject, listener, stop).await.ok() }
        });
        futures_util::future::join_all(passes).await
    });
}

#[test]
fn after_a_reboot_nothing_is_left_to_do_but_for_what_has_no_policy() {
    let wish = demo().container("tool", json!({ "harness": "claude", "restart": "no" }));
    let engine = applied(&wish);
    engine.reboot();
    put_right(&engine, &wish, "tool", &["start container tool"]);
}

#[test]
fn a_failed_call_is_told_in_the_engines_words() {
    let engine = MemoryEngine::new(world());
    engine.fault(|call| {
        matches!(call, Call::CreateNetwork { .. }).then(|| aishell::engine::EngineError::Failed {
            message: "could not find an available subnet".to_owned(),
        })
    });
    let report = passed(&engine, &demo()).expect("the engine answers");
    let failed = report
        .steps
        .iter()
        .find(|done| done.outcome == Outcome::Failed)
        .expect("one failed");
    assert_eq!(
        failed.error.as_ref().expect("says why").message,
        "could not find an available subnet"
    );
    engine.mend();
    converged(&engine, &demo());
}

#[test]
fn a_manifest_can_use_every_word_of_the_tests() {
    let all: Value = json!({
        "harness": "claude", "env": { "A": "1" }, "ports": ["3000:80"], "network": [LAN],
        "resources": { "memory": "1GiB", "cpus": "1.5", "pids": "unlimited" }, "restart": "on-failure:3",
        "mounts": [{ "volume": "cache", "target": "~/.cache" }, { "tmpfs": "/scratch", "size": "64MiB" }],
        "labels": { "team": "one" }, "stop": { "signal": "SIGINT", "timeout": "3s" }, "hostname": "box",
    });
    applied(&wish().harness("claude", "2.0.22").container("api", all));
}

#[test]
fn a_held_container_is_neither_started_nor_replaced_until_it_is_released() {
    let demo = demo();
    let engine = applied(&demo);
    let hold = Hold {
        by: "me@box".to_owned(),
        since: "2026-01-01T00:00:00Z".to_owned(),
    };
    let names = ["api".to_owned()].into();
    let look = looked(&engine, &demo);
    let stop = stopping(
        &look.observed,
        &look.desired.owner,
        &look.plan.manifest,
        &names,
        &hold,
    );
    engine.forget();
    let done = run(apply(&stop, &engine, &Arc::new(Silent), &Stop::never()));
    assert!(done.iter().all(|done| done.outcome == Outcome::Done));
    // Whatever cuts it, the hold is there before the container is stopped.
    let writes = engine.writes();
    assert!(
        matches!(
            &writes[..],
            [Call::CreateVolume { .. }, Call::StopContainer { .. }]
        ),
        "{writes:?}"
    );
    assert_eq!(steps(&planned(&engine, &demo)), [""; 0]);
    converged(&engine, &demo);
    assert!(matches!(state(&engine, &demo, "api"), RunState::Exited { .. }));

    let changed = demo
        .clone()
        .container("api", json!({ "harness": "claude", "env": { "A": "1" } }));
    let plan = planned(&engine, &changed);
    assert_eq!(steps(&plan), [""; 0]);
    assert_eq!(plan.blocked[0].unblock.as_deref(), Some("aishell start api"));

    let start = Consent {
        only: Some(
            [Resource {
                kind: ResourceKind::Container,
                name: "api".to_owned(),
            }]
            .into(),
        ),
        release: names,
        ..Consent::default()
    };
    let report = passed_with(&engine, &changed, start).expect("the engine answers");
    assert!(report.converged, "{}", told(&report));
    assert_eq!(state(&engine, &changed, "api"), RunState::Running);
    assert_eq!(steps(&planned(&engine, &changed)), [""; 0]);
}

#[test]
fn what_is_started_and_does_not_stay_up_holds_back_whoever_depends_on_it_each_time() {
    let wish = wish()
        .container("db", json!({ "command": ["broken"] }))
        .container("api", json!({ "dependsOn": ["db"] }));
    let engine = MemoryEngine::new(world().with_fate("broken", Fate::Ends(3)));
    for action in ["create", "start", "start"] {
        let report = passed(&engine, &wish).expect("the engine answers");
        let told = told(&report);
        assert!(told.contains(&format!("failed {action} db: ")), "{told}");
        assert!(
            told.contains("skipped create api: needs container db, which failed"),
            "{told}"
        );
        assert!(engine.world().container(&wish.object("api")).is_none());
    }
    engine.by_hand(|world| *world = std::mem::take(world).with_fate("broken", Fate::Obeys));
    converged(&engine, &wish);
}

#[test]
fn a_job_that_was_never_started_is_given_up_by_the_clock_of_the_engine() {
    for seconds in [86_400, 4_102_444_800] {
        let start = MemoryEngine::new(world().at_time(seconds));
        let counted = fork(&start);
        converged(&counted, &demo());
        let starts = |call: &Call| matches!(call, Call::StartContainer { .. });
        let first = counted.calls().iter().position(starts).expect("a job");
        start.cut(first, Cut::Before);
        passed(&start, &demo());
        start.mend();
        converged(&start, &demo());
    }
}
