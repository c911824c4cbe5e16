//! [`Given`]: which secrets of this host a person has given to the sessions of a container.
//!
//! A manifest that a sandbox can write is no consent, and secrets of sessions are in no container. So whoever types
//! `aishell apply` gives them, and that is written down on this host, where no sandbox sees it. A container says besides
//! what it was given when it was made. Whoever loses the file has to type `aishell apply` again, and nothing else.
#![expect(
    clippy::disallowed_methods,
    reason = "what a person has consented to is kept here"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use crate::desired::{Container, Desired};
use crate::grant::{Grant, beyond};
use crate::host::Host;
use crate::key::digest;
use crate::label::{GRANTED, Labels, Owner};

/// What a person has given to the sessions of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// Whatever the manifest asks for: the person says so now.
    Everything,
    /// This.
    These(BTreeSet<Grant>),
}

impl Given {
    /// Returns what has been given to a container of a manifest so far; `labels` are those of the container, if it is
    /// ours.
    pub fn so_far(host: &Host, owner: &Owner, container: &str, labels: Option<&Labels>) -> Self {
        let label = labels.and_then(|labels| labels.get(GRANTED));
        let made_with: Option<BTreeSet<Grant>> = label.and_then(|text| serde_json::from_str(text).ok());
        let written = read(host, owner).remove(container);
        let all = made_with.into_iter().chain(written).flatten();
        Self::These(all.collect())
    }

    /// Returns what sessions in a container would get beyond that.
    pub fn lacks<'c>(&self, container: &'c Container) -> Vec<&'c Grant> {
        let Self::These(given) = self else {
            return Vec::new();
        };
        let mut new = beyond(&container.grants, given);
        new.retain(|grant| matches!(grant, Grant::Secret { .. }));
        new
    }
}

/// Writes down that a person gives the sessions of a manifest what it asks for.
///
/// # Errors
/// It cannot be written.
pub fn give(host: &Host, desired: &Desired) -> io::Result<()> {
    let owner = &desired.owner;
    let mut given = BTreeMap::new();
    for (name, container) in &desired.containers {
        let secrets = container.grants.iter();
        let secrets: BTreeSet<&Grant> = secrets
            .filter(|grant| matches!(grant, Grant::Secret { .. }))
            .collect();
        if !secrets.is_empty() {
            given.insert(name, secrets);
        }
    }
    let path = file(host, owner);
    let text = serde_json::to_vec(&given)?;
    let before = fs::read(&path).ok();
    if before.as_ref() == Some(&text) || (before.is_none() && given.is_empty()) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(&path);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&draft)?;
    written.write_all(&text)?;
    fs::rename(&draft, &path)
}

/// Returns what is written down; nothing where nothing can be read.
fn read(host: &Host, owner: &Owner) -> BTreeMap<String, BTreeSet<Grant>> {
    let text = fs::read(file(host, owner)).ok();
    text.and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}

fn file(host: &Host, owner: &Owner) -> PathBuf {
    let of = format!("{}\0{}", owner.project, owner.manifest);
    let digits = &digest(of.as_bytes())[..16];
    host.state().join("given").join(format!("{digits}.json"))
}
