//! What nobody uses any more: found on an engine that many use, and gone without anything that somebody uses or made.

use std::collections::BTreeSet;
use std::sync::Arc;

use aishell::apply::{Silent, Stop, apply};
use aishell::call::Call;
use aishell::claim::{Claims, Turn};
use aishell::engine::memory::{Cut, MemoryEngine};
use aishell::host::Host;
use aishell::label::Mark;
use aishell::observe::{observe, stock};
use aishell::plan::{Consent, Garbage, Terms, garbage};
use aishell::prune::search;
use aishell::report::{Done, Outcome};
use aishell::step::Step;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::json;

use crate::world::{Wish, converged, fork, left_to_do, passed, run, wish, world};

/// Terms under which everything that nobody uses is garbage.
fn all() -> Terms {
    Terms {
        keep: 0,
        before: None,
        now: "2100-01-01T00:00:00Z".parse().expect("a time"),
        names: BTreeSet::new(),
        wanted: BTreeSet::new(),
        shielded: BTreeSet::new(),
        consent: Consent::default(),
    }
}

fn with_data() -> Terms {
    let consent = Consent {
        data_loss: true,
        interrupt: true,
        ..Consent::default()
    };
    Terms { consent, ..all() }
}

/// Looks for garbage where the manifests of some are gone.
fn found(engine: &MemoryEngine, gone: &[&Wish], terms: &Terms) -> Option<Garbage> {
    run(async {
        let stock = stock(engine).await.ok()?;
        let mut abandoned = Vec::new();
        for wish in gone {
            let owner = wish.prepared().facts.owner.clone();
            let observed = observe(engine, &owner, &BTreeSet::new()).await.ok()?;
            abandoned.push((owner, observed));
        }
        Some(garbage(&stock, &abandoned, terms))
    })
}

fn carried_out(engine: &MemoryEngine, garbage: &Garbage) -> Vec<Done> {
    run(apply(&garbage.plan, engine, &Arc::new(Silent), &Stop::never()))
}

/// Removes it, and says what went.
fn pruned(engine: &MemoryEngine, gone: &[&Wish], terms: &Terms) -> Vec<String> {
    let garbage = found(engine, gone, terms).expect("the engine answers");
    let done = carried_out(engine, &garbage);
    let went = done.iter().filter(|done| done.outcome == Outcome::Done);
    let mut names: Vec<String> = went.map(|done| called(&done.step)).collect();
    names.sort();
    names
}

/// Returns the kind and the name of what a step is about.
fn called(step: &Step) -> String {
    format!("{} {}", step.resource.kind.as_str(), step.resource.name)
}

/// Returns how many images and harness volumes of ours there are.
fn shared(engine: &MemoryEngine) -> (usize, usize) {
    let world = engine.world();
    let images = world
        .images()
        .filter(|one| Mark::read(&one.reply.image.labels).is_some());
    let volumes = world
        .volumes()
        .filter(|one| one.reply.name.starts_with("aishell-harness-"));
    (images.count(), volumes.count())
}

/// A sandbox on a foundation and with a harness of a version.
fn version(number: u32) -> Wish {
    wish()
        .built(&format!("ENV V={number}"))
        .harness("claude", &format!("2.0.{number}"))
        .container("api", json!({ "harness": "claude" }))
}

/// An engine on which versions followed each other.
fn versions(numbers: &[u32]) -> MemoryEngine {
    let engine = MemoryEngine::new(world());
    for number in numbers {
        converged(&engine, &version(*number));
    }
    engine
}

#[test]
fn the_newest_of_each_kind_stays_and_going_back_needs_nothing() {
    let engine = versions(&[1, 2, 3]);
    // What vouches for a set was made from an image, and keeps it.
    let before = shared(&engine);
    let keep = Terms { keep: 1, ..all() };
    let garbage = found(&engine, &[], &keep).expect("an answer");
    assert_eq!(garbage.kept, 3, "foundation, image with a user, harness volume");
    let went = pruned(&engine, &[], &keep);
    assert_eq!(went.len(), 3, "{went:?}");
    let after = shared(&engine);
    assert_eq!((before.0 - after.0, before.1 - after.1), (2, 1), "{went:?}");
    assert_eq!(left_to_do(&engine, &version(3)), None);
    assert_eq!(pruned(&engine, &[], &keep), Vec::<String>::new());
    let back = converged(&engine, &version(2));
    let made = back.steps.iter().filter(|done| {
        let kind = called(&done.step);
        kind.starts_with("image") || kind.starts_with("volume")
    });
    assert_eq!(made.count(), 0, "{back:#?}");
}

#[test]
fn what_is_wanted_or_may_be_stays() {
    let engine = versions(&[1, 2]);
    let old = versions(&[1]).world();
    let keys = old
        .images()
        .filter_map(|one| Mark::read(&one.reply.image.labels))
        .map(|mark| (mark.manifest, mark.key));
    let wanted = Terms {
        wanted: keys.collect(),
        ..all()
    };
    let went = pruned(&fork(&engine), &[], &wanted);
    assert!(went.iter().all(|one| one.starts_with("volume")), "{went:?}");
    let shielded = Terms {
        shielded: ["demo".to_owned()].into(),
        ..all()
    };
    assert_eq!(pruned(&fork(&engine), &[], &shielded), Vec::<String>::new());
    let others = Terms {
        names: ["other".to_owned()].into(),
        ..all()
    };
    assert_eq!(pruned(&fork(&engine), &[], &others), Vec::<String>::new());
    let young = Terms {
        before: Some(Timestamp::MIN),
        ..all()
    };
    assert_eq!(pruned(&fork(&engine), &[], &young), Vec::<String>::new());
    assert_eq!(pruned(&engine, &[], &all()).len(), 3);
}

#[test]
fn what_belongs_to_a_manifest_that_is_gone_goes_in_order_and_its_data_with_consent() {
    let engine = versions(&[1]);
    let home = version(1).object("api-home");
    let went = pruned(&engine, &[&version(1)], &all());
    assert!(went.iter().any(|one| one.starts_with("container")), "{went:?}");
    assert_eq!(shared(&engine), (0, 0), "{went:?}");
    assert!(engine.world().volume(&home).is_some());
    assert_eq!(engine.world().containers().count(), 0);
    let went = pruned(&engine, &[&version(1)], &with_data());
    assert_eq!(went.len(), 1, "{went:?}");
    assert!(engine.world().volume(&home).is_none());
}

#[test]
fn whoever_begins_to_use_it_meanwhile_keeps_it() {
    let engine = versions(&[1, 2]);
    let garbage = found(&engine, &[], &all()).expect("an answer");
    converged(&engine, &version(1));
    let done = carried_out(&engine, &garbage);
    assert!(
        done.iter().all(|done| done.outcome == Outcome::Skipped),
        "{done:#?}"
    );
    assert_eq!(left_to_do(&engine, &version(1)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_is_used_or_was_made_by_others_goes(
        numbers in proptest::collection::vec(1..4_u32, 1..4),
        gone in any::<bool>(),
        (commit, tag, container) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let engine = versions(&numbers);
        let other = wish().named("other").of("/srv/other").harness("claude", "2.0.1")
            .container("web", json!({ "harness": "claude" }));
        converged(&engine, &other);
        let api = version(1).object("api");
        if commit {
            engine.commit(&api, "mine:1").expect("a commit");
        }
        let oldest = engine.world().images()
            .filter(|one| Mark::read(&one.reply.image.labels).is_some_and(|mark| mark.manifest == "demo"))
            .map(|one| one.reply.image.id.clone()).next().expect("an image");
        if tag {
            engine.tag(&oldest, "kept:1").expect("a tag");
        }
        if container {
            engine.by_hand(|world| {
                *world = std::mem::take(world).with_container(&stranger_of(&oldest));
            });
        }
        let last = version(numbers[numbers.len() - 1]);
        let gone: Vec<&Wish> = gone.then_some(&last).into_iter().collect();
        // Cut anywhere, the next one completes; each alone would have done the same.
        let whole = fork(&engine);
        pruned(&whole, &gone, &with_data());
        engine.forget();
        let calls = {
            let counted = fork(&engine);
            pruned(&counted, &gone, &with_data());
            counted.calls().len()
        };
        for at in (0..calls).step_by(3) {
            for cut in [Cut::Before, Cut::After] {
                let cutting = fork(&engine);
                cutting.cut(at, cut);
                if let Some(garbage) = found(&cutting, &gone, &with_data()) {
                    carried_out(&cutting, &garbage);
                }
                cutting.mend();
                pruned(&cutting, &gone, &with_data());
                assert_eq!(names(&cutting), names(&whole), "cut {cut:?} at {at}");
            }
        }
        let world = whole.world();
        assert!(!commit || world.image("mine:1").is_some());
        assert!(!tag || world.image("kept:1").is_some());
        assert!(!container || world.container("stranger").is_some());
        assert!(world.containers().all(|one| world.image(&one.reply.image_id).is_some()));
        assert_eq!(left_to_do(&whole, &other), None);
        if gone.is_empty() {
            assert_eq!(left_to_do(&whole, &last), None);
        } else {
            assert!(world.container(&api).is_none());
        }
        assert_eq!(pruned(&whole, &gone, &with_data()), Vec::<String>::new());
    }
}

/// A container that a stranger made from an image of ours.
fn stranger_of(image: &str) -> aishell::call::Create {
    aishell::call::Create {
        name: "stranger".to_owned(),
        labels: aishell::label::Labels::new(),
        spec: aishell::spec::ContainerSpec {
            image: image.to_owned(),
            ..aishell::spec::ContainerSpec::default()
        },
    }
}

/// Returns the names of everything there is.
fn names(engine: &MemoryEngine) -> Vec<String> {
    let world = engine.world();
    let containers = world.containers().map(|one| format!("container {}", one.name()));
    let images = world
        .images()
        .map(|one| format!("image {:?}", one.reply.image.tags));
    let volumes = world.volumes().map(|one| format!("volume {}", one.reply.name));
    let networks = world.networks().map(|one| format!("network {}", one.reply.name));
    let mut names: Vec<String> = containers.chain(images).chain(volumes).chain(networks).collect();
    names.sort();
    names
}

#[test]
fn whoever_was_killed_leaves_nothing_that_prune_does_not_find() {
    let wish = version(1);
    let start = MemoryEngine::new(world());
    let calls = {
        let counted = fork(&start);
        converged(&counted, &wish);
        counted.calls().len()
    };
    for at in 0..calls {
        for cut in [Cut::Before, Cut::After] {
            let engine = fork(&start);
            engine.cut(at, cut);
            passed(&engine, &wish);
            engine.mend();
            pruned(&engine, &[&wish], &with_data());
            let ours: Vec<String> = names(&engine)
                .into_iter()
                .filter(|name| name.contains("aishell-"))
                .collect();
            assert_eq!(ours, Vec::<String>::new(), "cut {cut:?} at {at}");
        }
    }
}

#[test]
fn what_is_being_made_stays_while_somebody_writes() {
    let wish = version(1);
    let engine = MemoryEngine::new(world());
    let build = |call: &Call| matches!(call, Call::BuildImage(_));
    let calls = {
        let counted = fork(&engine);
        converged(&counted, &wish);
        counted.calls()
    };
    let built = calls.iter().position(build).expect("a build");
    engine.cut(built + 1, Cut::Before);
    passed(&engine, &wish);
    engine.mend();
    let place = tempfile::tempdir().expect("a directory");
    let claims = Claims::at(place.path().join("locks"), "me@box");
    let turn = Turn {
        claims: &claims,
        command: "apply",
        patience: std::time::Duration::ZERO,
    };
    let owner = wish.prepared().facts.owner.clone();
    let claim = run(turn.take(&engine, &owner, None)).expect("a claim");
    let before = names(&engine);
    assert_eq!(pruned(&engine, &[], &all()), Vec::<String>::new());
    assert_eq!(names(&engine), before);
    run(claim.release(&engine));
    let went = pruned(&engine, &[], &all());
    assert!(matches!(&went[..], [one] if one.contains(":making-")), "{went:?}");
}

#[test]
fn a_claim_that_never_ran_goes_and_one_that_runs_stays() {
    let wish = version(1);
    let engine = MemoryEngine::new(world());
    converged(&engine, &wish);
    let place = tempfile::tempdir().expect("a directory");
    let claims = Claims::at(place.path().join("locks"), "me@box");
    let turn = Turn {
        claims: &claims,
        command: "apply",
        patience: std::time::Duration::ZERO,
    };
    let owner = wish.prepared().facts.owner.clone();
    let before = names(&engine);
    let created = {
        let counted = fork(&engine);
        drop(run(turn.take(&counted, &owner, None)));
        let calls = counted.calls();
        calls.iter().position(|call| matches!(call, Call::CreateKept(_)))
    };
    // Killed between its creation and its start.
    engine.cut(created.expect("a container") + 1, Cut::Before);
    run(turn.take(&engine, &owner, None)).expect_err("the engine is gone");
    engine.mend();
    assert_eq!(names(&engine).len(), before.len() + 1);
    let went = pruned(&engine, &[], &Terms { keep: 9, ..all() });
    assert!(
        matches!(&went[..], [one] if one.contains("aishell-claim-")),
        "{went:?}"
    );
    assert_eq!(names(&engine), before);
    let claim = run(turn.take(&engine, &owner, None)).expect("a claim");
    assert_eq!(
        pruned(&engine, &[], &Terms { keep: 9, ..all() }),
        Vec::<String>::new()
    );
    run(claim.release(&engine));
}

#[test]
fn age_is_told_by_the_clock_of_the_engine() {
    // Engines whose clocks are years behind, and ahead.
    for seconds in [86_400, 4_102_444_800] {
        let engine = MemoryEngine::new(world().at_time(seconds));
        for number in [1, 2] {
            converged(&engine, &version(number));
        }
        let nobody = Host {
            machine: "another".to_owned(),
            ..host()
        };
        let search = |hours: i64| {
            let wish = aishell::prune::Wish {
                keep: 0,
                names: BTreeSet::new(),
                older_than: Some(SignedDuration::from_hours(hours)),
                consent: Consent::default(),
                sizes: false,
            };
            let found = run(search(&engine, &nobody, &wish)).expect("the engine answers");
            found.garbage.plan.steps.len()
        };
        assert_eq!(search(1), 0, "{seconds}");
        engine.by_hand(|world| *world = std::mem::take(world).at_time(seconds + 7_200));
        assert_eq!(search(1), 3, "{seconds}");
        assert_eq!(search(3), 0, "{seconds}");
    }
}

fn host() -> Host {
    Host {
        home: "/home/me".into(),
        uid: 1000,
        gid: 1000,
        user: "me".to_owned(),
        directory: "/".into(),
        environment: std::collections::BTreeMap::new(),
        machine: "0123456789ab".to_owned(),
        hostname: "box".to_owned(),
        accounts: Vec::new(),
    }
}
