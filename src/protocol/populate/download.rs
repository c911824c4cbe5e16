//! The files of a job: its script, and what members are downloaded, which is fetched before the job is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{PLACES, Populate, SCRIPT, script};
use crate::call::{Content, File};
use crate::context::EntryKind;
use crate::desired::MemberSource;
use crate::fetch::{Fetched, Order};
use crate::protocol::workplace;
use crate::remote::Source;

impl Populate {
    /// Returns the files of the job: where it installs to, its script, what was downloaded.
    pub(super) fn files(&self) -> Vec<File> {
        // The entries for the mount point and below give the root of the volume its owner, and take back what somebody took.
        let mut places: BTreeSet<&str> = PLACES.into();
        places.extend(self.work.reclaim.iter().map(String::as_str));
        let places = places.into_iter().map(|path| format!("tools/{path}"));
        let mut files: Vec<File> = places
            .map(|path| workplace::directory(path.trim_end_matches('/')))
            .collect();
        let script = script::populate(&self.work, self.image == self.work.image);
        files.extend(workplace::home(
            SCRIPT,
            &script,
            &self.work.env,
            self.work.certificates.as_deref(),
        ));
        files.extend(self.downloaded());
        files
    }

    /// Returns what is downloaded: where the job finds each program, and what to fetch for it.
    pub(super) fn downloads(&self) -> impl Iterator<Item = (String, Order)> + '_ {
        self.work.members.iter().flat_map(|member| {
            let MemberSource::Download { url, sha256 } = &member.source else {
                return Vec::new();
            };
            let order = |bin: &String| {
                let source = Source::Tool {
                    url: url.clone(),
                    sha256: sha256.clone(),
                    bin: bin.clone(),
                };
                let store = Arc::clone(&self.work.store);
                (script::download(member, bin), Order { source, store })
            };
            member.bin.iter().map(order).collect()
        })
    }

    /// Returns what was fetched as files of the job.
    fn downloaded(&self) -> Vec<File> {
        let fetched = self.downloads().zip(&self.fetched);
        let files =
            fetched.flat_map(|((path, _), fetched)| [directory_of(&path), Some(program(&path, fetched))]);
        files.flatten().collect()
    }
}

/// Returns the directory that a file of the job is in.
fn directory_of(path: &str) -> Option<File> {
    let (directory, _) = path.rsplit_once('/')?;
    Some(workplace::directory(directory))
}

/// Returns a program as a file of the job.
fn program(path: &str, fetched: &Fetched) -> File {
    let digest = fetched.tree.entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::File(digest) => Some(digest.clone()),
        EntryKind::Directory | EntryKind::Link(_) => None,
    });
    File {
        content: Content::Host {
            path: fetched.tree.source.clone(),
            digest: digest.unwrap_or_default(),
        },
        path: path.to_owned(),
        ..workplace::directory(path)
    }
}
