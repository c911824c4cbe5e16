//! [`Stock`]: everything of aishell's on an engine, whoever's, and everybody who uses it.

use std::collections::{BTreeMap, BTreeSet};

use crate::call::{ListedContainer, Usage, VolumeReply};
use crate::label::{Mark, OwnedId};
use crate::observed::{EngineInfo, Image, Receipt, Volume};

/// Everything of aishell's on an engine, as listings show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// The engine itself.
    pub engine: EngineInfo,
    /// Every container there is, whoever's: any may use something of ours.
    pub users: Vec<ListedContainer>,
    /// Images with our labels, by id.
    pub images: BTreeMap<String, Image>,
    /// Harness volumes, by name.
    pub harnesses: BTreeMap<String, Volume>,
    /// Receipt containers, by name.
    pub receipts: BTreeMap<String, Receipt>,
    /// Jobs, by name.
    pub jobs: BTreeMap<String, StockedJob>,
    /// Containers that were to claim something and do not run, by name.
    pub idle_claims: BTreeMap<String, StockedJob>,
    /// Volumes that claim something.
    pub claims: Vec<VolumeReply>,
    /// Whoever owns something, with where that came from.
    pub owners: BTreeMap<Identity, Origin>,
    /// How much room it takes.
    pub usage: Usage,
}

/// A job, as the listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockedJob {
    /// The engine's id, with the proof that it is ours.
    pub id: OwnedId,
    /// Its labels, read.
    pub mark: Mark,
    /// Whether it is at work.
    pub running: bool,
    /// When it was created.
    pub created: Option<jiff::Timestamp>,
}

/// What tells one owner from another: the project and the name of a manifest in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The canonical absolute path of the project.
    pub project: String,
    /// The name of the manifest.
    pub manifest: String,
}

/// Where what an owner has was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The hosts; nothing stands for one that is not known.
    pub hosts: BTreeSet<Option<String>>,
    /// The manifest files.
    pub files: BTreeSet<Option<String>>,
}

impl Origin {
    /// Returns the manifest files, if all of it was made on this host from files that are known.
    pub fn files_on(&self, host: &str) -> Option<Vec<&str>> {
        let here = self.hosts.iter().all(|one| one.as_deref() == Some(host));
        let files: Option<Vec<&str>> = self.files.iter().map(Option::as_deref).collect();
        files.filter(|files| here && !files.is_empty() && files.iter().all(|file| file.starts_with('/')))
    }
}

impl Stock {
    /// Notes whose an owned object is.
    pub fn owned(&mut self, mark: &Mark) {
        let Some(project) = mark.project.clone() else {
            return;
        };
        let identity = Identity {
            project,
            manifest: mark.manifest.clone(),
        };
        let origin = self.owners.entry(identity).or_default();
        origin.hosts.insert(mark.host.clone());
        origin.files.insert(mark.file.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(hosts: &[Option<&str>], files: &[Option<&str>]) -> Origin {
        let owned = |all: &[Option<&str>]| all.iter().map(|one| one.map(str::to_owned)).collect();
        Origin {
            hosts: owned(hosts),
            files: owned(files),
        }
    }

    #[test]
    fn only_files_of_this_host_can_be_looked_for() {
        let files = |origin: Origin| origin.files_on("h").map(|files| files.len());
        assert_eq!(files(origin(&[Some("h")], &[Some("/a"), Some("/b")])), Some(2));
        assert_eq!(files(origin(&[Some("h"), Some("i")], &[Some("/a")])), None);
        assert_eq!(files(origin(&[None], &[Some("/a")])), None);
        assert_eq!(files(origin(&[Some("h")], &[None])), None);
        assert_eq!(files(origin(&[Some("h")], &[Some("-")])), None, "standard input");
        assert_eq!(files(origin(&[], &[])), None);
    }
}
