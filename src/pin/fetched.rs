//! What this host fetches from elsewhere: commits of branches and tags, digests of downloads.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::PinError;
use crate::apply::{Listener, Stop};
use crate::fetch::{FetchError, digest, revision};
use crate::lock::{Lock, Wishes};
use crate::manifest::phases::Phases;
use crate::manifest::place::Problem;
use crate::manifest::stage::{Stage, StageName};
use crate::prepare::Prepared;
use crate::remote::{DownloadUrl, RepositoryReference};

/// Asks what repositories and downloads mean now.
///
/// # Errors
/// What cannot be asked, or is not there, all at once.
pub(super) async fn ask<L: Listener + ?Sized>(
    prepared: &Prepared,
    wishes: &Wishes,
    listener: &Arc<L>,
    stop: &Stop,
) -> Result<Lock, PinError> {
    let mut lock = Lock::default();
    let mut wrong: Vec<(String, FetchError)> = Vec::new();
    if !wishes.repos.is_empty() {
        let all: Vec<String> = wishes.repos.iter().map(ToString::to_string).collect();
        listener.said(&format!("asking git about {}", all.join(", ")));
        let store = &prepared.facts.store;
        let asked = join_all(wishes.repos.iter().map(|reference| revision(reference, store)));
        let answers = tokio::select! {
            answers = asked => answers,
            () = stop.wished() => return Ok(lock),
        };
        for (reference, answer) in wishes.repos.iter().zip(answers) {
            match answer {
                Ok(revision) => {
                    lock.repos.insert(reference.clone(), revision);
                }
                Err(error) => wrong.push((path_of_repository(prepared, reference), error)),
            }
        }
    }
    for url in &wishes.tools {
        listener.said(&format!("downloading {url}"));
        let answer = tokio::select! {
            answer = digest(url, &prepared.facts.store) => answer,
            () = stop.wished() => return Ok(lock),
        };
        match answer {
            Ok(digest) => {
                lock.tools.insert(url.clone(), digest);
            }
            Err(error) => wrong.push((path_of_download(prepared, url), error)),
        }
    }
    if wrong.is_empty() {
        return Ok(lock);
    }
    let of_the_manifest = wrong
        .iter()
        .all(|(_, error)| matches!(error, FetchError::NoSuchReference { .. }));
    let problems = wrong
        .into_iter()
        .map(|(path, error)| problem(prepared, &path, &error));
    Err(PinError::Refused {
        problems: problems.collect(),
        loaded: Box::new(prepared.loaded.clone()),
        of_the_manifest,
    })
}

/// Returns what could not be asked, with the line that wants it.
fn problem(prepared: &Prepared, path: &str, error: &FetchError) -> Problem {
    let failure = error.failure();
    let problem = Problem {
        place: prepared.loaded.source.place(path),
        ..Problem::new(failure.message)
    };
    match failure.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Returns repositories and downloads in a person's words, with the path of the field that wants each.
pub(super) fn unpinned<'a>(
    prepared: &'a Prepared,
    (repos, tools): (&'a BTreeSet<RepositoryReference>, &'a BTreeSet<DownloadUrl>),
) -> impl Iterator<Item = (String, String)> + 'a {
    let repos = repos.iter().map(|reference| {
        (
            format!("repository `{reference}`"),
            path_of_repository(prepared, reference),
        )
    });
    let tools = tools
        .iter()
        .map(|url| (format!("download `{url}`"), path_of_download(prepared, url)));
    repos.chain(tools)
}

/// Returns the phases of every stage that has some.
pub(super) fn phases(prepared: &Prepared) -> impl Iterator<Item = (StageName, &Phases)> {
    let stages = StageName::ALL.into_iter();
    stages.filter_map(|name| match prepared.loaded.manifest.stage(name) {
        Some(Stage::Phases(phases)) => Some((name, &**phases)),
        Some(Stage::Image { .. } | Stage::Dockerfile(_) | Stage::Builtin(_)) | None => None,
    })
}

fn path_of_repository(prepared: &Prepared, reference: &RepositoryReference) -> String {
    let mut paths = phases(prepared).flat_map(|(stage, phases)| {
        let repos = phases.repos.iter().enumerate();
        let wanted = repos.filter(|(_, repo)| repo.reference().as_ref() == Some(reference));
        wanted.map(move |(index, _)| format!("{stage}.phases.repos.{index}.url"))
    });
    paths.next().unwrap_or_default()
}

fn path_of_download(prepared: &Prepared, url: &DownloadUrl) -> String {
    let mut paths = phases(prepared).flat_map(|(stage, phases)| {
        let tools = phases.tools.iter().enumerate();
        let wanted = tools.filter(|(_, tool)| tool.download().as_ref() == Ok(url));
        wanted.map(move |(index, _)| format!("{stage}.phases.tools.{index}.url"))
    });
    paths.next().unwrap_or_default()
}
