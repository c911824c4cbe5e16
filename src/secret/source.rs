//! [`Source`]: where a secret comes from, and how it is read there.
#![expect(
    clippy::disallowed_methods,
    reason = "secrets are read from the host here, and nowhere else"
)]

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Secret, SecretError};
use crate::host::Host;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This host's environment.
    Variable {
        /// The variable.
        name: String,
        /// Whether it may be missing.
        optional: bool,
    },
    /// A file.
    File {
        /// Its path as the manifest has it, absolute.
        path: PathBuf,
        /// Where it has to lead, links resolved, if sandboxes could make it lead elsewhere.
        leads: Option<PathBuf>,
    },
    /// What a command on this host prints.
    Command {
        /// Its words.
        words: Vec<String>,
    },
}

/// Why a secret cannot be had. Nothing of what it holds is told.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// The variable is not set.
    #[error("${0} is not set here")]
    Variable(String),
    /// The file cannot be read.
    #[error("{} cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is something else than a file.
    #[error("{} is {kind}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        kind: &'static str,
    },
    /// The file is not the one that was there a moment ago.
    #[error("{} leads to {} by now", path.display(), now.display())]
    Elsewhere {
        /// The path.
        path: PathBuf,
        /// Where it leads.
        now: PathBuf,
    },
    /// No variable can hold it.
    #[error("{from}: {cause}")]
    Unusable {
        /// Where it comes from.
        from: String,
        /// Why.
        cause: SecretError,
    },
    /// The command cannot be run.
    #[error("`{command}` cannot be run: {cause}")]
    NotRun {
        /// The command.
        command: String,
        /// Why.
        cause: io::Error,
    },
    /// The command failed.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command.
        command: String,
        /// How.
        status: String,
    },
    /// The command did not end.
    #[error("`{command}` took more than {seconds} s")]
    Slow {
        /// The command.
        command: String,
        /// How long it could take.
        seconds: u64,
    },
}

impl Source {
    /// Returns where it comes from, in a person's words.
    pub fn display(&self) -> String {
        match self {
            Self::Variable { name, .. } => format!("${name}"),
            Self::File { path, leads } => leads.as_ref().unwrap_or(path).display().to_string(),
            Self::Command { words } => format!("`{}`", words.join(" ")),
        }
    }

    /// Reads the secret; nothing if it is missing and may be. `None` for a command: somebody has to run it.
    ///
    /// # Errors
    /// It is missing, or no variable could have this value.
    pub fn read(&self, variable: &str, host: &Host) -> Option<Result<Option<Secret>, Missing>> {
        let read = match self {
            Self::Variable { name, optional } => match host.variable(name) {
                Some(text) => {
                    let secret = Secret::of_text(variable, text.to_owned());
                    secret.map(Some).map_err(|cause| self.unusable(cause))
                }
                None if *optional => Ok(None),
                None => Err(Missing::Variable(name.clone())),
            },
            Self::File { path, leads } => {
                let bytes = file(path, leads.as_deref());
                bytes.and_then(|bytes| self.made(variable, bytes)).map(Some)
            }
            Self::Command { .. } => return None,
        };
        Some(read)
    }

    /// Makes a secret of what was read or printed.
    ///
    /// # Errors
    /// No variable could have this value.
    pub fn made(&self, variable: &str, bytes: Vec<u8>) -> Result<Secret, Missing> {
        Secret::of_output(variable, bytes).map_err(|cause| self.unusable(cause))
    }

    fn unusable(&self, cause: SecretError) -> Missing {
        Missing::Unusable {
            from: self.display(),
            cause,
        }
    }
}

/// Reads a file that is one, and that is where it has to be.
fn file(path: &Path, leads: Option<&Path>) -> Result<Vec<u8>, Missing> {
    let unreadable = |cause| Missing::Unreadable {
        path: path.to_path_buf(),
        cause,
    };
    // Opening a pipe would wait for somebody to write to it.
    let mut file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        let kind = if found.is_dir() {
            "a directory"
        } else {
            "no regular file"
        };
        return Err(Missing::NotAFile {
            path: path.to_path_buf(),
            kind,
        });
    }
    if let Some(leads) = leads {
        // What was opened counts: names may lead elsewhere from one moment to the next.
        let opened = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let now = opened.or_else(|_| fs::canonicalize(path)).map_err(unreadable)?;
        if now != leads {
            return Err(Missing::Elsewhere {
                path: path.to_path_buf(),
                now,
            });
        }
    }
    let mut bytes = Vec::new();
    (&mut file)
        .take(Secret::READ)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}
