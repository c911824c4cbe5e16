//! Images that are built in phases, in memory: what runs, what is kept, and what is left when something is cut.

use aishell::call::Call;
use aishell::engine::memory::{Cut, Fate, MemoryEngine};
use aishell::plan::{Consent, Rebuilt};
use aishell::report::Outcome;
use aishell::step::{Action, ResourceKind};
use serde_json::{Value, json};

use crate::world::{
    Wish, converged, fork, left_to_do, looked, looked_with, passed, passed_with, told, wish, world,
};

fn phases() -> Value {
    json!({
        "base": { "image": "debian:bookworm-slim" },
        "users": [{ "name": "dev", "groups": ["sudo"] }],
        "env": { "WORKDIR": "/work", "PATH": "${WORKDIR}/bin:${PATH}" },
        "workdir": { "path": "${WORKDIR}", "owner": "dev" },
        "setup": { "root": ["make this"], "user": [{ "run": "make that", "timeout": "1m" }] },
        "verify": { "files": ["${WORKDIR}"] },
        "test": ["try it"],
        "final": { "user": "dev", "workdir": "/work" },
        "hooks": { "setup": { "after": ["tidy up"] } },
    })
}

fn demo() -> Wish {
    wish().phased(phases()).container("a", json!({ "home": "tmpfs" }))
}

fn with(path: &str, value: Value) -> Wish {
    let mut phases = phases();
    *phases.pointer_mut(path).expect("something to change") = value;
    wish().phased(phases).container("a", json!({ "home": "tmpfs" }))
}

/// Returns the phases that a plan does, as `8-repos`.
fn planned(engine: &MemoryEngine, wish: &Wish) -> Vec<String> {
    let plan = looked(engine, wish).plan;
    let steps = plan.steps.iter().filter(|step| step.action == Action::Snapshot);
    steps
        .map(|step| {
            let detail = step.detail.as_deref().expect("a detail");
            let (_, rest) = detail.split_once("] ").expect("a number");
            rest.split(':').next().expect("a phase").to_owned()
        })
        .collect()
}

const ALL: [&str; 7] = [
    "2-users",
    "3-env",
    "4-workdir",
    "7-setup",
    "10-verify",
    "11-test",
    "12-final",
];

#[test]
fn phases_are_done_in_order_and_once() {
    let engine = MemoryEngine::new(world());
    // What the base means is known when it is there.
    assert_eq!(planned(&engine, &demo()), [""; 0]);
    converged(&engine, &wish().container("a", json!({})));
    assert_eq!(planned(&engine, &demo()), ALL);
    converged(&engine, &demo());
    assert_eq!(planned(&engine, &demo()), Vec::<String>::new());
    let words: Vec<Vec<String>> = engine
        .effects()
        .into_iter()
        .filter_map(|call| match call {
            Call::CreateExec(exec) => Some([vec![exec.user.unwrap_or_default()], exec.words].concat()),
            _ => None,
        })
        .collect();
    let run = |user: &str, command: &str| [user, "/bin/sh", "-ec", command].map(str::to_owned).to_vec();
    assert_eq!(
        words,
        [
            run("0:0", "make this"),
            run("dev", "make that"),
            run("0:0", "tidy up"),
            run("dev", "try it")
        ]
    );
    let image = engine
        .world()
        .image("aishell-demo:foundation")
        .cloned()
        .expect("the image");
    let config = &image.reply.config;
    assert_eq!(config.user.as_deref(), Some("dev"));
    assert_eq!(config.workdir.as_deref(), Some("/work"));
    assert!(config.env["PATH"].starts_with("/work/bin:"), "{config:?}");
    let labels = &image.reply.image.labels;
    assert_eq!(
        (
            labels["aishell.verified"].as_str(),
            labels["aishell.tested"].as_str()
        ),
        ("true", "true")
    );
    // What does nothing has the courtesy tag of what was there before.
    let id = |tag: &str| {
        let world = engine.world();
        world
            .image(&format!("aishell-demo:{tag}"))
            .map(|image| image.reply.image.id.clone())
    };
    assert_eq!(id("5-habitat"), id("4-workdir"));
    assert_eq!(id("9-tools"), id("7-setup"));
    assert_eq!(id("10-verify"), None);
    assert_eq!(id("12-final"), id("foundation"));
}

#[test]
fn what_changes_is_done_anew_with_what_follows_and_nothing_else() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    for (path, value, from) in [
        ("/users/0/name", json!("dev2"), None),
        ("/users/0/groups", json!([]), Some(0)),
        ("/env/PATH", json!("${WORKDIR}/sbin:${PATH}"), Some(1)),
        ("/env/WORKDIR", json!("/other"), Some(1)),
        ("/workdir/owner", json!("root"), Some(2)),
        ("/setup/root/0", json!("make more"), Some(3)),
        ("/setup/user/0/run", json!("make more"), Some(3)),
        ("/setup/user/0/timeout", json!("2m"), Some(7)),
        ("/hooks/setup/after/0", json!("sweep up"), Some(3)),
        (
            "/verify/files/0",
            json!({ "path": "/work", "owner": "root" }),
            Some(4),
        ),
        ("/test/0", json!("try harder"), Some(5)),
        ("/final/user", json!("root"), None),
        ("/final/workdir", json!("/"), Some(6)),
    ] {
        let engine = fork(&engine);
        let other = with(path, value);
        let planned = planned(&engine, &other);
        if let Some(from) = from {
            assert_eq!(planned, ALL[from..], "{path}");
        }
        let report = passed(&engine, &other).expect("the engine answers");
        // The memory engine has a `dev` and no `dev2`, and that is told.
        assert!(
            report.converged || path == "/users/0/name",
            "{path}: {}",
            told(&report)
        );
    }
}

#[test]
fn a_phase_is_done_anew_on_request_with_what_follows() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    for (target, from) in [
        ("foundation/setup", 3),
        ("foundation/7", 3),
        ("foundation/habitat", 3),
        ("foundation", 0),
        ("foundation/12", 6),
    ] {
        let consent = Consent {
            rebuild: Rebuilt::of([target.parse().expect("a target")].into()),
            ..Consent::default()
        };
        let plan = looked_with(&engine, &demo(), consent.clone()).plan;
        let steps = plan.steps.iter().filter(|step| step.action == Action::Snapshot);
        assert_eq!(steps.count(), ALL.len() - from, "{target}");
        let report = passed_with(&engine, &demo(), consent).expect("the engine answers");
        assert!(report.converged, "{target}: {}", told(&report));
        let done = report
            .steps
            .iter()
            .filter(|done| done.step.action == Action::Snapshot);
        assert_eq!(done.count(), ALL.len() - from, "{target}: once");
        assert_eq!(left_to_do(&engine, &demo()), None, "{target}");
    }
}

#[test]
fn cut_anywhere_the_next_pass_goes_on_and_leaves_nothing() {
    let begun = MemoryEngine::new(world());
    let trial = fork(&begun);
    converged(&trial, &demo());
    let whole = trial.world().summary().len();
    for at in 0..trial.calls().len() {
        let engine = fork(&begun);
        engine.cut(at, if at % 2 == 0 { Cut::Before } else { Cut::After });
        let _ = passed(&engine, &demo());
        engine.mend();
        let report = passed(&engine, &demo()).expect("the engine answers");
        assert!(report.converged, "{at}: {}", told(&report));
        assert_eq!(left_to_do(&engine, &demo()), None, "{at}");
        assert_eq!(
            engine.world().summary().len(),
            whole,
            "{at}: {:#?}",
            engine.world().summary()
        );
    }
}

#[test]
fn a_command_that_fails_keeps_its_container_and_what_was_before() {
    for (fate, how) in [
        (Fate::Ends(3), "ended with 3"),
        (Fate::Obeys, "did not end in its time"),
    ] {
        let engine = MemoryEngine::new(world());
        engine.by_hand(|world| world.nature().fates.insert("make that".to_owned(), fate));
        let report = passed(&engine, &demo()).expect("the engine answers");
        let failed = report
            .steps
            .iter()
            .find(|done| done.outcome == Outcome::Failed)
            .expect("a failure");
        let error = failed.error.as_ref().expect("an error");
        assert_eq!(
            error.message,
            format!("phase 7-setup: `make that` (setup.user.0) {how}")
        );
        let hint = error.hint.as_deref().expect("a hint");
        assert!(
            hint.contains("docker exec -it -u dev aishell-failed-demo-7-setup /bin/sh"),
            "{hint}"
        );
        let kept = engine
            .world()
            .container("aishell-failed-demo-7-setup")
            .cloned()
            .expect("what failed");
        assert!(!kept.state().is_alive());
        engine.by_hand(|world| world.nature().fates.clear());
        assert_eq!(planned(&engine, &demo()), ALL[3..]);
        let report = passed(&engine, &demo()).expect("the engine answers");
        assert!(report.converged, "{}", told(&report));
        assert!(engine.world().container("aishell-failed-demo-7-setup").is_none());
    }
}

#[test]
fn everything_that_is_missing_is_told_at_once() {
    let engine = MemoryEngine::new(world());
    let other = with(
        "/verify/files",
        json!(["/gone", "/work", { "path": "/work", "mode": "0700" }, "~nobody/x"]),
    );
    let report = passed(&engine, &other).expect("the engine answers");
    let failed = report
        .steps
        .iter()
        .find(|done| done.outcome == Outcome::Failed)
        .expect("a failure");
    let error = failed.error.as_ref().expect("an error");
    assert_eq!(
        error.message,
        "phase 10-verify: 3 of 4 files are not as they must be"
    );
    assert_eq!(
        error.log,
        [
            "/gone is not there",
            "/work has mode 0755 and must have 0700",
            "~nobody/x: the image has no user `nobody` with a home"
        ]
    );
    let kinds = report
        .steps
        .iter()
        .filter(|done| done.outcome == Outcome::Skipped);
    assert!(
        kinds
            .clone()
            .any(|done| done.step.resource.kind == ResourceKind::Image)
    );
}

#[test]
fn a_tag_moved_by_hand_and_copied_labels_are_not_used() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    let world = engine.world();
    let tags = &world
        .image("aishell-demo:7-setup")
        .expect("a snapshot")
        .reply
        .image
        .tags;
    let tags: Vec<String> = tags.iter().cloned().collect();
    let keyed = tags
        .iter()
        .find(|tag| tag.contains(":7-setup-") && tag.matches('-').count() == 3);
    let setup = keyed.expect("a keyed tag").clone();
    let base = world
        .image("debian:bookworm-slim")
        .expect("a base")
        .reply
        .image
        .id
        .clone();
    let other = with("/test/0", json!("try harder"));
    for tag in tags {
        engine.rmi(&tag).expect("a tag that goes");
    }
    engine.tag(&base, &setup).expect("a tag");
    // The snapshot before it is good.
    assert_eq!(planned(&engine, &other), ALL[3..]);
    let report = passed(&engine, &other).expect("the engine answers");
    assert!(report.converged, "{}", told(&report));
}
