//! The cache: directories that several aishells share, each thing in it under a lock of its own.
//!
//! A lock is one on a file, which goes with the process that has it, so whatever a killed one left is known by that
//! nobody has its lock, and is swept by whoever comes next. So is what nobody has used for [`KEPT`].
#![expect(
    clippy::disallowed_methods,
    reason = "what killed ones left in the cache is looked for here"
)]

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::FetchError;
use crate::progress::Progress;
use crate::remote::Store;

/// How often somebody who waits for a lock tries again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often another name is tried for something new.
const NAMES: usize = 16;

/// How long something stays that nobody uses.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
/// What is kept, by the directory it is in.
const KINDS: [&str; 2] = ["git", "downloads"];

/// The cache of the user.
pub(super) struct Cache {
    directory: PathBuf,
}

/// A directory of one's own for as long as this lives.
#[derive(Debug)]
pub(super) struct Work {
    path: PathBuf,
    lock: PathBuf,
    held: File,
}

impl Cache {
    /// Opens the cache, which is made where it is missing, and removes what killed ones left.
    pub fn open(store: &Store) -> Result<Self, FetchError> {
        let cache = Self {
            directory: store.directory.clone(),
        };
        for below in KINDS.into_iter().chain(["work"]) {
            make(&cache.directory.join(below))?;
        }
        cache.sweep();
        cache.forget(Timestamp::now());
        Ok(cache)
    }

    /// Returns the path of something in it.
    pub fn path(&self, kind: &str, name: &str) -> PathBuf {
        self.directory.join(kind).join(name)
    }

    /// Waits until nobody else works at something, and keeps others off while what is returned is there.
    pub async fn lock(&self, kind: &str, name: &str, progress: &Progress) -> Result<File, FetchError> {
        let path = self.path(kind, &format!("{name}.lock"));
        let file = open(&path).map_err(unusable(&path))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    // That it was used today is all that is lost where this cannot be written.
                    let _ = file.set_modified(Timestamp::now().into());
                    return Ok(file);
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        progress.line("waiting for another aishell that fetches the same");
                        told = true;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(TryLockError::Error(error)) => return Err(unusable(&path)(error)),
            }
        }
    }

    /// Makes an empty directory that nobody else has.
    pub fn work(&self) -> Result<Work, FetchError> {
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        let directory = self.directory.join("work");
        for _ in 0..NAMES {
            let mut random = [0; 8];
            getrandom::fill(&mut random)
                .map_err(|error| unusable(&directory)(io::Error::other(error.to_string())))?;
            let name = format!("{:016x}", u64::from_be_bytes(random));
            let (path, lock) = (directory.join(&name), directory.join(format!("{name}.lock")));
            let held = open(&lock).map_err(unusable(&lock))?;
            // A sweep may have come between, and then this is the lock of nothing.
            let is_ours = held.try_lock().is_ok()
                && held.metadata().ok().map(|one| one.ino()) == lock.metadata().ok().map(|one| one.ino());
            if !is_ours {
                continue;
            }
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    return Ok(Work { path, lock, held });
                }
                Err(error) => last = error,
            }
        }
        Err(unusable(&directory)(last))
    }

    /// Removes what nobody has used for long, unless somebody is at it.
    fn forget(&self, now: Timestamp) {
        let Ok(limit) = now.checked_sub(KEPT) else { return };
        for kind in KINDS {
            let Ok(entries) = fs::read_dir(self.directory.join(kind)) else {
                continue;
            };
            for path in entries.flatten().map(|entry| entry.path()) {
                let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
                    continue;
                };
                let lock = self.path(kind, &format!("{name}.lock"));
                let locked = used(&lock);
                let is_old = used(&path).max(locked).is_some_and(|used| used < limit);
                let is_lock = path.extension().is_some_and(|extension| extension == "lock");
                if is_lock || !is_old {
                    continue;
                }
                // The lock stays: somebody may be about to take it.
                if let Ok(file) = open(&lock)
                    && file.try_lock().is_ok()
                    // Nobody was quicker.
                    && (locked.is_none() || used(&lock) == locked)
                {
                    let _ = remove(&path);
                }
            }
        }
    }

    /// Removes the directories of those that are not there any more.
    fn sweep(&self) {
        let directory = self.directory.join("work");
        let Ok(entries) = fs::read_dir(&directory) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "lock") {
                // A lock is there before what it locks, and goes after it.
                if !path.with_extension("lock").exists() {
                    let _ = remove(&path);
                }
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            if file.try_lock().is_ok() {
                clear(&path.with_extension(""), &path);
            }
        }
    }
}

impl Work {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its lock. While anybody has it nobody else touches the directory.
    pub fn lock(&self) -> &File {
        &self.held
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        clear(&self.path, &self.lock);
    }
}

/// Removes a directory and then its lock; what cannot be removed, because somebody who is being ended still writes
/// there, keeps its lock, and is removed by the next sweep.
fn clear(path: &Path, lock: &Path) {
    if remove(path).is_ok() {
        let _ = fs::remove_file(lock);
    }
}

/// Removes a path and all that is in it, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes what is no file: a link is what somebody else makes of it, and a pipe never ends.
pub(super) fn remove_unless_file(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return Ok(());
    }
    remove(path)
}

/// Makes a directory that its owner alone can enter: what is fetched may be nobody else's business.
pub(super) fn make(path: &Path) -> Result<(), FetchError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(unusable(path))
}

/// Returns what a path is in the way of.
pub(super) fn unusable(path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_path_buf();
    move |cause| FetchError::Cache { path, cause }
}

/// Returns when something was changed last.
fn used(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_has_used_for_long_goes_and_what_somebody_uses_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store {
            directory: directory.path().to_path_buf(),
            ..Store::default()
        };
        let cache = Cache::open(&store).expect("a cache");
        let long_ago = Timestamp::now().checked_sub(KEPT * 2).expect("a time");
        let age = |path: &Path| {
            let file = File::open(path).expect("it is there");
            file.set_modified(long_ago.into()).expect("a time");
        };
        for name in ["old", "young", "used", "held"] {
            let copy = cache.path("git", name);
            fs::create_dir(&copy).expect("a directory");
            fs::write(copy.join("HEAD"), "x").expect("a file");
            let download = cache.path("downloads", name);
            fs::write(&download, "x").expect("a file");
            for (kind, path) in [("git", copy), ("downloads", download)] {
                let lock = cache
                    .lock(kind, name, &Progress::default())
                    .await
                    .expect("a lock");
                drop(lock);
                if name != "young" {
                    age(&path);
                }
                if name != "used" {
                    age(&cache.path(kind, &format!("{name}.lock")));
                }
            }
        }
        let held = KINDS.map(|kind| {
            let file = File::open(cache.path(kind, "held.lock")).expect("a lock");
            file.try_lock().expect("nobody else has it");
            file
        });
        Cache::open(&store).expect("a cache");
        drop(held);
        for kind in KINDS {
            let there = ["old", "young", "used", "held"].map(|name| cache.path(kind, name).exists());
            assert_eq!(there, [false, true, true, true], "{kind}");
        }
    }
}
