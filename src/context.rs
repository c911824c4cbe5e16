//! Build contexts: which files of a directory belong to one, and what they are made of.
//!
//! This is an edge: the only module besides loading that reads what a person has on disk.
#![expect(
    clippy::disallowed_methods,
    reason = "a context is read here, so that nothing else has to"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::ignore::{Ignore, Verdict};
use crate::call::Trigger;
use crate::dockerfile::{Reads, instructions, reads_with};
use crate::key::{Hasher, canonical as canonical_json};
use crate::manifest::load::{self, LARGEST, Opened};

mod digests;
mod ignore;
mod line;
mod side_by_side;
mod tree;

pub use digests::Digests;
pub use line::{Special, Sum};
use side_by_side::in_order;
pub use tree::{Entry, EntryKind, Tree};

/// A build context, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// The Dockerfile, absolute.
    pub path: PathBuf,
    /// The text of the Dockerfile.
    pub dockerfile: String,
    /// What the images it starts from have the build do.
    pub triggers: Vec<Trigger>,
    /// Files, directories and links, relative to the directory, sorted; what `.dockerignore` excludes is left out.
    pub files: Arc<[PathBuf]>,
    /// The digest over paths, modes, contents and links of whatever the build can see.
    pub digest: String,
    /// What that is made of: a short digest of every file, or where there are too many, of what is at the root.
    pub parts: BTreeMap<String, String>,
}

/// Why a context cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// A file or directory cannot be read or made.
    #[error("{} cannot be used", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A pattern of `.dockerignore` cannot be understood.
    #[error("{}: `{pattern}` is not a pattern", path.display())]
    Pattern {
        /// The file.
        path: PathBuf,
        /// The pattern.
        pattern: String,
    },
    /// A seccomp profile is not one.
    #[error("{} is not a seccomp profile", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
}

impl Context {
    /// Reads a context.
    ///
    /// `own` are files of aishell's (manifests, absolute): they often lie beside a Dockerfile, are no part of what is
    /// built, and an edit of a limit must not build an image.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn read(
        directory: &Path,
        dockerfile: &Path,
        own: &BTreeSet<PathBuf>,
        digests: &Digests,
    ) -> Result<Self, ContextError> {
        Self::read_with(directory, (dockerfile, |_| Vec::new()), own, digests)
    }

    /// Reads a context of which the images may take something, too, that the Dockerfile starts from; of its text
    /// `triggers` says that.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn read_with(
        directory: &Path,
        (dockerfile, triggers): (&Path, impl FnOnce(&str) -> Vec<Trigger>),
        own: &BTreeSet<PathBuf>,
        digests: &Digests,
    ) -> Result<Self, ContextError> {
        let text = read_text(dockerfile)?;
        let triggers = triggers(&text);
        let ignore = ignore(directory, dockerfile)?;
        digests.below(directory);
        let mut files = Vec::new();
        let root = (&ignore, &Verdict::default());
        walk(directory, Path::new(""), root, &mut files)?;
        let own: BTreeSet<&Path> = own
            .iter()
            .filter_map(|file| file.strip_prefix(directory).ok())
            .collect();
        files.retain(|file| !own.contains(file.as_path()));
        let mut hasher = Hasher::new();
        let seen = reads_with(&text, &instructions(&triggers));
        let visible: Vec<&PathBuf> = files.iter().filter(|file| sees(&seen, file)).collect();
        let mut parts = Parts::of(visible.len());
        let read = |file: &&PathBuf| entry(directory, file, digests);
        in_order(&visible, read, |file, entry| {
            let entry = entry?;
            hasher.update(entry.as_bytes());
            parts.add(file, &entry);
            Ok(())
        })?;
        let digest = hasher.finish();
        Ok(Self {
            directory: directory.to_path_buf(),
            path: dockerfile.to_path_buf(),
            dockerfile: text,
            triggers,
            files: files.into(),
            digest,
            parts: parts.finish(),
        })
    }

    /// Returns the directories in which a change may change the digest.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let seen = reads_with(&self.dockerfile, &instructions(&self.triggers));
        let files = self.files.iter().filter(|file| sees(&seen, file));
        let around = files.flat_map(|file| file.ancestors().skip(1));
        let own = self.files.iter().filter(|file| sees(&seen, file));
        around
            .chain(own.map(PathBuf::as_path))
            .map(|path| self.directory.join(path))
            .filter(|path| path.is_dir() && !path.is_symlink())
            .chain([self.directory.clone()])
            .collect()
    }
}

/// How many files are told apart.
const TOLD_APART: usize = 64;

/// The digest of a context in parts.
struct Parts {
    whole: bool,
    parts: BTreeMap<String, Hasher>,
}

impl Parts {
    fn of(count: usize) -> Self {
        Self {
            whole: count <= TOLD_APART,
            parts: BTreeMap::new(),
        }
    }

    fn add(&mut self, file: &Path, entry: &str) {
        let name = if self.whole {
            file.display().to_string()
        } else {
            let first = file.components().next();
            first.map_or_else(String::new, |first| first.as_os_str().display().to_string())
        };
        let part = self.parts.entry(name).or_default();
        part.update(entry.as_bytes());
    }

    fn finish(self) -> BTreeMap<String, String> {
        let parts = self.parts.into_iter();
        let few = parts.take(TOLD_APART);
        few.map(|(name, hasher)| (name, hasher.finish()[..8].to_owned()))
            .collect()
    }
}

/// Says whether a build can see a file.
fn sees(reads: &Reads, file: &Path) -> bool {
    match reads {
        Reads::Everything => true,
        Reads::Below(paths) => paths.iter().any(|path| file.starts_with(path)),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> ContextError {
    let path = path.to_path_buf();
    move |cause| ContextError::Unreadable { path, cause }
}

fn read_text(path: &Path) -> Result<String, ContextError> {
    text(path).map_err(unreadable(path))
}

/// Reads a text file that anybody may have put there.
fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LARGEST) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 1 MiB",
        ));
    }
    Ok(text)
}

/// Opens a regular file, without waiting for what is none.
fn open(path: &Path) -> io::Result<fs::File> {
    match load::open(path)? {
        Opened::File(file) => Ok(file),
        Opened::Directory => Err(io::ErrorKind::IsADirectory.into()),
        Opened::Other => Err(io::Error::other("it is a device, pipe or socket")),
    }
}

/// Gathers the files below a directory, sorted; one that is left out is there all the same where something below it is
/// not.
fn walk(
    root: &Path,
    below: &Path,
    (ignore, above): (&Ignore, &Verdict),
    files: &mut Vec<PathBuf>,
) -> Result<(), ContextError> {
    let directory = root.join(below);
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).map_err(unreadable(&directory))? {
        let entry = entry.map_err(unreadable(&directory))?;
        let kind = entry.file_type().map_err(unreadable(&entry.path()))?;
        found.push((entry.file_name(), kind));
    }
    // Name by name on the way down is the order of the paths.
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (name, kind) in found {
        let path = below.join(name);
        let verdict = ignore.verdict(&path, above);
        if kind.is_dir() {
            // An exception may lie below what is excluded.
            if !verdict.ignored || ignore.has_exceptions() {
                files.push(path.clone());
                let count = files.len();
                walk(root, &path, (ignore, &verdict), files)?;
                if verdict.ignored && files.len() == count {
                    files.pop();
                }
            }
        } else if !verdict.ignored && !kind.is_socket() {
            // A socket is nothing that an archive could have; docker leaves it out as well.
            files.push(path);
        }
    }
    Ok(())
}

/// Returns one line that says everything of a file that a build can see.
fn entry(root: &Path, file: &Path, digests: &Digests) -> Result<String, ContextError> {
    let path = root.join(file);
    let metadata = fs::symlink_metadata(&path).map_err(unreadable(&path))?;
    let mode = metadata.permissions().mode();
    Ok(if metadata.is_symlink() {
        line::link(file, &fs::read_link(&path).map_err(unreadable(&path))?)
    } else if metadata.is_dir() {
        line::directory(file, mode)
    } else if let Some(special) = Special::of(&metadata) {
        line::special(file, mode, special)
    } else {
        let content = digests.content(&path, &metadata).map_err(unreadable(&path))?;
        line::file(file, mode, &content)
    })
}

/// Reads what `.dockerignore` leaves out: the file beside the Dockerfile that is for it alone, else the one of the
/// context.
fn ignore(directory: &Path, dockerfile: &Path) -> Result<Ignore, ContextError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), directory.join(".dockerignore")] {
        match text(&path) {
            Ok(text) => {
                return Ignore::parse(&text).map_err(|pattern| ContextError::Pattern { path, pattern });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path)(error)),
        }
    }
    Ok(Ignore::default())
}

/// Reads a bundle of certificates.
///
/// # Errors
/// The first file that cannot be read.
pub fn certificates(files: &[PathBuf]) -> Result<Vec<u8>, ContextError> {
    let mut bundle = Vec::new();
    for file in files {
        open(file)
            .and_then(|mut file| file.read_to_end(&mut bundle))
            .map_err(unreadable(file))?;
        if !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    Ok(bundle)
}

/// Reads a seccomp profile, and returns it in canonical form: how it is laid out is nobody's difference.
///
/// # Errors
/// It cannot be read, or is no map in JSON.
pub fn profile(path: &Path) -> Result<String, ContextError> {
    let bytes = fs::read(path).map_err(unreadable(path))?;
    let profile: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes).map_err(|cause| ContextError::Profile {
            path: path.to_path_buf(),
            cause,
        })?;
    Ok(canonical_json(&serde_json::Value::from(profile)))
}

/// Returns a path with every link resolved.
///
/// # Errors
/// It does not exist, or a part of it cannot be read.
pub fn canonical(path: &Path) -> Result<PathBuf, ContextError> {
    fs::canonicalize(path).map_err(unreadable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_below_an_excluded_directory_is_kept() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        fs::create_dir_all(root.join("a/b")).expect("directories");
        for file in ["Dockerfile", "a/x", "a/b/keep"] {
            fs::write(root.join(file), file).expect("file");
        }
        fs::write(root.join(".dockerignore"), "a\n!a/b/keep\n").expect("file");
        let context = Context::read(
            root,
            &root.join("Dockerfile"),
            &BTreeSet::new(),
            &Digests::default(),
        )
        .expect("context");
        let names: Vec<_> = context
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        assert_eq!(names, [".dockerignore", "Dockerfile", "a", "a/b", "a/b/keep"]);
    }

    #[test]
    fn files_are_in_the_order_of_their_paths() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        for name in ["a", "a-b", "b", "b.c", "B", "é"] {
            fs::create_dir_all(root.join(name).join("sub.d/sub")).expect("directories");
            for file in ["sub.d/x", "sub.d.x", "sub", "sub-"] {
                fs::write(root.join(name).join(file), file).expect("a file");
            }
        }
        fs::write(root.join("Dockerfile"), "FROM scratch").expect("a file");
        let read = Context::read(
            root,
            &root.join("Dockerfile"),
            &BTreeSet::new(),
            &Digests::default(),
        );
        let files = read.expect("a context").files.to_vec();
        let mut sorted = files.clone();
        sorted.sort();
        assert_eq!(files, sorted);
        assert_eq!(files.len(), 6 * 7 + 1);
    }

    #[test]
    fn the_digest_sees_content_mode_and_links_and_nothing_that_is_ignored() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        let read = || {
            Context::read(
                root,
                &root.join("Dockerfile"),
                &BTreeSet::new(),
                &Digests::default(),
            )
            .expect("context")
            .digest
        };
        fs::write(root.join("Dockerfile"), "FROM scratch\nCOPY . /").expect("file");
        fs::write(root.join(".dockerignore"), "ignored").expect("file");
        fs::write(root.join("file"), "one").expect("file");
        let first = read();
        fs::write(root.join("ignored"), "x").expect("file");
        assert_eq!(read(), first);
        fs::write(root.join("file"), "two").expect("file");
        let second = read();
        assert_ne!(second, first);
        fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o755)).expect("mode");
        let third = read();
        assert_ne!(third, second);
        std::os::unix::fs::symlink("file", root.join("link")).expect("link");
        assert_ne!(read(), third);
    }

    #[test]
    fn devices_and_pipes_are_told_apart_and_sockets_left_out() {
        let digests = Digests::default();
        let line = |name: &str| entry(Path::new("/dev"), Path::new(name), &digests).expect("a line");
        assert!(line("null").ends_with(" characters 1:3\n"), "{}", line("null"));
        assert_ne!(line("null").replace("null", "zero"), line("zero"));

        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        fs::write(root.join("Dockerfile"), "FROM scratch\nCOPY . /").expect("file");
        let read = || {
            let (file, own) = (root.join("Dockerfile"), BTreeSet::new());
            Context::read(root, &file, &own, &Digests::default()).expect("context")
        };
        let first = read();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("a socket");
        assert_eq!(read().digest, first.digest);
        let made = std::process::Command::new("mkfifo")
            .arg(root.join("pipe"))
            .status();
        assert!(made.expect("mkfifo").success());
        let second = read();
        assert_ne!(second.digest, first.digest);
        assert_eq!(second.files.len(), 2);
    }
}
