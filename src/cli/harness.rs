//! `aishell claude` and the like: the container that opens a harness, or one made for it where there is no manifest.

use std::ffi::OsString;

use clap::Parser;

use super::exit::Exit;
use super::failure::Failure;
use super::inside::not_run;
use super::invocation::Invocation;
use super::run::{Options, open};
use super::{adhoc, named};
use crate::catalogue;
use crate::manifest::Manifest;
use crate::manifest::suggest::nearest;
use crate::name::{COMMAND_WORDS, ContainerName, HarnessName};

/// Open a harness in this terminal
///
/// In a project with a manifest it is that of the container with this harness; elsewhere a container is made for it, on
/// the built-in foundation, and removed at the end. Everything from the first argument on that is not listed here is
/// handed to the harness as it is.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true, disable_version_flag = true, no_binary_name = true)]
struct Harness {
    /// Open it in this container; where there is no manifest, call the container so
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    options: Options,

    /// Arguments for the harness
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// Opens a harness by its name.
///
/// # Errors
/// Nothing is called so, nothing ran, or nobody knows how it ended.
pub async fn run(invocation: &Invocation, words: Vec<OsString>) -> Result<Exit, Failure> {
    let mut words = words.into_iter();
    let word = words.next().unwrap_or_default().to_string_lossy().into_owned();
    let known = catalogue::find(&word).is_some();
    let prepared = match invocation.prepare(None) {
        Ok(prepared) => Some(prepared),
        // Whoever mistypes a command is not interested in the manifest.
        Err(_) if !known => return Err(unknown(&word, None)),
        Err(_) if invocation.has_no_manifest() => None,
        Err(failure) => return Err(not_run(failure)),
    };
    let manifest = prepared.as_ref().map(|prepared| &prepared.loaded.manifest);
    let declared =
        manifest.is_some_and(|manifest| manifest.harnesses.keys().any(|name| name.as_str() == word));
    if !known && !declared {
        return Err(unknown(&word, manifest));
    }
    let arguments = Harness::try_parse_from(own(words)).map_err(|error| {
        let text = error.to_string();
        let message = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let hint = "everything after `--` is handed to the harness as it is";
        Failure::usage(message.to_owned(), hint)
    })?;
    let Harness {
        name,
        options,
        arguments,
    } = arguments;
    let opened = async {
        match prepared {
            Some(prepared) => {
                let name = container(&prepared.loaded.manifest, &word, name.as_deref())?;
                Box::pin(open(invocation, prepared, (&name, options), arguments)).await
            }
            None => Box::pin(adhoc::open(invocation, (&word, name), options, arguments)).await,
        }
    };
    Box::pin(opened).await.map_err(not_run)
}

/// Puts `--` before the first word that is not one of ours, so that nothing of the harness's own is taken for ours.
fn own(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.peekable();
    let mut own = Vec::new();
    while let Some(word) = words.peek() {
        let text = word.to_string_lossy();
        let name = text.split_once('=').map_or(&*text, |(name, _)| name);
        if !["--name", "--env", "--workdir", "--lock-timeout"].contains(&name) {
            break;
        }
        let whole = text.contains('=');
        own.extend(words.next());
        if !whole {
            own.extend(words.next());
        }
    }
    if words.peek().is_some_and(|word| word != "--") {
        own.push("--".into());
    }
    own.extend(words);
    own
}

/// Returns the container of a manifest that opens a harness: the one that is named, the one that is called like it, or
/// the only one.
fn container(manifest: &Manifest, harness: &str, name: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = name {
        named::known(manifest, name)?;
    }
    let opens = |written: &crate::manifest::container::Container| {
        written
            .harness
            .as_ref()
            .is_some_and(|other| other.as_str() == harness)
    };
    let all = manifest.containers.iter().filter(|(_, written)| opens(written));
    let all: Vec<&str> = all.map(|(name, _)| name.as_str()).collect();
    let wanted = name.unwrap_or(harness);
    match all[..] {
        _ if all.contains(&wanted) => Ok(wanted.to_owned()),
        [only] if name.is_none() => Ok(only.to_owned()),
        [] => Err(Failure::usage(
            format!("no container of the manifest opens {harness}"),
            &format!("give one of them `harness: {harness}`"),
        )),
        _ if name.is_some() => Err(Failure::usage(
            format!("container `{wanted}` does not open {harness}"),
            &format!("these do: {}", all.join(", ")),
        )),
        _ => Err(Failure::usage(
            format!("more than one container opens {harness}: {}", all.join(", ")),
            "say which with --name",
        )),
    }
}

fn unknown(word: &str, manifest: Option<&Manifest>) -> Failure {
    let containers = manifest
        .into_iter()
        .flat_map(|manifest| manifest.containers.keys());
    let mut containers = containers.map(ContainerName::as_str);
    if containers.any(|name| name == word) {
        let message = format!("`{word}` is a container, not a command");
        return Failure::usage(message, &format!("`aishell run {word}` opens its harness"));
    }
    let harnesses = manifest
        .into_iter()
        .flat_map(|manifest| manifest.harnesses.keys());
    let harnesses = harnesses.map(HarnessName::as_str);
    let known = catalogue::entries().keys().map(HarnessName::as_str);
    let words = COMMAND_WORDS.iter().copied().chain(known).chain(harnesses);
    let hint = nearest(word, words).map_or_else(
        || "`aishell help` lists the commands".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Failure::usage(format!("there is no command `{word}`"), &hint)
}
