//! Documents for programs: the shapes of `-o json`, written down by hand so that nothing inside can change them.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::report::{Condition, Outcome};
use crate::step::{self, Action, BlockedReason, Cause, Impact, ManifestInfo, ResourceKind, Summary};

mod container;
mod failure;
mod garbage;
mod of;

pub use container::{Container, ContainerStatus, Health, Hold, State};
pub use failure::Failure;

/// The version of every document.
pub const API_VERSION: &str = "aishell/v1";

/// Makes a document type with its version and kind.
macro_rules! document {
    ($(#[$attribute:meta])* $name:ident<$life:lifetime>, $kind:tt {
        $($(#[$field_attribute:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$attribute])*
        #[derive(Debug, Serialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        #[schemars(deny_unknown_fields)]
        pub struct $name<$life> {
            /// The version of this document.
            #[schemars(extend("const" = "aishell/v1"))]
            pub api_version: &'static str,
            /// What this document is.
            #[schemars(extend("const" = $kind))]
            pub kind: &'static str,
            $($(#[$field_attribute])* pub $field: $type,)*
        }

        impl $name<'_> {
            /// The kind of the document.
            pub const KIND: &'static str = $kind;
        }
    };
}

// Below the macro, which they use.
mod diagnosis;
mod event;
mod phases;

pub use diagnosis::Diagnosis;
pub use event::{Event, Happening, PhaseEvent};
pub use phases::Phases;

document! {
    /// What `diff` answers.
    Plan<'a>, "Plan" {
        /// The manifest the plan was made for.
        manifest: &'a ManifestInfo,
        /// The engine it was made on.
        engine: Engine<'a>,
        /// What will be done, in an order that respects every need.
        steps: Vec<Step<'a>>,
        /// What needs a person first.
        blocked: Vec<Blocked<'a>>,
        /// What cannot be said before other steps are done.
        unknown: &'a [step::Unknown],
        /// What is as it should be.
        unchanged: &'a [step::Resource],
        /// What else there is to know.
        notes: &'a [String],
        /// How many of everything.
        summary: Summary,
    }
}

document! {
    /// What `apply` and `delete` answer.
    Report<'a>, "Report" {
        /// The manifest.
        manifest: &'a ManifestInfo,
        /// The engine.
        engine: Engine<'a>,
        /// What changed in the lock before anything was done.
        pinned: &'a [crate::lock::Change],
        /// Every step with its outcome.
        steps: Vec<Done<'a>>,
        /// What needs a person first.
        blocked: Vec<Blocked<'a>>,
        /// What was as it should be.
        unchanged: &'a [step::Resource],
        /// What else there is to know.
        notes: &'a [String],
        /// How the manifest stands now.
        conditions: &'a [Condition],
        /// Whether nothing was left to do when it was looked at again.
        converged: bool,
        /// Whether a signal ended the run early.
        interrupted: bool,
    }
}

document! {
    /// What `update` answers.
    Update<'a>, "Update" {
        /// The manifest.
        manifest: &'a ManifestInfo,
        /// The lock, absolute.
        lock: String,
        /// Whether the lock was written; with `--check` it never is.
        written: bool,
        /// What means something else now.
        changes: &'a [crate::lock::Change],
        /// What means what it meant: harnesses, references of images, `runtime`, `builtin`.
        unchanged: &'a [String],
        /// What else there is to know.
        notes: &'a [String],
    }
}

document! {
    /// What `status` answers.
    Status<'a>, "Status" {
        /// The manifest.
        manifest: &'a ManifestInfo,
        /// The engine.
        engine: Engine<'a>,
        /// Every resource.
        resources: Vec<ResourceStatus<'a>>,
        /// How the manifest stands as a whole.
        conditions: &'a [Condition],
        /// What else there is to know.
        notes: &'a [String],
    }
}

document! {
    /// What `ps` answers.
    ContainerList<'a>, "ContainerList" {
        /// The engine.
        engine: Engine<'a>,
        /// The containers, by manifest and name.
        items: Vec<Container<'a>>,
    }
}

document! {
    /// What `prune` answers.
    Garbage<'a>, "Garbage" {
        /// The engine.
        engine: Engine<'a>,
        /// Everything that nobody uses any more, in an order in which it can go.
        items: Vec<Item<'a>>,
        /// What needs a person first.
        blocked: Vec<Blocked<'a>>,
        /// How much room the items take, in bytes, as far as the engine says; images share more that is not counted.
        bytes: u64,
        /// How much that nobody uses stays, because it is the newest of its kind.
        kept: usize,
        /// What else there is to know.
        notes: &'a [String],
        /// Whether a signal ended the run early.
        interrupted: bool,
    }
}

document! {
    /// What `init` answers.
    Starter<'a>, "Starter" {
        /// The manifest that was written.
        path: &'a str,
        /// The name it has.
        name: &'a str,
        /// Commands that come next.
        next: &'a [&'static str],
    }
}

document! {
    /// What `validate` answers.
    Validation<'a>, "Validation" {
        /// Whether nothing is wrong with the manifest.
        valid: bool,
        /// The manifest; absent when it could not be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        manifest: Option<&'a ManifestInfo>,
        /// Everything that is wrong with it.
        problems: Vec<Problem<'a>>,
    }
}

document! {
    /// What a command answers that could not do what it was asked.
    Error<'a>, "Error" {
        /// The code the program ends with.
        code: u8,
        /// Everything that is wrong, at least one.
        problems: Vec<Problem<'a>>,
    }
}

/// The engine.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Engine", deny_unknown_fields)]
pub struct Engine<'a> {
    /// Where it is reached.
    pub host: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The version of its API.
    pub api_version: &'a str,
}

/// Something that nobody uses any more.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Item", deny_unknown_fields)]
pub struct Item<'a> {
    /// What it is.
    pub kind: ResourceKind,
    /// The engine's name of it.
    pub name: &'a str,
    /// The manifest it was made for.
    pub manifest: &'a str,
    /// The project; `null` for what has users and no owner.
    pub project: Option<&'a str>,
    /// When it was made, RFC 3339; `null` where the engine does not say.
    pub created_at: Option<String>,
    /// How much room it takes; `null` where the engine does not say.
    pub bytes: Option<u64>,
    /// Why it is garbage.
    pub why: &'a str,
    /// How many files of a container's own layer go with it; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discards: Option<usize>,
    /// What came of it; absent when it was only listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// One step.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Step", deny_unknown_fields)]
pub struct Step<'a> {
    /// Its number, counted from 1.
    pub id: u32,
    /// The kind of its resource.
    pub kind: ResourceKind,
    /// The name of its resource.
    pub name: &'a str,
    /// What is done.
    pub action: Action,
    /// What that costs whoever uses the resource.
    pub impact: Impact,
    /// Why.
    pub because: Vec<Because<'a>>,
    /// The steps that must have succeeded before.
    pub needs: &'a [u32],
    /// What there is to know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// How many files of the container layer are gone afterwards; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discards: Option<usize>,
    /// What sandboxes get by it that they had not; absent if nothing.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub widens: &'a [String],
    /// Creations and replacements of containers: every field of the new container.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub spec: Option<&'a crate::spec::ContainerSpec>,
}

/// One step with its outcome.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Done", deny_unknown_fields)]
pub struct Done<'a> {
    /// Its number, counted from 1.
    pub id: u32,
    /// The kind of its resource.
    pub kind: ResourceKind,
    /// The name of its resource.
    pub name: &'a str,
    /// What was to be done.
    pub action: Action,
    /// What that costs whoever uses the resource.
    pub impact: Impact,
    /// Why.
    pub because: Vec<Because<'a>>,
    /// The steps that must have succeeded before.
    pub needs: &'a [u32],
    /// What there is to know besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// How many files of the container layer are gone with it; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discards: Option<usize>,
    /// What sandboxes get by it that they had not; absent if nothing.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub widens: &'a [String],
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub seconds: f64,
    /// How often the engine had to be asked again; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Why it failed or was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Requests that were sent again because the engine was away, or failed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Retries", deny_unknown_fields)]
pub struct Retries {
    /// How many.
    pub times: u32,
    /// How long was waited before that, in all.
    pub seconds: f64,
}

/// One reason with its evidence.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Because", deny_unknown_fields)]
pub struct Because<'a> {
    /// Why.
    pub cause: Cause,
    /// The field that differs, as a path in the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    /// What it is; `null` is absent.
    pub from: &'a Value,
    /// What it should be; `null` is absent.
    pub to: &'a Value,
    /// The line of the manifest that decides it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Place", deny_unknown_fields)]
pub struct Place {
    /// The file: relative to the working directory if it lies below it, else absolute; `-` is standard input.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
}

/// Something that needs a person first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Blocked", deny_unknown_fields)]
pub struct Blocked<'a> {
    /// The kind of the resource.
    pub kind: ResourceKind,
    /// The name of the resource.
    pub name: &'a str,
    /// What would be done.
    pub action: Action,
    /// What that would cost.
    pub impact: Impact,
    /// Why it is not.
    pub reason: BlockedReason,
    /// The particulars.
    pub detail: &'a str,
    /// The one command that unblocks it; `null` if none does.
    pub unblock: Option<&'a str>,
    /// How many files of the container layer would be gone; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discards: Option<usize>,
    /// Why it would be done.
    pub because: Vec<Because<'a>>,
}

/// How one resource stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ResourceStatus", deny_unknown_fields)]
pub struct ResourceStatus<'a> {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name.
    pub name: &'a str,
    /// Its conditions.
    pub conditions: &'a [Condition],
    /// What containers have besides.
    #[serde(flatten)]
    pub container: Option<ContainerStatus<'a>>,
    /// What harness volumes have besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub harness_set: Option<SetStatus<'a>>,
}

/// What the status of a harness volume says besides.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HarnessSet", deny_unknown_fields)]
pub struct SetStatus<'a> {
    /// Its members.
    pub members: Vec<SetMember<'a>>,
    /// The containers that have it mounted: those of the manifest by their names there, others by the engine's.
    pub users: &'a [String],
    /// How many files it has; `null` unless they were read, as with `--deep`.
    pub files: Option<u64>,
    /// How large they are together, in bytes; `null` unless they were read.
    pub bytes: Option<u64>,
}

/// One member of a harness set.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HarnessMember", deny_unknown_fields)]
pub struct SetMember<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Problem", deny_unknown_fields)]
pub struct Problem<'a> {
    /// What is wrong.
    pub message: &'a str,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
}
