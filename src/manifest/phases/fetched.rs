//! What phases fetch: repositories and tools, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::form::Scalar;
use crate::remote::{Commit, DownloadUrl, RefName, RepositoryReference, RepositoryUrl, Sha256, Wanted};

/// A git repository, at most one of `branch`, `tag`, `commit`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseRepo {
    /// Where it is fetched from, by git on the host: `https://`, `ssh://`, `git://`, `http://` or `user@host:path`,
    /// without a password.
    pub url: RepositoryUrl,
    /// Its path in the image.
    pub path: String,
    /// The branch; default: the one the remote names. Its commit goes to `aishell.lock`.
    pub branch: Option<RefName>,
    /// A tag instead of a branch. Its commit goes to `aishell.lock`.
    pub tag: Option<RefName>,
    /// A commit instead of a branch, all 40 digits.
    pub commit: Option<Commit>,
    /// How many commits of history; default: all.
    #[schemars(range(min = 1))]
    pub depth: Option<u32>,
    /// Whose it is; default: root.
    pub owner: Option<String>,
}

impl PhaseRepo {
    /// Returns what has to be asked of the repository; nothing, if the commit is written.
    pub fn reference(&self) -> Option<RepositoryReference> {
        if self.commit.is_some() {
            return None;
        }
        let wanted = match (&self.tag, &self.branch) {
            (Some(tag), _) => Wanted::Tag(tag.clone()),
            (None, Some(branch)) => Wanted::Branch(branch.clone()),
            (None, None) => Wanted::Default,
        };
        Some(RepositoryReference {
            url: self.url.clone(),
            wanted,
        })
    }
}

/// A tool that is downloaded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseTool {
    /// Its name, which is that of the command: `/usr/local/bin/NAME`.
    pub name: String,
    /// Where it is downloaded from; `{version}` stands for the version.
    pub url: String,
    /// Its version.
    #[schemars(with = "Option<Scalar>")]
    pub version: Option<String>,
    /// The SHA-256 of the download, 64 hexadecimal digits; default: what the first download has, which goes to
    /// `aishell.lock`.
    pub sha256: Option<Sha256>,
    /// The file in the archive that becomes the command; default: its name.
    pub bin: Option<String>,
}

impl PhaseTool {
    /// Returns the address with the version in it.
    ///
    /// # Errors
    /// It is none, or lacks the version.
    pub fn download(&self) -> Result<DownloadUrl, String> {
        match &self.version {
            Some(version) => self.url.replace("{version}", version).parse(),
            None if self.url.contains("{version}") => {
                Err("`{version}` stands for `version`, which is missing".to_owned())
            }
            None => self.url.parse(),
        }
    }
}
