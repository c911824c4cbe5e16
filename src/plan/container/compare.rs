//! What differs between a container and what is wanted of it, and why.

use serde_json::json;

use super::super::{Draft, Made};
use crate::desired::{Container, HarnessSet, ImageChoice, StageSource};
use crate::key::Key;
use crate::label::{self, Kind, Mark};
use crate::observed::{self, ImageReply};
use crate::secret::REDACTED;
use crate::spec::{Class, ContainerSpec, Difference, HealthCheck, Mount};
use crate::step::{Because, Cause};

/// Returns what differs between the live container and what is wanted of it.
pub(super) fn differences(container: &Container, live: &observed::Container) -> Vec<Difference> {
    let wanted = match &live.image {
        Some(image) => inherit(&container.spec, image),
        None => container.spec.clone(),
    };
    let mut spec = live.spec.clone();
    let mut wanted = wanted;
    // What is a secret now, and what was one.
    let was = live.applied.iter().flat_map(|applied| applied.secrets.names());
    let sessions = container.session.secrets.keys().map(String::as_str);
    let names = was.chain(container.spec.secrets.names()).chain(sessions);
    spec.secrets.take(names, &mut spec.env);
    // An entrypoint that was cleared is shown as an empty list, or not at all.
    spec.entrypoint = spec.entrypoint.filter(|words| !words.is_empty());
    // Some engines add the host name to the aliases; what was asked for is there either way.
    for (network, endpoint) in &mut spec.networks {
        let asked = wanted.networks.get(network);
        endpoint.aliases.retain(|alias| {
            Some(alias) != spec.hostname.as_ref() || asked.is_some_and(|asked| asked.aliases.contains(alias))
        });
    }
    // A volume that the image declares is the container's own; the manifest says nothing of it.
    spec.mounts
        .retain(|target, mount| !mount.is_anonymous() || wanted.mounts.contains_key(target));
    // What the engine chooses where nothing is said is nobody's difference, unless aishell once said something.
    let asked = live.applied.as_ref();
    if wanted.runtime.is_none() && asked.is_none_or(|asked| asked.runtime.is_none()) {
        spec.runtime = None;
    }
    spec.ulimits.retain(|name, _| {
        wanted.ulimits.contains_key(name) || asked.is_some_and(|asked| asked.ulimits.contains_key(name))
    });
    // No check at all is shown as one that was switched off, or not.
    if spec.health.is_image() {
        spec.health = HealthCheck::Off;
    }
    if wanted.health.is_image() {
        wanted.health = HealthCheck::Off;
    }
    // The image is judged by what it is; see `image_change`.
    spec.image.clear();
    wanted.image.clear();
    let mut differences = spec.differences(&wanted);
    // What became a secret is in a label as long as the container is there.
    let written = |name: &&str| {
        live.applied
            .as_ref()
            .is_some_and(|applied| applied.env.contains_key(*name))
    };
    for (name, _) in wanted.secrets.known().filter(|(name, _)| written(name)) {
        let field = format!("env.{name}");
        if differences.iter().all(|difference| difference.field != field) {
            differences.push(Difference {
                field,
                from: json!(REDACTED),
                to: json!(REDACTED),
                class: Class::Create,
            });
        }
    }
    // Twice the memory is what the engine makes of an unset swap: it follows, and is nobody's change.
    let follows = |spec: &ContainerSpec| {
        let twice = spec
            .resources
            .memory
            .and_then(|memory| i64::try_from(memory.saturating_mul(2)).ok());
        twice.is_some() && spec.resources.memory_swap == twice
    };
    if follows(&spec) && follows(&wanted) {
        differences.retain(|difference| difference.field != "resources.memorySwap");
    }
    differences
}

/// Returns a specification with what the engine merges in from an image.
pub fn inherit(spec: &ContainerSpec, image: &ImageReply) -> ContainerSpec {
    let mut merged = spec.clone();
    for (name, value) in &image.config.env {
        if !merged.secrets.has(name) {
            merged.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    for (name, value) in &image.image.labels {
        if !name.starts_with(label::PREFIX) && name != label::DEVCONTAINER {
            merged.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    // An entrypoint of one's own drops the image's command; an empty one is none of one's own, and not the image's.
    if merged.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if merged.command.as_ref().is_none_or(Vec::is_empty) {
            merged.command.clone_from(&image.config.command);
        }
        merged.entrypoint = merged.entrypoint.or_else(|| image.config.entrypoint.clone());
    }
    merged.entrypoint = merged.entrypoint.filter(|words| !words.is_empty());
    merged.command = merged.command.filter(|words| !words.is_empty());
    merged.user = merged
        .user
        .or_else(|| image.config.user.clone())
        .filter(|user| !user.is_empty());
    merged.workdir = merged
        .workdir
        .or_else(|| image.config.workdir.clone())
        .filter(|path| !path.is_empty());
    merged.stop.signal = merged.stop.signal.or_else(|| image.config.stop_signal.clone());
    merged.health = match merged.health.probe(image.config.health.as_ref()) {
        Some(probe) => HealthCheck::Own(probe.clone()),
        None => HealthCheck::Off,
    };
    merged
}

/// Returns the reason if the container runs another image than the wanted one.
pub(super) fn image_change(
    draft: &Draft<'_>,
    container: &Container,
    live: &observed::Container,
    reference: &str,
) -> Option<Because> {
    let mark = live
        .image
        .as_ref()
        .and_then(|image| Mark::read(&image.image.labels));
    let has = |kind: Kind, key: Option<&Key>| {
        mark.as_ref()
            .is_some_and(|mark| mark.kind == kind && Some(&mark.key) == key)
    };
    let same = match &container.image {
        ImageChoice::Identity(name) => {
            let identity = draft.desired.identities.get(name)?;
            has(Kind::Identity, identity.key.known())
        }
        ImageChoice::Stage(name) => {
            let stage = draft.desired.stages.get(name)?;
            match &stage.source {
                StageSource::Dockerfile { kind, .. } => has(*kind, stage.key.known()),
                StageSource::Image { reference, .. } => draft
                    .observed
                    .references
                    .get(reference)
                    .is_some_and(|image| image.image.id == live.image_id),
            }
        }
    };
    let made = match &container.image {
        ImageChoice::Identity(name) => Made::Identity(name.clone()),
        ImageChoice::Stage(name) => Made::Stage(name.clone()),
    };
    let same = same && !draft.anew.contains(&made);
    (!same).then(|| Because::field(Cause::Image, "image", json!(live.spec.image), json!(reference)))
}

/// Says whether a container has to be replaced.
pub(super) fn is_replaced(draft: &Draft<'_>, container: &Container, live: &observed::Container) -> bool {
    draft.requested.includes(live)
        || image_change(draft, container, live, "").is_some()
        || differences(container, live)
            .iter()
            .any(|difference| difference.class == Class::Create || obstacle(live, difference).is_some())
}

/// Returns why the engine cannot make a difference go away that could otherwise be changed in place.
pub(super) fn obstacle(live: &observed::Container, difference: &Difference) -> Option<String> {
    let Difference { field, from, to, .. } = difference;
    let limits = [
        "resources.memory",
        "resources.memorySwap",
        "resources.reservation",
        "resources.cpus",
        "resources.cpuset",
    ];
    if to.is_null() && limits.contains(&field.as_str()) {
        return Some(format!(
            "the engine cannot unset {field} of a container that exists"
        ));
    }
    let alone = live
        .applied
        .as_ref()
        .is_some_and(|applied| applied.networks.is_empty());
    (alone && from.is_null() && field.starts_with("network."))
        .then(|| "a container that was made without a network cannot join one".to_owned())
}

/// Returns why a field differs: what was asked for at creation tells a changed manifest from drift.
pub(super) fn explain(
    draft: &Draft<'_>,
    container: &Container,
    live: &observed::Container,
    difference: &Difference,
) -> Because {
    let Difference {
        field,
        from,
        to,
        class,
    } = difference;
    if field == "mounts./tools" {
        let set = |spec: &ContainerSpec| match spec.mounts.get("/tools") {
            Some(Mount::Volume { name, .. }) => {
                let known = draft.observed.harness_display(name);
                known.or_else(|| draft.desired.harness_set().map(HarnessSet::display))
            }
            _ => None,
        };
        return Because::field(
            Cause::Dependency,
            "harness",
            json!(set(&live.spec)),
            json!(set(&container.spec)),
        );
    }
    // What a secret was is written down nowhere, and nobody can change it in a container that exists.
    let is_secret = |name: &str| {
        let was = live
            .applied
            .as_ref()
            .is_some_and(|applied| applied.secrets.has(name));
        was || container.spec.secrets.has(name) || container.session.secrets.contains_key(name)
    };
    if field.strip_prefix("env.").is_some_and(is_secret) {
        return Because::field(Cause::Manifest, field, from.clone(), to.clone());
    }
    let asked = live.applied.as_ref().map(|applied| {
        let merged = live
            .image
            .as_ref()
            .map_or_else(|| applied.clone(), |image| inherit(applied, image));
        let wanted = live
            .image
            .as_ref()
            .map_or_else(|| container.spec.clone(), |image| inherit(&container.spec, image));
        merged
            .differences(&wanted)
            .iter()
            .all(|other| other.field != *field)
    });
    let cause = match (class, asked) {
        // It was asked for like this, so somebody changed it; without the label nobody can say who did.
        (Class::Create | Class::Live, Some(true)) => Cause::Drift,
        (Class::Create | Class::Live, Some(false) | None) => Cause::Manifest,
    };
    Because::field(cause, field, from.clone(), to.clone())
}
