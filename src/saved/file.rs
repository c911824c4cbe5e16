//! The file of a saved plan: read whoever put it there, and replaced as a whole.
#![expect(
    clippy::disallowed_methods,
    reason = "the file that a person names for a plan is read and written here"
)]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Saved, SavedError};
use crate::manifest::load::{Opened, STANDARD_INPUT, open};

/// The largest saved plan that is read, in bytes: enough for a hundred thousand steps.
pub const LARGEST: u64 = 128 * 1024 * 1024;

/// Why there is no saved plan, or nowhere to save one.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the plan {} cannot be read", shown(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It is no file.
    #[error("the plan {} is {kind}, not a file", shown(path))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// What is in it cannot be carried out.
    #[error("the plan {} cannot be carried out", shown(path))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: SavedError,
    },
    /// There is something else in its place.
    #[error("{} is there and is no saved plan; it was left alone", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("the plan cannot be saved to {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

fn shown(path: &Path) -> String {
    if path == Path::new(STANDARD_INPUT) {
        "from standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a saved plan; `-` is standard input.
///
/// # Errors
/// It cannot be read, or is no plan that can be carried out.
pub fn read(path: &Path) -> Result<Saved, FileError> {
    let unreadable = |cause| FileError::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    let not_a_file = |kind| FileError::NotAFile {
        path: path.to_path_buf(),
        kind,
    };
    let bytes = if path == Path::new(STANDARD_INPUT) {
        bounded(io::stdin()).map_err(unreadable)?
    } else {
        match open(path).map_err(unreadable)? {
            Opened::File(file) => bounded(file).map_err(unreadable)?,
            Opened::Directory => return Err(not_a_file("a directory")),
            Opened::Other => return Err(not_a_file("a device, pipe or socket")),
        }
    };
    Saved::parse(&bytes).map_err(|cause| FileError::Unusable {
        path: path.to_path_buf(),
        cause,
    })
}

fn bounded(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is larger than 128 MiB",
        ));
    }
    Ok(bytes)
}

/// Writes a plan to a file that only its owner can read. Nothing but an older plan, or an empty file, gives way.
///
/// # Guarantees
/// The file is replaced as a whole or not at all.
///
/// # Errors
/// Something else is in its place, or it cannot be written.
pub fn write(path: &Path, saved: &Saved) -> Result<(), FileError> {
    let unwritable = |cause| FileError::Unwritable {
        path: path.to_path_buf(),
        cause,
    };
    let taken = || FileError::Taken {
        path: path.to_path_buf(),
    };
    match open(path) {
        Ok(Opened::File(file)) => {
            let bytes = bounded(file).map_err(unwritable)?;
            // Of whatever version, and edited or not: it can be made again.
            let is_plan = match Saved::parse(&bytes) {
                Ok(_) | Err(SavedError::Version { .. } | SavedError::Edited) => true,
                Err(SavedError::Json(_) | SavedError::Other { .. }) => bytes.is_empty(),
            };
            if !is_plan {
                return Err(taken());
            }
        }
        Ok(Opened::Directory | Opened::Other) => return Err(taken()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(error)),
    }
    replace(path, saved.render().as_bytes()).map_err(unwritable)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let temporary = directory.join(format!(".aishell.plan.{:016x}", u64::from_ne_bytes(random)));
    let written = (|| {
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    })();
    if written.is_err() {
        // What could not take its place is nobody's.
        let _ = fs::remove_file(&temporary);
    }
    written
}
