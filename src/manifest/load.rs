//! From a path to a [`Manifest`]: every file it is made of, every problem at once.
#![expect(
    clippy::disallowed_methods,
    reason = "manifest files are read, and the paths they name examined, here"
)]

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use super::check::{self, Fault};
use super::gather::Gathering;
use super::locate::Written;
use super::member::member;
use super::place::{Mark, Place, Problem, Texts};
use super::typed::{Typed, typed};
use super::verify::{Named, NamedKind, Verify};
use super::{Certificates, Manifest, available, find, merge};
use crate::host::Host;
use crate::name::ManifestName;

/// The largest manifest that is read, in bytes.
pub const LARGEST: u64 = 1024 * 1024;

/// The most problems that are told in one go.
const MOST_PROBLEMS: usize = 100;

/// The name that standard input has in places.
pub const STANDARD_INPUT: &str = "-";

/// A manifest with where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was written.
    pub manifest: Manifest,
    /// Where.
    pub source: Source,
}

/// Where a manifest came from.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    directory: PathBuf,
    project: PathBuf,
    default_project: PathBuf,
    written: Written,
    texts: Texts,
    files: BTreeSet<PathBuf>,
}

impl Source {
    /// Returns the manifest's file, absolute; `-` for standard input.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of the manifest's file; the working directory for standard input.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the project directory, absolute: as written, else the repository root, else where the manifest is.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// Returns the directory that is the project unless the manifest says otherwise.
    pub fn default_project(&self) -> &Path {
        &self.default_project
    }

    /// Returns the name the manifest has when it does not name itself.
    pub fn default_name(&self) -> ManifestName {
        ManifestName::of_directory(&self.project)
    }

    /// Takes in the text of a file that a problem is in.
    pub fn remember(&mut self, file: &Path, text: &str) {
        self.texts.insert(file.to_path_buf(), text.to_owned());
    }

    /// Returns the text of every manifest file that was read.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Returns every file whose content the manifest depends on: manifests, Dockerfiles, certificates.
    pub fn files(&self) -> &BTreeSet<PathBuf> {
        &self.files
    }

    /// Returns where a value is written, or the nearest thing around it that is.
    ///
    /// The path is that of the fields, as in `containers.reviewer.resources.memory`; mounts are found by target,
    /// ports by the port of the host, variables by name.
    pub fn place(&self, path: &str) -> Option<Place> {
        self.written.locate(path).map(Mark::place)
    }

    /// Returns the line a place is on.
    pub fn line(&self, place: &Place) -> Option<&str> {
        self.texts.line(place)
    }
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No directory has a manifest.
    #[error("no manifest found in {} or above it", directory.display())]
    NotFound {
        /// Where the search began.
        directory: PathBuf,
    },
    /// A directory has more than one.
    #[error("{} has more than one manifest: {}", directory.display(), names(candidates))]
    Ambiguous {
        /// The directory.
        directory: PathBuf,
        /// The manifests, absolute.
        candidates: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A path is no regular file.
    #[error("{} is {kind}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// What is written is wrong.
    #[error("the manifest has {}", count(problems))]
    Invalid {
        /// Everything that is wrong, by place.
        problems: Vec<Problem>,
        /// The text of every file that was read.
        texts: Texts,
    },
}

fn names(paths: &[PathBuf]) -> impl fmt::Display {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn count(problems: &[Problem]) -> String {
    if problems.len() == 1 {
        "one problem".to_owned()
    } else {
        format!("{} problems", problems.len())
    }
}

/// Reads the manifest in a file.
///
/// # Errors
/// Everything that is wrong with it, in one go.
pub fn load(path: &Path, host: &Host) -> Result<Loaded, LoadError> {
    let path = host.directory.join(path);
    let bytes = read(&path)?;
    load_bytes(bytes, &path, host)
}

/// Makes a manifest of text, as if it had been read from `file`; `-` is standard input.
///
/// # Errors
/// Everything that is wrong with it, in one go.
pub fn parse(text: &str, file: &Path, host: &Host) -> Result<Loaded, LoadError> {
    load_bytes(text.as_bytes().to_vec(), file, host)
}

fn load_bytes(bytes: Vec<u8>, file: &Path, host: &Host) -> Result<Loaded, LoadError> {
    let mut gathering = Gathering::new(host);
    let standard_input = file == Path::new(STANDARD_INPUT);
    let directory = match file.parent() {
        Some(parent) if !standard_input => host.directory.join(parent),
        Some(_) | None => host.directory.clone(),
    };
    let tree = gathering.root(bytes, file, &directory);
    let Gathering {
        host: _,
        texts,
        mut faults,
        seen: _,
        chain: _,
    } = gathering;
    let Some(mut tree) = tree else {
        return Err(invalid(faults, texts));
    };
    faults.extend(check::complete(&tree));
    merge::apply_defaults(&mut tree, &host.home);
    tree.strip_nulls();
    let Typed {
        value: manifest,
        tree: sound,
        faults: wrong,
    } = typed::<Manifest>(tree.clone(), &faults);
    faults.extend(wrong);
    let mut named = Vec::new();
    if let Some(manifest) = &manifest {
        let verify = Verify {
            manifest,
            sound: &sound,
            written: &tree,
        };
        faults.extend(verify.faults());
        named = verify.named();
        // Where a harness keeps its configuration is made when it is needed.
        let members = manifest.harnesses.iter();
        let members = members.filter_map(|(name, harness)| member(name, harness, host));
        let made: Vec<PathBuf> = members.flat_map(|member| member.config).collect();
        named.retain(|named| named.kind != NamedKind::MountSource || !made.contains(&named.path));
        faults.extend(named.iter().filter_map(|named| absent(named, &verify)));
        if manifest.certificates == Certificates::Host && host.certificate_bundle().is_none() {
            let mark = verify.mark("certificates");
            faults.push(Fault::at(
                mark,
                "this host has no bundle of certificates that could be found",
            ));
        }
    }
    faults.extend(available::refused(&sound));
    let manifest = match manifest {
        Some(manifest) if faults.is_empty() => manifest,
        Some(_) | None => return Err(invalid(faults, texts)),
    };
    let default_project = default_project(&straight(&directory));
    let project = manifest
        .project
        .clone()
        .unwrap_or_else(|| default_project.clone());
    let mut files: BTreeSet<_> = texts.iter().map(|(file, _)| file.to_path_buf()).collect();
    let content = |named: &Named| {
        matches!(
            named.kind,
            NamedKind::Dockerfile | NamedKind::Certificate | NamedKind::Seccomp
        )
    };
    files.extend(named.into_iter().filter(content).map(|named| named.path));
    files.remove(Path::new(STANDARD_INPUT));
    let source = Source {
        path: file.to_path_buf(),
        directory,
        project,
        default_project,
        written: Written::of(tree),
        texts,
        files,
    };
    Ok(Loaded { manifest, source })
}

/// Makes the error of everything that is wrong, by place, each thing once.
fn invalid(faults: Vec<Fault>, texts: Texts) -> LoadError {
    let mut problems: Vec<_> = faults.into_iter().map(|fault| fault.problem).collect();
    problems.sort();
    problems.dedup();
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        problems.truncate(MOST_PROBLEMS);
        problems.push(Problem::new(format!("and {more} more problems")));
    }
    LoadError::Invalid { problems, texts }
}

/// Returns the project of a manifest in a directory that does not say: the root of its repository, else where it is,
/// else around that where it is in a directory of its own.
/// Returns a directory without steps up, so that only what it lies in is around it.
fn straight(directory: &Path) -> PathBuf {
    let up = |part| part == std::path::Component::ParentDir;
    if directory.components().any(up) {
        fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf())
    } else {
        directory.to_path_buf()
    }
}

fn default_project(directory: &Path) -> PathBuf {
    if let Some(root) = find::repository(directory, Path::exists) {
        return root.to_path_buf();
    }
    let own = directory
        .file_name()
        .is_some_and(|name| name == ".aishell" || name == ".sandbox");
    match directory.parent() {
        Some(parent) if own => parent.to_path_buf(),
        Some(_) | None => directory.to_path_buf(),
    }
}

/// Says what is wrong when something a manifest names is not there, or is not what it has to be.
fn absent(named: &Named, verify: &Verify<'_>) -> Option<Fault> {
    let Named { path, kind, field } = named;
    let found = fs::metadata(path);
    let (what, fitting) = match (kind, &found) {
        (NamedKind::MountSource, found) => ("the source of the mount", found.is_ok()),
        (NamedKind::Dockerfile, Ok(found)) => ("the Dockerfile", found.is_file()),
        (NamedKind::Dockerfile, Err(_)) => ("the Dockerfile", false),
        (NamedKind::Context, Ok(found)) => ("the build context", found.is_dir()),
        (NamedKind::Context, Err(_)) => ("the build context", false),
        (NamedKind::Certificate, Ok(found)) => ("the certificate file", found.is_file()),
        (NamedKind::Certificate, Err(_)) => ("the certificate file", false),
        (NamedKind::Seccomp, Ok(found)) => ("the seccomp profile", found.is_file()),
        (NamedKind::Seccomp, Err(_)) => ("the seccomp profile", false),
        (NamedKind::Project, Ok(found)) => ("the project", found.is_dir()),
        (NamedKind::Project, Err(_)) => ("the project", false),
    };
    if fitting {
        return None;
    }
    let wanted = match kind {
        NamedKind::MountSource => "there",
        NamedKind::Dockerfile | NamedKind::Certificate | NamedKind::Seccomp => "a file",
        NamedKind::Context | NamedKind::Project => "a directory",
    };
    let path = path.display();
    let message = match found {
        Ok(_) => format!("{what} `{path}` is not {wanted}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!("{what} `{path}` does not exist"),
        Err(error) => format!("{what} `{path}` cannot be examined: {error}"),
    };
    let fault = Fault::at(verify.mark(field), message);
    Some(match kind {
        NamedKind::MountSource => fault.hint("`{ source: …, create: directory }` makes it"),
        NamedKind::Dockerfile
        | NamedKind::Context
        | NamedKind::Certificate
        | NamedKind::Seccomp
        | NamedKind::Project => fault,
    })
}

/// Reads a file of a manifest, and one byte more than it may have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |cause| LoadError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let not_a_file = |kind| LoadError::NotAFile {
        path: path.to_path_buf(),
        kind,
    };
    let file = match open(path).map_err(unreadable)? {
        Opened::File(file) => file,
        Opened::Directory => return Err(not_a_file("a directory")),
        Opened::Other => return Err(not_a_file("a device, pipe or socket")),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// What was found where a file was expected.
pub(crate) enum Opened {
    /// A regular file, to be read.
    File(fs::File),
    /// A directory.
    Directory,
    /// Something that may never come to an end.
    Other,
}

/// Opens a file that anybody may have put there: whatever it is by now, this does not wait.
pub(crate) fn open(path: &Path) -> io::Result<Opened> {
    let kind = |metadata: &fs::Metadata| metadata.is_dir().then_some(Opened::Directory);
    // Opening some devices does something, so that they are not opened where that can be helped.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(kind(&metadata).unwrap_or(Opened::Other));
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        return Ok(Opened::File(file));
    }
    Ok(kind(&metadata).unwrap_or(Opened::Other))
}

/// Returns every path at which [`find`] looks for a manifest.
pub fn places(host: &Host) -> Vec<PathBuf> {
    let directories = find::directories(&host.directory, Path::exists);
    directories.into_iter().flat_map(find::places).collect()
}

/// Finds the manifest of the working directory: there, or upwards to the repository root.
///
/// # Errors
/// When no directory has one, or there are several, in one directory or on the way.
pub fn find(host: &Host) -> Result<PathBuf, LoadError> {
    let start = &host.directory;
    let mut candidates: Vec<PathBuf> = find::directories(start, Path::exists)
        .into_iter()
        .flat_map(manifests_in)
        .collect();
    match candidates.len() {
        0 => Err(LoadError::NotFound {
            directory: start.clone(),
        }),
        1 => Ok(candidates.remove(0)),
        _ => {
            let common = candidates
                .iter()
                .skip(1)
                .fold(candidates[0].as_path(), |common, path| {
                    let holds = |directory: &&Path| path.starts_with(directory);
                    common.ancestors().find(holds).unwrap_or(common)
                });
            Err(LoadError::Ambiguous {
                directory: common.to_path_buf(),
                candidates,
            })
        }
    }
}

/// Returns the manifests in a directory.
pub fn manifests_in(directory: &Path) -> Vec<PathBuf> {
    let text = |path: &Path| {
        let bytes = read(path).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    find::candidates(directory, is_there, text)
}

/// Says whether there is anything at a path, be it what cannot be read, or a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
