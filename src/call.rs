//! [`Call`]: one request to the engine, as a value, and [`Answer`]: what came back.
//!
//! Everything aishell does to an engine is a sequence of calls, so everything can be counted, printed and cut
//! between any two of them. What a call means in the engine's own API is known to `engine/docker` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::label::{Labels, OwnedId};
use crate::secret::Secret;
use crate::spec::{ContainerSpec, Endpoint, Resources, Restart};

mod build;
mod exec;
mod reply;

pub use build::{Build, Trigger};
pub use exec::Exec;
pub use reply::{
    Answer, ContainerReply, ExecReply, FileChange, FileRecord, FileStatus, Leak, ListedContainer,
    NetworkReply, Process, Stock, Usage, VolumeReply, follow,
};

/// One request to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    // ---- reads ----
    /// Asks for version, API version and platform.
    Version,
    /// Asks for the id that the engine keeps for its life, wherever it is reached.
    Identify,
    /// Asks for the time that the engine has: what it says of when things were made is told by that clock.
    Clock,
    /// Lists every container, running or not, that carries our labels.
    ListContainers,
    /// Lists every container, whoever's.
    ListUsers,
    /// Asks how much room images, volumes and containers take.
    MeasureUsage,
    /// Lists every volume that carries our labels.
    ListVolumes,
    /// Lists every network that carries our labels.
    ListNetworks,
    /// Lists every image that carries our labels.
    ListImages,
    /// Asks for one container by id or name.
    InspectContainer {
        /// Id or name.
        container: String,
    },
    /// Asks for one image by id or reference.
    InspectImage {
        /// Id or reference.
        image: String,
    },
    /// Asks for one volume.
    InspectVolume {
        /// Name.
        volume: String,
    },
    /// Asks for one network by id or name.
    InspectNetwork {
        /// Id or name.
        network: String,
    },
    /// Reads one file of a container, running or not.
    ReadFile {
        /// Id or name.
        container: String,
        /// Absolute path inside.
        path: String,
    },
    /// Reads everything below a directory of a container, running or not; nothing, if there is none.
    ReadTree {
        /// Id or name.
        container: String,
        /// Absolute path inside.
        path: String,
    },
    /// Asks what there is at a path of a container, running or not; a link is not followed.
    StatFile {
        /// Id or name.
        container: String,
        /// Absolute path inside.
        path: String,
    },
    /// Reads the log from its start until the container ends, reporting lines as they come.
    FollowLog {
        /// Id or name.
        container: String,
    },
    /// Asks the registry of an image for the digest that a reference has there now.
    AskRegistry {
        /// Reference with tag.
        reference: String,
    },
    /// Lists the processes of a container, with their sessions.
    ListProcesses {
        /// Id or name.
        container: String,
    },
    /// Lists what a container changed in its own layer.
    ListChanges {
        /// Id or name.
        container: String,
    },
    /// Looks for secrets in what there is at a path of a container, running or not, and below.
    SearchFiles {
        /// Id or name.
        container: String,
        /// Absolute path inside.
        path: String,
        /// The absolute paths that are looked at; whatever else is there is not.
        only: Arc<BTreeSet<String>>,
        /// The secrets, by variable.
        secrets: Arc<BTreeMap<String, Secret>>,
    },
    /// Takes stock of a directory of a container, running or not: everything below, with the digests of files.
    TakeStock {
        /// Id or name.
        container: String,
        /// Absolute path inside.
        path: String,
        /// Files below this path of the directory are returned with what is in them.
        whole: String,
    },
    /// Asks for one command that was run in a container.
    InspectExec {
        /// Id.
        exec: String,
    },
    // ---- writes ----
    /// Pulls an image from its registry.
    PullImage {
        /// Reference with tag or digest.
        reference: String,
    },
    /// Builds an image from a Dockerfile.
    BuildImage(Box<Build>),
    /// Makes an image of a container's file system.
    CommitContainer(Box<Commit>),
    /// Gives an image one more tag.
    TagImage {
        /// Id or reference of the image.
        image: String,
        /// `repository:tag`.
        tag: String,
    },
    /// Removes an image, or one tag of it.
    RemoveImage {
        /// Id or `repository:tag`.
        image: String,
    },
    /// Creates a volume; where one of that name exists, answers with the existing one.
    CreateVolume {
        /// Name.
        name: String,
        /// Labels; a random identifier is added.
        labels: Labels,
    },
    /// Removes a volume of ours.
    RemoveVolume {
        /// Proof that it is ours.
        volume: OwnedId,
    },
    /// Creates a private network.
    CreateNetwork {
        /// Name.
        name: String,
        /// Labels; a random identifier is added.
        labels: Labels,
    },
    /// Removes a network of ours.
    RemoveNetwork {
        /// Proof that it is ours.
        network: OwnedId,
    },
    /// Attaches a container to a network.
    ConnectNetwork {
        /// Id or name of the network.
        network: String,
        /// Id of the container.
        container: String,
        /// Aliases.
        endpoint: Endpoint,
    },
    /// Detaches a container from a network.
    DisconnectNetwork {
        /// Id or name of the network.
        network: String,
        /// Id of the container.
        container: String,
    },
    /// Creates a container under a name; a taken name is [`crate::engine::EngineError::Conflict`].
    CreateContainer(Box<Create>),
    /// Creates a container that ends when whoever attached to it goes away, and is gone then.
    CreateKept(Box<Create>),
    /// Starts a container.
    StartContainer {
        /// Id or name.
        container: String,
    },
    /// Stops a container, waiting for its own stop timeout.
    StopContainer {
        /// Proof that it is ours.
        container: OwnedId,
    },
    /// Ends a container at once.
    KillContainer {
        /// Proof that it is ours.
        container: OwnedId,
    },
    /// Lets a frozen container go on.
    UnpauseContainer {
        /// Id.
        container: String,
    },
    /// Gives a container another name.
    RenameContainer {
        /// Proof that it is ours.
        container: OwnedId,
        /// The new name.
        name: String,
    },
    /// Changes limits and restart policy in place; only what is given is sent.
    UpdateContainer {
        /// Id.
        container: String,
        /// New limits, all of them.
        resources: Option<Resources>,
        /// New restart policy.
        restart: Option<Restart>,
    },
    /// Removes a container of ours, killing it if it runs.
    RemoveContainer {
        /// Proof that it is ours.
        container: OwnedId,
        /// Whether volumes that its image declares, and nothing else uses, go with it: what is in them is lost.
        volumes: bool,
    },
    /// Removes a container of ours that does not run; one that does is [`crate::engine::EngineError::Conflict`].
    RemoveIdle {
        /// Proof that it is ours.
        container: OwnedId,
    },
    /// Prepares a command in a running container, without a terminal.
    CreateExec(Box<Exec>),
    /// Runs a command that was prepared, until it ends, but not longer than it may take.
    StartExec {
        /// Its id.
        exec: String,
        /// How long it may take, in seconds; after that it goes on by itself.
        seconds: u32,
    },
    /// Runs a command that was prepared, reporting lines as they come, until it ends or its time is over.
    FollowExec {
        /// Its id.
        exec: String,
        /// How long it may take, in seconds; `None` has no limit. After that it goes on by itself.
        seconds: Option<u64>,
        /// What must not be shown of what it prints, by variable.
        secrets: Arc<BTreeMap<String, Secret>>,
    },
    /// Unpacks files into a container that has no writable bind mounts.
    Upload {
        /// Id or name.
        container: String,
        /// What to unpack at `/`.
        files: Arc<[File]>,
    },
}

/// A commit of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Id or name of the container.
    pub container: String,
    /// Whether the image is one that was asked for anew, and says so with its identifier.
    pub rebuilt: bool,
    /// The keyed tag that the image gets.
    pub tag: String,
    /// Labels of the image; a random identifier is added.
    pub labels: Labels,
    /// Environment variables to set in the image's configuration.
    pub env: BTreeMap<String, String>,
    /// The image's command, since a commit would otherwise take the container's.
    pub command: Option<Vec<String>>,
    /// The image's entrypoint, likewise.
    pub entrypoint: Option<Vec<String>>,
    /// The user of the image's configuration; the engine cannot unset one, so `0:0` stands for none.
    pub user: Option<String>,
    /// The working directory of the image's configuration; `None` is the container's.
    pub workdir: Option<String>,
}

/// A creation of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The name, which is also a mutex.
    pub name: String,
    /// Labels of aishell; the person's own are in the specification. A random identifier is added.
    pub labels: Labels,
    /// Its fields.
    pub spec: ContainerSpec,
}

/// A file, directory or link to unpack into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path without leading slash; parents must exist or come first.
    pub path: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What a [`File`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A symbolic link to this target.
    Link(String),
    /// A file of this host, read when it is sent.
    Host {
        /// Its path.
        path: PathBuf,
        /// The digest of its content: with another one the upload fails.
        digest: String,
    },
}

impl Call {
    /// Returns the word for the call.
    pub fn name(&self) -> String {
        let shown = format!("{self:?}");
        shown.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
    }

    /// Says whether the call can change anything.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Version
            | Self::Identify
            | Self::Clock
            | Self::ListContainers
            | Self::ListUsers
            | Self::MeasureUsage
            | Self::ListVolumes
            | Self::ListNetworks
            | Self::ListImages
            | Self::InspectContainer { .. }
            | Self::InspectImage { .. }
            | Self::InspectVolume { .. }
            | Self::InspectNetwork { .. }
            | Self::ReadFile { .. }
            | Self::ReadTree { .. }
            | Self::StatFile { .. }
            | Self::FollowLog { .. }
            | Self::AskRegistry { .. }
            | Self::ListProcesses { .. }
            | Self::ListChanges { .. }
            | Self::SearchFiles { .. }
            | Self::TakeStock { .. }
            | Self::InspectExec { .. } => false,
            Self::PullImage { .. }
            | Self::BuildImage(_)
            | Self::CommitContainer(_)
            | Self::TagImage { .. }
            | Self::RemoveImage { .. }
            | Self::CreateVolume { .. }
            | Self::RemoveVolume { .. }
            | Self::CreateNetwork { .. }
            | Self::RemoveNetwork { .. }
            | Self::ConnectNetwork { .. }
            | Self::DisconnectNetwork { .. }
            | Self::CreateContainer(_)
            | Self::CreateKept(_)
            | Self::RemoveIdle { .. }
            | Self::StartContainer { .. }
            | Self::StopContainer { .. }
            | Self::KillContainer { .. }
            | Self::UnpauseContainer { .. }
            | Self::RenameContainer { .. }
            | Self::UpdateContainer { .. }
            | Self::RemoveContainer { .. }
            | Self::CreateExec(_)
            | Self::StartExec { .. }
            | Self::FollowExec { .. }
            | Self::Upload { .. } => true,
        }
    }
}
