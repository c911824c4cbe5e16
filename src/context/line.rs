//! What counts of a file of a context, as a line, and the digest over these lines.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::sees;
use crate::dockerfile::{Reads, reads_with};
use crate::key::Hasher;

/// Returns the line of a link.
pub(super) fn link(file: &Path, target: &Path) -> String {
    format!("link {}\0{}\n", file.display(), target.display())
}

/// Returns the line of a directory.
pub(super) fn directory(file: &Path, mode: u32) -> String {
    format!("directory {}\0{:o}\n", file.display(), mode & 0o7777)
}

/// What is neither file nor directory nor link, and that an image can have all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A named pipe.
    Pipe,
    /// A device of characters, by its numbers.
    Characters(u32, u32),
    /// A device of blocks, by its numbers.
    Blocks(u32, u32),
}

impl Special {
    /// Returns what metadata say; nothing for anything else.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        let device = metadata.rdev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        if kind.is_fifo() {
            Some(Self::Pipe)
        } else if kind.is_char_device() {
            Some(Self::Characters(major, minor))
        } else if kind.is_block_device() {
            Some(Self::Blocks(major, minor))
        } else {
            None
        }
    }
}

/// Returns the line of what is neither file nor directory nor link.
pub(super) fn special(file: &Path, mode: u32, special: Special) -> String {
    let kind = match special {
        Special::Pipe => "pipe".to_owned(),
        Special::Characters(major, minor) => format!("characters {major}:{minor}"),
        Special::Blocks(major, minor) => format!("blocks {major}:{minor}"),
    };
    format!("special {}\0{:o} {kind}\n", file.display(), mode & 0o7777)
}

/// Returns the line of a file, given the digest of its content.
pub(super) fn file(file: &Path, mode: u32, content: &str) -> String {
    format!("file {}\0{:o} {content}\n", file.display(), mode & 0o7777)
}

/// The digest of a context, put together while its files are read in their order.
pub struct Sum {
    seen: Reads,
    hasher: Hasher,
}

impl Sum {
    /// Begins the digest of the context of a Dockerfile, with what the image it starts from has it do.
    pub fn of(dockerfile: &str, triggers: &str) -> Self {
        Self {
            seen: reads_with(dockerfile, triggers),
            hasher: Hasher::new(),
        }
    }

    fn add(&mut self, file: &Path, line: impl FnOnce() -> String) {
        if sees(&self.seen, file) {
            self.hasher.update(line().as_bytes());
        }
    }

    /// Adds a link.
    pub fn link(&mut self, path: &Path, target: &Path) {
        self.add(path, || link(path, target));
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &Path, mode: u32) {
        self.add(path, || directory(path, mode));
    }

    /// Adds what is neither file nor directory nor link.
    pub fn special(&mut self, path: &Path, mode: u32, special: Special) {
        self.add(path, || self::special(path, mode, special));
    }

    /// Adds a file.
    pub fn file(&mut self, path: &Path, mode: u32, content: &str) {
        self.add(path, || file(path, mode, content));
    }

    /// Returns the digest.
    pub fn finish(self) -> String {
        self.hasher.finish()
    }
}
