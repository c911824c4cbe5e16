//! [`Saved`]: a plan as it is kept in a file, to be carried out later as it was printed, or not at all.
//!
//! It says what was planned and for which engine, manifest and objects, and holds nothing that could be carried out by
//! itself: whoever applies it looks again and plans again, and compares. It holds no secret, and no digest of one
//! either: whoever could read the file could try guesses.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::desired::{Desired, HarnessSet};
use crate::key::{canonical, digest};
use crate::label::Owner;
use crate::observed::Observed;
use crate::plan::Consent;
use crate::step::{
    Action, Because, Blocked, BlockedReason, Cause, Impact, Plan, Resource, ResourceKind, Step,
};

mod change;
mod file;
mod options;

pub use change::Change;
pub use file::{FileError, LARGEST, read, write};
pub use options::{Allowed, Options};

/// The version of the document.
const API_VERSION: &str = "aishell/v1";
/// What the document is.
const KIND: &str = "SavedPlan";
/// The version of the program that writes it.
const WRITER: &str = env!("CARGO_PKG_VERSION");
/// The field that holds the digest of all others.
const DIGEST: &str = "digest";

/// A plan as it is kept in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SavedPlan")]
pub struct Saved {
    /// The version of this document.
    #[schemars(extend("const" = "aishell/v1"))]
    pub api_version: String,
    /// What this document is.
    #[schemars(extend("const" = "SavedPlan"))]
    pub kind: String,
    /// The SHA-256 of everything else, in canonical form: it tells whether somebody has edited the file.
    pub digest: String,
    /// The version of aishell that wrote it. No other one carries it out.
    pub writer: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The manifest it was made for.
    pub manifest: SavedManifest,
    /// The engine it was made on.
    pub engine: SavedEngine,
    /// What was allowed and asked for.
    pub options: Options,
    /// What is done, in an order that respects every need.
    pub steps: Vec<SavedStep>,
    /// What needs a person first.
    pub blocked: Vec<SavedBlocked>,
    /// The objects of the manifest as they were seen, and the images that it names.
    pub seen: Vec<Seen>,
    /// What sessions in containers are given beyond what every sandbox has: a digest for each container.
    pub given: BTreeMap<String, String>,
}

/// The manifest that a saved plan was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedManifest {
    /// Its name.
    pub name: String,
    /// The canonical path of its project.
    pub project: String,
    /// Its file, absolute; `-` for standard input.
    pub path: String,
    /// The key of everything it wants, with what it extends, its lock and what its builds see.
    pub key: String,
}

/// The engine that a saved plan was made on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedEngine {
    /// The id that it keeps for its life.
    pub id: String,
    /// Where it was reached, for people.
    pub host: String,
}

/// One step of a saved plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedStep {
    /// Its number, counted from 1.
    pub id: u32,
    /// The kind of its resource.
    pub kind: ResourceKind,
    /// The name of its resource.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// What that costs whoever uses the resource.
    pub impact: Impact,
    /// Why.
    pub because: Vec<Reason>,
    /// The steps that must have succeeded before.
    pub needs: Vec<u32>,
    /// How many files of a container's own layer are gone afterwards; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discards: Option<usize>,
    /// What sandboxes get by it that they had not; absent if nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub widens: BTreeSet<String>,
    /// A digest over how it is done, with every field of what is made and the ids of what is touched.
    pub work: String,
}

/// What needs a person first, in a saved plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedBlocked {
    /// The kind of the resource.
    pub kind: ResourceKind,
    /// The name of the resource.
    pub name: String,
    /// What would be done.
    pub action: Action,
    /// Why it is not.
    pub reason: BlockedReason,
    /// Why it would be done.
    pub because: Vec<Reason>,
}

/// One reason with its evidence, wherever it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    /// Why.
    pub cause: Cause,
    /// The field that differs, as a path in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it is; `null` is absent.
    pub from: Value,
    /// What it should be; `null` is absent.
    pub to: Value,
}

impl Eq for Reason {}

/// An object that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seen {
    /// What it is.
    pub kind: ResourceKind,
    /// The name that the engine knows it by.
    pub name: String,
    /// What tells it from another one of that name.
    pub id: String,
}

/// What one look shows, on which engine.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What is there.
    pub observed: &'a Observed,
    /// What has to be done.
    pub plan: &'a Plan,
    /// The id of the engine.
    pub engine: &'a str,
}

/// Why a text is no plan that can be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// It is not JSON.
    #[error("it is not JSON")]
    Json(#[source] serde_json::Error),
    /// It is another document.
    #[error("it is no saved plan{}", kind.as_ref().map(|kind| format!(" but of kind {kind}")).unwrap_or_default())]
    Other {
        /// What it says it is.
        kind: Option<String>,
    },
    /// Another version of aishell wrote it.
    #[error("it was written by aishell {writer}, and this is {WRITER}")]
    Version {
        /// That version.
        writer: String,
    },
    /// Somebody has edited it.
    #[error("it was edited since it was saved")]
    Edited,
}

impl Saved {
    /// Takes down a plan.
    pub fn of(view: View<'_>, consent: &Consent, path: &str, now: Timestamp) -> Self {
        let View {
            desired,
            observed,
            plan,
            engine,
        } = view;
        let Owner {
            project, manifest, ..
        } = &desired.owner;
        let mut saved = Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            digest: String::new(),
            writer: WRITER.to_owned(),
            created: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            manifest: SavedManifest {
                name: manifest.clone(),
                project: project.clone(),
                path: path.to_owned(),
                key: desired.key.as_str().to_owned(),
            },
            engine: SavedEngine {
                id: engine.to_owned(),
                host: observed.engine.host.clone(),
            },
            options: Options::of(consent),
            steps: plan.steps.iter().map(SavedStep::of).collect(),
            blocked: plan.blocked.iter().map(SavedBlocked::of).collect(),
            seen: seen(desired, observed),
            given: given(desired),
        };
        saved.digest = own_digest(saved.value());
        saved
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is no saved plan, or not one that this version wrote and nobody edited.
    pub fn parse(text: &[u8]) -> Result<Self, SavedError> {
        let value: Value = serde_json::from_slice(text).map_err(SavedError::Json)?;
        let word = |field: &str| value.get(field).and_then(Value::as_str).map(str::to_owned);
        if word("kind").as_deref() != Some(KIND) {
            return Err(SavedError::Other { kind: word("kind") });
        }
        let writer = word("writer").unwrap_or_default();
        if writer != WRITER || word("apiVersion").as_deref() != Some(API_VERSION) {
            return Err(SavedError::Version { writer });
        }
        let stated = word(DIGEST);
        if stated.as_deref() != Some(own_digest(value.clone()).as_str()) {
            return Err(SavedError::Edited);
        }
        // Whatever this version has written, it can read.
        serde_json::from_value(value).map_err(|_| SavedError::Edited)
    }

    /// Returns the text of the file.
    pub fn render(&self) -> String {
        // In the order of the fields: people read it too.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Returns what was allowed and asked for. Typing `apply` is consent to what the plan says it gives.
    pub fn consent(&self) -> Consent {
        self.options.consent()
    }

    /// Returns the schema of the file.
    pub fn schema() -> schemars::Schema {
        SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<Self>()
    }

    fn value(&self) -> Value {
        // Maps have texts as keys, so nothing can fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn own_digest(mut document: Value) -> String {
    if let Value::Object(fields) = &mut document {
        fields.remove(DIGEST);
    }
    digest(canonical(&document).as_bytes())
}

impl SavedStep {
    fn of(step: &Step) -> Self {
        let Step {
            id,
            resource: Resource { kind, name },
            action,
            impact,
            because,
            needs,
            // For people; what it tells is in the work.
            detail: _,
            discards,
            widens,
            interrupts,
            work,
        } = step;
        Self {
            id: *id,
            kind: *kind,
            name: name.clone(),
            action: *action,
            impact: *impact,
            because: because.iter().map(Reason::of).collect(),
            needs: needs.clone(),
            discards: *discards,
            widens: widens.iter().cloned().collect(),
            // How it is shown leaves out secrets and nothing else, and is the same within one version.
            work: digest(format!("{interrupts:?} {work:?}").as_bytes()),
        }
    }

    /// Returns the resource.
    pub fn resource(&self) -> Resource {
        Resource {
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}

impl SavedBlocked {
    fn of(blocked: &Blocked) -> Self {
        Self {
            kind: blocked.resource.kind,
            name: blocked.resource.name.clone(),
            action: blocked.action,
            reason: blocked.reason,
            because: blocked.because.iter().map(Reason::of).collect(),
        }
    }

    /// Returns the resource.
    pub fn resource(&self) -> Resource {
        Resource {
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}

impl Reason {
    fn of(because: &Because) -> Self {
        let Because {
            cause,
            field,
            from,
            to,
            // A line that was moved by a comment decides the same.
            at: _,
        } = because;
        Self {
            cause: *cause,
            field: field.clone(),
            from: from.clone(),
            to: to.clone(),
        }
    }
}

/// Returns the objects that a plan is about.
fn seen(desired: &Desired, observed: &Observed) -> Vec<Seen> {
    let one = |kind: ResourceKind, name: &str, id: &str| Seen {
        kind,
        name: name.to_owned(),
        id: id.to_owned(),
    };
    let containers = observed.containers.values();
    let containers = containers.map(|live| one(ResourceKind::Container, &live.name, live.id.id()));
    let networks = observed.networks.values();
    let networks = networks.map(|live| one(ResourceKind::Network, &live.name, live.id.id()));
    let harness = desired.harness_set().map(HarnessSet::volume);
    let volumes = desired.volumes.keys().chain(&harness);
    // A volume that is made anew has the same name, and another random number.
    let volumes = volumes.filter_map(|name| {
        let live = observed.volumes.get(name)?;
        Some(one(ResourceKind::Volume, name, live.id.uid()))
    });
    let images = observed.references.iter();
    let images = images.map(|(name, image)| one(ResourceKind::Image, name, &image.image.id));
    let mut seen: Vec<Seen> = containers.chain(networks).chain(volumes).chain(images).collect();
    seen.sort();
    seen
}

/// Returns what sessions are given, in digests: it is in no step, and `apply` consents to it.
fn given(desired: &Desired) -> BTreeMap<String, String> {
    let containers = desired.containers.iter();
    let given = containers.filter(|(_, container)| !container.grants.is_empty());
    let grants = given.map(|(name, container)| {
        let value = serde_json::to_value(&container.grants).unwrap_or_default();
        (name.clone(), digest(canonical(&value).as_bytes()))
    });
    grants.collect()
}
