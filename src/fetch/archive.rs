//! Archives: finding one file in a download and copying its content. Nothing else of an archive is ever unpacked, so it
//! does not matter where the paths and links in it lead.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

mod zip;

/// The most bytes that are read of what is packed.
const LARGEST: u64 = 8 << 30;
/// The most bytes that an archive may have between its files: their names, and whatever else is said of them.
const BETWEEN: u64 = 1 << 20;
/// The most bytes of all names together.
const NAMES: usize = 64 << 20;
/// The most files of an archive that are told apart.
const MOST: usize = 500_000;
/// How many files of an archive are listed in a message.
const SHOWN: usize = 8;

/// Why a file is not had from a download.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("it cannot be unpacked")]
    Unreadable(#[source] io::Error),
    /// There is no such file.
    #[error("there is no file `{bin}` in it; it has {}", list(found))]
    Absent {
        /// What was looked for.
        bin: String,
        /// Some of those that are there.
        found: Vec<String>,
    },
    /// There are several.
    #[error("there are several files `{bin}` in it: {}", list(found))]
    Several {
        /// What was looked for.
        bin: String,
        /// Where they are.
        found: Vec<String>,
    },
    /// It is a link.
    #[error("`{path}` in it is a link")]
    Link {
        /// Where it is.
        path: String,
    },
    /// It is packed by something that this host does not have.
    #[error("it is packed with {program}, which is not on this host")]
    Unpacker {
        /// The program.
        program: &'static str,
    },
}

impl ArchiveError {
    /// Returns what most often helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(_) => None,
            Self::Absent { .. } | Self::Several { .. } | Self::Link { .. } => {
                Some("`bin` names the file, with as much of its path as it takes".to_owned())
            }
            Self::Unpacker { program } => {
                let package = if *program == "xz" { "xz-utils" } else { program };
                Some(format!("apt-get install {package}"))
            }
        }
    }
}

fn list(found: &[String]) -> String {
    let shown: Vec<&str> = found.iter().take(SHOWN).map(String::as_str).collect();
    match found.len() {
        0 => "no files".to_owned(),
        many if many > SHOWN => format!("{} and more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// A file or link of an archive.
#[derive(Debug)]
struct Member {
    path: String,
    is_link: bool,
    /// Where it is, in the order of the archive.
    index: usize,
}

/// Copies one file of a download, or the download itself if it is no archive.
///
/// # Errors
/// It is not there, or cannot be read.
pub(super) fn take(download: &Path, bin: &str, to: &mut impl Write) -> Result<(), ArchiveError> {
    take_within(LARGEST, download, bin, to)
}

/// Does that, and reads no more bytes than so many.
fn take_within(limit: u64, download: &Path, bin: &str, to: &mut impl Write) -> Result<(), ArchiveError> {
    let mut start = [0; 6];
    let mut file = File::open(download).map_err(ArchiveError::Unreadable)?;
    let length = read_full(&mut file, &mut start).map_err(ArchiveError::Unreadable)?;
    if start[..length].starts_with(b"PK\x03\x04") {
        return zip::take(limit, &mut file, bin, to);
    }
    // Once to see what there is, and once more for the file.
    let mut packed = Packed::open(limit, download, &start[..length])?;
    let mut head = vec![0; 512];
    let length = read_full(&mut packed, &mut head).map_err(ArchiveError::Unreadable)?;
    head.truncate(length);
    if !is_tar(&head) {
        to.write_all(&head).map_err(ArchiveError::Unreadable)?;
        return copy(limit, &mut packed, to);
    }
    let (mut members, mut names) = (Vec::new(), 0);
    each(head.chain(packed), |index, path, kind, _| {
        let is_file =
            kind.is_file() || kind == tar::EntryType::Continuous || kind == tar::EntryType::GNUSparse;
        if is_file || kind.is_symlink() || kind.is_hard_link() {
            names += path.len();
            if members.len() >= MOST || names > NAMES {
                return Err(ArchiveError::Unreadable(too_many()));
            }
            members.push(Member {
                path,
                is_link: !is_file,
                index,
            });
        }
        Ok(true)
    })?;
    let wanted = choose(&members, bin)?.index;
    each(Packed::open(limit, download, &start)?, |index, _, _, content| {
        if index == wanted {
            copy(limit, content, to)?;
        }
        Ok(index < wanted)
    })
}

/// What is before the rest of a stream.
trait Chained: Sized {
    fn chain<R: Read>(self, rest: R) -> io::Chain<io::Cursor<Self>, R>
    where
        io::Cursor<Self>: Read;
}

impl Chained for Vec<u8> {
    fn chain<R: Read>(self, rest: R) -> io::Chain<io::Cursor<Self>, R> {
        Read::chain(io::Cursor::new(self), rest)
    }
}

/// A stream of which only so much may be read, until more is granted.
struct Granted<R> {
    content: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Granted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        let left = self.left.get().checked_sub(length as u64);
        self.left.set(left.ok_or_else(too_many)?);
        Ok(length)
    }
}

/// Shows every entry of an archive, until that is enough. What is between them is held in memory, so it has a limit.
fn each(
    archive: impl Read,
    mut show: impl FnMut(usize, String, tar::EntryType, &mut dyn Read) -> Result<bool, ArchiveError>,
) -> Result<(), ArchiveError> {
    let left = Rc::new(Cell::new(BETWEEN));
    let mut archive = tar::Archive::new(Granted {
        content: archive,
        left: Rc::clone(&left),
    });
    let entries = archive.entries().map_err(ArchiveError::Unreadable)?;
    for (index, entry) in entries.enumerate() {
        let mut entry = entry.map_err(ArchiveError::Unreadable)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        // What a file with holes says of its size is not how much of the archive it takes.
        let size = match kind {
            tar::EntryType::GNUSparse => entry.header().entry_size().map_err(ArchiveError::Unreadable)?,
            _ => entry.size(),
        };
        left.set(size.saturating_add(BETWEEN));
        if !show(index, path, kind, &mut entry)? {
            break;
        }
    }
    Ok(())
}

/// Finds the file that is meant: with that path, else with that end of its path, the one that is least deep.
fn choose<'m>(members: &'m [Member], bin: &str) -> Result<&'m Member, ArchiveError> {
    let plain = |path: &str| path.trim_start_matches("./").to_owned();
    let is_inside = |path: &str| !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    let known: Vec<(String, &Member)> = members
        .iter()
        .map(|member| (plain(&member.path), member))
        .filter(|(path, _)| is_inside(path))
        .collect();
    let below = format!("/{bin}");
    let fits = |path: &str| path == bin || path.ends_with(&below);
    let depth = |path: &str| path.matches('/').count();
    let least = known
        .iter()
        .filter(|(path, _)| fits(path))
        .map(|(path, _)| depth(path))
        .min();
    let Some(least) = least else {
        let mut found: Vec<String> = known.into_iter().map(|(path, _)| path).collect();
        found.sort_by_key(|path| (depth(path), path.clone()));
        found.truncate(SHOWN + 1);
        return Err(ArchiveError::Absent {
            bin: bin.to_owned(),
            found,
        });
    };
    let mut fitting: Vec<&(String, &Member)> = known
        .iter()
        .filter(|(path, _)| fits(path) && depth(path) == least)
        .collect();
    // What comes later in an archive replaces what came before.
    fitting.reverse();
    let (path, member) = fitting[0];
    if fitting.iter().any(|(other, _)| other != path) {
        return Err(ArchiveError::Several {
            bin: bin.to_owned(),
            found: fitting.iter().map(|(path, _)| path.clone()).collect(),
        });
    }
    if member.is_link {
        return Err(ArchiveError::Link { path: path.clone() });
    }
    Ok(member)
}

fn copy(limit: u64, from: &mut (impl Read + ?Sized), to: &mut impl Write) -> Result<(), ArchiveError> {
    let copied = io::copy(&mut from.take(limit + 1), to).map_err(ArchiveError::Unreadable)?;
    if copied > limit {
        return Err(ArchiveError::Unreadable(too_large(limit)));
    }
    Ok(())
}

fn too_large(limit: u64) -> io::Error {
    let text = format!("it is larger than {} GiB", limit >> 30);
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

fn too_many() -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        "it has more files, or longer names, than anybody needs",
    )
}

fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Says whether a block is the head of a tar archive: its sum says so.
fn is_tar(head: &[u8]) -> bool {
    let (Some(field), true) = (head.get(148..156), head.len() == 512) else {
        return false;
    };
    let text = String::from_utf8_lossy(field);
    let digits: String = text
        .chars()
        .filter(|letter| ('0'..='7').contains(letter))
        .collect();
    let blank = head.iter().enumerate().map(|(at, byte)| {
        if (148..156).contains(&at) {
            32
        } else {
            u64::from(*byte)
        }
    });
    u64::from_str_radix(&digits, 8).is_ok_and(|sum| sum == blank.sum::<u64>())
}

/// The content of a download, unpacked if it is packed; not more than anybody needs.
struct Packed {
    content: io::Take<Box<dyn Read>>,
    limit: u64,
    unpacker: Option<Unpacker>,
}

/// A program that unpacks, which ends with this.
struct Unpacker(Child);

impl Drop for Unpacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Packed {
    fn open(limit: u64, download: &Path, start: &[u8]) -> Result<Self, ArchiveError> {
        let file = File::open(download).map_err(ArchiveError::Unreadable)?;
        let programs: [(&[u8], &'static str); 3] = [
            (b"\xfd7zXZ", "xz"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"BZh", "bzip2"),
        ];
        let program = programs.iter().find(|(sign, _)| start.starts_with(sign));
        let mut unpacker = None;
        let content: Box<dyn Read> = if start.starts_with(b"\x1f\x8b") {
            Box::new(MultiGzDecoder::new(BufReader::new(file)))
        } else if let Some((_, program)) = program {
            let child = Command::new(program)
                .args(["-d", "-c"])
                .stdin(file)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let mut child = child.map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ArchiveError::Unpacker { program },
                _ => ArchiveError::Unreadable(error),
            })?;
            let content = child.stdout.take();
            unpacker = Some(Unpacker(child));
            match content {
                Some(content) => Box::new(content),
                None => Box::new(io::empty()),
            }
        } else {
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            content: content.take(limit.saturating_add(1)),
            limit,
            unpacker,
        })
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.content.read(buffer)?;
        if length > 0 || buffer.is_empty() {
            return Ok(length);
        }
        if self.content.limit() == 0 {
            return Err(too_large(self.limit));
        }
        // Half a file looks like a whole one where its unpacker fails.
        if let Some(unpacker) = &mut self.unpacker
            && !unpacker.0.wait()?.success()
        {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests;
