//! An engine that goes away while a plan is carried out: it is waited for, and nothing is done twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aishell::apply::{Listener, Patient, Silent, Stop};
use aishell::call::{Answer, Call, Create, Exec};
use aishell::engine::memory::{Cut, Fate, MemoryEngine, World};
use aishell::engine::{Engine, EngineError};
use aishell::label::{Labels, OwnedId};
use aishell::plan::Consent;
use aishell::progress::Progress;
use aishell::reconcile::{Subject, reconcile};
use aishell::report::{Outcome, Report};
use aishell::spec::ContainerSpec;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use tokio::time::Instant;

use crate::laws::{Law, hand, made, meddle, rules, survived, survivors, untouched, wishes, worlds};
use crate::world::{
    SIDECAR, Wish, converged, forgotten, fork, left_to_do, looked, passed, run, told, wish, world,
};

/// Counts what must not be done twice. The rest is the same however often it is done, or leaves nothing.
fn deeds(engine: &MemoryEngine) -> BTreeMap<String, usize> {
    let mut deeds = BTreeMap::new();
    for call in engine.effects() {
        let what = match &call {
            Call::CreateContainer(create) => format!("create {}", create.name),
            Call::CreateNetwork { name, .. } => format!("network {name}"),
            Call::RenameContainer { name, .. } => format!("rename to {name}"),
            Call::BuildImage(build) => format!("build {}", build.tag),
            Call::CommitContainer(commit) => format!("commit {}", commit.tag),
            Call::StartContainer { .. }
            | Call::UnpauseContainer { .. }
            | Call::KillContainer { .. }
            | Call::ConnectNetwork { .. }
            | Call::RemoveContainer { .. }
            | Call::RemoveNetwork { .. }
            | Call::RemoveVolume { .. } => call.name(),
            _ => continue,
        };
        *deeds.entry(what).or_default() += 1;
    }
    deeds
}

/// Counts how often each container was disconnected from each network. Whether it has to be before it is
/// removed depends on which of two steps that are independent gets there first, and an outage decides that.
fn disconnected(engine: &MemoryEngine) -> BTreeMap<(String, String), usize> {
    let mut disconnected = BTreeMap::new();
    for call in engine.effects() {
        if let Call::DisconnectNetwork { network, container } = call {
            *disconnected.entry((network, container)).or_default() += 1;
        }
    }
    disconnected
}

/// Returns how many requests are made before anything is written.
fn first_look(engine: &MemoryEngine, wish: &Wish) -> usize {
    let trial = fork(engine);
    looked(&trial, wish);
    trial.calls().len()
}

proptest! {
    #![proptest_config(rules(96))]

    #[test]
    fn a_short_outage_is_waited_for_and_nothing_is_done_twice(
        one in wishes(),
        other in wishes(),
        world in worlds(),
        hands in vec(hand(), 0..3),
        at in 0..200_usize,
        calls in 1..7_usize,
        cut in select(vec![Cut::Before, Cut::After]),
    ) {
        let start = MemoryEngine::new(world);
        made(&start, &one)?;
        for hand in &hands {
            meddle(&start, &one, hand);
        }
        waited_for(&start, &other, (at, calls, cut))?;
    }

    #[test]
    fn a_first_apply_survives_an_outage(
        wish in wishes(),
        world in worlds(),
        at in 0..200_usize,
        calls in 1..7_usize,
        cut in select(vec![Cut::Before, Cut::After]),
    ) {
        waited_for(&MemoryEngine::new(world), &wish, (at, calls, cut))?;
    }
}

/// Makes a pass with an outage, and compares it with one without.
fn waited_for(start: &MemoryEngine, wish: &Wish, (at, calls, cut): (usize, usize, Cut)) -> Law {
    let before = start.world();
    let kept = survivors(&before, wish);
    let trial = fork(start);
    let smooth = passed(&trial, wish).expect("the engine answers");
    let look = first_look(start, wish);
    let all = trial.calls();
    prop_assume!(smooth.converged && all.len() > look);
    let at = look + at % (all.len() - look);
    let engine = fork(start);
    engine.outage(at, calls, cut);
    let report = passed(&engine, wish).expect("the engine answered the first look");
    let told = format!(
        "{cut:?} {calls} calls from {at}: {:?}\n{}\n--- without ---\n{}\n--- manifest ---\n{}",
        all[at],
        told(&report),
        told(&smooth),
        wish.text()
    );
    prop_assert!(report.converged, "{told}");
    prop_assert_eq!(left_to_do(&engine, wish), None, "{}", told);
    prop_assert_eq!(deeds(&engine), deeds(&trial), "{}", told);
    prop_assert!(disconnected(&engine).values().all(|times| *times == 1), "{told}");
    prop_assert_eq!(
        engine.world().summary().len(),
        trial.world().summary().len(),
        "{}",
        told
    );
    let forgotten = forgotten(&engine.world());
    prop_assert!(
        forgotten.iter().all(|volume| kept.contains_key(volume)),
        "{}",
        told
    );
    untouched(&before, &engine, wish)?;
    survived(&kept, &engine, wish)
}

/// Hears what is said besides steps.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Listener for Ear {
    fn said(&self, text: &str) {
        self.0.lock().expect("nobody panics").push(text.to_owned());
    }
}

/// Makes a pass, and returns what was said and how long it took.
fn heard(engine: &MemoryEngine, wish: &Wish, stop: &Stop) -> (Report, Vec<String>, Duration) {
    let prepared = wish.prepared();
    let subject = Subject {
        intent: &*prepared,
        consent: Consent::default(),
    };
    let ear = Arc::new(Ear::default());
    run(async {
        let begun = Instant::now();
        let report = reconcile(engine, &subject, &ear, stop)
            .await
            .expect("a first look");
        let said = ear.0.lock().expect("nobody panics").clone();
        (report, said, begun.elapsed())
    })
}

fn three() -> Wish {
    let sidecar = json!({ "image": SIDECAR, "user": "image", "workspace": "none" });
    ["a", "b", "c"]
        .into_iter()
        .fold(wish(), |wish, name| wish.container(name, sidecar.clone()))
}

/// Returns an engine that breaks at the first creation of a container.
fn broken_at_creation(wish: &Wish, calls: usize) -> MemoryEngine {
    let trial = MemoryEngine::new(world());
    converged(&trial, wish);
    let creates = |call: &Call| matches!(call, Call::CreateContainer(_));
    let at = trial.calls().iter().position(creates).expect("a creation");
    let engine = MemoryEngine::new(world());
    engine.outage(at, calls, Cut::After);
    engine
}

#[test]
fn a_short_outage_is_told_in_the_report_and_a_long_one_in_between() {
    let (report, said, _) = heard(&broken_at_creation(&three(), 1), &three(), &Stop::never());
    assert!(report.converged, "{}", told(&report));
    let retries: Vec<_> = report.steps.iter().filter_map(|done| done.retries).collect();
    assert_eq!(retries.len(), 1, "{}", told(&report));
    assert_eq!(retries[0].times, 1);
    assert!(retries[0].waited <= Duration::from_millis(100), "{retries:?}");
    assert_eq!(said, Vec::<String>::new(), "a moment is not worth a word");

    let (report, said, _) = heard(&broken_at_creation(&three(), 16), &three(), &Stop::never());
    assert!(report.converged, "{}", told(&report));
    let [waiting, again] = &said[..] else {
        panic!("{said:?}")
    };
    assert!(waiting.starts_with("waiting for the engine: the engine at memory cannot be reached"));
    assert!(again.starts_with("the engine answers again after "), "{again}");
}

#[test]
fn a_long_outage_ends_the_pass_once_and_the_next_one_completes() {
    let engine = broken_at_creation(&three(), usize::MAX);
    let (report, said, took) = heard(&engine, &three(), &Stop::never());
    assert!(!report.converged);
    let failed = report.steps.iter().filter(|done| done.outcome == Outcome::Failed);
    assert!(failed.count() >= 3, "{}", told(&report));
    assert_eq!(said.len(), 1, "{said:?}");
    // Together they wait as long as one would.
    assert!(
        took >= Duration::from_secs(29) && took <= Duration::from_secs(31),
        "{took:?}"
    );
    engine.mend();
    converged(&engine, &three());
}

#[test]
fn what_ends_as_soon_as_it_is_started_is_started_once_though_something_else_is_unknown() {
    let broken = json!({ "image": "nowhere:1", "user": "image", "workspace": "none" });
    let wish = three()
        .container("broken", broken)
        .container("crash", json!({ "command": ["crash"] }));
    let engine = MemoryEngine::new(world().with_fate("crash", Fate::Ends(3)));
    for _ in 0..2 {
        engine.forget();
        let report = passed(&engine, &wish).expect("the engine answers");
        assert!(!report.converged);
        let crash = engine
            .world()
            .container(&wish.object("crash"))
            .expect("a container")
            .reply
            .id
            .clone();
        let starts = |call: &&Call| matches!(call, Call::StartContainer { container } if *container == crash);
        let effects = engine.effects();
        assert!(effects.iter().filter(starts).count() <= 2, "{}", told(&report));
        for name in ["a", "b", "c"] {
            let world = engine.world();
            let container = world.container(&wish.object(name)).expect("a container");
            assert!(container.state().is_alive(), "{}", told(&report));
        }
    }
}

#[test]
fn whoever_wishes_to_stop_does_not_wait_for_an_engine() {
    let engine = broken_at_creation(&three(), usize::MAX);
    let (wish, stop) = Stop::new();
    let prepared = three().prepared();
    let subject = Subject {
        intent: &*prepared,
        consent: Consent::default(),
    };
    let took = run(async {
        let begun = Instant::now();
        let wisher = async {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            wish.send_replace(true);
        };
        let listener = Arc::new(Silent);
        let (report, ()) = tokio::join!(reconcile(&engine, &subject, &listener, &stop), wisher);
        assert!(report.expect("a first look").interrupted);
        begun.elapsed()
    });
    assert_eq!(took, Duration::from_millis(2500));
}

#[test]
fn an_engine_that_is_not_there_to_begin_with_is_not_waited_for() {
    let engine = MemoryEngine::new(world());
    engine.cut(0, Cut::Before);
    assert_eq!(passed(&engine, &three()), None);
    // Only the questions of one look, which are asked at once.
    assert!(engine.calls().len() <= 8, "{:?}", engine.calls());
}

/// Sends calls one after the other to an engine that is waited for.
fn persisted(engine: &MemoryEngine, calls: &[Call]) -> Vec<Result<Answer, EngineError>> {
    run(async {
        let patient = Patient::new(engine, &Arc::new(Silent), &Stop::never());
        let mut answers = Vec::new();
        for call in calls {
            answers.push(patient.call(call, &Progress::default()).await);
        }
        answers
    })
}

#[test]
fn what_the_engine_fails_at_is_tried_four_times_and_what_it_refuses_once() {
    for (fault, times) in [
        (
            EngineError::Failed {
                message: "broken".to_owned(),
            },
            4,
        ),
        (
            EngineError::Refused {
                message: "no".to_owned(),
            },
            1,
        ),
        (
            EngineError::Conflict {
                message: "taken".to_owned(),
            },
            1,
        ),
    ] {
        let engine = MemoryEngine::new(world());
        let given = fault.clone();
        engine.fault(move |call| call.is_write().then(|| given.clone()));
        let tag = Call::TagImage {
            image: SIDECAR.to_owned(),
            tag: "x:1".to_owned(),
        };
        assert_eq!(persisted(&engine, &[tag]), [Err(fault)]);
        assert_eq!(engine.writes().len(), times);
    }
}

/// A world with one container, made by hand.
fn with(name: &str, command: &str) -> World {
    let create = Create {
        name: name.to_owned(),
        labels: Labels::new(),
        spec: ContainerSpec {
            image: SIDECAR.to_owned(),
            command: Some(vec![command.to_owned()]),
            ..ContainerSpec::default()
        },
    };
    world().with_fate("once", Fate::Ends(0)).with_container(&create)
}

fn start(name: &str) -> Call {
    Call::StartContainer {
        container: name.to_owned(),
    }
}

fn inspect(name: &str) -> Call {
    Call::InspectContainer {
        container: name.to_owned(),
    }
}

fn starts(engine: &MemoryEngine) -> usize {
    let starts = |call: &&Call| matches!(call, Call::StartContainer { .. });
    engine.effects().iter().filter(starts).count()
}

#[test]
fn what_ran_to_its_end_is_not_started_again() {
    // Its start was carried out, and nobody heard; what was known of it before tells.
    let engine = MemoryEngine::new(with("job", "once"));
    engine.outage(1, 1, Cut::After);
    let answers = persisted(&engine, &[inspect("job"), start("job")]);
    assert_eq!(answers[1], Ok(Answer::Done));
    assert_eq!(starts(&engine), 1);

    // It ran before, and the engine never heard of the second start.
    let engine = MemoryEngine::new(with("job", "once"));
    persisted(&engine, &[start("job")]);
    engine.forget();
    engine.outage(1, 1, Cut::Before);
    let answers = persisted(&engine, &[inspect("job"), start("job")]);
    assert_eq!(answers[1], Ok(Answer::Done));
    assert_eq!(starts(&engine), 1);

    // Nothing was known of it: it may have run.
    let engine = MemoryEngine::new(with("job", "once"));
    engine.outage(0, 1, Cut::After);
    let answers = persisted(&engine, &[start("job")]);
    assert!(
        matches!(answers[0], Err(EngineError::Refused { .. })),
        "{answers:?}"
    );
    assert_eq!(starts(&engine), 1);
}

#[test]
fn a_command_inside_is_never_run_twice() {
    for cut in [Cut::Before, Cut::After] {
        let engine = MemoryEngine::new(with("app", "sleep").started("app"));
        let words = vec!["sh".to_owned()];
        let prepare = Call::CreateExec(Box::new(Exec {
            container: "app".to_owned(),
            words,
            ..Exec::default()
        }));
        let Ok(Answer::Id(exec)) = persisted(&engine, &[prepare]).remove(0) else {
            panic!("an exec")
        };
        engine.outage(0, 1, cut);
        let answers = persisted(&engine, &[Call::StartExec { exec, seconds: 1 }]);
        assert!(
            matches!(answers[0], Err(EngineError::Unreachable { .. })),
            "{answers:?}"
        );
        let runs = |call: &&Call| matches!(call, Call::StartExec { .. });
        assert_eq!(engine.calls().iter().filter(runs).count(), 1);
    }
}

#[test]
fn a_removal_that_was_not_heard_of_is_done() {
    let engine = MemoryEngine::new(with("app", "sleep"));
    engine.outage(0, 2, Cut::After);
    let remove = Call::RemoveContainer {
        container: OwnedId::made("app"),
        volumes: true,
    };
    assert_eq!(
        persisted(&engine, std::slice::from_ref(&remove)),
        [Ok(Answer::Done)]
    );
    // What was never there is another matter.
    let answers = persisted(&engine, &[remove]);
    assert!(
        matches!(answers[0], Err(EngineError::NotFound { .. })),
        "{answers:?}"
    );
}

#[test]
fn a_name_that_somebody_else_took_meanwhile_stays_theirs() {
    let engine = MemoryEngine::new(world());
    let create = Create {
        name: "app".to_owned(),
        labels: Labels::new(),
        spec: ContainerSpec {
            image: SIDECAR.to_owned(),
            command: Some(vec!["sleep".to_owned()]),
            ..ContainerSpec::default()
        },
    };
    engine.outage(0, 1, Cut::Before);
    let theirs = create.clone();
    engine.before(1, move |world| {
        *world = std::mem::take(world).with_container(&theirs);
    });
    let answers = persisted(&engine, &[Call::CreateContainer(Box::new(create))]);
    assert!(
        matches!(answers[0], Err(EngineError::Conflict { .. })),
        "{answers:?}"
    );
}
