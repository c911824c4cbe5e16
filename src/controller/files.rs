//! [`Files`]: the manifest on disk, and everything it is made of, under watch.
//!
//! Directories are watched, not files: editors put a new file in the place of the old one, and links are swapped. What
//! is noticed only makes the manifest be read again; whether anything has changed is decided by what is read.
#![expect(
    clippy::disallowed_methods,
    reason = "links are followed and directories told apart where files are watched"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Refusal, Source};
use crate::host::Host;
use crate::key::digest;
use crate::manifest::load::{self, LoadError, Loaded};
use crate::manifest::place::Problem;
use crate::plan::Widen;
use crate::prepare::{PrepareError, Prepared};
use crate::reconcile::Intent;

/// How often the manifest is read where changes cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// Links followed from one to the next.
const MOST_LINKS: usize = 40;

/// Says what is wrong with a manifest on the engine that is watched.
pub type Check = Arc<dyn Fn(&Prepared) -> Vec<Problem> + Send + Sync>;

/// A manifest on disk, under watch.
pub struct Files {
    host: Arc<Host>,
    /// The path as it was given; none if the manifest was searched for.
    given: Option<PathBuf>,
    check: Check,
    good: Arc<Prepared>,
    /// The digest of everything that was read.
    digest: String,
    /// Files of the last manifest that was not good.
    bad: BTreeSet<PathBuf>,
    eye: Eye,
    poll_at: Instant,
}

impl Files {
    /// Puts a manifest that was loaded under watch.
    pub fn new(host: &Host, given: Option<PathBuf>, good: Arc<Prepared>, check: Check) -> Self {
        let mut files = Self {
            host: Arc::new(host.clone()),
            given,
            check,
            digest: digest_of(&good),
            good,
            bad: BTreeSet::new(),
            eye: Eye::open(),
            poll_at: Instant::now() + POLL,
        };
        files.look();
        files
    }

    /// Watches what the manifest is made of now.
    fn look(&mut self) {
        let mut files: BTreeSet<PathBuf> = self.good.loaded.source.files().clone();
        files.extend(self.bad.iter().cloned());
        files.extend(self.good.lock().path().map(Path::to_path_buf));
        if self.given.is_none() {
            files.extend(load::places(&self.host));
        }
        let floor = self.good.loaded.source.project();
        let mut wanted = Wanted::default();
        for file in &files {
            wanted.file(file, floor);
        }
        for directory in self.good.context_directories() {
            wanted.directories.insert(directory);
        }
        self.eye.look(wanted);
    }

    /// Takes in what was read.
    fn judge(&mut self, read: Result<Prepared, PrepareError>) -> Result<Option<Arc<Prepared>>, Refusal> {
        self.bad.clear();
        let prepared = match read {
            Ok(prepared) => prepared,
            Err(error) => {
                if let PrepareError::Load(LoadError::Invalid { texts, .. }) = &error {
                    self.bad.extend(texts.iter().map(|(file, _)| file.to_path_buf()));
                }
                return Err(error.into());
            }
        };
        self.bad.extend(prepared.loaded.source.files().iter().cloned());
        let new = digest_of(&prepared);
        if new == self.digest {
            self.bad.clear();
            return Ok(None);
        }
        let (old, owner) = (&self.good.facts.owner, &prepared.facts.owner);
        let engine = |prepared: &Prepared| format!("{:?}", prepared.loaded.manifest.engine.address);
        let path = |prepared: &Prepared| prepared.loaded.source.path().display().to_string();
        for (what, from, to) in [
            ("the manifest that is found", path(&self.good), path(&prepared)),
            ("its name", old.manifest.clone(), owner.manifest.clone()),
            ("its project", old.project.clone(), owner.project.clone()),
            ("its engine", engine(&self.good), engine(&prepared)),
        ] {
            if from != to {
                return Err(Refusal::Moved { what, from, to });
            }
        }
        let problems = (self.check)(&prepared);
        if !problems.is_empty() {
            let loaded = Box::new(prepared.loaded);
            return Err(PrepareError::Problems { problems, loaded }.into());
        }
        if let Err(error) = prepared.make_sources(&Widen::UpTo(Arc::default())) {
            tracing::warn!(%error, "a directory of the manifest could not be made");
        }
        self.bad.clear();
        self.digest = new;
        self.good = Arc::new(prepared);
        Ok(Some(Arc::clone(&self.good)))
    }
}

impl Source for Files {
    async fn changed(&mut self) {
        if self.eye.obstacle.is_none() {
            return self.eye.bell.notified().await;
        }
        tokio::select! {
            () = self.eye.bell.notified() => {}
            () = sleep_until(self.poll_at) => self.poll_at = Instant::now() + POLL,
        }
    }

    async fn reload(&mut self) -> Result<Option<Arc<dyn Intent>>, Refusal> {
        let (host, given) = (Arc::clone(&self.host), self.given.clone());
        let known = self.good.loaded.source.path().to_path_buf();
        // Contexts may be large, and disks slow: signals and the engine are heard meanwhile.
        let read = tokio::task::spawn_blocking(move || Prepared::of(read(given, known, &host)?, &host));
        let read = read.await.unwrap_or_else(|error| {
            let path = PathBuf::from("the manifest");
            let cause = std::io::Error::other(error.to_string());
            Err(LoadError::Unreadable { path, cause }.into())
        });
        let judged = self.judge(read);
        self.look();
        let found = judged?;
        Ok(found.map(|prepared| prepared as Arc<dyn Intent>))
    }

    fn obstacle(&self) -> Option<String> {
        self.eye.obstacle.clone()
    }
}

/// Reads the manifest as it was found at the begin.
fn read(given: Option<PathBuf>, known: PathBuf, host: &Host) -> Result<Loaded, LoadError> {
    let path = match given {
        Some(path) => path,
        None => match load::find(host) {
            // What is there in its place, if anything, says more than that there is no manifest.
            Err(LoadError::NotFound { .. }) => known,
            found => found?,
        },
    };
    load::load(&path, host)
}

/// Returns the digest of everything a manifest and this host say: whatever it is, a difference is a reason to look.
fn digest_of(prepared: &Prepared) -> String {
    digest(format!("{prepared:?}").as_bytes())
}

/// What is to be watched.
#[derive(Default)]
struct Wanted {
    /// Files, links and directories whose coming, going and changing matters.
    paths: BTreeSet<PathBuf>,
    /// Directories in which everything matters.
    directories: BTreeSet<PathBuf>,
}

impl Wanted {
    /// Wants a file: it, every link on the way to it, and the directories it is in as far up as the project.
    fn file(&mut self, file: &Path, floor: &Path) {
        let mut file = file.to_path_buf();
        for _ in 0..MOST_LINKS {
            let Some(next) = self.follow(&file) else { break };
            file = next;
        }
        for path in file.ancestors() {
            let within = path.starts_with(floor) && path != floor;
            if path == file || within || !path.exists() {
                self.paths.insert(path.to_path_buf());
            }
        }
    }

    /// Wants the first link in a path, and returns where it leads; `None` if there is none.
    fn follow(&mut self, file: &Path) -> Option<PathBuf> {
        let mut walked = PathBuf::new();
        let mut parts = file.components();
        while let Some(part) = parts.next() {
            walked.push(part);
            let Ok(target) = fs::read_link(&walked) else {
                continue;
            };
            let around = walked.parent().unwrap_or(Path::new("/")).to_path_buf();
            self.paths.insert(std::mem::take(&mut walked));
            return Some(plain(&around.join(target)).join(parts.as_path()));
        }
        None
    }
}

/// Returns a path without steps up.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Sees changes of files.
struct Eye {
    watcher: Option<RecommendedWatcher>,
    /// The directories that are watched, and which ones they were.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    wanted: Arc<Mutex<Wanted>>,
    bell: Arc<Notify>,
    /// Why not everything can be seen.
    obstacle: Option<String>,
}

impl Eye {
    fn open() -> Self {
        let wanted: Arc<Mutex<Wanted>> = Arc::default();
        let bell = Arc::new(Notify::new());
        let see = {
            let (wanted, bell) = (Arc::clone(&wanted), Arc::clone(&bell));
            move |event: notify::Result<notify::Event>| {
                let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                if event.map_or(true, |event| matters(&event, &wanted)) {
                    bell.notify_one();
                }
            }
        };
        let (watcher, obstacle) = match notify::recommended_watcher(see) {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(slower(&error))),
        };
        Self {
            watcher,
            watched: BTreeMap::new(),
            wanted,
            bell,
            obstacle,
        }
    }

    /// Watches what is wanted, and nothing else.
    fn look(&mut self, wanted: Wanted) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut directories: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
        let around = wanted.paths.iter().filter_map(|path| path.parent());
        for directory in around.chain(wanted.directories.iter().map(PathBuf::as_path)) {
            if let Ok(found) = fs::metadata(directory)
                && found.is_dir()
            {
                directories.insert(directory.to_path_buf(), (found.dev(), found.ino()));
            }
        }
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        let stale: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, id)| directories.get(*path) != Some(id))
            .map(|(path, _)| path.clone())
            .collect();
        for path in stale {
            // One that is gone is not watched any more.
            let _ = watcher.unwatch(&path);
            self.watched.remove(&path);
        }
        self.obstacle = None;
        let mut new = false;
        for (path, id) in directories {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, id);
                    new = true;
                }
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => new = true,
                Err(error) => {
                    self.obstacle = Some(slower(&error));
                    break;
                }
            }
        }
        if new {
            // Whatever changed in it before it was watched was not seen.
            self.bell.notify_one();
        }
    }
}

/// Says whether something that happened to files matters.
fn matters(event: &notify::Event, wanted: &Wanted) -> bool {
    let reading = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => false,
    };
    // A queue that ran over says nothing of paths.
    !reading
        && (event.need_rescan()
            || event.paths.iter().any(|path| {
                wanted.paths.contains(path)
                    || wanted.directories.contains(path)
                    || path
                        .parent()
                        .is_some_and(|around| wanted.directories.contains(around))
            }))
}

/// Says in a person's words that changes are noticed late.
fn slower(error: &notify::Error) -> String {
    let why = match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the system's limit on watched directories is reached (fs.inotify.max_user_watches)".to_owned()
        }
        ErrorKind::Io(cause) if cause.raw_os_error() == Some(libc::EMFILE) => {
            "the system's limit on watchers is reached (fs.inotify.max_user_instances)".to_owned()
        }
        ErrorKind::Io(_)
        | ErrorKind::Generic(_)
        | ErrorKind::PathNotFound
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_) => format!("files cannot be watched: {error}"),
    };
    format!("{why}; the manifest is read every {} s instead", POLL.as_secs())
}
