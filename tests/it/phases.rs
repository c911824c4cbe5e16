//! Images that are built in phases, in memory: what runs, what is kept, and what is left when something is cut.

use aishell::call::Call;
use aishell::engine::memory::{Cut, Fate, MemoryEngine};
use aishell::manifest::phase::PhaseName;
use aishell::plan::{Consent, Rebuilt};
use aishell::report::Outcome;
use aishell::status::phase::{self, PhaseState};
use aishell::step::{Action, Cause, ResourceKind};
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
fn what_a_phase_knows_of_its_image_the_next_one_does_not_ask_again() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &wish().container("a", json!({})));
    let before = engine.calls().len();
    let phases = json!({
        "base": { "image": "debian:bookworm-slim" },
        "users": [{ "name": "dev" }],
        "env": { "A": "b" },
        "workdir": { "path": "/work", "owner": "dev" },
        "habitat": { "path": "/work/habitat", "dirs": ["system", "shared"], "owner": "dev" },
        "setup": { "root": ["make this"] },
        "hooks": { "tools": { "before": ["make that"] } },
    });
    converged(&engine, &wish().named("other").of("/srv/other").phased(phases));
    let calls = engine.calls();
    let asked: Vec<String> = calls[before..]
        .iter()
        .filter_map(|call| match call {
            Call::ReadFile { path, .. } | Call::StatFile { path, .. } => Some(path.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        asked,
        [
            "/etc/passwd",
            "/etc/group",
            "/etc/shadow",
            "/home/dev",
            "/home",
            "/work"
        ]
    );
    let sent = calls[before..]
        .iter()
        .filter(|call| matches!(call, Call::Upload { .. }));
    assert_eq!(sent.count(), 3, "what a phase makes goes in one piece");
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

/// Returns the states of all phases of the foundation, those that do nothing left out.
fn standing(engine: &MemoryEngine, wish: &Wish) -> Vec<(String, PhaseState)> {
    let look = looked(engine, wish);
    let stages = phase::phases(&look.desired, &look.observed, &look.plan);
    let stage = stages.first().expect("a stage in phases");
    assert_eq!(stage.phases.len(), PhaseName::ALL.len());
    let phases = stage.phases.iter().filter(|one| one.state != PhaseState::Empty);
    phases
        .map(|one| {
            let there = one.created.is_some();
            let leaves = one.name.leaves_snapshot() && one.name != PhaseName::Base;
            assert_eq!(
                there && leaves,
                leaves && one.state == PhaseState::Cached,
                "{one:?}"
            );
            assert!(one.snapshot.is_none() || leaves, "{one:?}");
            (one.name.to_string(), one.state.clone())
        })
        .collect()
}

fn words(engine: &MemoryEngine, wish: &Wish) -> Vec<String> {
    let standing = standing(engine, wish).into_iter();
    standing
        .map(|(name, state)| format!("{name} {}", state.as_str()))
        .collect()
}

#[test]
fn every_phase_says_how_it_stands() {
    let engine = MemoryEngine::new(world());
    let all = |state: &str, base: &str| -> Vec<String> {
        let rest = ALL.iter().map(|name| format!("{name} {state}"));
        std::iter::once(format!("1-base {base}")).chain(rest).collect()
    };
    // What the base means is known when it is there.
    assert_eq!(words(&engine, &demo()), all("unknown", "missing"));
    converged(&engine, &wish().container("a", json!({})));
    assert_eq!(words(&engine, &demo()), all("missing", "cached"));
    engine.by_hand(|world| {
        let fates = &mut world.nature().fates;
        fates.insert("make that".to_owned(), Fate::Ends(3));
    });
    let _ = passed(&engine, &demo());
    let standing = standing(&engine, &demo());
    let (done, left) = standing.split_at(4);
    assert!(
        done.iter().all(|(_, state)| *state == PhaseState::Cached),
        "{done:?}"
    );
    let PhaseState::Failed { container, shell } = &left[0].1 else {
        panic!("{left:?}");
    };
    assert_eq!(container, "aishell-failed-demo-7-setup");
    assert!(shell.contains(container), "{shell}");
    assert!(
        left[1..].iter().all(|(_, state)| state.as_str() != "cached"),
        "{left:?}"
    );
    engine.by_hand(|world| world.nature().fates.clear());
    // Tried as it was, it failed; as it is now, it was not tried.
    let other = with("/setup/user/0/run", json!("make more"));
    assert_eq!(words(&engine, &other)[4], "7-setup missing");
    converged(&engine, &demo());
    assert_eq!(words(&engine, &demo()), all("cached", "cached"));
    let standing = self::standing(&engine, &other);
    let PhaseState::Stale(because) = &standing[4].1 else {
        panic!("{standing:?}");
    };
    assert_eq!(because[0].field.as_deref(), Some("setup.user.0"));
    assert!(
        standing[5..].iter().all(|(_, state)| state.as_str() == "stale"),
        "{standing:?}"
    );
}

/// A manifest whose setup is given what a file holds, and nobody may see.
fn secretive(value: &str, phases: impl FnOnce(&mut Value)) -> (Wish, tempfile::TempDir) {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, value).expect("a file");
    let mut all = self::phases();
    let env = json!({ "TOKEN": { "fromFile": file }, "PLAIN": "seen" });
    all["setup"]["root"] = json!([{ "run": "make this", "env": env }]);
    phases(&mut all);
    let wish = wish().phased(all).container("a", json!({ "home": "tmpfs" }));
    (wish, directory)
}

#[test]
fn a_secret_is_given_to_its_command_and_to_nothing_else() {
    let value = "hunter2-hunter2";
    let engine = MemoryEngine::new(world());
    let (wish, _directory) = secretive(value, |_| {});
    converged(&engine, &wish);
    let mut given = 0;
    for call in engine.calls() {
        if let Call::CreateExec(exec) = &call {
            let secret = exec.secrets.get("TOKEN").map(|secret| secret.expose().to_owned());
            let is_it = exec.words.last().is_some_and(|word| word == "make this");
            assert_eq!(secret.is_some(), is_it, "{exec:?}");
            assert_eq!(exec.env.get("PLAIN").is_some_and(|seen| seen == "seen"), is_it);
            given += usize::from(secret.as_deref() == Some(value));
        }
        assert!(!format!("{call:?}").contains(value), "{call:?}");
    }
    assert_eq!(given, 1);
    let searched = engine
        .calls()
        .into_iter()
        .position(|call| matches!(call, Call::ListChanges { .. }));
    assert!(searched.is_some());
    assert!(!engine.world().summary().join("\n").contains(value));
    // Another value is no other manifest.
    let (other, _other) = secretive("correct horse battery", |_| {});
    let named = |wish: &Wish| looked(&engine, wish).plan.steps.len();
    assert_eq!((named(&wish), named(&other)), (0, 0));
}

#[test]
fn what_leaves_a_secret_is_not_kept() {
    let value = "hunter2-hunter2";
    let engine = MemoryEngine::new(world());
    // What the environment of the image says is in its configuration.
    let (wish, _directory) = secretive(value, |phases| phases["env"]["COPY"] = json!(value));
    let report = passed(&engine, &wish).expect("the engine answers");
    let mut failed = report.steps.iter().filter(|done| done.outcome == Outcome::Failed);
    let failed = failed.next().expect("a failure");
    let error = failed.error.as_ref().expect("an error");
    assert_eq!(
        error.message,
        "phase 7-setup: it leaves the secret TOKEN of setup.root.0 in the configuration of the image (as it is)"
    );
    let world = engine.world();
    assert!(world.image("aishell-demo:7-setup").is_none());
    assert!(world.image("aishell-demo:4-workdir").is_some());
    assert!(
        !world.summary().join("\n").contains("making"),
        "{:#?}",
        world.summary()
    );
    assert!(world.container("aishell-failed-demo-7-setup").is_none());
}

#[test]
fn a_secret_that_is_missing_or_short_blocks_its_phase_and_what_needs_it() {
    for (value, why) in [("", "it is empty"), ("short", "it is shorter than 8 characters")] {
        let engine = MemoryEngine::new(world());
        converged(&engine, &wish().container("b", json!({})));
        let (wish, _directory) = secretive(value, |_| {});
        let look = looked(&engine, &wish);
        let blocked = &look.plan.blocked[0];
        assert!(
            blocked.detail.starts_with("its secret TOKEN cannot be had"),
            "{blocked:?}"
        );
        assert!(blocked.detail.contains(why), "{blocked:?}");
        assert!(
            look.plan
                .steps
                .iter()
                .all(|step| !step.resource.name.contains("setup")),
            "{:#?}",
            look.plan
        );
        let standing = words(&engine, &wish);
        assert_eq!(standing[3], "4-workdir missing", "{standing:?}");
        assert!(standing[4].starts_with("7-setup unknown"), "{standing:?}");
    }
}

#[test]
fn a_killed_rebuild_of_phases_is_completed_by_the_next_pass() {
    let begun = MemoryEngine::new(world());
    converged(&begun, &demo());
    let consent = || Consent {
        rebuild: Rebuilt::of(["foundation/users".parse().expect("a target")].into()),
        ..Consent::default()
    };
    let trial = fork(&begun);
    let before = trial.calls().len();
    let report = passed_with(&trial, &demo(), consent()).expect("the engine answers");
    assert!(report.converged, "{}", told(&report));
    let id = |engine: &MemoryEngine, tag: &str| {
        let world = engine.world();
        let image = world.image(&format!("aishell-demo:{tag}")).expect("an image");
        image.reply.image.id.clone()
    };
    // Courtesy tags come last, and nobody reads them.
    let look = looked(&begun, &demo());
    let stages = phase::phases(&look.desired, &look.observed, &look.plan);
    let snapshots = stages[0].phases.iter();
    let snapshots = snapshots.filter(|one| one.name != PhaseName::Final);
    let mut tags: Vec<String> = snapshots.filter_map(|one| one.snapshot.clone()).collect();
    tags.push(look.desired.stages["foundation"].reference().to_owned());
    let tags: Vec<&str> = tags
        .iter()
        .filter_map(|tag| tag.strip_prefix("aishell-demo:"))
        .collect();
    let keyed = tags[0];
    for at in before..trial.calls().len() {
        let engine = fork(&begun);
        engine.cut(at, if at % 2 == 0 { Cut::Before } else { Cut::After });
        let _ = passed_with(&engine, &demo(), consent());
        engine.mend();
        // Its last name is the one that counts.
        let proof = format!("aishell-demo:{keyed}-");
        let is_named = |engine: &MemoryEngine| {
            let world = engine.world();
            let image = world.image(&format!("aishell-demo:{keyed}")).expect("an image");
            image.reply.image.tags.iter().any(|tag| tag.starts_with(&proof))
        };
        let renewed = id(&engine, keyed) != id(&begun, keyed) && is_named(&engine);
        let report = passed(&engine, &demo()).expect("the engine answers");
        assert!(report.converged, "{at}: {}", told(&report));
        assert_eq!(left_to_do(&engine, &demo()), None, "{at}");
        // Whoever has begun means all of it.
        for tag in &tags[1..] {
            assert_eq!(id(&engine, tag) != id(&begun, tag), renewed, "{at}: {tag}");
        }
    }
}

#[test]
fn a_phase_that_is_asked_for_begins_further_up_if_what_it_is_made_on_changed() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    let sidecar = json!({ "image": "postgres:17", "home": "tmpfs" });
    converged(&engine, &demo().container("db", sidecar));
    let other = with("/base/image", json!("postgres:17"));
    let consent = Consent {
        rebuild: Rebuilt::of(["foundation/setup".parse().expect("a target")].into()),
        ..Consent::default()
    };
    let plan = looked_with(&engine, &other, consent).plan;
    let steps: Vec<_> = plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Snapshot)
        .collect();
    assert_eq!(steps.len(), ALL.len(), "{plan:#?}");
    let because = &steps[0].because;
    assert!(
        because.iter().any(|because| because.cause == Cause::Dependency),
        "{because:#?}"
    );
}

#[test]
fn what_phases_leave_says_nothing_of_an_owner() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &demo());
    let world = engine.world();
    for tag in ["2-users", "7-setup", "foundation"] {
        let image = world.image(&format!("aishell-demo:{tag}")).expect("an image");
        for label in ["project", "project.hash", "host", "file"] {
            let said = image.reply.image.labels.get(&format!("aishell.{label}"));
            assert_eq!(said.map_or("", String::as_str), "", "{tag}: {label}");
        }
    }
}

#[test]
fn what_another_manifest_made_of_the_same_has_all_the_names_of_this_one() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &wish().container("a", json!({})));
    converged(&engine, &demo());
    let other = |phases: Value| wish().named("other").of("/srv/other").phased(phases);
    let id = |name: &str| {
        let world = engine.world();
        let image = world.image(name)?;
        Some(image.reply.image.id.clone())
    };
    let same = |phases: &[&str]| {
        for phase in phases {
            let (own, others) = (format!("aishell-demo:{phase}"), format!("aishell-other:{phase}"));
            assert!(id(&own).is_some(), "{own}");
            assert_eq!(id(&own), id(&others), "{phase}");
        }
    };
    // Up to where they differ.
    let mut changed = phases();
    changed["setup"]["root"] = json!(["make something else"]);
    converged(&engine, &other(changed));
    same(&["2-users", "3-env", "4-workdir", "5-habitat", "6-files"]);
    assert_ne!(id("aishell-demo:7-setup"), id("aishell-other:7-setup"));
    // All of it.
    converged(&engine, &other(phases()));
    same(&[
        "2-users",
        "4-workdir",
        "7-setup",
        "9-tools",
        "12-final",
        "foundation",
    ]);
    assert_eq!(planned(&engine, &other(phases())), [""; 0]);
}

/// A manifest of which the phases are those of all others, and that has nothing else.
fn equal(name: &str) -> Wish {
    wish().named(name).of(&format!("/srv/{name}")).phased(phases())
}

fn anew(target: &str) -> Consent {
    Consent {
        rebuild: Rebuilt::of([target.parse().expect("a target")].into()),
        ..Consent::default()
    }
}

/// Tries whatever manifests with equal phases do one after the other.
fn tried(engine: &MemoryEngine, done: &mut Vec<String>, deep: usize) {
    if deep == 0 {
        return;
    }
    for name in ["one", "two", "three"] {
        let wish = equal(name);
        for consent in [
            Consent::default(),
            anew("foundation/setup"),
            anew("foundation/users"),
        ] {
            let engine = fork(engine);
            done.push(format!("{name} {:?}", consent.rebuild));
            let report = passed_with(&engine, &wish, consent).expect("the engine answers");
            assert!(report.converged, "{done:?}: {}", told(&report));
            assert_eq!(left_to_do(&engine, &wish), None, "{done:?}");
            tried(&engine, done, deep - 1);
            done.pop();
        }
    }
}

#[test]
fn manifests_that_share_phases_do_them_anew_in_any_order() {
    let engine = MemoryEngine::new(world());
    converged(&engine, &wish().container("a", json!({})));
    tried(&engine, &mut Vec::new(), 3);
}

#[test]
fn phases_that_another_manifest_does_anew_meanwhile_are_nobody_elses() {
    let begun = MemoryEngine::new(world());
    converged(&begun, &wish().container("a", json!({})));
    converged(&begun, &equal("one"));
    for shared in [false, true] {
        if shared {
            converged(&begun, &equal("two"));
        }
        for (consent, other) in [
            (Consent::default(), "foundation/setup"),
            (anew("foundation/setup"), "foundation/setup"),
            (anew("foundation/setup"), "foundation/users"),
            (anew("foundation/users"), "foundation/setup"),
        ] {
            let trial = fork(&begun);
            let before = trial.calls().len();
            passed_with(&trial, &equal("two"), consent.clone()).expect("the engine answers");
            for at in 0..trial.calls().len() - before {
                let engine = fork(&begun);
                engine.before(at, move |world| {
                    let meanwhile = MemoryEngine::new(std::mem::take(world));
                    let pass = || passed_with(&meanwhile, &equal("one"), anew(other));
                    let report = std::thread::scope(|scope| scope.spawn(pass).join());
                    let report = report.expect("no panic").expect("the engine answers");
                    assert!(report.converged, "{}", told(&report));
                    *world = meanwhile.world();
                });
                let report =
                    passed_with(&engine, &equal("two"), consent.clone()).expect("the engine answers");
                assert!(
                    report.converged,
                    "{shared} {consent:?} {other} {at}: {}",
                    told(&report)
                );
                for name in ["one", "two"] {
                    assert_eq!(
                        left_to_do(&engine, &equal(name)),
                        None,
                        "{shared} {consent:?} {other} {at}: {name}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_killed_rebuild_is_completed_whatever_other_manifests_do_before() {
    let begun = MemoryEngine::new(world());
    converged(&begun, &wish().container("a", json!({})));
    converged(&begun, &equal("one"));
    for target in ["foundation/users", "foundation/setup"] {
        let trial = fork(&begun);
        let before = trial.calls().len();
        passed_with(&trial, &equal("two"), anew(target)).expect("the engine answers");
        for at in before..trial.calls().len() {
            let engine = fork(&begun);
            engine.cut(at, if at % 2 == 0 { Cut::Before } else { Cut::After });
            let _ = passed_with(&engine, &equal("two"), anew(target));
            engine.mend();
            let others =
                passed_with(&engine, &equal("one"), anew("foundation/setup")).expect("the engine answers");
            assert!(others.converged, "{target} {at}: {}", told(&others));
            let report = passed(&engine, &equal("two")).expect("the engine answers");
            assert!(report.converged, "{target} {at}: {}", told(&report));
            for name in ["one", "two"] {
                assert_eq!(left_to_do(&engine, &equal(name)), None, "{target} {at}: {name}");
            }
        }
    }
}
