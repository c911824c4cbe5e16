//! Files and directories of this host that are put into images, read.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{ContextError, Digests, in_order, unreadable};
use crate::key::Hasher;

/// A file or directory of this host, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it is, absolute.
    pub source: PathBuf,
    /// Itself, with an empty path, and what is below it; every directory comes before what is in it.
    pub entries: Vec<Entry>,
    /// The digest over paths, modes, contents and links.
    pub digest: String,
    /// The same without modes.
    pub modeless: String,
}

/// A file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path, relative to the tree.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
    /// What it is.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file with the digest of its content.
    File(String),
    /// A link, and where it leads.
    Link(String),
}

impl Tree {
    /// Reads a file or directory. What is written as the source may be a link; links below are kept as they are.
    ///
    /// # Errors
    /// The first thing that cannot be read, or is neither file, directory nor link.
    pub fn read(source: &Path, digests: &Digests) -> Result<Self, ContextError> {
        digests.below(source);
        let mut found = Vec::new();
        gather(source, Path::new(""), &mut found)?;
        let mut entries = Vec::with_capacity(found.len());
        let read = |found: &Found| found.read(source, digests);
        in_order(&found, read, |_, entry| {
            entries.push(entry?);
            Ok(())
        })?;
        let (mut hasher, mut modeless) = (Hasher::new(), Hasher::new());
        for Entry { path, mode, kind } in &entries {
            let line = match kind {
                EntryKind::Directory => format!("directory {}\n", path.display()),
                EntryKind::File(digest) => format!("file {}\0{digest}\n", path.display()),
                EntryKind::Link(target) => format!("link {}\0{target}\n", path.display()),
            };
            hasher.update(format!("{mode:o} ").as_bytes());
            hasher.update(line.as_bytes());
            modeless.update(line.as_bytes());
        }
        Ok(Self {
            source: source.to_path_buf(),
            entries,
            digest: hasher.finish(),
            modeless: modeless.finish(),
        })
    }

    /// Says whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.entries
            .first()
            .is_some_and(|entry| entry.kind == EntryKind::Directory)
    }

    /// Returns the directories in which a change may change the digest.
    pub fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let parent = self.source.parent().map(Path::to_path_buf);
        let inside = self
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::Directory);
        parent
            .into_iter()
            .chain(inside.map(|entry| self.source.join(&entry.path)))
    }
}

/// Something that was come upon.
struct Found {
    path: PathBuf,
    metadata: Metadata,
}

impl Found {
    fn read(&self, source: &Path, digests: &Digests) -> Result<Entry, ContextError> {
        let Self { path, metadata } = self;
        let at = below(source, path);
        let kind = if metadata.is_symlink() {
            let target = fs::read_link(&at).map_err(unreadable(&at))?;
            EntryKind::Link(target.display().to_string())
        } else if metadata.is_dir() {
            EntryKind::Directory
        } else {
            EntryKind::File(digests.content(&at, metadata).map_err(unreadable(&at))?)
        };
        Ok(Entry {
            path: path.clone(),
            mode: metadata.permissions().mode() & 0o7777,
            kind,
        })
    }
}

fn below(source: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        source.to_path_buf()
    } else {
        source.join(path)
    }
}

fn gather(source: &Path, path: &Path, found: &mut Vec<Found>) -> Result<(), ContextError> {
    let at = below(source, path);
    let metadata = if path.as_os_str().is_empty() {
        fs::metadata(&at)
    } else {
        fs::symlink_metadata(&at)
    };
    let metadata = metadata.map_err(unreadable(&at))?;
    let is_directory = metadata.is_dir();
    found.push(Found {
        path: path.to_path_buf(),
        metadata,
    });
    if is_directory {
        let mut names = Vec::new();
        for entry in fs::read_dir(&at).map_err(unreadable(&at))? {
            names.push(entry.map_err(unreadable(&at))?.file_name());
        }
        names.sort();
        for name in names {
            if path.join(&name).to_str().is_none() {
                let cause = io::Error::other("its name is not UTF-8");
                return Err(unreadable(&at.join(&name))(cause));
            }
            gather(source, &path.join(name), found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn whatever_is_read_counts_and_nothing_else() {
        let root = tempfile::tempdir().expect("a directory");
        let tree = root.path().join("tree");
        fs::create_dir_all(tree.join("b/empty")).expect("directories");
        fs::write(tree.join("a"), "one").expect("a file");
        symlink("nowhere", tree.join("b/link")).expect("a link");
        let digest = || Tree::read(&tree, &Digests::default()).expect("a tree").digest;
        let first = Tree::read(&tree, &Digests::default()).expect("a tree");
        let paths: Vec<_> = first
            .entries
            .iter()
            .map(|entry| entry.path.display().to_string())
            .collect();
        assert_eq!(paths, ["", "a", "b", "b/empty", "b/link"]);
        let mut seen = vec![first.digest.clone()];
        let mut differs = |what: &str| {
            let now = digest();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::write(tree.join("a"), "two").expect("a file");
        differs("content");
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o755)).expect("a mode");
        differs("mode");
        fs::remove_file(tree.join("b/link")).expect("a link");
        symlink("elsewhere", tree.join("b/link")).expect("a link");
        differs("link");
        fs::rename(tree.join("b/empty"), tree.join("b/void")).expect("a directory");
        differs("name");
        // The name of the tree itself is nobody's business, nor is when anything was written.
        fs::rename(&tree, root.path().join("other")).expect("a directory");
        let moved = Tree::read(&root.path().join("other"), &Digests::default()).expect("a tree");
        assert_eq!(moved.digest, seen[seen.len() - 1]);
    }

    #[test]
    fn what_is_no_file_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let socket = root.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = Tree::read(root.path(), &Digests::default()).expect_err("a socket");
        assert!(error.to_string().contains("socket"), "{error}");
        assert!(Tree::read(&root.path().join("absent"), &Digests::default()).is_err());
    }
}
