//! From a path to a [`Manifest`]: every file it is made of, every problem at once.
#![expect(
    clippy::disallowed_methods,
    reason = "manifest files are read, and the paths they name examined, here"
)]

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use super::Manifest;
use super::node::Node;
use super::place::{Place, Problem, Texts};
use super::typed::typed;
use crate::host::Host;
use crate::name::ManifestName;

/// The largest manifest that is read.
pub const LARGEST: u64 = 1024 * 1024;

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
    tree: Node,
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

    /// Returns the name the manifest has when it does not name itself.
    pub fn default_name(&self) -> ManifestName {
        ManifestName::of_directory(&self.project)
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
        super::locate::locate(&self.tree, path).map(super::place::Mark::place)
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
    /// A file is larger than a manifest may be.
    #[error("{} is larger than 1 MiB, the most a manifest may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
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
    let text = read(&path)?;
    parse(&text, &path, host)
}

/// Makes a manifest of text, as if it had been read from `file`; `-` is standard input.
///
/// # Errors
/// Everything that is wrong with it, in one go.
pub fn parse(text: &str, file: &Path, host: &Host) -> Result<Loaded, LoadError> {
    let mut texts = Texts::default();
    texts.insert(file.to_path_buf(), text.to_owned());
    let name: Arc<Path> = Arc::from(file);
    let invalid = |problems, texts| LoadError::Invalid { problems, texts };
    let tree = match Node::parse(text, &name) {
        Ok(tree) => tree,
        Err(problem) => return Err(invalid(vec![problem], texts)),
    };
    let manifest: Manifest = match typed(tree.clone()) {
        Ok(manifest) => manifest,
        Err(problems) => return Err(invalid(problems, texts)),
    };
    let directory = match file.parent() {
        Some(parent) if file != Path::new(STANDARD_INPUT) => parent.to_path_buf(),
        _ => host.directory.clone(),
    };
    let project = manifest.project.clone().unwrap_or_else(|| directory.clone());
    let files = BTreeSet::from([file.to_path_buf()]);
    let source = Source {
        path: file.to_path_buf(),
        directory,
        project,
        tree,
        texts,
        files,
    };
    Ok(Loaded { manifest, source })
}

fn read(path: &Path) -> Result<String, LoadError> {
    let unreadable = |cause| LoadError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a directory"
        } else {
            "a device or pipe"
        };
        return Err(LoadError::NotAFile {
            path: path.to_path_buf(),
            kind,
        });
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(LoadError::TooLarge {
            path: path.to_path_buf(),
        });
    }
    String::from_utf8(bytes).map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Finds the manifest of the working directory: there, or upwards to the repository root.
///
/// # Errors
/// When no directory has one, or one directory has more than one.
pub fn find(host: &Host) -> Result<PathBuf, LoadError> {
    let start = &host.directory;
    for directory in super::find::directories(start, std::path::Path::exists) {
        let mut candidates =
            super::find::candidates(directory, std::path::Path::is_file, |path| read(path).ok());
        match candidates.len() {
            0 => {}
            1 => return Ok(candidates.remove(0)),
            _ => {
                return Err(LoadError::Ambiguous {
                    directory: directory.to_path_buf(),
                    candidates,
                });
            }
        }
    }
    Err(LoadError::NotFound {
        directory: start.clone(),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
