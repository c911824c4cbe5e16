//! [`Call`]: one request to the engine, as a value, and [`Answer`]: what came back.
//!
//! Everything aishell does to an engine is a sequence of calls, so everything can be counted, printed and cut
//! between any two of them. What a call means in the engine's own API is known to `engine/docker` alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::label::{Labels, OwnedId};
use crate::observed::{EngineInfo, Health, Image, ImageReply, NetworkShape, RunState};
use crate::spec::{ContainerSpec, Endpoint, Resources, Restart};

mod build;

pub use build::Build;
mod usage;

pub use usage::Usage;

/// One request to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    // ---- reads ----
    /// Asks for version, API version and platform.
    Version,
    /// Asks for the id that the engine keeps for its life, wherever it is reached.
    Identify,
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
    /// Prepares a command in a running container, as its user and without a terminal.
    CreateExec {
        /// Id or name.
        container: String,
        /// Its words.
        words: Vec<String>,
    },
    /// Runs a command that was prepared, until it ends, but not longer than it may take.
    StartExec {
        /// Its id.
        exec: String,
        /// How long it may take, in seconds; after that it goes on by itself.
        seconds: u32,
    },
    /// Unpacks files into a container that has no writable bind mounts.
    Upload {
        /// Id or name.
        container: String,
        /// What to unpack at `/`.
        files: Vec<File>,
    },
}

/// A commit of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Id or name of the container.
    pub container: String,
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
}

/// What the engine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// The id of what was created, or of the engine.
    Id(String),
    /// The engine.
    Engine(EngineInfo),
    /// Containers, as the listing shows them.
    Containers(Vec<ListedContainer>),
    /// One container.
    Container(Box<ContainerReply>),
    /// Images.
    Images(Vec<Image>),
    /// How much room everything takes.
    Usage(Usage),
    /// One image with its configuration.
    Image(Box<ImageReply>),
    /// The digest of an image in its registry.
    Digest(String),
    /// Volumes.
    Volumes(Vec<VolumeReply>),
    /// One volume; after a creation, the one that exists now.
    Volume(VolumeReply),
    /// Networks.
    Networks(Vec<NetworkReply>),
    /// One network.
    Network(NetworkReply),
    /// The bytes of a file.
    Bytes(Vec<u8>),
    /// Lines of a log, the last ones only where there are many.
    Log(Vec<String>),
    /// Changes of a container's own layer.
    Changes(Vec<FileChange>),
    /// Processes.
    Processes(Vec<Process>),
    /// One command that was run in a container.
    Exec(ExecReply),
    /// What a command printed before it ended; `None` if it has not.
    Output(Option<String>),
}

/// A container, as the listing shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The id of its image.
    pub image_id: String,
    /// Its labels, those of its image included.
    pub labels: Labels,
    /// Names of the volumes it mounts.
    pub volumes: BTreeSet<String>,
    /// Whether it runs.
    pub running: bool,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// A container, as inspect shows it, normalised but not yet told from its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerReply {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The id of its image.
    pub image_id: String,
    /// Its labels, those of its image included.
    pub labels: Labels,
    /// What it is doing.
    pub state: RunState,
    /// Its fields: environment, labels and the rest as the engine merged them with the image's.
    pub spec: ContainerSpec,
    /// When it was created, RFC 3339.
    pub created: String,
    /// When it was last started, RFC 3339.
    pub started: Option<String>,
    /// The verdict of its health check.
    pub health: Option<Health>,
    /// How often the engine restarted it.
    pub restarts: u32,
    /// What the engine says of the last failure to start.
    pub error: Option<String>,
    /// The ids of the networks it is attached to, by name, where the engine knows them: a container starts only on
    /// the very network it ran on before.
    pub network_ids: BTreeMap<String, String>,
    /// The number that the engine's machine gives its first process; `None` when nothing runs.
    pub process: Option<i64>,
    /// The ids of commands that run in it besides its own, those that only wait to be started among them.
    pub execs: BTreeSet<String>,
    /// The words of its health check.
    pub health_check: Option<Vec<String>>,
}

/// A file or directory that a container's own layer has otherwise than its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileChange {
    /// Absolute path inside.
    pub path: String,
    /// Whether it is gone.
    pub removed: bool,
}

/// A process of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: i64,
    /// The session it belongs to.
    pub session: i64,
    /// Whether that session has a terminal.
    pub terminal: bool,
}

/// A command that was run in a container besides its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecReply {
    /// Whether it runs.
    pub running: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Its words.
    pub words: Vec<String>,
    /// The code it ended with; `None` while it runs.
    pub code: Option<i64>,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeReply {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// When it was created, as the engine says.
    pub created: String,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkReply {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// When it was created, as the engine says.
    pub created: String,
    /// How it was made.
    pub shape: NetworkShape,
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
            | Self::FollowLog { .. }
            | Self::AskRegistry { .. }
            | Self::ListProcesses { .. }
            | Self::ListChanges { .. }
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
            | Self::CreateExec { .. }
            | Self::StartExec { .. }
            | Self::Upload { .. } => true,
        }
    }
}
