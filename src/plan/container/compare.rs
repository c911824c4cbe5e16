//! What differs between a container and what is wanted of it, and why.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use serde_json::json;

use super::super::image::is_behind;
use super::super::{Draft, Made};
use crate::desired::{Container, HarnessSet, ImageChoice, StageSource};
use crate::key::Key;
use crate::label::{self, Kind};
use crate::observed;
use crate::secret::REDACTED;
use crate::spec::{Class, ContainerSpec, Difference, Fields, Mount};
use crate::step::{Because, Cause};

/// A container beside what is wanted of it, compared once.
pub(super) struct Comparison<'a> {
    pub(super) live: &'a observed::Container,
    container: &'a Container,
    /// What is wanted of it, as the engine would show it.
    wanted: Fields<'a>,
    /// What differs.
    pub(super) differences: Vec<Difference>,
    /// The fields that were asked for otherwise when it was created, as soon as somebody wants to know; `None` where
    /// nobody can say what was.
    changed: OnceCell<Option<BTreeSet<String>>>,
}

impl<'a> Comparison<'a> {
    /// Compares a container with what is wanted of it.
    pub(super) fn of(container: &'a Container, live: &'a observed::Container) -> Self {
        let wanted = inherited(&container.spec, live);
        let mut differences = shown(container, live, &wanted).differences(&wanted);
        if differences.is_empty() && container.spec.secrets.is_empty() {
            return Self::new(container, live, wanted, differences);
        }
        // What became a secret is in a label as long as the container is there.
        let written = |name: &&str| {
            let applied = live.applied.as_ref();
            applied.is_some_and(|applied| applied.env.contains_key(*name))
        };
        for (name, _) in container.spec.secrets.known().filter(|(name, _)| written(name)) {
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
            let memory = spec.resources.memory;
            let twice = memory.and_then(|memory| i64::try_from(memory.saturating_mul(2)).ok());
            twice.is_some() && spec.resources.memory_swap == twice
        };
        if follows(&live.spec) && follows(&container.spec) {
            differences.retain(|difference| difference.field != "resources.memorySwap");
        }
        Self::new(container, live, wanted, differences)
    }

    fn new(
        container: &'a Container,
        live: &'a observed::Container,
        wanted: Fields<'a>,
        differences: Vec<Difference>,
    ) -> Self {
        Self {
            live,
            container,
            wanted,
            differences,
            changed: OnceCell::new(),
        }
    }

    /// Says whether the container has to be replaced.
    pub(super) fn is_replaced(&self, draft: &Draft<'_>) -> bool {
        draft.requested.includes(self.live)
            || !has_image(draft, self.container, self.live)
            || self.differences.iter().any(|difference| {
                difference.class == Class::Create || obstacle(self.live, difference).is_some()
            })
    }

    /// Says whether a field was asked for otherwise when the container was created, if anybody can.
    fn is_changed(&self, field: &str) -> Option<bool> {
        let changed = self.changed.get_or_init(|| {
            let applied = self.live.applied.as_ref()?;
            let differences = inherited(applied, self.live).differences(&self.wanted);
            Some(
                differences
                    .into_iter()
                    .map(|difference| difference.field)
                    .collect(),
            )
        });
        Some(changed.as_ref()?.contains(field))
    }
}

/// Returns a live container as it is compared with what is wanted: what nobody asked for and what engines show in more
/// than one way does not count.
fn shown<'a>(container: &Container, live: &'a observed::Container, wanted: &Fields<'_>) -> Fields<'a> {
    let spec = &live.spec;
    let asked = live.applied.as_ref();
    let mut shown = Fields::of(spec);
    // What is a secret now, and what was one.
    let was = asked.into_iter().flat_map(|applied| applied.secrets.names());
    let sessions = container.session.secrets.keys().map(String::as_str);
    shown.hide(was.chain(container.spec.secrets.names()).chain(sessions));
    // An entrypoint that was cleared is shown as an empty list, or not at all.
    shown.entrypoint = shown.entrypoint.filter(|words| !words.is_empty());
    // Some engines add the host name to the aliases; what was asked for is there either way.
    shown.retain_aliases(|network, alias| {
        let asked = wanted.networks.get(network);
        Some(alias) != spec.hostname.as_ref() || asked.is_some_and(|asked| asked.aliases.contains(alias))
    });
    // A volume that the image declares is the container's own; the manifest says nothing of it.
    shown.retain_mounts(|target, mount| !mount.is_anonymous() || wanted.mounts.contains_key(target));
    // What the engine chooses where nothing is said is nobody's difference, unless aishell once said something.
    if wanted.runtime.is_none() && asked.is_none_or(|asked| asked.runtime.is_none()) {
        shown.runtime = None;
    }
    shown.retain_ulimits(|name| {
        wanted.ulimits.contains_key(name) || asked.is_some_and(|asked| asked.ulimits.contains_key(name))
    });
    shown
}

/// Returns a specification with what the engine merges in from the image that a container runs.
fn inherited<'a>(spec: &'a ContainerSpec, live: &'a observed::Container) -> Fields<'a> {
    let mut fields = Fields::of(spec);
    let Some(image) = &live.image else {
        return fields;
    };
    let config = &image.config;
    let env = config.env.iter();
    fields
        .env
        .lay_below(env.filter(|(name, _)| !spec.secrets.has(name)));
    let labels = image.image.labels.iter();
    fields.labels.lay_below(
        labels.filter(|(name, _)| !name.starts_with(label::PREFIX) && *name != label::DEVCONTAINER),
    );
    // An entrypoint of one's own drops the image's command; an empty one is none of one's own, and not the image's.
    if fields.entrypoint.is_none_or(<[String]>::is_empty) {
        if fields.command.is_none_or(<[String]>::is_empty) {
            fields.command = config.command.as_deref();
        }
        fields.entrypoint = fields.entrypoint.or(config.entrypoint.as_deref());
    }
    fields.entrypoint = fields.entrypoint.filter(|words| !words.is_empty());
    fields.command = fields.command.filter(|words| !words.is_empty());
    fields.user = fields
        .user
        .or(config.user.as_deref())
        .filter(|user| !user.is_empty());
    fields.workdir = fields
        .workdir
        .or(config.workdir.as_deref())
        .filter(|path| !path.is_empty());
    fields.signal = fields.signal.or(config.stop_signal.as_deref());
    fields.health = spec.health.probe(config.health.as_ref());
    fields
}

/// Returns the reason if the container runs another image than the wanted one.
pub(super) fn image_change(
    draft: &Draft<'_>,
    container: &Container,
    live: &observed::Container,
    reference: &str,
) -> Option<Because> {
    let because = || Because::field(Cause::Image, "image", json!(live.spec.image), json!(reference));
    (!has_image(draft, container, live)).then(because)
}

/// Says whether the container runs the wanted image.
fn has_image(draft: &Draft<'_>, container: &Container, live: &observed::Container) -> bool {
    let mark = draft.images.get(live.image_id.as_str());
    let has =
        |kind: Kind, key: Option<&Key>| mark.is_some_and(|mark| mark.kind == kind && Some(&mark.key) == key);
    let on: &str;
    let (made, is_it) = match &container.image {
        ImageChoice::Identity(name) => {
            let Some(identity) = draft.desired.identities.get(name) else {
                return true;
            };
            on = &identity.stage;
            (Made::Identity(name), has(Kind::Identity, identity.key.known()))
        }
        ImageChoice::Stage(name) => {
            let Some(stage) = draft.desired.stages.get(name) else {
                return true;
            };
            let is_it = match &stage.source {
                StageSource::Dockerfile { kind, .. } => has(*kind, stage.key.known()),
                StageSource::Phases(chain) => has(chain.kind, stage.key.known()),
                StageSource::Image { reference, .. } => {
                    let found = draft.observed.references.get(reference);
                    found.is_some_and(|image| image.image.id == live.image_id)
                }
            };
            on = name;
            (Made::Stage(name), is_it)
        }
    };
    let behind = |image: &observed::ImageReply| is_behind(draft, on, &image.image.labels);
    is_it && !draft.anew.contains(&made) && !live.image.as_deref().is_some_and(behind)
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
pub(super) fn explain(draft: &Draft<'_>, seen: &Comparison<'_>, difference: &Difference) -> Because {
    let Difference {
        field,
        from,
        to,
        class,
    } = difference;
    let Comparison { live, container, .. } = seen;
    if field == "mounts./tools" {
        let volume = |spec: &ContainerSpec| match spec.mounts.get("/tools") {
            Some(Mount::Volume { name, .. }) => Some(name.clone()),
            _ => None,
        };
        let set = |name: &String| {
            let known = draft.observed.harness_display(name);
            known.or_else(|| draft.desired.harness_set().map(HarnessSet::display))
        };
        let (before, after) = (volume(&live.spec), volume(&container.spec));
        let sets = (before.as_ref().and_then(set), after.as_ref().and_then(set));
        // Of the same names and versions only the volumes tell that they are made otherwise.
        let (from, to) = if sets.0 == sets.1 { (before, after) } else { sets };
        return Because::field(Cause::Dependency, "harness", json!(from), json!(to));
    }
    // What a secret was is written down nowhere, and nobody can change it in a container that exists.
    let is_secret = |name: &str| {
        let applied = live.applied.as_ref();
        applied.is_some_and(|applied| applied.secrets.has(name))
            || container.spec.secrets.has(name)
            || container.session.secrets.contains_key(name)
    };
    if field.strip_prefix("env.").is_some_and(is_secret) {
        return Because::field(Cause::Manifest, field, from.clone(), to.clone());
    }
    let cause = match (class, seen.is_changed(field)) {
        // It was asked for like this, so somebody changed it; without the label nobody can say who did.
        (Class::Create | Class::Live, Some(false)) => Cause::Drift,
        (Class::Create | Class::Live, Some(true) | None) => Cause::Manifest,
    };
    Because::field(cause, field, from.clone(), to.clone())
}
