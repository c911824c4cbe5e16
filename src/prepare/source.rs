//! What mounts show of this host, made where it is missing.
#![expect(
    clippy::disallowed_methods,
    reason = "what mounts show is made here, where the manifest or the catalogue says so"
)]

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

/// The mode of directories that hold logins.
const PRIVATE: u32 = 0o700;

/// Why something cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be made", path.display())]
pub struct SourceError {
    /// The path.
    path: PathBuf,
    /// Why.
    #[source]
    cause: io::Error,
}

/// Who is to own what is made.
#[derive(Clone, Copy, Debug)]
pub struct Maker {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Maker {
    /// Makes a directory, and those it is in, that whoever runs aishell alone can enter.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn ours(path: &Path) -> Result<(), SourceError> {
        let made = fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
        made.map_err(|cause| failed(path, cause))
    }

    /// Makes a directory with whatever parents it lacks; one that exists is left as it is. A private one can be read by
    /// its owner alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(self, path: &Path, private: bool) -> Result<(), SourceError> {
        let missing: Vec<&Path> = path
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .collect();
        for directory in missing.into_iter().rev() {
            let mode = if private && directory == path {
                PRIVATE
            } else {
                0o755
            };
            let made = fs::DirBuilder::new().mode(mode).create(directory);
            match made {
                Ok(()) => self.own(directory),
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(failed(directory, cause)),
            }
        }
        Ok(())
    }

    /// Makes a file that its owner alone can read, unless there is something already.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(self, path: &Path, text: &str) -> Result<(), SourceError> {
        if let Some(parent) = path.parent() {
            self.directory(parent, false)?;
        }
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Ok(mut file) => {
                self.own(path);
                file.write_all(text.as_bytes())
                    .map_err(|cause| failed(path, cause))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(cause) => Err(failed(path, cause)),
        }
    }

    /// Only who may give files away can; for everybody else the maker is the owner.
    fn own(self, path: &Path) {
        let _ = chown(path, Some(self.uid), Some(self.gid));
    }
}

/// Writes to a file that is empty; anything else is left as it is, links too.
///
/// # Errors
/// It cannot be written.
pub fn fill(path: &Path, text: &str) -> Result<(), SourceError> {
    let is_empty = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0);
    if !is_empty || text.is_empty() {
        return Ok(());
    }
    let opened = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let mut file = opened.map_err(|cause| failed(path, cause))?;
    let still = file
        .metadata()
        .is_ok_and(|found| found.is_file() && found.len() == 0);
    if still {
        file.write_all(text.as_bytes())
            .map_err(|cause| failed(path, cause))?;
    }
    Ok(())
}

fn failed(path: &Path, cause: io::Error) -> SourceError {
    SourceError {
        path: path.to_path_buf(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_missing_is_made_for_its_owner_alone_and_what_is_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let owner = root.path().metadata().unwrap();
        let maker = Maker {
            uid: owner.uid(),
            gid: owner.gid(),
        };
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let (directory, file) = (root.path().join("a/.tool"), root.path().join("b/.tool.json"));
        for _ in 0..2 {
            maker.directory(&directory, true).unwrap();
            maker.file(&file, "{}\n").unwrap();
        }
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read_to_string(&file).unwrap(), "{}\n");
        fs::write(&file, "mine").unwrap();
        maker.file(&file, "{}\n").unwrap();
        fill(&file, "{}\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert!(maker.directory(&file.join("below"), true).is_err());
    }

    #[test]
    fn only_an_empty_file_is_filled() {
        let root = tempfile::tempdir().unwrap();
        let (file, link) = (root.path().join("empty"), root.path().join("link"));
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        fill(&link, "{}\n").unwrap();
        fill(&root.path().join("absent"), "{}\n").unwrap();
        fill(root.path(), "{}\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
        fill(&file, "{}\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "{}\n");
        assert!(!root.path().join("absent").exists());
    }
}
