//! Locks on files: among the processes of one host, at no cost, and gone with the process however it ends.
//!
//! What a lock file says is for people; nothing is decided by it. Where the file is can be told to others, so that they
//! find out whether who held it is gone.
#![expect(clippy::disallowed_methods, reason = "lock files are made and read here")]

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::{ClaimError, EVERY, Holder, Scope};
use crate::host::Host;
use crate::key::digest;
use crate::label::Owner;

/// The most that is read of what a lock file says.
const LONGEST: u64 = 4096;
/// How often whoever is next tries: it costs two questions to the kernel.
const SOON: Duration = Duration::from_millis(10);
/// How long whoever holds a lock has to write down who that is: it does so right after taking it, and on a busy machine
/// others ask in between.
const INTRODUCTION: Duration = Duration::from_millis(500);
/// What tells this run of the machine's kernel from all others.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Where lock files are, and for whom locks are held.
#[derive(Clone, Debug)]
pub struct Claims {
    directory: PathBuf,
    /// `user@host`.
    pub(super) by: String,
}

/// A file that is locked. The lock ends when this is dropped, and when the process ends.
#[derive(Debug)]
pub struct Locked {
    /// The file stays: were it removed, two could hold locks on two files of one name.
    _lock: Hold,
    record: Option<Record>,
}

/// What tells a locked file from all others, so that somebody else can try its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    /// The run of the kernel: only there do the numbers mean anything.
    boot: String,
    device: u64,
    inode: u64,
    path: PathBuf,
}

/// That who recorded a lock is gone. While this value lives nobody else comes to the same conclusion.
#[derive(Debug)]
pub(super) struct Gone {
    /// None where the lock is held by this process anyway.
    _lock: Option<Hold>,
}

/// The lock itself.
#[derive(Debug)]
struct Hold(File);

impl Drop for Hold {
    /// Closing the file is not enough: a program that is just being started has it too, for as long as the machine takes.
    fn drop(&mut self) {
        // Nothing can be done about either, and closing it is next. Whoever comes next is not told of this holder.
        let _ = self.0.set_len(0);
        let _ = self.0.unlock();
    }
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
        Self::at(directory, &format!("{}@{}", host.user, host.hostname))
    }

    /// Takes a place for lock files, and who locks are held by: `user@host`.
    pub fn at(directory: PathBuf, by: &str) -> Self {
        Self {
            directory,
            by: by.to_owned(),
        }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes a lock, waiting for at most `patience` while somebody else holds it. `engine` is what tells an engine
    /// from all others, however it is reached.
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
    ) -> Result<Locked, ClaimError> {
        let path = self.file(engine, owner, scope);
        let begun = Instant::now();
        loop {
            match self.attempt(&path, command) {
                Err(ClaimError::Held { holder, .. })
                    if holder == Holder::default() && begun.elapsed() < INTRODUCTION =>
                {
                    tokio::time::sleep(SOON).await;
                }
                Err(ClaimError::Held { .. }) if begun.elapsed() < patience => {
                    // Whoever is next wants to know at once; for all others there is time.
                    let every = match scope {
                        Scope::Pass => SOON,
                        Scope::Watch | Scope::Next => EVERY,
                    };
                    tokio::time::sleep(every.min(patience.saturating_sub(begun.elapsed()))).await;
                }
                result => return result,
            }
        }
    }

    /// Returns what others can try the lock of a pass by, whoever holds it now.
    pub(super) fn record(&self, engine: &str, owner: &Owner) -> Option<String> {
        let path = self.file(engine, owner, Scope::Pass);
        Record::of(&open(&path).ok()?, &path)?.told()
    }

    fn file(&self, engine: &str, owner: &Owner, scope: Scope) -> PathBuf {
        let of = format!("{engine}\0{}\0{}", owner.project, owner.manifest);
        let digits = &digest(of.as_bytes())[..16];
        let suffix = match scope {
            Scope::Pass => "apply",
            Scope::Watch => "watch",
            Scope::Next => "next",
        };
        self.directory.join(format!("{digits}.{suffix}"))
    }

    fn attempt(&self, path: &Path, command: &str) -> Result<Locked, ClaimError> {
        let unusable = |cause| ClaimError::Unusable {
            path: path.to_path_buf(),
            cause,
        };
        let mut file = open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ClaimError::Held {
                    holder: read(file).unwrap_or_default(),
                    volume: None,
                });
            }
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        // The lock is what counts. Where a full disk keeps the words out, others only do not learn who holds it.
        let _ = write(&mut file, &Holder::this(command, &self.by));
        let record = Record::of(&file, path);
        Ok(Locked {
            _lock: Hold(file),
            record,
        })
    }
}

impl Locked {
    /// Returns what others can try the lock by, if this machine can tell.
    pub(super) fn record(&self) -> Option<String> {
        self.record.as_ref()?.told()
    }
}

impl Gone {
    /// Finds out whether who recorded a lock is gone; `None` where they are not, and where that cannot be known from
    /// here: another host, another run of this one, another view of its files.
    pub(super) fn find(record: &str, own: Option<&Locked>) -> Option<Self> {
        let record = Record::parse(record)?;
        if own.is_some_and(|own| own.record.as_ref() == Some(&record)) {
            // Who held it before this process does not hold it any more.
            return Some(Self { _lock: None });
        }
        let found = std::fs::symlink_metadata(&record.path).ok()?;
        if !found.is_file() {
            return None;
        }
        let file = File::open(&record.path).ok()?;
        if Record::of(&file, &record.path)? != record {
            return None;
        }
        file.try_lock().ok()?;
        Some(Self {
            _lock: Some(Hold(file)),
        })
    }
}

impl Record {
    fn of(file: &File, path: &Path) -> Option<Self> {
        let boot = std::fs::read_to_string(BOOT).ok()?;
        let found = file.metadata().ok()?;
        Some(Self {
            boot: boot.trim().to_owned(),
            device: found.dev(),
            inode: found.ino(),
            path: path.to_path_buf(),
        })
    }

    fn told(&self) -> Option<String> {
        let Self {
            boot,
            device,
            inode,
            path,
        } = self;
        Some(format!("{boot} {device}:{inode} {}", path.to_str()?))
    }

    /// Reads what anybody may have written.
    fn parse(text: &str) -> Option<Self> {
        let (boot, rest) = text.split_once(' ')?;
        let (numbers, path) = rest.split_once(' ')?;
        let (device, inode) = numbers.split_once(':')?;
        Some(Self {
            boot: boot.to_owned(),
            device: device.parse().ok()?,
            inode: inode.parse().ok()?,
            path: PathBuf::from(path),
        })
    }
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

fn write(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(holder)?.as_bytes())
}

/// Reads who holds the lock; whatever else is in the file tells nothing.
fn read(file: File) -> Option<Holder> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str::<Holder>(&text).ok().map(Holder::cleaned)
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
            formerly: Vec::new(),
        }
    }

    fn claims() -> (tempfile::TempDir, Claims) {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("locks");
        (place, Claims::at(directory, "me@box"))
    }

    async fn take(claims: &Claims, project: &str, patience: u64) -> Result<Locked, ClaimError> {
        let patience = Duration::from_millis(patience);
        claims
            .take("e", &owner(project), Scope::Pass, ("apply", patience))
            .await
    }

    #[tokio::test]
    async fn one_owner_on_one_engine_has_one_writer() {
        let (_place, claims) = claims();
        let held = take(&claims, "/a", 0).await.expect("the first");
        let error = take(&claims, "/a", 0).await.expect_err("the second");
        let message = error.to_string();
        assert!(message.starts_with("`aishell apply` (process "), "{message}");
        assert!(message.contains(" of me@box, since "), "{message}");
        let ClaimError::Held { holder, .. } = error else {
            panic!("nobody is named");
        };
        assert_eq!(holder.pid, Some(std::process::id()));
        take(&claims, "/b", 0).await.expect("another owner");
        let owner = owner("/a");
        let other = claims.take("f", &owner, Scope::Pass, ("apply", Duration::ZERO));
        other.await.expect("another engine");
        let watch = claims.take("e", &owner, Scope::Watch, ("watch", Duration::ZERO));
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
        let path = claims.file("e", &owner("/a"), Scope::Pass);
        std::fs::write(&path, "{\"pid\": \"rubbish").expect("rubbish");
        let held = take(&claims, "/a", 0).await.expect("not held");
        std::fs::write(&path, [0xff; 9000]).expect("rubbish");
        let error = take(&claims, "/a", 0).await.expect_err("held");
        assert_eq!(
            error.to_string(),
            "another aishell is at work on the same objects",
            "rubbish names nobody"
        );
        drop(held);
    }

    #[tokio::test]
    async fn whoever_has_not_written_down_who_holds_a_lock_is_given_the_time_to() {
        let (_place, claims) = claims();
        let held = take(&claims, "/a", 0).await.expect("a lock");
        let path = claims.file("e", &owner("/a"), Scope::Pass);
        let told = std::fs::read(&path).expect("who holds it");
        std::fs::write(&path, "").expect("not yet");
        let (error, ()) = tokio::join!(take(&claims, "/a", 0), async {
            tokio::task::yield_now().await;
            std::fs::write(&path, told).expect("now");
        });
        let message = error.expect_err("held").to_string();
        assert!(message.starts_with("`aishell apply` (process "), "{message}");
        drop(held);
        assert_eq!(std::fs::read(&path).expect("a file"), b"", "nobody holds it");
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

    #[tokio::test]
    async fn whoever_recorded_a_lock_is_gone_when_it_is_free() {
        let (_place, claims) = claims();
        let held = take(&claims, "/a", 0).await.expect("a lock");
        let record = held.record().expect("a record");
        assert!(Gone::find(&record, None).is_none(), "it is held");
        drop(held);
        let gone = Gone::find(&record, None).expect("it is free");
        assert!(Gone::find(&record, None).is_none(), "somebody else has found out");
        drop(gone);
        let own = take(&claims, "/a", 0).await.expect("the same lock");
        assert!(
            Gone::find(&record, Some(&own)).is_some(),
            "this process holds it now"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_known_from_here_is_not_concluded() {
        let (place, claims) = claims();
        let held = take(&claims, "/a", 0).await.expect("a lock");
        let record = held.record().expect("a record");
        drop(held);
        let (boot, rest) = record.split_once(' ').expect("a boot");
        let (numbers, path) = rest.split_once(' ').expect("numbers");
        let other = place.path().join("other");
        std::fs::write(&other, "").expect("a file");
        for record in [
            format!("another-boot {rest}"),
            format!("{boot} 1:1 {path}"),
            format!("{boot} {numbers} {}", other.display()),
            format!("{boot} {numbers} {path}.gone"),
            format!("{boot} {numbers} /dev/tty"),
            format!("{boot} {numbers} "),
            boot.to_owned(),
            String::new(),
            "\u{0} : ".to_owned(),
        ] {
            assert!(Gone::find(&record, None).is_none(), "{record:?}");
        }
    }
}
