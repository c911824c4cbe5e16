//! What is fetched from elsewhere can be cut at any place: the connection lost, or aishell killed, at every request and
//! between. The next one gets it, nothing half is kept or used, and nothing of git runs on.
//!
//! Answers are cut at some places, with `AISHELL_CUTS=all` at many: after every byte where they have fewer than 800.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aishell::context::EntryKind;
use aishell::fetch::{FetchError, Fetched, Order, digest, fetch, revision};
use aishell::progress::{Event, Progress};
use aishell::remote::{Source, Store};

use crate::git::GitServer;

mod hosts;
mod poison;
mod web;

/// Tells a program that it is there to be killed, and what it fetches until then.
const VICTIM: &str = "AISHELL_TEST_VICTIM";
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cache of a test's own.
pub struct World {
    directory: tempfile::TempDir,
    pub server: GitServer,
}

/// What is fetched.
#[derive(Clone, Debug)]
pub enum Wish {
    /// A repository, perhaps not all of its history.
    Clone {
        url: String,
        commit: String,
        depth: Option<u32>,
    },
    /// A program.
    Tool { url: String, sha256: String },
    /// What a branch means.
    Branch { url: String },
    /// What a download is made of.
    Digest { url: String },
}

impl Wish {
    fn words(&self) -> Vec<String> {
        match self {
            Self::Clone { url, commit, depth } => {
                let depth = depth.map_or_else(|| "all".to_owned(), |depth| depth.to_string());
                vec!["clone".to_owned(), url.clone(), commit.clone(), depth]
            }
            Self::Tool { url, sha256 } => vec!["tool".to_owned(), url.clone(), sha256.clone()],
            Self::Branch { url } => vec!["branch".to_owned(), url.clone()],
            Self::Digest { url } => vec!["digest".to_owned(), url.clone()],
        }
    }

    fn read(text: &str) -> Self {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        match words.as_slice() {
            [kind, url, commit, depth] if kind == "clone" => Self::Clone {
                url: url.clone(),
                commit: commit.clone(),
                depth: depth.parse().ok(),
            },
            [kind, url, sha256] if kind == "tool" => Self::Tool {
                url: url.clone(),
                sha256: sha256.clone(),
            },
            [kind, url] if kind == "branch" => Self::Branch { url: url.clone() },
            [_, url] => Self::Digest { url: url.clone() },
            _ => panic!("{text}"),
        }
    }

    /// Fetches it; returns what it is, as far as tests look at that.
    pub async fn grant(&self, store: &Store, progress: &Progress) -> Result<String, FetchError> {
        let source = match self {
            Self::Branch { url } => {
                let reference = format!("{url}#main").parse().expect("a reference");
                let revision = revision(&reference, store).await?;
                return Ok(revision.commit.to_string());
            }
            Self::Digest { url } => {
                let found = digest(&url.parse().expect("an address"), store).await?;
                return Ok(found.to_string());
            }
            Self::Clone { url, commit, depth } => Source::Repository {
                url: url.parse().expect("an address"),
                commit: commit.parse().expect("a commit"),
                branch: Some("main".parse().expect("a branch")),
                tag: None,
                depth: *depth,
            },
            Self::Tool { url, sha256 } => Source::Tool {
                url: url.parse().expect("an address"),
                sha256: sha256.parse().expect("a digest"),
                bin: "tool".to_owned(),
            },
        };
        let order = Order {
            source,
            store: Arc::new(store.clone()),
        };
        Ok(told(&fetch(&order, progress).await?))
    }
}

/// Tells what was fetched: files and what is in them, and what git says of the history.
fn told(fetched: &Fetched) -> String {
    let tree = &fetched.tree;
    let mut lines = Vec::new();
    for entry in &tree.entries {
        let path = entry.path.display().to_string();
        let own = path.split('/').any(|part| part == ".git");
        if matches!(entry.kind, EntryKind::File(_)) && !own {
            // A file by itself has no path below itself.
            let file = tree.source.components().chain(entry.path.components());
            let content = fs::read(file.collect::<PathBuf>()).expect("a file");
            lines.push(format!("{path} {}", aishell::key::digest(&content)));
        }
    }
    if tree.source.join(".git").is_dir() {
        for words in [
            &["fsck", "--strict"][..],
            &["log", "--format=%H %s", "HEAD"],
            &["for-each-ref"],
            &["symbolic-ref", "HEAD"],
            &["status", "--porcelain"],
        ] {
            lines.push(asked(&tree.source, words));
        }
    }
    lines.join("\n")
}

/// Asks git something that it has to know.
pub fn asked(directory: &Path, words: &[&str]) -> String {
    let ended = Command::new("git")
        .args(words)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git");
    assert!(ended.status.success(), "{words:?}: {ended:?}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// Waits until something is so.
pub fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            server: GitServer::start(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("a path")
    }

    /// Returns where things are kept, which is empty.
    pub fn store(&self) -> Store {
        let directory = self.path().join("cache");
        let _ = fs::remove_dir_all(&directory);
        Store {
            directory,
            environment: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
            patience: PATIENCE,
            ..Store::default()
        }
    }

    /// Everything that is fetched.
    pub fn wishes(&self) -> Vec<Wish> {
        let url = self.server.repository("a");
        for number in ["2", "3", "4"] {
            let random: String = (0..400)
                .map(|at| aishell::key::digest(format!("{number}{at}").as_bytes()))
                .collect();
            self.server
                .commit("a", "main", &[("number", number), ("large", &random)]);
        }
        let commit = self.server.git("a", &["rev-parse", "main"]);
        let (tool, sha256) = self.server.file("tool", "#!/bin/sh\n".repeat(5000).as_bytes());
        let clone = |depth| Wish::Clone {
            url: url.clone(),
            commit: commit.clone(),
            depth,
        };
        vec![
            clone(None),
            clone(Some(2)),
            Wish::Tool {
                url: tool.clone(),
                sha256,
            },
            Wish::Branch { url: url.clone() },
            Wish::Digest { url: tool },
        ]
    }

    /// Fetches something without any trouble; returns what it is, and how many bytes each answer has.
    async fn plain(&self, wish: &Wish) -> (String, Vec<usize>) {
        let before = self.server.answers().len();
        let granted = wish.grant(&self.store(), &Progress::default()).await;
        (
            granted.expect("it is there"),
            self.server.answers().split_off(before),
        )
    }
}

/// A program that fetches something, to be killed meanwhile.
#[derive(Clone, Default)]
struct Victim(Arc<Mutex<Option<Child>>>);

impl Victim {
    /// Starts it. Whoever wants to kill it meanwhile waits for that.
    fn start(&self, test: &str, store: &Store, wish: &Wish) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Command::new(std::env::current_exe().expect("a program"))
            .args([&format!("fetched::{test}"), "--exact", "--nocapture"])
            .env(VICTIM, wish.words().join(" "))
            .env("XDG_CACHE_HOME", &store.directory)
            .env("PATH", &store.environment["PATH"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        *slot = Some(begun.expect("a program"));
    }

    fn kill(&self) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = slot.as_mut().expect("a program that runs").kill();
    }

    /// Waits for its end, and says whether it was killed.
    fn was_killed(&self) -> bool {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = slot.as_mut().expect("a program").wait().expect("an end");
        assert!(ended.success() || ended.code().is_none(), "{ended:?}");
        !ended.success()
    }
}

/// Does what a victim does, where this is one.
async fn is_victim() -> bool {
    let Ok(words) = std::env::var(VICTIM) else {
        return false;
    };
    let store = Store {
        directory: std::env::var("XDG_CACHE_HOME").expect("a cache").into(),
        environment: std::env::vars().filter(|(name, _)| name == "PATH").collect(),
        patience: PATIENCE,
        ..Store::default()
    };
    let granted = Wish::read(&words).grant(&store, &Progress::default()).await;
    granted.expect("it is there");
    true
}

/// Returns places in an answer: some, or all.
fn places(length: usize) -> BTreeSet<usize> {
    if std::env::var_os("AISHELL_CUTS").is_some_and(|wish| wish == "all") {
        return (0..length).step_by(length.div_ceil(800)).collect();
    }
    // Where heads and the parts of git's protocol are, and evenly beyond that.
    let some = [
        0,
        1,
        length / 8,
        length / 3,
        length / 2,
        length - length / 5,
        length - 1,
    ];
    some.into_iter().filter(|place| *place < length).collect()
}

/// Insists that nothing is left that is none of what was fetched completely.
pub fn is_clean(store: &Store, what: &str) {
    let names = |kind: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(store.directory.join(kind)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    assert_eq!(names("work"), Vec::<PathBuf>::new(), "{what}");
    let is_lock = |path: &Path| path.extension().is_some_and(|extension| extension == "lock");
    for path in names("downloads").iter().filter(|path| !is_lock(path)) {
        let content = fs::read(path).expect("a file");
        let name = path.file_name().expect("a name").to_string_lossy();
        assert_eq!(aishell::key::digest(&content), *name, "{what}");
    }
    for copy in names("git").iter().filter(|path| !is_lock(path)) {
        asked(copy, &["fsck", "--no-dangling"]);
        let found = Command::new("find")
            .arg(copy)
            .args(["-name", "*.lock", "-o", "-name", "tmp_*"])
            .output()
            .expect("find");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{what}");
    }
}

/// Insists on the same as soon as the last of who was killed is gone, and somebody has looked.
async fn becomes_clean(store: &Store, wish: &Wish, what: &str) {
    let work = store.directory.join("work");
    let begun = Instant::now();
    while fs::read_dir(&work).expect("a directory").count() > 0 {
        assert!(begun.elapsed() < PATIENCE, "{what}: {}", work.display());
        wish.grant(store, &Progress::default()).await.expect(what);
    }
    is_clean(store, what);
}

/// Says whether any process has a text among its words.
fn runs(text: &str) -> bool {
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let mut words = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    words.any(|words| String::from_utf8_lossy(&words).contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_off_anywhere_is_an_error_and_the_next_one_gets_it() {
    let world = World::new();
    for wish in world.wishes() {
        let (expected, answers) = world.plain(&wish).await;
        let git = matches!(wish, Wish::Clone { .. } | Wish::Branch { .. });
        let mut told = 0;
        for (request, length) in answers.iter().enumerate() {
            for place in places(*length) {
                let what = format!("{wish:?}: request {request}, byte {place} of {length}");
                let store = world.store();
                world.server.cut(request, place);
                let cut = wish.grant(&store, &Progress::default()).await;
                told += 1;
                match cut {
                    Err(FetchError::Git(error)) => assert!(!error.log().is_empty(), "{what}: {error:?}"),
                    Err(FetchError::Http { .. }) => {}
                    // git takes some heads that break off for whole ones, and asks on.
                    Ok(granted) if git => {
                        told -= 1;
                        assert_eq!(granted, expected, "{what}");
                    }
                    other => panic!("{what}: {other:?}"),
                }
                let granted = wish.grant(&store, &Progress::default()).await.expect(&what);
                assert_eq!(granted, expected, "{what}");
                is_clean(&store, &what);
            }
        }
        assert!(told >= 4 * answers.len(), "{wish:?}: {told} cuts were told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_at_any_request_leaves_nothing_that_runs_or_is_used() {
    if is_victim().await {
        return;
    }
    let test = "whoever_is_killed_at_any_request_leaves_nothing_that_runs_or_is_used";
    let world = World::new();
    for wish in world.wishes() {
        let (expected, answers) = world.plain(&wish).await;
        for (request, length) in answers.iter().enumerate() {
            for place in [0, length / 2, length - 1] {
                let what = format!("{wish:?}: request {request}, byte {place} of {length}");
                let store = world.store();
                let victim = Victim::default();
                let (other, (killed, wait)) = (victim.clone(), std::sync::mpsc::channel());
                world.server.interrupt(request, place, move || {
                    other.kill();
                    let _ = killed.send(());
                });
                victim.start(test, &store, &wish);
                wait.recv_timeout(PATIENCE).expect(&what);
                assert!(victim.was_killed(), "{what}");
                // What it was connected to is still there.
                assert_eq!(world.server.waiting(), 1, "{what}");
                until("git is gone", || !runs(&world.server.url("a")));
                let granted = wish.grant(&store, &Progress::default()).await.expect(&what);
                assert_eq!(granted, expected, "{what}");
                becomes_clean(&store, &wish, &what).await;
                world.server.stall(false);
            }
        }
    }
}

/// Puts a git before the one that is there, which kills who runs it before or after it has done its work.
fn deadly(directory: &Path, at: (usize, &str)) -> String {
    let path = std::env::var("PATH").expect("a path");
    let real = std::env::split_paths(&path).map(|part| part.join("git"));
    let real = real.into_iter().find(|program| program.is_file()).expect("git");
    let (real, count) = (real.display(), directory.join("count").display().to_string());
    fs::write(&count, "0\n").expect("a file");
    let (number, side) = at;
    let script = format!(
        "#!/bin/sh\nread -r n <'{count}'; n=$((n + 1)); echo $n >'{count}'\n\
         if [ $n.{side} = {number}.before ]; then kill -KILL $PPID; fi\n'{real}' \"$@\"; code=$?\n\
         if [ $n.{side} = {number}.after ]; then kill -KILL $PPID; fi\nexit $code\n"
    );
    let program = directory.join("git");
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    format!("{}:{path}", directory.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_before_or_after_any_run_of_git_leaves_nothing_that_is_used() {
    if is_victim().await {
        return;
    }
    let test = "whoever_is_killed_before_or_after_any_run_of_git_leaves_nothing_that_is_used";
    let world = World::new();
    let programs = tempfile::tempdir().expect("a directory");
    for wish in &world.wishes()[..2] {
        let (expected, _) = world.plain(wish).await;
        let mut died = 0;
        for number in 1.. {
            let mut survived = false;
            for side in ["before", "after"] {
                let what = format!("{wish:?}: {side} run {number}");
                let store = world.store();
                let mut deadly_store = store.clone();
                let path = deadly(programs.path(), (number, side));
                deadly_store.environment.insert("PATH".to_owned(), path);
                let victim = Victim::default();
                victim.start(test, &deadly_store, wish);
                survived = !victim.was_killed();
                died += usize::from(!survived);
                let granted = wish.grant(&store, &Progress::default()).await.expect(&what);
                assert_eq!(granted, expected, "{what}");
                becomes_clean(&store, wish, &what).await;
            }
            if survived {
                break;
            }
        }
        assert!(died >= 12, "{died} were killed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_one_that_is_killed_goes_on_with_what_that_one_wanted() {
    if is_victim().await {
        return;
    }
    let test = "whoever_waits_for_one_that_is_killed_goes_on_with_what_that_one_wanted";
    let world = World::new();
    for wish in &world.wishes()[..3] {
        let (expected, answers) = world.plain(wish).await;
        let store = world.store();
        let (reached, wait) = std::sync::mpsc::channel();
        let last = answers.len() - 1;
        world.server.interrupt(last, answers[last] / 2, move || {
            let _ = reached.send(());
        });
        let victim = Victim::default();
        victim.start(test, &store, wish);
        wait.recv_timeout(PATIENCE).expect("the answer begins");
        // Whoever comes now waits, and it is only then that the other one is killed.
        let other = victim.clone();
        let progress = Progress::to(move |event| {
            if event == Event::Line("waiting for another aishell that fetches the same".to_owned()) {
                other.kill();
            }
        });
        let granted = wish.grant(&store, &progress).await.expect("it is there");
        assert_eq!(granted, expected, "{wish:?}");
        assert!(victim.was_killed(), "{wish:?}");
        becomes_clean(&store, wish, &format!("{wish:?}")).await;
        world.server.stall(false);
    }
}
