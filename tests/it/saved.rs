//! Saved plans: carried out later as they were printed, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aishell::apply::{Silent, Stop};
use aishell::call::Call;
use aishell::claim::{Claims, Turn};
use aishell::engine::memory::{MemoryEngine, World};
use aishell::host::Host;
use aishell::label::OwnedId;
use aishell::plan::{Consent, Requested};
use aishell::progress::Progress;
use aishell::reconcile::{Planned, PlannedError, Subject, identity};
use aishell::report::{Outcome, Report};
use aishell::saved::{Change, Saved, SavedError, View};
use aishell::spec::{Resources, Restart};
use aishell::step::{Plan, Resource, ResourceKind};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::laws::{hand, made, meddle, rules, untouched, wishes, worlds};
use crate::world::{
    BASE, LAN, SIDECAR, Wish, converged, explained, fork, left_to_do, looked_with, run, steps, wish, world,
};

/// Plans, saves and reads what was saved; nothing where something is unknown.
fn saved(engine: &MemoryEngine, wish: &Wish, consent: &Consent) -> Option<(Saved, Plan)> {
    let look = looked_with(engine, wish, consent.clone());
    if !look.plan.unknown.is_empty() {
        return None;
    }
    let id = run(identity(engine)).expect("an id");
    let view = View {
        desired: &look.desired,
        observed: &look.observed,
        plan: &look.plan,
        engine: &id,
    };
    let saved = Saved::of(view, consent, "/srv/demo/aishell.yaml", Timestamp::UNIX_EPOCH);
    let read = Saved::parse(saved.render().as_bytes()).expect("what was written");
    assert_eq!(read, saved);
    assert_eq!(&read.consent(), consent);
    Some((read, look.plan))
}

/// Carries out a plan that was saved.
fn carried_out(engine: &MemoryEngine, wish: &Wish, saved: &Saved) -> Result<Report, Vec<Change>> {
    let place = tempfile::tempdir().expect("a directory");
    let host = Host {
        home: place.path().to_path_buf(),
        uid: 1000,
        gid: 1000,
        user: "me".to_owned(),
        directory: place.path().to_path_buf(),
        environment: BTreeMap::new(),
        machine: String::new(),
        hostname: String::new(),
        accounts: Vec::new(),
    };
    let claims = Claims::of(&host);
    let turn = Turn {
        claims: &claims,
        command: "apply",
        patience: Duration::ZERO,
    };
    let prepared = wish.prepared();
    let subject = Subject {
        intent: &*prepared,
        consent: saved.consent(),
    };
    run(Box::pin(async {
        match Box::pin(Planned::begin(engine, &subject, saved, turn)).await {
            Ok(planned) => {
                let told = (&Arc::new(Silent), &Stop::never());
                Ok(Box::pin(planned.carry_out(engine, &subject, told)).await)
            }
            Err(PlannedError::Stale(changes)) => Err(changes),
            Err(other) => panic!("{other:?}"),
        }
    }))
}

/// Returns what a report says was done, in the words of a plan.
fn done(report: &Report) -> Vec<String> {
    let plan = Plan {
        steps: report.steps.iter().map(|done| done.step.clone()).collect(),
        ..Plan::empty(&report.manifest, &report.engine)
    };
    explained(&plan)
}

/// Says whether nothing was written. Asking whether somebody is at work takes a command.
fn is_untouched(engine: &MemoryEngine) -> bool {
    let asks = |call: &Call| matches!(call, Call::CreateExec(_) | Call::StartExec { .. });
    let (writes, claims) = (engine.writes(), claims(&engine.calls()));
    writes.iter().all(|call| asks(call) || is_claims(call, &claims))
}

/// Returns the ids of the containers that kept others out.
fn claims(calls: &[Call]) -> BTreeSet<String> {
    let named = calls.iter().filter_map(|call| match call {
        Call::RenameContainer { container, name } if name.starts_with("aishell-claim-") => Some(container),
        _ => None,
    });
    named.map(|container| container.id().to_owned()).collect()
}

/// Says whether a call only keeps others out.
fn is_claims(call: &Call, claims: &BTreeSet<String>) -> bool {
    match call {
        Call::CreateKept(_) => true,
        Call::StartContainer { container } => claims.contains(container),
        Call::RenameContainer { container, .. } | Call::RemoveContainer { container, .. } => {
            claims.contains(container.id())
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(rules(64))]

    #[test]
    fn a_saved_plan_is_carried_out_as_printed_or_not_at_all(
        one in wishes().boxed(),
        other in wishes().boxed(),
        world in worlds().boxed(),
        before in vec(hand().boxed(), 0..3),
        after in vec(hand().boxed(), 0..3),
        edited in option::weighted(0.2, wishes().boxed()),
        asked in any::<bool>(),
        prune in any::<bool>(),
    ) {
        let engine = MemoryEngine::new(world);
        made(&engine, &one)?;
        for hand in &before {
            meddle(&engine, &one, hand);
        }
        let replace: BTreeSet<String> = other.containers.keys().take(usize::from(asked)).cloned().collect();
        let consent = Consent { prune, replace: Requested::Named(replace), ..Consent::default() };
        let Some((plan, printed)) = saved(&engine, &other, &consent) else {
            return Ok(());
        };
        // What nobody has touched holds.
        let twin = fork(&engine);
        let report = carried_out(&twin, &other, &plan).map_err(|changes| {
            TestCaseError::fail(format!("nothing has changed: {changes:?}"))
        })?;
        prop_assert_eq!(done(&report), explained(&printed));
        untouched(&engine.world(), &twin, &other)?;
        if report.converged {
            prop_assert_eq!(if prune && !asked { left_to_do(&twin, &other) } else { None }, None);
        }
        // Once is enough.
        if !printed.steps.is_empty() {
            twin.forget();
            prop_assert!(carried_out(&twin, &other, &plan).is_err());
            prop_assert!(is_untouched(&twin));
        }
        for hand in &after {
            meddle(&engine, &other, hand);
        }
        let now = edited.unwrap_or(other);
        let fresh = looked_with(&engine, &now, consent);
        engine.forget();
        let world = engine.world();
        match carried_out(&engine, &now, &plan) {
            Ok(report) => {
                prop_assert_eq!(explained(&fresh.plan), explained(&printed));
                prop_assert_eq!(done(&report), explained(&printed));
            }
            Err(changes) => {
                prop_assert!(!changes.is_empty());
                prop_assert!(is_untouched(&engine), "{:?}", engine.writes());
                prop_assert_eq!(world.difference(&engine.world()), Vec::<String>::new());
            }
        }
    }
}

/// A change between saving and applying, and what is said of it; nothing: the plan holds.
struct Case {
    what: &'static str,
    deed: fn(&MemoryEngine, Wish) -> Wish,
    said: &'static [&'static str],
}

/// What the manifest of the cases says first.
fn first() -> Wish {
    wish()
        .harness("claude", "2.0.22")
        .built("ENV A=1")
        .container("old", json!({ "command": ["sleep"] }))
        .container(
            "api",
            json!({
                "harness": "claude", "ports": ["3001:80"], "env": { "MODE": "fast" },
                "resources": { "memory": "1GiB" }, "mounts": [{ "volume": "cache", "target": "/cache" }],
            }),
        )
        .container(
            "db",
            json!({ "image": SIDECAR, "user": "image", "workspace": "none" }),
        )
        .container("idle", json!({ "command": ["sleep"] }))
}

/// What it says when the plan is saved: one container in place, one anew, one gone, one created, one as it is.
fn second() -> Wish {
    let mut wish = first()
        .without("old")
        .container("new", json!({ "command": ["sleep"], "home": "tmpfs" }));
    set(&mut wish, "api", "resources", json!({ "memory": "2GiB" }));
    set(&mut wish, "db", "env", json!({ "MODE": "safe" }));
    wish
}

fn set(wish: &mut Wish, container: &str, field: &str, value: Value) {
    let fields = wish.containers.get_mut(container).expect("a container");
    fields.insert(field.to_owned(), value);
}

fn with(mut wish: Wish, container: &str, field: &str, value: Value) -> Wish {
    set(&mut wish, container, field, value);
    wish
}

fn by_hand(engine: &MemoryEngine, change: impl FnOnce(World) -> World) {
    engine.by_hand(|world| *world = change(std::mem::take(world)));
}

const CASES: &[Case] = &[
    Case {
        what: "nothing",
        deed: |_, wish| wish,
        said: &[],
    },
    Case {
        what: "every container was restarted",
        deed: |engine, wish| {
            for container in ["api", "db", "idle", "old"].map(|name| wish.object(name)) {
                engine.stop(&container).expect("stopped");
                let start = Call::StartContainer { container };
                engine
                    .by_hand(|world| world.answer(&start, &Progress::default()))
                    .expect("started");
            }
            wish
        },
        said: &[],
    },
    Case {
        what: "something was written to a volume",
        deed: |engine, wish| {
            engine
                .write(&wish.object("api"), "/cache/notes", b"mine")
                .expect("written");
            wish
        },
        said: &[],
    },
    Case {
        what: "strangers of names that nobody needs",
        deed: |engine, wish| {
            by_hand(engine, |world| {
                world.stranger_container("other").stranger_volume("theirs")
            });
            wish
        },
        said: &[],
    },
    Case {
        what: "a limit was changed by hand, from where the plan starts",
        deed: |engine, wish| {
            let limits = Resources {
                memory: Some(3 << 30),
                memory_swap: Some(6 << 30),
                ..Resources::default()
            };
            engine
                .update(&wish.object("api"), &limits, None)
                .expect("changed");
            wish
        },
        said: &["Because", "resources.memory", "3221225472"],
    },
    Case {
        what: "what is wanted of a limit is something else",
        deed: |_, wish| with(wish, "api", "resources", json!({ "memory": "4GiB" })),
        said: &["Because", "resources.memory", "4294967296"],
    },
    Case {
        what: "what is wanted of a variable is something else",
        deed: |_, wish| with(wish, "db", "env", json!({ "MODE": "other" })),
        said: &["Because", "env.MODE", "other"],
    },
    Case {
        what: "a field is wanted besides",
        deed: |_, wish| with(wish, "db", "labels", json!({ "team": "a" })),
        said: &["Because", "labels.team"],
    },
    Case {
        what: "a change in place became a replacement",
        deed: |_, wish| with(wish, "api", "env", json!({ "MODE": "safe" })),
        said: &["Needless", "Update", "Added", "Replace", "env.MODE"],
    },
    Case {
        what: "a container that is created is to be another one",
        deed: |_, wish| with(wish, "new", "env", json!({ "MODE": "safe" })),
        said: &["Otherwise", "new", "Create"],
    },
    Case {
        what: "a container that was as it should be has to change",
        deed: |_, wish| with(wish, "idle", "restart", json!("always")),
        said: &["Added", "idle", "Update"],
    },
    Case {
        what: "a container that was as it should be was changed by hand",
        deed: |engine, wish| {
            let policy = Some(Restart::Always);
            engine
                .update(&wish.object("idle"), &Resources::default(), policy)
                .expect("changed");
            wish
        },
        said: &["Added", "idle", "Drift"],
    },
    Case {
        what: "a container that was as it should be was stopped",
        deed: |engine, wish| {
            engine.stop(&wish.object("idle")).expect("stopped");
            wish
        },
        said: &["Added", "idle", "Start"],
    },
    Case {
        what: "a container that is to be replaced is gone",
        deed: |engine, wish| {
            engine.rm(&wish.object("db")).expect("gone");
            wish
        },
        said: &["Needless", "Replace", "Added", "Create", "Gone"],
    },
    Case {
        what: "a container that is to be removed is gone",
        deed: |engine, wish| {
            engine.rm(&wish.object("old")).expect("gone");
            wish
        },
        said: &["Needless", "Remove", "Gone"],
    },
    Case {
        what: "what was to be created was created by somebody else's apply",
        deed: |engine, wish| {
            converged(
                engine,
                &first().container("new", json!({ "command": ["sleep"], "home": "tmpfs" })),
            );
            wish
        },
        said: &["Needless", "Create", "new"],
    },
    Case {
        what: "a container that was as it should be is another one",
        deed: |engine, wish| {
            engine.rm(&wish.object("idle")).expect("gone");
            converged(engine, &first());
            wish
        },
        said: &["Another", "idle"],
    },
    Case {
        what: "a container has another name",
        deed: |engine, wish| {
            engine.rename(&wish.object("idle"), "moved").expect("renamed");
            wish
        },
        said: &["Added", "Rename", "Gone"],
    },
    Case {
        what: "a stranger has the name that is needed",
        deed: |engine, wish| {
            let name = wish.object("new");
            by_hand(engine, |world| world.stranger_container(&name));
            wish
        },
        said: &["Blocked", "new", "Foreign"],
    },
    Case {
        what: "somebody works in the container that is to be replaced",
        deed: |engine, wish| {
            engine
                .open_terminal(&wish.object("db"), &["sh"])
                .expect("a terminal");
            wish
        },
        said: &["Blocked", "db", "Busy"],
    },
    Case {
        what: "somebody works in a container that is changed in place",
        deed: |engine, wish| {
            engine
                .open_terminal(&wish.object("api"), &["sh"])
                .expect("a terminal");
            wish
        },
        said: &[],
    },
    Case {
        what: "the image of a container means something else",
        deed: |engine, wish| {
            engine.tag(BASE, SIDECAR).expect("moved");
            wish
        },
        said: &["Because", "db", "image", "Another", SIDECAR],
    },
    Case {
        what: "the instructions of the build are others",
        deed: |_, wish| wish.built("ENV A=2"),
        said: &["Added", "Build"],
    },
    Case {
        what: "a harness has another version",
        deed: |_, wish| wish.harness("claude", "2.1.0"),
        said: &["Added", "Populate"],
    },
    Case {
        what: "a volume is gone",
        deed: |engine, wish| {
            engine.rm(&wish.object("api")).expect("gone");
            engine.rm_volume(&wish.object("cache")).expect("gone");
            wish
        },
        said: &["Gone", "cache"],
    },
    Case {
        what: "a volume is another one of the same name",
        deed: |engine, wish| {
            engine.rm(&wish.object("api")).expect("gone");
            engine.rm_volume(&wish.object("cache")).expect("gone");
            converged(engine, &first());
            wish
        },
        said: &["Another", "-cache"],
    },
    Case {
        what: "the network is gone and back",
        deed: |engine, wish| {
            let network = wish.object("demo");
            for name in first().containers.keys() {
                engine.disconnect(&network, &wish.object(name)).expect("detached");
            }
            engine.rm_network(&network).expect("gone");
            converged(engine, &first());
            wish
        },
        said: &["Another", "Network"],
    },
    Case {
        what: "a container was attached to another network by hand",
        deed: |engine, wish| {
            engine.connect(LAN, &wish.object("idle")).expect("attached");
            wish
        },
        said: &["Added", "idle", "Disconnect"],
    },
    Case {
        what: "nobody vouches for the harnesses any more",
        deed: |engine, wish| {
            let world = engine.world();
            let receipt = world
                .containers()
                .find(|one| one.name().starts_with("aishell-receipt-"));
            engine.rm(receipt.expect("a receipt").name()).expect("gone");
            wish
        },
        said: &["Added", "Populate"],
    },
    Case {
        what: "a container is not wanted any more",
        deed: |_, wish| wish.without("idle"),
        said: &["Added", "idle", "Remove", "Orphan"],
    },
    Case {
        what: "a container is wanted besides",
        deed: |_, wish| wish.container("more", json!({ "command": ["sleep"] })),
        said: &["Added", "more", "Create"],
    },
    Case {
        what: "sessions are given another secret",
        deed: |_, wish| with(wish, "idle", "env", json!({ "TOKEN": { "fromEnv": "TOKEN" } })),
        said: &["Given", "idle"],
    },
    Case {
        what: "the project is another one",
        deed: |_, wish| wish.of("/srv/other"),
        said: &["Owner", "/srv/other"],
    },
    Case {
        what: "the manifest has another name",
        deed: |_, wish| wish.named("other"),
        said: &["Owner", "other"],
    },
    Case {
        what: "the engine is another one at the same address, with the same things",
        deed: |engine, wish| {
            by_hand(engine, |world| world.identified("ANOT:HER"));
            wish
        },
        said: &["Engine"],
    },
];

#[test]
fn whatever_decides_is_noticed_and_nothing_else() {
    let start = MemoryEngine::new(world().with_image(BASE));
    converged(&start, &first());
    let (plan, printed) = saved(&start, &second(), &Consent::default()).expect("everything is known");
    assert_eq!(
        steps(&printed),
        [
            "remove container old",
            "update container api",
            "replace container db",
            "create container new"
        ],
    );
    let mut wrong = Vec::new();
    for Case { what, deed, said } in CASES {
        let engine = fork(&start);
        let now = deed(&engine, second());
        engine.forget();
        let outcome = carried_out(&engine, &now, &plan);
        if said.is_empty() {
            match outcome {
                Ok(report) => {
                    assert_eq!(done(&report), explained(&printed), "{what}");
                    let good = report.steps.iter().all(|done| done.outcome == Outcome::Done);
                    assert!(good && report.converged, "{what}: {report:#?}");
                }
                Err(changes) => wrong.push(format!("{what}: {changes:?}")),
            }
            continue;
        }
        let told = outcome.map_or_else(
            |changes| format!("{changes:?}"),
            |_| "it was carried out".to_owned(),
        );
        let unsaid: Vec<_> = said.iter().filter(|word| !told.contains(**word)).collect();
        if !unsaid.is_empty() {
            wrong.push(format!("{what}: {unsaid:?} is not said: {told}"));
        }
        if !is_untouched(&engine) {
            let writes = engine.writes().len();
            wrong.push(format!("{what}: {writes} writes"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn options_are_kept_and_count() {
    let engine = MemoryEngine::new(world().with_image(BASE));
    converged(&engine, &first());
    let api = Resource {
        kind: ResourceKind::Container,
        name: "api".to_owned(),
    };
    let consents = [
        Consent {
            prune: false,
            ..Consent::default()
        },
        Consent {
            only: Some([api].into()),
            ..Consent::default()
        },
        Consent {
            replace: Requested::Named(["idle".to_owned()].into()),
            ..Consent::default()
        },
        Consent {
            interrupt: true,
            data_loss: true,
            ..Consent::default()
        },
    ];
    let mut all = BTreeSet::new();
    for consent in consents {
        let engine = fork(&engine);
        engine
            .open_terminal(&second().object("db"), &["sh"])
            .expect("a terminal");
        let (plan, printed) = saved(&engine, &second(), &consent).expect("everything is known");
        let report = carried_out(&engine, &second(), &plan).expect("it holds");
        assert_eq!(done(&report), explained(&printed));
        all.insert(steps(&printed));
        // What was asked for is done once, also by whoever asks for the same plan twice.
        assert!(carried_out(&engine, &second(), &plan).is_err());
    }
    assert_eq!(all.len(), 4, "{all:#?}");
}

#[test]
fn what_begins_between_the_looks_is_noticed() {
    let start = MemoryEngine::new(world().with_image(BASE));
    converged(&start, &first());
    let (plan, _) = saved(&start, &second(), &Consent::default()).expect("everything is known");
    let engine = fork(&start);
    carried_out(&engine, &second(), &plan).expect("it holds");
    let calls = engine.calls();
    let claims = claims(&calls);
    let writes = |call: &Call| call.is_write() && !is_claims(call, &claims);
    let reads = calls.iter().position(writes).expect("a write");
    let last = calls[..reads]
        .iter()
        .rposition(|call| *call == Call::ListContainers);
    for at in 0..reads {
        let engine = fork(&start);
        let name = second().object("idle");
        engine.before(at, move |world| {
            let call = Call::RemoveContainer {
                container: OwnedId::made(&name),
                volumes: false,
            };
            world.answer(&call, &Progress::default()).expect("gone");
        });
        // Noticed, or too late to be: then it is left to the next pass.
        match carried_out(&engine, &second(), &plan) {
            Ok(report) => {
                assert!(!report.converged, "{at}");
                assert!(Some(at) > last, "{at} of {reads}");
            }
            Err(changes) => {
                assert!(!changes.is_empty());
                assert!(is_untouched(&engine));
            }
        }
    }
}

#[test]
fn a_text_that_was_not_written_by_this_version_is_no_plan() {
    let engine = MemoryEngine::new(world().with_image(BASE));
    let (plan, _) = saved(&engine, &first(), &Consent::default()).expect("everything is known");
    let text = plan.render();
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        Saved::parse(text.replacen(from, to, 1).as_bytes())
    };
    assert_eq!(Saved::parse(text.as_bytes()).ok().as_ref(), Some(&plan));
    // How it is laid out is nobody's concern.
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        Saved::parse(value.to_string().as_bytes()).ok().as_ref(),
        Some(&plan)
    );
    for (from, to) in [
        ("\"prune\": true", "\"prune\": false"),
        ("\"none\"", "\"live\""),
        (plan.digest.as_str(), "0"),
        ("\"allow\": []", "\"allow\": [\"data-loss\"]"),
        ("\"blocked\"", "\"blockde\""),
        (plan.engine.id.as_str(), "other"),
        ("\"created\":", "\"more\": 1, \"created\":"),
    ] {
        assert!(matches!(edit(from, to), Err(SavedError::Edited)), "{from}");
    }
    let version = format!("\"writer\": \"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(
        matches!(edit(&version, "\"writer\": \"99.0.0\""), Err(SavedError::Version { writer }) if writer == "99.0.0")
    );
    assert!(matches!(
        edit("aishell/v1", "aishell/v2"),
        Err(SavedError::Version { .. })
    ));
    assert!(matches!(
        edit("SavedPlan", "Plan"),
        Err(SavedError::Other { kind: Some(_) })
    ));
    for text in ["{}", "[]", "null", "1"] {
        assert!(
            matches!(
                Saved::parse(text.as_bytes()),
                Err(SavedError::Other { kind: None })
            ),
            "{text}"
        );
    }
    for length in [0, 1, text.len() / 2, text.len() - 3] {
        let cut = &text.as_bytes()[..length];
        assert!(matches!(Saved::parse(cut), Err(SavedError::Json(_))), "{length}");
    }
    assert!(matches!(Saved::parse(&[0xff; 64]), Err(SavedError::Json(_))));
    let deep = "[".repeat(100_000);
    assert!(matches!(Saved::parse(deep.as_bytes()), Err(SavedError::Json(_))));
}
