//! Who writes when several want to: laws of claims, on random schedules.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aishell::apply::{Listener, Silent, Stop};
use aishell::call::{Answer, Call};
use aishell::claim::{Claim, ClaimError, Claims, Turn};
use aishell::controller::backoff::Jitter;
use aishell::controller::{Audience, End, News, Refusal, Settings, Source, watch};
use aishell::engine::memory::{Fate, MemoryEngine, World};
use aishell::engine::{Engine, EngineError, Lifeline, Notices};
use aishell::label::{KIND, LOCK, Labels, NONCE, Owner, UID};
use aishell::plan::Consent;
use aishell::progress::Progress;
use aishell::reconcile::{Intent, PassError, Subject, reconcile_alone};
use aishell::report::Report;
use futures_util::future::{join, join3};
use proptest::prelude::*;
use serde_json::json;

use crate::dice::Dice;
use crate::world::{Wish, converged, fork, left_to_do, looked, run, wish, world};

/// The way of one aishell to the engine: it is as slow as chance wants, and notes what was written.
struct Way<'a> {
    engine: &'a MemoryEngine,
    dice: Mutex<Dice>,
    calls: Mutex<usize>,
    /// The call at which its aishell is killed, before or after the engine has heard it.
    killed: Option<(usize, bool)>,
    /// Told when that happens.
    death: tokio::sync::Notify,
    /// What is there only to keep others out.
    claims: Mutex<BTreeSet<String>>,
    written: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Way<'a> {
    fn new(engine: &'a MemoryEngine, seed: u64, killed: Option<(usize, bool)>) -> Self {
        Self {
            engine,
            dice: Mutex::new(Dice(seed)),
            calls: Mutex::default(),
            killed,
            death: tokio::sync::Notify::new(),
            claims: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Lets others go first, as often as chance wants.
    async fn hesitate(&self) {
        let times = lock(&self.dice).below(6);
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }

    async fn die(&self) {
        self.death.notify_one();
        pending::<()>().await;
    }

    /// Does something for as long as its aishell lives.
    async fn living<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.death.notified() => None,
        }
    }

    /// Notes a write that is no claim's.
    fn note(&self, call: &Call, answer: &Result<Answer, EngineError>) {
        let mut claims = lock(&self.claims);
        if let (Call::CreateKept(_), Ok(Answer::Id(id))) = (call, answer) {
            claims.insert(id.clone());
        }
        let word = match call {
            Call::CreateKept(_) | Call::RemoveIdle { .. } => return,
            Call::StartContainer { container } if claims.contains(container) => return,
            Call::RenameContainer { container, .. } | Call::RemoveContainer { container, .. }
                if claims.contains(container.id()) =>
            {
                return;
            }
            Call::CreateVolume { labels, .. } if labels[KIND] == "claim" => return,
            Call::RemoveVolume { volume } if volume.id().starts_with("aishell-claim-") => return,
            Call::CreateContainer(create) => format!("create {}", create.name),
            Call::CreateVolume { name, .. } => format!("create {name}"),
            Call::CreateNetwork { name, .. } => format!("create {name}"),
            Call::PullImage { reference } => format!("pull {reference}"),
            call => format!("{call:?}")
                .split([' ', '('])
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        if call.is_write() {
            lock(&self.written).push(word);
        }
    }
}

impl Engine for Way<'_> {
    async fn call(&self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        self.hesitate().await;
        let number = {
            let mut calls = lock(&self.calls);
            *calls += 1;
            *calls - 1
        };
        if self.killed == Some((number, false)) {
            self.die().await;
        }
        let answer = self.engine.call(call, progress).await;
        self.note(call, &answer);
        if self.killed == Some((number, true)) {
            self.die().await;
        }
        self.hesitate().await;
        answer
    }

    async fn attach(&self, container: &str) -> Result<Lifeline, EngineError> {
        self.hesitate().await;
        self.engine.attach(container).await
    }

    fn identifier(&self) -> Result<String, EngineError> {
        self.engine.identifier()
    }

    async fn subscribe(&self, owner: &Owner) -> Result<Notices, EngineError> {
        self.engine.subscribe(owner).await
    }
}

/// A place for the lock files of one host, or of one user.
fn host() -> (tempfile::TempDir, Claims) {
    let place = tempfile::tempdir().expect("a directory");
    let claims = Claims::at(place.path().join("locks"), "me@box");
    (place, claims)
}

fn turn(claims: &Claims, seconds: u64) -> Turn<'_> {
    Turn {
        claims,
        command: "apply",
        patience: Duration::from_secs(seconds),
    }
}

async fn applied(engine: &impl Engine, wish: &Wish, turn: Turn<'_>) -> Result<Report, PassError> {
    let prepared = wish.prepared();
    let subject = Subject {
        intent: &*prepared,
        consent: Consent::default(),
    };
    reconcile_alone(engine, &subject, turn, (&Arc::new(Silent), &Stop::never())).await
}

/// A manifest that nobody edits.
struct Unchanged;

impl Source for Unchanged {
    async fn changed(&mut self) {
        pending::<()>().await;
    }

    async fn reload(&mut self) -> Result<Option<Arc<dyn Intent>>, Refusal> {
        Ok(None)
    }
}

/// Hears nothing.
struct Deaf;

impl Listener for Deaf {}

impl Audience for Deaf {
    fn told(&self, _: News<'_>) {}
}

async fn watched(engine: &impl Engine, wish: &Wish, turn: Turn<'_>) -> Result<End, EngineError> {
    let settings = Settings {
        turn: Some(turn),
        consent: Consent::default(),
        resync: Duration::from_secs(60),
        once_ready: true,
        jitter: Jitter::new(1),
    };
    let intent = wish.prepared() as Arc<dyn Intent>;
    watch(
        engine,
        (&mut Unchanged, intent),
        settings,
        &Arc::new(Deaf),
        &Stop::never(),
    )
    .await
}

/// Returns what is left of claims.
fn claims_in(world: &World) -> Vec<String> {
    let claimed = |labels: &Labels| labels.get(KIND).is_some_and(|kind| kind == "claim");
    let containers = world.containers().filter(|one| claimed(&one.reply.labels));
    let volumes = world.volumes().filter(|one| claimed(&one.reply.labels));
    let containers = containers.map(|one| one.name().to_owned());
    containers
        .chain(volumes.map(|one| one.reply.name.clone()))
        .collect()
}

fn sorted<'a>(ways: impl IntoIterator<Item = &'a Way<'a>>) -> Vec<String> {
    let mut all: Vec<String> = ways
        .into_iter()
        .flat_map(|way| lock(&way.written).clone())
        .collect();
    all.sort();
    all
}

/// Returns a manifest and a world in which something has to be done.
fn scene(which: u8) -> (Wish, MemoryEngine) {
    let one = json!({ "harness": "claude" });
    let first = wish().harness("claude", "2.0.22").container("api", one.clone());
    let second = first
        .clone()
        .container("web", json!({ "env": { "MODE": "safe" } }))
        .container(
            "api",
            json!({ "harness": "claude", "resources": { "memory": "1GiB" } }),
        );
    match which {
        // From nothing: no image is there to make a container from.
        0 => (first, MemoryEngine::new(world())),
        1 => {
            let engine = MemoryEngine::new(world());
            converged(&engine, &first);
            (second, fork(&engine))
        }
        // Images whose programs do not include the one that is needed.
        _ => {
            let engine = MemoryEngine::new(world().with_fate("cat", Fate::Missing));
            converged(&engine, &first);
            (second, fork(&engine))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96 * ProptestConfig::default().cases / 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_appliers_and_a_watcher_write_everything_once(
        which in 0..3_u8,
        seeds in any::<[u64; 3]>(),
        shared in any::<bool>(),
    ) {
        let (wish, engine) = scene(which);
        let alone = fork(&engine);
        let (_place, mine) = host();
        let way = Way::new(&alone, 0, None);
        run(applied(&way, &wish, turn(&mine, 0))).expect("a pass");
        let wanted = sorted([&way]);

        let (_other_place, other) = host();
        let other = if shared { &mine } else { &other };
        let ways = seeds.map(|seed| Way::new(&engine, seed, None));
        let [a, b, c] = &ways;
        let (one, two, end) = run(join3(
            applied(a, &wish, turn(&mine, 600)),
            applied(b, &wish, turn(other, 600)),
            watched(c, &wish, turn(other, 600)),
        ));
        prop_assert!(one.expect("a pass").converged);
        prop_assert!(two.expect("a pass").converged);
        prop_assert_eq!(end.expect("a watch"), End::Ready);
        prop_assert_eq!(left_to_do(&engine, &wish), None);
        prop_assert_eq!(sorted(&ways), wanted);
        prop_assert_eq!(claims_in(&engine.world()), Vec::<String>::new());
    }

    #[test]
    fn whoever_is_killed_makes_room_for_the_next(
        which in 0..3_u8,
        seeds in any::<[u64; 3]>(),
        at in 0..60_usize,
        after in any::<bool>(),
        shared in any::<bool>(),
    ) {
        let (wish, engine) = scene(which);
        let (_place, mine) = host();
        let (_other_place, other) = host();
        let other = if shared { &mine } else { &other };
        let [victim, next, last] = &seeds;
        let victim = Way::new(&engine, *victim, Some((at, after)));
        let next = Way::new(&engine, *next, None);
        let (_, report) = run(join(
            victim.living(applied(&victim, &wish, turn(&mine, 600))),
            applied(&next, &wish, turn(other, 600)),
        ));
        prop_assert!(report.expect("a pass").converged);
        prop_assert!(looked(&engine, &wish).plan.is_empty());
        // What it was killed with goes with the next claim that somebody needs.
        engine.rm(&wish.object("api")).expect("a container");
        let last = Way::new(&engine, *last, None);
        prop_assert!(run(applied(&last, &wish, turn(other, 0))).expect("a pass").converged);
        prop_assert_eq!(left_to_do(&engine, &wish), None);
        prop_assert_eq!(claims_in(&engine.world()), Vec::<String>::new());
    }
}

/// Takes a claim.
fn taken(engine: &MemoryEngine, wish: &Wish, claims: &Claims) -> Result<Claim, ClaimError> {
    let seen = looked(engine, wish).observed;
    let owner = wish.prepared().facts.owner.clone();
    run(turn(claims, 0).take(engine, &owner, Some(&seen)))
}

fn released(engine: &MemoryEngine, claim: Claim) {
    run(claim.release(engine));
    assert_eq!(claims_in(&engine.world()), Vec::<String>::new());
}

#[test]
fn a_claim_is_a_container_that_ends_with_its_holder_and_a_volume_where_there_is_no_image() {
    let (_place, mine) = host();
    let (_other_place, other) = host();
    for (which, kind) in [(0, "volume"), (1, "container"), (2, "volume")] {
        let (wish, engine) = scene(which);
        let name = wish.prepared().facts.owner.claim();
        let claim = taken(&engine, &wish, &mine).expect("a claim");
        let found = engine.world();
        assert_eq!(found.container(&name).is_some(), kind == "container", "{which}");
        assert_eq!(found.volume(&name).is_some(), kind == "volume", "{which}");
        let held = taken(&engine, &wish, &other).expect_err("it is held");
        let message = held.to_string();
        assert!(message.starts_with("`aishell apply` (process "), "{message}");
        assert!(message.contains(" of me@box, since "), "{message}");
        released(&engine, claim);
        // Killed: nothing is said to the engine.
        drop(taken(&engine, &wish, &mine).expect("a claim"));
        released(
            &engine,
            taken(&engine, &wish, &other).expect("its holder is gone"),
        );
    }
}

#[test]
fn nobody_who_only_looks_or_has_nothing_to_do_claims_anything() {
    let (wish, engine) = scene(1);
    converged(&engine, &wish);
    let (_place, mine) = host();
    engine.forget();
    assert!(
        run(applied(&engine, &wish, turn(&mine, 0)))
            .expect("a pass")
            .converged
    );
    assert_eq!(engine.writes(), []);
    assert!(!engine.calls().contains(&Call::Identify));
    let other = fork(&engine);
    engine.rm(&wish.object("api")).expect("a container");
    let claim = taken(&engine, &wish, &mine).expect("a claim");
    engine.forget();
    looked(&engine, &wish);
    assert_eq!(engine.writes(), []);
    // What keeps others out is nobody's resource.
    let with = looked(&engine, &wish).observed;
    engine.by_hand(|world| *world = other.world());
    let without = looked(&engine, &wish).observed;
    assert_eq!((with.jobs, with.receipts), (without.jobs, without.receipts));
    drop(claim);
}

#[test]
fn a_stranger_under_the_name_is_in_the_way_and_stays() {
    let (wish, engine) = scene(1);
    let name = wish.prepared().facts.owner.claim();
    let (_place, mine) = host();
    let copied: Labels = [
        (UID.to_owned(), "copied".to_owned()),
        (KIND.to_owned(), "claim".to_owned()),
    ]
    .into();
    for container in [true, false] {
        let engine = fork(&engine);
        engine.by_hand(|world| {
            let start = std::mem::take(world);
            *world = if container {
                start.stranger_container(&name)
            } else {
                start.with_volume(&name, copied.clone())
            };
        });
        let before = engine.world().summary();
        let error = taken(&engine, &wish, &mine).expect_err("a stranger");
        assert!(matches!(error, ClaimError::Stranger { .. }), "{error:?}");
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(engine.world().summary(), before);
    }
}

#[test]
fn rubbish_in_the_labels_of_a_claim_names_nobody_and_decides_nothing() {
    let (wish, engine) = scene(0);
    let name = wish.prepared().facts.owner.claim();
    let (_place, mine) = host();
    let claim = taken(&engine, &wish, &mine).expect("a claim");
    let good = engine
        .world()
        .volume(&name)
        .expect("a volume")
        .reply
        .labels
        .clone();
    drop(claim);
    let (_other_place, other) = host();
    for (label, text) in [
        (LOCK, "\u{1b}[2J"),
        (LOCK, ""),
        (LOCK, "boot 1:1 /etc/passwd"),
        ("aishell.since", "9999-12-31T00:00:00Z"),
        ("aishell.since", "-009999-01-02T01:59:59Z"),
        ("aishell.pid", "18446744073709551616"),
        ("aishell.holder", "\u{202e}\n"),
        (NONCE, ""),
    ] {
        let engine = fork(&engine);
        engine.rm_volume(&name).expect("a volume");
        let mut labels = good.clone();
        // Its holder is on another host, so whether it lives cannot be known.
        labels.insert(
            LOCK.to_owned(),
            "another-boot 1:1 /run/aishell/x.apply".to_owned(),
        );
        labels.insert(label.to_owned(), text.to_owned());
        engine.by_hand(|world| *world = std::mem::take(world).with_volume(&name, labels));
        let error = taken(&engine, &wish, &other).expect_err("somebody may hold it");
        let ClaimError::Held { volume, .. } = &error else {
            panic!("{label} {text:?}: {error:?}");
        };
        assert_eq!(volume.as_ref(), Some(&name));
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert!(engine.world().volume(&name).is_some(), "{label} {text:?}");
    }
}

#[test]
fn an_engine_that_makes_no_claim_does_not_end_all_work() {
    let (wish, engine) = scene(1);
    engine.fault(|call| {
        let refused = match call {
            Call::CreateKept(_) => true,
            Call::CreateVolume { name, .. } => name.starts_with("aishell-claim-"),
            _ => false,
        };
        refused.then(|| EngineError::Refused {
            message: "not allowed".to_owned(),
        })
    });
    let (_place, mine) = host();
    assert!(
        run(applied(&engine, &wish, turn(&mine, 0)))
            .expect("a pass")
            .converged
    );
}

/// The same manifest as it is called and where it is after a move.
fn moved(wish: &Wish) -> Wish {
    wish.clone().of("/srv/moved").formerly("demo", "/srv/demo")
}

#[test]
fn whoever_has_what_another_had_keeps_that_one_out_and_is_kept_out_by_it() {
    let (_place, mine) = host();
    let (_other_place, other) = host();
    for which in [0, 1, 2] {
        let (old, engine) = scene(which);
        let new = moved(&old);
        for (first, second) in [(&new, &old), (&old, &new)] {
            let claim = taken(&engine, first, &mine).expect("a claim");
            // On this host and on another one.
            for claims in [&mine, &other] {
                let held = taken(&engine, second, claims).expect_err("it is held");
                assert!(matches!(held, ClaimError::Held { .. }), "{which}: {held:?}");
            }
            released(&engine, claim);
        }
        // Who does not get all of them keeps none.
        let claim = taken(&engine, &old, &mine).expect("a claim");
        taken(&engine, &new, &other).expect_err("it is held");
        released(&engine, claim);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32 * ProptestConfig::default().cases / 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_of_whom_each_says_that_it_was_the_other_do_not_wait_for_each_other_for_ever(
        which in 0..3_u8,
        seeds in any::<[u64; 2]>(),
        shared in any::<bool>(),
    ) {
        let (wish, engine) = scene(which);
        let (one, two) = (wish.clone().formerly("demo", "/srv/moved"), moved(&wish));
        let (_place, mine) = host();
        let (_other_place, other) = host();
        let other = if shared { &mine } else { &other };
        let ways = seeds.map(|seed| Way::new(&engine, seed, None));
        let [a, b] = &ways;
        let (first, second) = run(join(
            applied(a, &one, turn(&mine, 600)),
            applied(b, &two, turn(other, 600)),
        ));
        first.expect("a turn");
        second.expect("a turn");
        prop_assert_eq!(claims_in(&engine.world()), Vec::<String>::new());
    }
}

#[test]
fn what_is_in_the_way_of_a_claim_is_said_with_the_command_that_removes_it() {
    let (wish, engine) = scene(0);
    let name = wish.prepared().facts.owner.claim();
    let (_place, mine) = host();
    let somebodys: Labels = [("com.acme.team".to_owned(), "payments".to_owned())].into();
    engine.by_hand(|world| *world = std::mem::take(world).with_volume(&name, somebodys));
    let error = taken(&engine, &wish, &mine).expect_err("a stranger");
    assert_eq!(error.unblock(), Some(format!("docker volume rm {name}")));
}

#[test]
fn a_volume_that_an_engine_left_without_labels_keeps_nobody_out_and_stays() {
    let (_place, mine) = host();
    let (_other_place, other) = host();
    for (which, is_noticed) in [(0, false), (1, true), (2, false)] {
        let (wish, engine) = scene(which);
        let name = wish.prepared().facts.owner.claim();
        engine.by_hand(|world| *world = std::mem::take(world).with_volume(&name, Labels::new()));
        let claim = taken(&engine, &wish, &mine).expect("a claim");
        // Where a container can be made, others are kept out as ever.
        assert_eq!(taken(&engine, &wish, &other).is_err(), is_noticed, "{which}");
        taken(&engine, &wish, &mine).expect_err("on the same host there is the lock of the file");
        released(&engine, claim);
        assert!(engine.world().volume(&name).is_some(), "{which}");
        assert!(
            run(applied(&engine, &wish, turn(&mine, 0)))
                .expect("a pass")
                .converged
        );
        assert!(engine.world().volume(&name).is_some(), "{which}");
    }
}
