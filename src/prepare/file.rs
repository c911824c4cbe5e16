//! The file of a lock: read, and replaced as a whole.
#![expect(
    clippy::disallowed_methods,
    reason = "the lock beside a manifest is read and written here"
)]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::lock::{Lock, Wishes};
use crate::manifest::place::{Problem, Texts};

/// The largest lock that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// A lock and where it is.
#[derive(Clone, Debug, Default)]
pub struct LockFile {
    /// The file, absolute; `None` for a manifest from standard input, which has nothing beside it.
    path: Option<PathBuf>,
    /// What it says; nothing while there is no file.
    lock: Lock,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("the lock {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Its place is taken by something that is no file.
    #[error("the lock {} is {kind}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It cannot be written.
    #[error("the lock {} cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What it says is wrong.
    #[error("the lock has {} problems", problems.len())]
    Invalid {
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
        /// Its text.
        texts: Texts,
    },
}

/// Which entries win where a lock was changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    /// Those in the file, where they are for what the manifest asks: what is pinned stays.
    File,
    /// The new ones.
    New,
}

impl LockFile {
    /// Reads the lock at a path; a manifest from standard input has none.
    ///
    /// # Errors
    /// There is something, and it is no lock.
    pub fn read(path: Option<PathBuf>) -> Result<Self, LockError> {
        let lock = match &path {
            Some(path) => read(path)?,
            None => Lock::default(),
        };
        Ok(Self { path, lock })
    }

    /// Returns the file; `None` for a manifest from standard input.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns what it says.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Reads the file again: somebody may have written it meanwhile.
    ///
    /// # Errors
    /// As [`LockFile::read`].
    pub fn refresh(&mut self) -> Result<(), LockError> {
        if let Some(path) = &self.path {
            self.lock = read(path)?;
        }
        Ok(())
    }

    /// Adds entries, drops what the manifest has no use for, and writes the file if that changes anything.
    ///
    /// # Guarantees
    /// The file is replaced as a whole or not at all. Whoever writes at the same time waits, and nobody's entries are
    /// lost.
    ///
    /// # Errors
    /// The file cannot be written, or was made unreadable meanwhile.
    pub fn add(
        &mut self,
        new: Lock,
        wishes: &Wishes,
        winner: Winner,
        owner: Option<(u32, u32)>,
    ) -> Result<(), LockError> {
        let Some(path) = &self.path else {
            self.lock = std::mem::take(&mut self.lock).with(new);
            return Ok(());
        };
        let unwritable = |cause| LockError::Unwritable {
            path: path.clone(),
            cause,
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        // Held until the new file is in its place: directories can be locked, and a file that is replaced cannot.
        let turn = File::open(directory).map_err(unwritable)?;
        turn.lock().map_err(unwritable)?;
        let before = read(path)?;
        let kept = before.without_unused(wishes);
        let after = match winner {
            Winner::File => new.with(kept),
            Winner::New => kept.with(new),
        };
        if after != before {
            replace(path, directory, after.render().as_bytes(), owner).map_err(unwritable)?;
        }
        drop(turn);
        self.lock = after;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Lock, LockError> {
    let unreadable = |cause| LockError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A link to nothing is something, and replacing it would surprise whoever made it.
            return match fs::symlink_metadata(path) {
                Ok(_) => Err(unreadable(error)),
                Err(_) => Ok(Lock::default()),
            };
        }
        Err(error) => return Err(unreadable(error)),
    };
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a directory"
        } else {
            "a device, pipe or socket"
        };
        return Err(LockError::NotAFile {
            path: path.to_path_buf(),
            kind,
        });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(unreadable(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))?;
    Lock::parse(&text, path).map_err(|problems| {
        let mut texts = Texts::default();
        texts.insert(path.to_path_buf(), text);
        LockError::Invalid { problems, texts }
    })
}

/// Puts a file in the place of another one. It has its mode, and its owner where only root could have another; a first
/// one gets the owner that is given.
fn replace(path: &Path, directory: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    let mode = old.as_ref().map_or(0o644, |old| old.permissions().mode() & 0o777);
    let owner = owner.map(|first| old.as_ref().map_or(first, |old| (old.uid(), old.gid())));
    // A link stays one: what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let directory = path.parent().unwrap_or(directory);
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let name = format!(".aishell.lock.{:016x}", u64::from_ne_bytes(random));
    let temporary = directory.join(name);
    let written = (|| {
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        // What could not take its place is nobody's.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn with(image: &str, letter: char) -> (Lock, Wishes) {
        let mut lock = Lock::default();
        let digest = format!("sha256:{}", letter.to_string().repeat(64));
        let image: crate::manifest::stage::ImageReference = image.parse().expect("a reference");
        lock.images
            .insert(image.clone(), digest.parse().expect("a digest"));
        let mut wishes = Wishes::default();
        wishes.images.insert(image);
        (lock, wishes)
    }

    fn open(directory: &tempfile::TempDir) -> LockFile {
        LockFile::read(Some(directory.path().join("aishell.lock"))).expect("a lock")
    }

    fn add(file: &mut LockFile, image: &str, letter: char, winner: Winner) -> Result<(), LockError> {
        let (lock, mut wishes) = with(image, letter);
        wishes.images.extend(file.lock().images.keys().cloned());
        file.add(lock, &wishes, winner, None)
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let directory = directory();
        let mut file = open(&directory);
        assert_eq!(file.lock(), &Lock::default());
        add(&mut file, "debian:1", 'a', Winner::File).expect("written");
        assert_eq!(open(&directory).lock(), file.lock());
        let mode = fs::metadata(file.path().expect("a path")).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o644);
        fs::set_permissions(
            directory.path().join("aishell.lock"),
            fs::Permissions::from_mode(0o664),
        )
        .expect("a mode");
        add(&mut file, "debian:2", 'b', Winner::File).expect("written");
        assert_eq!(file.lock().images.len(), 2);
        let mode = fs::metadata(file.path().expect("a path")).expect("a file").mode();
        assert_eq!(mode & 0o777, 0o664);
        let names = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 1);
    }

    #[test]
    fn who_pins_at_the_same_time_agrees_and_who_updates_wins() {
        let directory = directory();
        let (mut one, mut other) = (open(&directory), open(&directory));
        add(&mut one, "debian:1", 'a', Winner::File).expect("written");
        add(&mut other, "debian:1", 'b', Winner::File).expect("written");
        assert_eq!(one.lock(), other.lock());
        add(&mut other, "debian:1", 'c', Winner::New).expect("written");
        assert_ne!(one.lock(), other.lock());
        assert_eq!(open(&directory).lock(), other.lock());
    }

    #[test]
    fn many_writers_lose_nothing() {
        let directory = directory();
        let all: Vec<String> = (0..16).map(|number| format!("debian:{number}")).collect();
        let mut wishes = Wishes::default();
        for image in &all {
            wishes.images.insert(image.parse().expect("a reference"));
        }
        std::thread::scope(|scope| {
            for image in &all {
                let (wishes, directory) = (&wishes, &directory);
                scope.spawn(move || {
                    let (lock, _) = with(image, 'd');
                    open(directory)
                        .add(lock, wishes, Winner::File, None)
                        .expect("written");
                });
            }
        });
        assert_eq!(open(&directory).lock().images.len(), all.len());
    }

    #[test]
    fn what_is_no_lock_is_told_and_left_alone() {
        let directory = directory();
        let path = directory.path().join("aishell.lock");
        fs::create_dir(&path).expect("a directory");
        let read = || LockFile::read(Some(path.clone()));
        assert!(matches!(
            read(),
            Err(LockError::NotAFile {
                kind: "a directory",
                ..
            })
        ));
        fs::remove_dir(&path).expect("gone");
        std::os::unix::fs::symlink("nowhere", &path).expect("a link");
        assert!(matches!(read(), Err(LockError::Unreadable { .. })));
        fs::remove_file(&path).expect("gone");
        let mut file = read().expect("nothing");
        fs::write(&path, "version: 7\n").expect("a file");
        assert!(matches!(read(), Err(LockError::Invalid { .. })));
        assert!(add(&mut file, "debian:1", 'a', Winner::File).is_err());
        assert_eq!(fs::read_to_string(&path).expect("a file"), "version: 7\n");
        fs::write(&path, [0xff, 0xfe]).expect("a file");
        assert!(matches!(read(), Err(LockError::Unreadable { .. })));
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = directory();
        let path = directory.path().join("aishell.lock");
        fs::write(directory.path().join("real"), "version: 1\n").expect("a file");
        std::os::unix::fs::symlink("real", &path).expect("a link");
        let mut file = open(&directory);
        add(&mut file, "debian:1", 'a', Winner::File).expect("written");
        assert!(fs::symlink_metadata(&path).expect("a link").is_symlink());
        assert_eq!(open(&directory).lock().images.len(), 1);
    }

    #[test]
    fn without_a_file_entries_are_remembered_for_as_long_as_this_runs() {
        let mut file = LockFile::read(None).expect("nothing");
        add(&mut file, "debian:1", 'a', Winner::File).expect("remembered");
        assert_eq!((file.path(), file.lock().images.len()), (None, 1));
    }
}
