//! Looking for secrets in what a container has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use bollard::query_parameters::DownloadFromContainerOptions;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::DockerEngine;
use super::archive::Pieces;
use super::error::Failure;
use crate::call::Leak;
use crate::engine::EngineError;
use crate::secret::Secret;
use crate::secret::search::Needles;

/// How many pieces of an archive may wait to be looked through.
const WAITING: usize = 8;

impl DockerEngine {
    /// Looks through what there is at a path and below, as it comes.
    pub(super) async fn search_files(
        &self,
        container: &str,
        path: &str,
        (only, secrets): (&BTreeSet<String>, &BTreeMap<String, Secret>),
    ) -> Result<Option<Leak>, Failure> {
        let secrets = secrets.iter().map(|(name, secret)| (name.as_str(), secret));
        let Some(needles) = Needles::of(secrets) else {
            return Ok(None);
        };
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let mut chunks = self.client.download_from_container(container, Some(options));
        let (sender, receiver) = mpsc::channel(WAITING);
        let parent = Path::new(path).parent().unwrap_or(Path::new("/"));
        let (parent, only) = (parent.to_path_buf(), only.clone());
        let looking =
            tokio::task::spawn_blocking(move || look(Pieces::of(receiver), &parent, &only, &needles));
        while let Some(chunk) = chunks.next().await {
            // Whoever has found something reads no further.
            if sender.send(chunk?).await.is_err() {
                break;
            }
        }
        drop(sender);
        let found = looking.await.map_err(|error| error.to_string());
        let found = found.and_then(|found| found.map_err(|error| error.to_string()));
        Ok(found.map_err(|error| EngineError::Unexpected {
            call: format!("SearchFiles: {error}"),
        })?)
    }
}

/// Looks through the entries of an archive of what lies below a directory.
fn look(
    archive: impl Read,
    parent: &Path,
    only: &BTreeSet<String>,
    needles: &Needles,
) -> io::Result<Option<Leak>> {
    let mut archive = tar::Archive::new(archive);
    let mut piece = vec![0; 64 << 10];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = parent.join(entry.path()?);
        let path = path.to_string_lossy().trim_end_matches('/').to_owned();
        if !only.contains(&path) {
            continue;
        }
        let leak = |hit| Leak {
            path: path.clone(),
            hit,
        };
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        if let Some(hit) = needles.find(&link) {
            return Ok(Some(leak(hit)));
        }
        let mut search = needles.search();
        loop {
            let length = entry.read(&mut piece)?;
            if length == 0 {
                break;
            }
            if let Some(hit) = search.push(&piece[..length]) {
                return Ok(Some(leak(hit)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_looked_at() {
        let secret = Secret::of_text("TOKEN", "hunter2-hunter2".to_owned()).expect("a secret");
        let needles = Needles::of([("TOKEN", &secret)]).expect("something to look for");
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in [("etc/old", "hunter2-hunter2"), ("etc/new", "a hunter2-hunter2")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, path, content.as_bytes())
                .expect("an entry");
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive
            .append_link(&mut header, "etc/link", "/hunter2-hunter2")
            .expect("a link");
        let archive = archive.into_inner().expect("an archive");
        let found = |path: &str| {
            let only = [path.to_owned()].into();
            let leak = look(&archive[..], Path::new("/"), &only, &needles).expect("an archive");
            leak.map(|leak| leak.path)
        };
        assert_eq!(found("/etc/new").as_deref(), Some("/etc/new"));
        assert_eq!(found("/etc/link").as_deref(), Some("/etc/link"));
        assert_eq!(found("/etc"), None);
    }
}
