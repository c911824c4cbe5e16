//! What a container takes from its image, and what the engine fills in.

use super::refused;
use crate::engine::EngineError;
use crate::observed::ImageConfig;
use crate::spec::{ContainerSpec, HealthCheck};

/// What the engine makes of a shared memory size of 0.
const SHM: u64 = 64 << 20;
/// What the engine chooses where no runtime is asked for.
const RUNTIME: &str = "runc";

/// Merges what was asked for with what the image brings, as the engine does.
pub(super) fn merge(spec: &ContainerSpec, image: &ImageConfig) -> Result<ContainerSpec, EngineError> {
    let mut merged = spec.clone();
    for (name, value) in &image.env {
        merged.env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    (merged.entrypoint, merged.command) = inherit(
        (spec.entrypoint.clone(), spec.command.clone()),
        (image.entrypoint.clone(), image.command.clone()),
    );
    if merged
        .entrypoint
        .as_ref()
        .is_some_and(|words| words.len() == 1 && words[0].is_empty())
    {
        merged.entrypoint = None;
    }
    let is_empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&merged.entrypoint) && is_empty(&merged.command) {
        return Err(refused("No command specified"));
    }
    merged.command = merged.command.filter(|words| !words.is_empty());
    for bindings in merged.ports.values_mut() {
        for binding in bindings.iter_mut().filter(|binding| binding.address.is_empty()) {
            "0.0.0.0".clone_into(&mut binding.address);
        }
        bindings.sort();
    }
    merged.ports.retain(|_, bindings| !bindings.is_empty());
    merged.user = spec
        .user
        .clone()
        .filter(|user| !user.is_empty())
        .or_else(|| image.user.clone());
    merged.workdir = spec
        .workdir
        .as_deref()
        .map(clean)
        .or_else(|| image.workdir.clone());
    merged.stop.signal = spec.stop.signal.clone().or_else(|| image.stop_signal.clone());
    merged.health = match spec.health.probe(image.health.as_ref()) {
        Some(probe) => HealthCheck::Own(probe.clone()),
        None => spec.health.clone(),
    };
    merged.shm = if spec.shm == 0 { SHM } else { spec.shm };
    merged.runtime = spec.runtime.clone().or_else(|| Some(RUNTIME.to_owned()));
    merged.resources = super::limits::normal(&spec.resources);
    Ok(merged)
}

type Words = Option<Vec<String>>;

/// Returns entrypoint and command. Where an entrypoint is given, the command is not inherited; an empty entrypoint is
/// given but counts as none.
pub(super) fn inherit(asked: (Words, Words), from: (Words, Words)) -> (Words, Words) {
    let (mut entrypoint, mut command) = asked;
    if entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if command.as_ref().is_none_or(Vec::is_empty) {
            command = from.1;
        }
        entrypoint = entrypoint.or(from.0);
    }
    (entrypoint, command)
}

/// Returns a path without a slash at its end.
fn clean(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}
