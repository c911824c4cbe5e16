//! [`Plan`] and what it is made of: steps with their reasons, and what is blocked, unknown or as it should be.
//!
//! The words here are the ones programs rely on in `-o json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::place::Place;
use crate::observed::EngineInfo;

mod part;
mod work;

pub use work::{
    Ancestor, BARE, Bare, ClearWork, CreateWork, IdentityWork, PHASE_LOG, PhaseWork, PopulateWork, Work,
};

/// What will be done, what will not, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The manifest it was made for.
    pub manifest: ManifestInfo,
    /// The engine it was made on.
    pub engine: EngineInfo,
    /// What will be done, in an order that respects every need.
    pub steps: Vec<Step>,
    /// What needs a person first.
    pub blocked: Vec<Blocked>,
    /// What cannot be said yet.
    pub unknown: Vec<Unknown>,
    /// What is as it should be.
    pub unchanged: Vec<Resource>,
    /// What else the person should know.
    pub notes: Vec<String>,
}

/// The manifest a plan was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ManifestInfo {
    /// Its name.
    pub name: String,
    /// Its file, as the person would name it.
    pub path: String,
    /// The key of everything it wants.
    pub key: String,
}

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResourceKind {
    /// An image of a stage, or an identity image.
    Image,
    /// The image that a phase leaves.
    Snapshot,
    /// A harness volume or a data volume.
    Volume,
    /// A network.
    Network,
    /// A container.
    Container,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name: as the manifest calls it, or the engine's where the manifest has none.
    pub name: String,
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Fetch an image from its registry.
    Pull,
    /// Build an image.
    Build,
    /// Make a snapshot of a phase.
    Snapshot,
    /// Fill a harness volume.
    Populate,
    /// Create what is missing.
    Create,
    /// Start a container that does not run.
    Start,
    /// Let a frozen container go on.
    Unpause,
    /// Change limits or restart policy in place.
    Update,
    /// Attach a container to a network.
    Connect,
    /// Detach a container from a network.
    Disconnect,
    /// Give a container its name back.
    Rename,
    /// Stop and start a container.
    Restart,
    /// Put a new container in the place of the old one.
    Replace,
    /// Stop a container.
    Stop,
    /// Give an image a tag.
    Tag,
    /// Remove what is not wanted.
    Remove,
}

/// What a step costs whoever uses the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Nothing that runs notices.
    None,
    /// A running container changes, and goes on.
    Live,
    /// Processes of the container start anew.
    Restart,
    /// The container layer is new; volumes are kept.
    Recreate,
    /// Data is gone.
    DataLoss,
}

/// Why a step is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// It does not exist.
    Missing,
    /// The manifest asks for something else than before.
    Manifest,
    /// Somebody changed it behind aishell's back.
    Drift,
    /// Its image is another one.
    Image,
    /// Something it needs is another one.
    Dependency,
    /// It was made from inputs that are no longer current.
    Stale,
    /// Nothing in the manifest wants it.
    Orphan,
    /// The person asked for it.
    Requested,
}

/// One reason with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Because {
    /// Why.
    pub cause: Cause,
    /// The field that differs, as a path in the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What it is; `null` is absent.
    pub from: Value,
    /// What it should be; `null` is absent.
    pub to: Value,
    /// The line of the manifest that decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<At>")]
    pub at: Option<Place>,
}

impl Eq for Because {}

/// The shape of a place in JSON.
#[derive(JsonSchema)]
#[schemars(rename = "Place")]
#[expect(dead_code, reason = "only its schema is used")]
struct At {
    /// The file, absolute or relative to the manifest.
    file: String,
    /// The line, counted from 1.
    line: u32,
    /// The column in characters, counted from 1.
    column: u32,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number, counted from 1.
    pub id: u32,
    /// The resource.
    pub resource: Resource,
    /// What is done to it.
    pub action: Action,
    /// What that costs.
    pub impact: Impact,
    /// Why.
    pub because: Vec<Because>,
    /// The steps that must have succeeded before.
    pub needs: Vec<u32>,
    /// What people should know besides (members of a set, size of a build).
    pub detail: Option<String>,
    /// How many files of a container's own layer are gone afterwards; `None` if none, or if nobody has looked.
    pub discards: Option<usize>,
    /// What sandboxes get by it that they had not, in a person's words.
    pub widens: Vec<String>,
    /// The containers that would notice, and that nobody may work in when it is done.
    pub interrupts: Vec<Interrupted>,
    /// How it is done.
    pub work: Work,
}

/// A container that a step would interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// The engine's id.
    pub container: String,
    /// Its name in the manifest.
    pub name: String,
    /// The command that tells whether it is at work, besides its sessions.
    pub busy: Option<Vec<String>>,
}

/// Something that needs a person first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The resource.
    pub resource: Resource,
    /// What would be done.
    pub action: Action,
    /// What that would cost.
    pub impact: Impact,
    /// How many files of a container's own layer would be gone; `None` if none, or if nobody has looked.
    pub discards: Option<usize>,
    /// Why it is not.
    pub reason: BlockedReason,
    /// The particulars.
    pub detail: String,
    /// The one command that unblocks it, if one does.
    pub unblock: Option<String>,
    /// Why it would be done.
    pub because: Vec<Because>,
}

/// Why something needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockedReason {
    /// Somebody works in it.
    Busy,
    /// Data would be gone.
    DataLoss,
    /// A sandbox would get more than it has.
    Widens,
    /// It is not ours.
    Foreign,
    /// Somebody stopped it by hand.
    Held,
    /// Drift is to be reported only.
    Reported,
    /// A sensitive file would become visible.
    Sensitive,
    /// It cannot be done here.
    Unsupported,
    /// The project was moved, or so it seems, and its data is elsewhere.
    Moved,
}

/// Something that cannot be said before other steps are done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Unknown {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: String,
    /// What it waits for.
    pub reason: String,
}

/// How many of what a plan holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Summary {
    /// Resources to create, pull, build or populate.
    pub create: usize,
    /// Changes in place.
    pub update: usize,
    /// Starts and restarts.
    pub restart: usize,
    /// Replacements.
    pub replace: usize,
    /// Removals.
    pub remove: usize,
    /// Anything else, tags and renames.
    pub other: usize,
    /// Blocked steps.
    pub blocked: usize,
    /// Resources that are as they should be.
    pub unchanged: usize,
}

impl Unknown {
    /// Returns the resource of which something cannot be said.
    pub fn resource(&self) -> Resource {
        Resource {
            kind: self.kind,
            name: self.name.clone(),
        }
    }
}

impl ResourceKind {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Snapshot => "snapshot",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Container => "container",
        }
    }
}

impl Action {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Build => "build",
            Self::Snapshot => "snapshot",
            Self::Populate => "populate",
            Self::Create => "create",
            Self::Start => "start",
            Self::Unpause => "unpause",
            Self::Update => "update",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Rename => "rename",
            Self::Restart => "restart",
            Self::Replace => "replace",
            Self::Stop => "stop",
            Self::Tag => "tag",
            Self::Remove => "remove",
        }
    }
}

impl Impact {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Live => "live",
            Self::Restart => "restart",
            Self::Recreate => "recreate",
            Self::DataLoss => "data-loss",
        }
    }
}

impl BlockedReason {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::DataLoss => "data-loss",
            Self::Widens => "widens",
            Self::Foreign => "foreign",
            Self::Held => "held",
            Self::Reported => "reported",
            Self::Sensitive => "sensitive",
            Self::Unsupported => "unsupported",
            Self::Moved => "moved",
        }
    }
}

impl Because {
    /// Returns a reason without evidence.
    pub fn plain(cause: Cause) -> Self {
        Self {
            cause,
            field: None,
            from: Value::Null,
            to: Value::Null,
            at: None,
        }
    }

    /// Returns a reason with a field and both its values.
    pub fn field(cause: Cause, field: &str, from: Value, to: Value) -> Self {
        Self {
            cause,
            field: Some(field.to_owned()),
            from,
            to,
            at: None,
        }
    }

    /// Adds the line of the manifest that decides it.
    #[must_use]
    pub fn at(self, place: Option<&Place>) -> Self {
        Self {
            at: place.cloned(),
            ..self
        }
    }
}

impl Plan {
    /// Returns a plan in which nothing is done.
    pub fn empty(manifest: &ManifestInfo, engine: &EngineInfo) -> Self {
        Self {
            manifest: manifest.clone(),
            engine: engine.clone(),
            steps: Vec::new(),
            blocked: Vec::new(),
            unknown: Vec::new(),
            unchanged: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Says whether there is nothing to do and nothing in the way.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty() && self.unknown.is_empty()
    }

    /// Fills in the lines of the manifest that decide what containers are, asked for by path
    /// (`containers.reviewer.resources.memory`). Only what differs is looked up.
    pub fn locate(&mut self, place: impl Fn(&str) -> Option<Place>) {
        let steps = self
            .steps
            .iter_mut()
            .map(|step| (&step.resource, &mut step.because));
        let blocked = self
            .blocked
            .iter_mut()
            .map(|blocked| (&blocked.resource, &mut blocked.because));
        for (resource, because) in steps.chain(blocked) {
            for because in because.iter_mut().filter(|because| because.at.is_none()) {
                let path = match (resource.kind, &because.cause, &because.field) {
                    (_, Cause::Orphan | Cause::Drift, _) => continue,
                    (ResourceKind::Container, _, Some(field)) => {
                        format!("containers.{}.{field}", resource.name)
                    }
                    (ResourceKind::Container, _, None) => format!("containers.{}", resource.name),
                    // A changed member of a harness set.
                    (ResourceKind::Volume, Cause::Manifest, Some(field)) => format!("{field}.version"),
                    (
                        ResourceKind::Volume
                        | ResourceKind::Network
                        | ResourceKind::Image
                        | ResourceKind::Snapshot,
                        _,
                        _,
                    ) => continue,
                };
                because.at = place(&path);
            }
        }
    }

    /// Counts.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            blocked: self.blocked.len(),
            unchanged: self.unchanged.len(),
            ..Summary::default()
        };
        for step in &self.steps {
            let counter = match step.action {
                Action::Pull | Action::Build | Action::Snapshot | Action::Populate | Action::Create => {
                    &mut summary.create
                }
                Action::Update | Action::Connect | Action::Disconnect => &mut summary.update,
                Action::Start | Action::Unpause | Action::Restart => &mut summary.restart,
                Action::Replace => &mut summary.replace,
                Action::Remove => &mut summary.remove,
                Action::Rename | Action::Stop | Action::Tag => &mut summary.other,
            };
            *counter += 1;
        }
        summary
    }
}
