//! An image that is built in ordered phases, each of which leaves a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::Pin;
use super::expand::Text;
use super::inputs::Inputs;
use crate::context::Tree;
use crate::key::Key;
use crate::label::{Kind, Labels};
use crate::manifest::phase::PhaseName;
use crate::manifest::place::Place;
use crate::manifest::stage::StageName;
use crate::remote::{Source, Store};
use crate::spec::Secrets;

/// The phases of a stage, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The name in [`super::Desired::stages`] of what the first phase starts from.
    pub from: String,
    /// What is to be done, in order, each on the snapshot of the one before it; the last one makes the image of the stage.
    pub phases: Vec<Phase>,
    /// The keyed tag of the image of the stage; the courtesy tag while the key is not known.
    pub tag: String,
    /// The courtesy tag that follows the keyed one.
    pub alias: String,
    /// What kind of image the stage makes.
    pub kind: Kind,
    /// The stages before it.
    pub on: Vec<StageName>,
    /// The CA bundle that commands trust; a fact of this host, in no key and no layer.
    pub certificates: Option<Vec<u8>>,
    /// Proxy variables for commands; facts of this host, in no key.
    pub proxies: BTreeMap<String, String>,
    /// Where what is fetched is kept; a fact of this host, in no key.
    pub store: Arc<Store>,
}

/// One phase that does something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which one.
    pub name: PhaseName,
    /// The key of what it leaves: of what it does, and of everything before.
    pub key: Pin<Key>,
    /// The keyed tag of its snapshot; the courtesy tag while the key is not known.
    pub tag: String,
    /// The courtesy tags that follow: its own, and those of the phases after it that do nothing.
    pub aliases: Vec<String>,
    /// The labels of its snapshot.
    pub labels: Labels,
    /// What is done, in order.
    pub acts: Vec<Act>,
    /// How the image is configured by it.
    pub settings: Settings,
    /// What it is made of, told apart.
    pub inputs: Inputs,
    /// What it does, for people.
    pub about: String,
    /// The part of the manifest that asks for it.
    pub place: Option<Place>,
    /// Why secrets of its commands cannot be had here, by variable; it cannot be done without them.
    pub lacks: BTreeMap<String, String>,
}

/// What a phase changes of the configuration of the image. What is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Text>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

/// Something that is done in the container of a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// Users are added.
    Users(Vec<NewUser>),
    /// A directory is made, with whatever parents it lacks.
    Directory {
        /// Where; `~name/` is that user's home.
        path: String,
        /// Whose it and the parents it lacked are; `None` is root.
        owner: Option<String>,
    },
    /// A file or directory of this host is copied, with whatever parents it lacks.
    Copy {
        /// What.
        #[serde(skip)]
        tree: Arc<Tree>,
        /// The digest of what counts of it.
        digest: String,
        /// Where; `~name/` is that user's home.
        target: String,
        /// Whose it and the parents it lacked are; `None` is root.
        owner: Option<String>,
        /// The permission bits of files, and of directories with what it takes to enter them; `None` are the source's.
        mode: Option<u32>,
    },
    /// Something is fetched by this host and copied, with whatever parents it lacks.
    Fetch {
        /// What.
        source: Source,
        /// Where; `~name/` is that user's home.
        target: String,
        /// Whose it and the parents it lacked are; `None` is root.
        owner: Option<String>,
        /// The field of the manifest that has it.
        #[serde(skip)]
        field: String,
        /// Where that is written.
        #[serde(skip)]
        place: Option<Place>,
    },
    /// A command is run.
    Run(Command),
    /// Files are looked for.
    Verify(Vec<Expected>),
}

/// A user to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewUser {
    /// Name.
    pub name: String,
    /// Number; `None` is the next free one.
    pub uid: Option<u32>,
    /// Number of the group; `None` is that of the user.
    pub gid: Option<u32>,
    /// Additional groups, made where they are missing.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: String,
    /// Home.
    pub home: String,
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    /// What the shell runs.
    pub run: String,
    /// The shell.
    pub shell: String,
    /// Who runs it.
    pub user: String,
    /// Where; `None` is the image's working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Environment of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Environment that nobody may see; of it only the names count.
    #[serde(skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// How long it may take, in seconds; it changes nothing of what is made.
    #[serde(skip)]
    pub seconds: Option<u64>,
    /// The field of the manifest that has it.
    #[serde(skip)]
    pub field: String,
    /// Where that is written.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// A file that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// Where; `~name/` is that user's home.
    pub path: String,
    /// The permission bits it must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Whose it must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}
