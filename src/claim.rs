//! [`Claim`]: one writer at a time for the objects of one owner on one engine, as far as this host is concerned.
//!
//! A claim is a lock on a file, so it ends with the process that holds it, however that ends. What the file says is
//! for people; nothing is decided by it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "lock files are made, read and timed here"
)]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::key::digest;
use crate::label::Owner;

/// How often a claim that somebody holds is asked for again.
const EVERY: Duration = Duration::from_millis(50);
/// The most that is read of what a lock file says.
const LONGEST: u64 = 4096;

/// What may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Writing to the owner's objects, for one pass.
    Pass,
    /// Watching the manifest, for a life.
    Watch,
}

/// Who holds a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The command it carries out.
    pub command: String,
    /// Since when.
    pub since: Timestamp,
}

/// A claim. It ends when it is dropped, and when the process ends.
#[derive(Debug)]
pub struct Claim {
    /// Held for its lock. The file stays: were it removed, two could hold locks on two files of one name.
    _file: File,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else holds it.
    #[error("{}", described(holder.as_ref()))]
    Held {
        /// Who, where the lock file tells.
        holder: Option<Holder>,
    },
    /// The lock file cannot be used.
    #[error("the lock file {} cannot be used", path.display())]
    Unusable {
        /// The file, or the directory it should be in.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// A turn at writing: what is needed to ask for it.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Where lock files are.
    pub claims: &'a Claims,
    /// The address of the engine.
    pub engine: &'a str,
    /// The command that asks.
    pub command: &'a str,
    /// How long to wait while somebody else writes.
    pub patience: Duration,
}

impl Turn<'_> {
    /// Waits for the turn to write to the objects of an owner.
    ///
    /// Where no lock file can be made there is no turn to wait for: what two at once would do to each other the next
    /// pass puts right, while a full runtime directory would end all work.
    ///
    /// # Errors
    /// Somebody else is writing; nothing was touched.
    pub async fn take(self, owner: &Owner) -> Result<Option<Claim>, ClaimError> {
        let Self {
            claims,
            engine,
            command,
            patience,
        } = self;
        match claims.take(engine, owner, Scope::Pass, (command, patience)).await {
            Ok(claim) => Ok(Some(claim)),
            Err(error @ ClaimError::Unusable { .. }) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(cause, "{error}; another aishell would not be noticed");
                Ok(None)
            }
            Err(error @ ClaimError::Held { .. }) => Err(error),
        }
    }
}

/// Where lock files are.
#[derive(Clone, Debug)]
pub struct Claims {
    directory: PathBuf,
}

impl Claims {
    /// Finds the place for lock files: the runtime directory of the user, else one that only the user can write to.
    pub fn of(host: &Host) -> Self {
        let runtime = host.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        let directory = match runtime.filter(|directory| directory.is_absolute()) {
            Some(directory) => directory.join("aishell"),
            None if host.uid == 0 => PathBuf::from("/run/aishell"),
            None => host.home.join(".cache/aishell/locks"),
        };
        Self { directory }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes a claim, waiting for at most `patience` while somebody else holds it.
    ///
    /// # Errors
    /// [`ClaimError::Held`] when it is still held then.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it holds nothing.
    pub async fn take(
        &self,
        engine: &str,
        owner: &Owner,
        scope: Scope,
        (command, patience): (&str, Duration),
    ) -> Result<Claim, ClaimError> {
        let path = self.file(engine, owner, scope);
        let begun = Instant::now();
        loop {
            match attempt(&path, command) {
                Err(ClaimError::Held { .. }) if begun.elapsed() < patience => {
                    tokio::time::sleep(EVERY.min(patience.saturating_sub(begun.elapsed()))).await;
                }
                result => return result,
            }
        }
    }

    fn file(&self, engine: &str, owner: &Owner, scope: Scope) -> PathBuf {
        let of = format!("{engine}\0{}\0{}", owner.project, owner.manifest);
        let digits = &digest(of.as_bytes())[..16];
        let suffix = match scope {
            Scope::Pass => "apply",
            Scope::Watch => "watch",
        };
        self.directory.join(format!("{digits}.{suffix}"))
    }
}

/// Says who holds a claim, in a person's words.
fn described(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, command, since }) => {
            format!("`aishell {command}` (process {pid}, since {since:.0}) is at work on the same objects")
        }
        None => "another aishell is at work on the same objects".to_owned(),
    }
}

fn attempt(path: &Path, command: &str) -> Result<Claim, ClaimError> {
    let unusable = |cause| ClaimError::Unusable {
        path: path.to_path_buf(),
        cause,
    };
    let mut file = open(path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(ClaimError::Held { holder: read(file) }),
        Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
    }
    // The lock is what counts. Where a full disk keeps the words out, others only do not learn who holds it.
    let _ = write(&mut file, command);
    Ok(Claim { _file: file })
}

/// Opens a lock file that nobody else can have put there.
fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let found = std::fs::symlink_metadata(directory)?;
        // A directory that anybody can write to could hold anybody's links.
        if !found.is_dir() || found.mode() & 0o022 != 0 {
            let message = format!("others can write to {}", directory.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn write(file: &mut File, command: &str) -> io::Result<()> {
    let holder = Holder {
        pid: std::process::id(),
        command: command.to_owned(),
        since: Timestamp::now(),
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(&holder)?.as_bytes())
}

/// Reads who holds the lock; whatever else is in the file tells nothing.
fn read(file: File) -> Option<Holder> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(project: &str) -> Owner {
        Owner {
            project: project.to_owned(),
            manifest: "demo".to_owned(),
            host: String::new(),
            file: String::new(),
        }
    }

    fn claims() -> (tempfile::TempDir, Claims) {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("locks");
        (place, Claims { directory })
    }

    async fn take(claims: &Claims, project: &str, patience: u64) -> Result<Claim, ClaimError> {
        let patience = Duration::from_millis(patience);
        claims
            .take("unix:///e", &owner(project), Scope::Pass, ("apply", patience))
            .await
    }

    #[tokio::test]
    async fn one_owner_on_one_engine_has_one_writer() {
        let (_place, claims) = claims();
        let held = take(&claims, "/a", 0).await.expect("the first");
        let error = take(&claims, "/a", 0).await.expect_err("the second");
        let message = error.to_string();
        assert!(message.starts_with("`aishell apply` (process "), "{message}");
        let ClaimError::Held { holder: Some(holder) } = error else {
            panic!("nobody is named");
        };
        assert_eq!(holder.pid, std::process::id());
        take(&claims, "/b", 0).await.expect("another owner");
        let owner = owner("/a");
        let other = claims.take("tcp://e", &owner, Scope::Pass, ("apply", Duration::ZERO));
        other.await.expect("another engine");
        let watch = claims.take("unix:///e", &owner, Scope::Watch, ("watch", Duration::ZERO));
        watch.await.expect("another scope");
        drop(held);
        take(&claims, "/a", 0).await.expect("after the first");
    }

    #[tokio::test]
    async fn who_is_patient_gets_it_when_it_is_free() {
        let (_place, claims) = claims();
        let held = take(&claims, "/a", 0).await.expect("the first");
        let (waiting, ()) = tokio::join!(take(&claims, "/a", 60_000), async { drop(held) });
        waiting.expect("the second");
    }

    #[tokio::test]
    async fn what_a_lock_file_says_decides_nothing() {
        let (_place, claims) = claims();
        drop(take(&claims, "/a", 0).await.expect("a claim"));
        let path = claims.file("unix:///e", &owner("/a"), Scope::Pass);
        std::fs::write(&path, "{\"pid\": \"rubbish").expect("rubbish");
        let held = take(&claims, "/a", 0).await.expect("not held");
        std::fs::write(&path, [0xff; 9000]).expect("rubbish");
        let error = take(&claims, "/a", 0).await.expect_err("held");
        assert!(
            matches!(error, ClaimError::Held { holder: None }),
            "{error:?}: rubbish names nobody"
        );
        drop(held);
    }

    #[tokio::test]
    async fn a_place_that_others_can_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_place, claims) = claims();
        std::fs::create_dir(&claims.directory).expect("a directory");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&claims.directory, open).expect("a mode");
        let error = take(&claims, "/a", 0).await.expect_err("a trap");
        assert!(matches!(error, ClaimError::Unusable { .. }), "{error:?}");
    }
}
