//! Digests of files that were read before, so that what did not change is not read again.
//!
//! A file is what it was if its path, device, inode, size and the times of its content and of its inode are; the last
//! one cannot be set by who writes to it, and a digest is remembered only if both lay well in the past when the file
//! was read, so that nothing could have been written in the same tick of the clock since. What is remembered is one
//! file for each manifest in the user's own cache: replaced as a whole, so that several can use it at once, and worth
//! nothing to anybody when it is gone or garbage.

use std::fs::{self, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::open;
use crate::host::Host;
use crate::key::{self, Hasher};
use crate::manifest::load::{self, Opened};

/// What a file of digests begins with; what the records are made of is part of it.
const HEAD: &[u8; 16] = b"aishell digest 1";
/// Bytes of the checksum behind it.
const SUM: usize = 16;
/// Bytes of what a file is known by.
const STAMP: usize = 16;
/// Bytes of one record: what a file is known by, and the digest of its content.
const RECORD: usize = STAMP + 32;
/// The most files that are remembered for one manifest: 48 MB of records.
const MOST: usize = 1_000_000;
/// The most files of digests that are kept, the newest.
const KEPT: usize = 64;
/// The most bytes that all of them have.
const LARGEST: u64 = 256 << 20;
/// How long ago a file must have been changed to be remembered, in nanoseconds: file systems know time by the tick,
/// and the coarsest in use by two seconds.
const SETTLED: i128 = 3_000_000_000;

/// Digests of files by what the files are known by.
#[derive(Debug, Default)]
pub struct Digests {
    /// Where they are kept; nowhere, if there is no place that only the user can write to.
    file: Option<PathBuf>,
    now: i128,
    known: Vec<u8>,
    /// Which of the known ones were asked for.
    used: Vec<AtomicBool>,
    fresh: Mutex<Vec<[u8; RECORD]>>,
    read: AtomicUsize,
    /// Whether they are kept in a directory that is itself read, which must not change by that.
    within: AtomicBool,
}

/// Tells the files apart that one process writes.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What a file is known by.
type Stamp = [u8; STAMP];

impl Digests {
    /// Reads what is remembered of the files that a manifest names.
    pub fn of(manifest: &Path, host: &Host, now: Timestamp) -> Self {
        let name = &key::digest(manifest.as_os_str().as_bytes())[..16];
        // Whoever is root for a moment must not leave what is root's in somebody's home.
        let is_own = host.owner_of(&host.home).is_ok_and(|(uid, _)| uid == host.uid);
        if !is_own {
            return Self::default();
        }
        Self::at(host.cache().join("digests").join(name), host.uid, now)
    }

    /// Reads what is remembered in a file.
    pub(super) fn at(file: PathBuf, uid: u32, now: Timestamp) -> Self {
        let known = remembered(&file, uid).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::debug!(%error, file = %file.display(), "no digests are remembered");
            }
            Vec::new()
        });
        Self {
            file: Some(file),
            now: now.as_nanosecond(),
            used: known
                .chunks_exact(RECORD)
                .map(|_| AtomicBool::new(false))
                .collect(),
            known,
            fresh: Mutex::default(),
            read: AtomicUsize::new(0),
            within: AtomicBool::new(false),
        }
    }

    /// Takes in that everything below a directory is read.
    pub(super) fn below(&self, directory: &Path) {
        let place = self.file.as_deref().and_then(Path::parent).map(whereabouts);
        if place.is_some_and(|place| place.starts_with(whereabouts(directory))) {
            self.within.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the digest of the content of a file, of which the metadata was read just now.
    ///
    /// # Errors
    /// It is no regular file, or cannot be read.
    pub(super) fn content(&self, path: &Path, metadata: &Metadata) -> io::Result<String> {
        let of = |metadata: &Metadata| stamp(path, metadata);
        if metadata.is_file()
            && let Some(digest) = self.find(&of(metadata))
        {
            return Ok(digest);
        }
        let mut file = open(path)?;
        let before = file.metadata()?;
        self.read.fetch_add(1, Ordering::Relaxed);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
        }
        let digest = hasher.finish();
        let stamp = of(&before);
        let changed = [
            (before.mtime(), before.mtime_nsec()),
            (before.ctime(), before.ctime_nsec()),
        ];
        let settled = changed
            .iter()
            .all(|(seconds, more)| nanoseconds(*seconds, *more) + SETTLED < self.now);
        if self.file.is_some() && settled && of(&file.metadata()?) == stamp {
            let mut record = [0; RECORD];
            record[..STAMP].copy_from_slice(&stamp);
            record[STAMP..].copy_from_slice(&bytes(&digest));
            self.fresh
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(record);
        }
        Ok(digest)
    }

    /// Returns how many files were read so far.
    pub fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    /// Finds the digest that is remembered, and remembers it further.
    fn find(&self, stamp: &Stamp) -> Option<String> {
        let (records, _) = self.known.as_chunks::<RECORD>();
        let place = records
            .binary_search_by(|record| record[..STAMP].cmp(stamp))
            .ok()?;
        self.used.get(place)?.store(true, Ordering::Relaxed);
        Some(key::hexadecimal(&records[place][STAMP..]))
    }

    /// Remembers the digests for the next time. `complete` says whether everything was asked for that the manifest
    /// names: then what was not asked for is forgotten.
    pub fn keep(self, complete: bool) {
        let Self {
            file: Some(file),
            known,
            used,
            fresh,
            read,
            within,
            now: _,
        } = self
        else {
            return;
        };
        if within.into_inner() {
            return;
        }
        let fresh = fresh.into_inner().unwrap_or_else(PoisonError::into_inner);
        tracing::debug!(read = read.into_inner(), known = used.len(), "digests");
        let is_kept = |used: &AtomicBool| !complete || used.load(Ordering::Relaxed);
        if fresh.is_empty() && used.iter().all(is_kept) {
            return;
        }
        let (records, _) = known.as_chunks::<RECORD>();
        let kept = records.iter().zip(&used).filter(|(_, used)| is_kept(used));
        let mut records: Vec<&[u8; RECORD]> = kept.map(|(record, _)| record).chain(&fresh).collect();
        records.sort_unstable();
        records.dedup_by(|one, other| one[..STAMP] == other[..STAMP]);
        records.truncate(MOST);
        let records: Vec<u8> = records.into_iter().flatten().copied().collect();
        if let Err(error) = replace(&file, &records) {
            tracing::debug!(%error, file = %file.display(), "digests cannot be remembered");
        }
    }
}

/// Returns where a directory really is, or would be.
fn whereabouts(directory: &Path) -> PathBuf {
    let mut above = directory.ancestors();
    let real = above.find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    match real {
        Some((above, real)) => real.join(directory.strip_prefix(above).unwrap_or(directory)),
        None => directory.to_path_buf(),
    }
}

/// Returns what a file is known by.
fn stamp(path: &Path, metadata: &Metadata) -> Stamp {
    let mut hasher = Hasher::new();
    for number in [metadata.dev(), metadata.ino(), metadata.size()] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(path.as_os_str().as_bytes());
    let mut stamp = [0; STAMP];
    stamp.copy_from_slice(&hasher.bytes()[..STAMP]);
    stamp
}

fn nanoseconds(seconds: i64, more: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(more)
}

/// Returns the bytes that a digest is written for.
fn bytes(digest: &str) -> [u8; 32] {
    let four = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
    let mut bytes = [0; 32];
    for (byte, two) in bytes.iter_mut().zip(digest.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(four(two[0]) << 4 | four(two[1])).unwrap_or_default();
    }
    bytes
}

/// Reads the records of a file that nobody else could have written.
fn remembered(file: &Path, uid: u32) -> io::Result<Vec<u8>> {
    let garbage = || io::Error::from(io::ErrorKind::InvalidData);
    let Opened::File(mut opened) = load::open(file)? else {
        return Err(garbage());
    };
    let metadata = opened.metadata()?;
    let length = usize::try_from(metadata.len()).map_err(|_| garbage())?;
    let is_private = metadata.uid() == uid && metadata.mode() & 0o022 == 0;
    if !is_private || length > HEAD.len() + SUM + MOST * RECORD {
        return Err(garbage());
    }
    let mut head = [0; HEAD.len() + SUM];
    opened.read_exact(&mut head)?;
    let mut records = Vec::with_capacity(length);
    opened.take(metadata.len()).read_to_end(&mut records)?;
    let is_whole =
        head.starts_with(HEAD) && head[HEAD.len()..] == sum(&records) && records.len().is_multiple_of(RECORD);
    if is_whole { Ok(records) } else { Err(garbage()) }
}

fn sum(records: &[u8]) -> [u8; SUM] {
    let mut hasher = Hasher::new();
    hasher.update(records);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hasher.bytes()[..SUM]);
    sum
}

/// Puts records in the place of a file, and removes the oldest of the others where they are too many.
fn replace(file: &Path, records: &[u8]) -> io::Result<()> {
    let Some(directory) = file.parent() else {
        return Ok(());
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut name = file.as_os_str().to_owned();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}.{number}", std::process::id()));
    let new = PathBuf::from(name);
    let write = || {
        let mut opened = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        opened.write_all(HEAD)?;
        opened.write_all(&sum(records))?;
        opened.write_all(records)?;
        fs::rename(&new, file)
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))?;
    clear(directory)
}

/// Removes the oldest files of a directory where there are too many, or too large ones.
fn clear(directory: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Somebody else may have removed it meanwhile.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            let when = nanoseconds(metadata.mtime(), metadata.mtime_nsec());
            files.push((std::cmp::Reverse(when), metadata.len(), entry.path()));
        }
    }
    files.sort();
    let mut bytes = 0;
    for (place, (_, length, path)) in files.into_iter().enumerate() {
        bytes += length;
        if place >= KEPT || bytes > LARGEST {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
