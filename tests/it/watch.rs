//! The loop of `watch`, on an engine in memory and on paused time: minutes pass at once.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aishell::apply::{Listener, Stop};
use aishell::call::Call;
use aishell::controller::backoff::Jitter;
use aishell::controller::{Audience, End, News, Refusal, Settings, Source, watch};
use aishell::engine::memory::{Cut, Fate, MemoryEngine, World};
use aishell::engine::{EngineError, Notice};
use aishell::label::OwnedId;
use aishell::manifest::load::LoadError;
use aishell::observed::RunState;
use aishell::plan::Consent;
use aishell::progress::Progress;
use aishell::reconcile::Intent;
use aishell::report::{Done, Outcome, Truth};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch::Sender;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use crate::world::{Wish, left_to_do, run as run_paused, wish, world};

/// A manifest as a test saves it; none is one that makes no sense.
type Saved = Option<Wish>;

/// What a test saves arrives here.
struct Edits {
    saved: UnboundedReceiver<Saved>,
    last: Option<Saved>,
}

impl Source for Edits {
    async fn changed(&mut self) {
        match self.saved.recv().await {
            Some(saved) => self.last = Some(saved),
            None => std::future::pending().await,
        }
    }

    async fn reload(&mut self) -> Result<Option<Arc<dyn Intent>>, Refusal> {
        while let Ok(saved) = self.saved.try_recv() {
            self.last = Some(saved);
        }
        match self.last.take() {
            None => Ok(None),
            Some(Some(wish)) => Ok(Some(wish.prepared())),
            Some(None) => Err(Refusal::from(LoadError::NotFound {
                directory: "/srv/demo".into(),
            })),
        }
    }
}

/// Writes down what happens, with the second since the start.
struct Diary {
    begun: Instant,
    lines: Mutex<Vec<(u64, String)>>,
}

impl Diary {
    fn note(&self, line: String) {
        let second = self.begun.elapsed().as_secs();
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((second, line));
    }

    /// Returns the lines so far, and begins anew.
    fn read(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.drain(..).map(|(_, line)| line).collect()
    }

    /// Returns the seconds at which a line was written.
    fn times(&self, line: &str) -> Vec<u64> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .filter(|(_, written)| written == line)
            .map(|(second, _)| *second)
            .collect()
    }
}

impl Listener for Diary {
    fn finished(&self, done: &Done) {
        let how = match done.outcome {
            Outcome::Done => "",
            Outcome::Failed => "failed ",
            Outcome::Skipped => "skipped ",
            Outcome::Blocked => "blocked ",
        };
        self.note(format!(
            "{how}{} {}",
            done.step.action.as_str(),
            done.step.resource.name
        ));
    }
}

impl Audience for Diary {
    fn told(&self, news: News<'_>) {
        match news {
            News::Watching { .. } => self.note("watching".to_owned()),
            News::Reloaded(_) => self.note("reloaded".to_owned()),
            News::Condition(condition, _) => {
                let sign = if condition.status == Truth::True { "+" } else { "-" };
                self.note(format!("{sign}{}", condition.reason));
            }
            News::Blocked(blocked) => self.note(format!(
                "blocked {} {}",
                blocked.resource.name,
                blocked.reason.as_str()
            )),
            News::Waits { .. } | News::Converged(_) => {}
        }
    }
}

/// A loop at work.
struct Watched {
    engine: Arc<MemoryEngine>,
    diary: Arc<Diary>,
    edits: UnboundedSender<Saved>,
    wish: Sender<bool>,
    task: JoinHandle<Result<End, EngineError>>,
}

impl Watched {
    fn start(world: World, first: &Wish) -> Self {
        Self::start_with(world, first, false)
    }

    fn start_with(world: World, first: &Wish, once_ready: bool) -> Self {
        let engine = Arc::new(MemoryEngine::new(world));
        let diary = Arc::new(Diary {
            begun: Instant::now(),
            lines: Mutex::default(),
        });
        let (edits, saved) = unbounded_channel();
        let (wish, stop) = Stop::new();
        let task = spawn_local({
            let (engine, diary, intent) = (Arc::clone(&engine), Arc::clone(&diary), first.prepared());
            async move {
                let mut source = Edits { saved, last: None };
                let settings = Settings {
                    turn: None,
                    consent: Consent::default(),
                    resync: Duration::from_secs(60),
                    once_ready,
                    jitter: Jitter::new(0),
                };
                watch(&*engine, (&mut source, intent), settings, &diary, &stop).await
            }
        });
        Self {
            engine,
            diary,
            edits,
            wish,
            task,
        }
    }

    /// Starts, lets everything be made, and forgets how.
    async fn settled(world: World, first: &Wish) -> Self {
        let watched = Self::start(world, first);
        watched.rest().await;
        watched.forget();
        watched
    }

    fn forget(&self) {
        self.engine.forget();
        self.diary.read();
    }

    /// Lets five seconds pass.
    async fn rest(&self) {
        sleep(Duration::from_secs(5)).await;
    }

    fn save(&self, wish: &Wish) {
        self.edits.send(Some(wish.clone())).expect("the loop goes on");
    }

    fn save_rubbish(&self) {
        self.edits.send(None).expect("the loop goes on");
    }

    fn running(&self, wish: &Wish, name: &str) -> bool {
        let world = self.engine.world();
        let container = world.container(&wish.object(name));
        container.is_some_and(|container| container.state() == RunState::Running)
    }

    /// Ends the loop, after which everything has to be as it is wanted.
    async fn ends_well(self, wish: &Wish) {
        self.wish.send_replace(true);
        let end = self.task.await.expect("no panic").expect("the engine was there");
        assert_eq!(end, End::Stopped);
        let (engine, wish) = (self.engine, wish.clone());
        let left = std::thread::spawn(move || left_to_do(&engine, &wish)).join();
        assert_eq!(left.expect("no panic"), None);
    }
}

/// Runs a test with its loop beside it.
fn run<T>(test: impl Future<Output = T>) -> T {
    run_paused(LocalSet::new().run_until(test))
}

/// Two containers.
fn demo() -> Wish {
    wish().container("api", json!({})).container("web", json!({}))
}

fn listings(calls: &[Call]) -> usize {
    let listing = |call: &&Call| {
        matches!(
            call,
            Call::ListContainers | Call::ListVolumes | Call::ListNetworks | Call::ListImages
        )
    };
    calls.iter().filter(listing).count()
}

fn seconds(count: u64) -> impl Future<Output = ()> {
    sleep(Duration::from_secs(count))
}

#[test]
fn everything_is_made_and_then_nothing_happens_but_the_resync() {
    run(async {
        let watched = Watched::start(world(), &demo());
        watched.rest().await;
        assert!(watched.running(&demo(), "api") && watched.running(&demo(), "web"));
        assert_eq!(watched.diary.times("watching"), [0]);
        watched.forget();
        seconds(54).await;
        assert_eq!(watched.engine.calls(), []);
        seconds(6).await;
        assert_eq!(listings(&watched.engine.calls()), 4);
        assert_eq!(watched.engine.writes(), []);
        watched.ends_well(&demo()).await;
    });
}

#[test]
fn a_removed_container_returns_at_once_without_a_listing() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        watched.engine.rm(&demo().object("api")).expect("it is there");
        sleep(Duration::from_millis(700)).await;
        assert!(watched.running(&demo(), "api"));
        let calls = watched.engine.calls();
        assert_eq!(listings(&calls), 0, "{calls:#?}");
        let others = calls.iter().filter(
            |call| matches!(call, Call::InspectContainer { container } if *container == demo().object("web")),
        );
        assert_eq!(others.count(), 0, "{calls:#?}");
        watched.ends_well(&demo()).await;
    });
}

#[test]
fn whatever_is_done_by_hand_is_undone_with_as_many_requests_however_many_containers_there_are() {
    let requests = |count: usize| {
        let mut many = wish();
        for index in 0..count {
            many = many.container(&format!("c{index}"), json!({}));
        }
        run(async {
            let watched = Watched::settled(world(), &many).await;
            let name = many.object("c0");
            watched.engine.stop(&name).expect("stopped");
            watched.rest().await;
            watched.engine.rename(&name, "elsewhere").expect("renamed");
            watched.rest().await;
            watched.engine.connect("lan", &name).expect("connected");
            watched.rest().await;
            watched.engine.pause(&name).expect("paused");
            watched.rest().await;
            let calls = watched.engine.calls().len();
            watched.ends_well(&many).await;
            calls
        })
    };
    assert_eq!(requests(3), requests(30));
}

#[test]
fn an_edit_is_applied_and_what_it_does_not_change_is_left_alone() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        let edited = demo().container("api", json!({ "env": { "MODE": "safe" } }));
        watched.save(&edited);
        watched.rest().await;
        assert_eq!(watched.diary.read(), ["reloaded", "replace api"]);
        watched.save(&edited.clone().without("web"));
        watched.rest().await;
        assert_eq!(watched.diary.read(), ["reloaded", "remove web"]);
        watched.ends_well(&edited.without("web")).await;
    });
}

#[test]
fn while_an_edit_makes_no_sense_the_last_good_manifest_stays_in_force() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        watched.save_rubbish();
        watched.rest().await;
        watched.save_rubbish();
        watched.engine.rm(&demo().object("api")).expect("it is there");
        watched.rest().await;
        assert!(watched.running(&demo(), "api"));
        assert_eq!(watched.diary.read(), ["+InvalidManifest", "create api"]);
        watched.save(&demo().without("web"));
        watched.rest().await;
        assert_eq!(
            watched.diary.read(),
            ["-InvalidManifest", "reloaded", "remove web"]
        );
        watched.ends_well(&demo().without("web")).await;
    });
}

#[test]
fn what_was_not_noticed_is_found_by_the_resync() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        watched.engine.deafen(true);
        watched.engine.rm(&demo().object("api")).expect("it is there");
        watched.rest().await;
        assert_eq!(watched.engine.calls(), []);
        seconds(60).await;
        assert!(watched.running(&demo(), "api"));
        watched.ends_well(&demo()).await;
    });
}

#[test]
fn a_storm_of_notices_starves_nothing_and_costs_two_passes_a_second_at_most() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        let id = |name: &str| {
            let world = watched.engine.world();
            world
                .container(&demo().object(name))
                .expect("it is there")
                .reply
                .id
                .clone()
        };
        let notice = Notice::Container { id: id("web") };
        watched.engine.rm(&demo().object("api")).expect("it is there");
        let begun = Instant::now();
        let mut healed = None;
        for _ in 0..60_000 {
            for _ in 0..5 {
                watched.engine.notify(&notice);
            }
            if healed.is_none() && watched.running(&demo(), "api") {
                healed = Some(begun.elapsed());
            }
            sleep(Duration::from_millis(1)).await;
        }
        assert!(
            healed.is_some_and(|time| time < Duration::from_secs(3)),
            "{healed:?}"
        );
        let inspected = watched.engine.calls().len();
        assert!(inspected < 60 * 2 * 3, "{inspected} calls");
        watched.ends_well(&demo()).await;
    });
}

#[test]
fn what_fails_is_tried_at_growing_intervals_others_are_not_slowed_and_a_fix_applies_at_once() {
    run(async {
        let fields = |image: &str| json!({ "image": image, "user": "image", "workspace": "none" });
        let broken = demo().container("db", fields("nowhere:1"));
        let watched = Watched::start(world(), &broken);
        seconds(70).await;
        assert_eq!(
            watched.diary.times("failed pull nowhere:1"),
            [0, 1, 3, 7, 15, 31, 63]
        );
        assert!(watched.running(&broken, "api"));
        watched.forget();
        watched.engine.rm(&demo().object("api")).expect("it is there");
        watched.rest().await;
        assert_eq!(watched.diary.read(), ["create api"]);
        let fixed = demo().container("db", fields("postgres:17"));
        watched.save(&fixed);
        seconds(1).await;
        assert!(watched.running(&fixed, "db"));
        watched.ends_well(&fixed).await;
    });
}

#[test]
fn what_ends_again_and_again_is_started_at_growing_intervals_and_a_fix_applies_at_once() {
    run(async {
        let with = |command: &str| demo().container("job", json!({ "command": [command], "restart": "no" }));
        let world = world().with_fate("crash", Fate::Ends(1));
        let watched = Watched::start(world, &with("crash"));
        seconds(70).await;
        let starts = [
            watched.diary.times("create job"),
            watched.diary.times("failed create job"),
            watched.diary.times("start job"),
            watched.diary.times("failed start job"),
        ]
        .concat();
        assert_eq!(starts, [0, 1, 3, 7, 15, 31, 63]);
        watched.save(&with("work"));
        seconds(1).await;
        assert!(watched.running(&with("work"), "job"));
        watched.ends_well(&with("work")).await;
    });
}

#[test]
fn a_replacement_that_failed_is_not_tried_again_before_it_is_another_one() {
    run(async {
        let with =
            |command: &str| demo().container("api", json!({ "command": [command], "restart": "always" }));
        let world = world().with_fate("crash", Fate::Ends(1));
        let watched = Watched::settled(world, &with("work")).await;
        let id = || {
            let world = watched.engine.world();
            world
                .container(&demo().object("api"))
                .map(|one| one.reply.id.clone())
        };
        let before = id();
        watched.save(&with("crash"));
        seconds(600).await;
        assert_eq!(watched.diary.times("failed replace api").len(), 1);
        assert!(watched.running(&demo(), "api"));
        assert_eq!(id(), before);
        watched.save(&with("other"));
        watched.rest().await;
        assert_ne!(id(), before);
        watched.ends_well(&with("other")).await;
    });
}

#[test]
fn while_the_engine_is_away_nothing_counts_as_missing() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        watched.engine.cut(0, Cut::Before);
        watched.engine.hang_up();
        watched.engine.by_hand(|_| ());
        seconds(100).await;
        assert_eq!(watched.engine.writes(), []);
        watched.engine.mend();
        watched.engine.rm(&demo().object("web")).expect("it is there");
        seconds(31).await;
        assert!(watched.running(&demo(), "web"));
        assert_eq!(
            watched.diary.read(),
            [
                "+EngineUnreachable",
                "-EngineUnreachable",
                "watching",
                "create web"
            ]
        );
        watched.ends_well(&demo()).await;
    });
}

#[test]
fn a_connection_that_breaks_in_a_pass_is_no_failure_of_what_was_done() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        let edited = demo().container("api", json!({ "env": { "MODE": "safe" } }));
        watched.engine.cut(4, Cut::After);
        watched.save(&edited);
        watched.rest().await;
        watched.engine.hang_up();
        watched.engine.mend();
        seconds(31).await;
        watched.ends_well(&edited).await;
    });
}

#[test]
fn an_engine_that_was_never_there_ends_it() {
    run(async {
        let engine = MemoryEngine::new(world());
        engine.cut(0, Cut::Before);
        let mut source = Edits {
            saved: unbounded_channel().1,
            last: None,
        };
        let settings = Settings {
            turn: None,
            consent: Consent::default(),
            resync: Duration::from_secs(60),
            once_ready: false,
            jitter: Jitter::new(0),
        };
        let silent = Arc::new(aishell::apply::Silent);
        let stop = Stop::never();
        let end = watch(
            &engine,
            (&mut source, demo().prepared()),
            settings,
            &silent,
            &stop,
        );
        assert!(matches!(end.await, Err(EngineError::Unreachable { .. })));
    });
}

#[test]
fn a_trigger_during_a_pass_makes_exactly_one_more() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        watched.engine.rm(&demo().object("api")).expect("it is there");
        // The second call of the pass, when what it does is settled already.
        let changed = demo().object("web");
        watched.engine.before(1, move |world| {
            let container = OwnedId::made(&changed);
            let stop = Call::StopContainer { container };
            world.answer(&stop, &Progress::default()).expect("it runs");
        });
        watched.rest().await;
        assert!(watched.running(&demo(), "web") && watched.running(&demo(), "api"));
        assert_eq!(watched.diary.read(), ["create api", "start web"]);
        watched.ends_well(&demo()).await;
    });
}

#[test]
fn a_container_in_use_is_changed_when_it_is_not_any_more() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        let edited = demo().container("api", json!({ "env": { "MODE": "safe" } }));
        let terminal = watched.engine.open_terminal(&demo().object("api"), &["sh"]);
        watched.save(&edited);
        watched.rest().await;
        assert_eq!(watched.diary.read(), ["reloaded", "blocked api busy"]);
        watched.engine.forget();
        seconds(20).await;
        let calls = watched.engine.calls();
        assert_eq!(listings(&calls), 0);
        assert!(
            (9..=30).contains(&calls.len()),
            "only who works in it is asked: {calls:#?}"
        );
        watched.engine.end_inside(&terminal.expect("it runs"));
        seconds(2).await;
        assert_eq!(watched.diary.read(), ["replace api"]);
        // One inside tmux, of whose end the engine says nothing.
        let again = demo().container("api", json!({ "env": { "MODE": "safer" } }));
        watched
            .engine
            .abandon_terminals(&demo().object("api"), 1)
            .expect("it runs");
        watched.save(&again);
        watched.rest().await;
        assert_eq!(watched.diary.read(), ["reloaded", "blocked api busy"]);
        watched
            .engine
            .abandon_terminals(&demo().object("api"), 0)
            .expect("it runs");
        seconds(4).await;
        assert_eq!(watched.diary.read(), ["replace api"]);
        watched.ends_well(&again).await;
    });
}

/// Watches until everything is ready, and returns how that ends and in which second.
fn once_ready(world: World, wish: &Wish) -> (End, u64) {
    run(async {
        let watched = Watched::start_with(world, wish, true);
        let end = watched
            .task
            .await
            .expect("no panic")
            .expect("the engine is there");
        (end, watched.diary.begun.elapsed().as_secs())
    })
}

#[test]
fn whoever_waits_until_everything_is_ready_learns_when_it_is_or_cannot_be() {
    assert_eq!(once_ready(world(), &demo()).0, End::Ready);
    let taken = world().stranger_container(&demo().object("web"));
    assert_eq!(once_ready(taken, &demo()).0, End::Blocked);
    let missing: Value = json!({ "image": "nowhere:1", "user": "image", "workspace": "none" });
    assert_eq!(
        once_ready(world(), &demo().container("db", missing)),
        (End::Failed, 15)
    );
}

#[test]
fn the_wish_to_stop_ends_the_wait_at_once() {
    run(async {
        let watched = Watched::settled(world(), &demo()).await;
        let begun = Instant::now();
        watched.ends_well(&demo()).await;
        assert!(begun.elapsed() < Duration::from_secs(1));
    });
}
