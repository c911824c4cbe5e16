//! What came back of a call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use jiff::Timestamp;

use super::File;
use crate::label::Labels;
use crate::observed::{EngineInfo, Health, Image, ImageReply, NetworkShape, RunState};
use crate::secret::search::Hit;
use crate::spec::ContainerSpec;

/// What the engine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// The id of what was created, or of the engine.
    Id(String),
    /// The engine.
    Engine(EngineInfo),
    /// The time that the engine has.
    Time(Timestamp),
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
    /// Where a secret was found first, if one was.
    Found(Option<Leak>),
    /// The lines that a command printed, the last ones only where there are very many, and whether it ended.
    Ran(Vec<String>, bool),
    /// What there is at a path.
    File(FileStatus),
    /// What there is below a directory, by path in it.
    Files(Vec<File>),
    /// What there is in a directory.
    Stock(Stock),
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

/// A secret that was found in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// Absolute path inside.
    pub path: String,
    /// What it is, and how it is written.
    pub hit: Hit,
}

/// What there is at a path of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStatus {
    /// The type, as `file`, `directory`, `link` or `other`.
    pub kind: &'static str,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Where a link leads.
    pub target: Option<String>,
}

/// What there is in a directory and below, by path from there; the directory itself has none.
pub type Stock = BTreeMap<String, FileRecord>;

/// One file, directory or link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileRecord {
    /// What it is.
    pub status: FileStatus,
    /// How large it is, in bytes; nothing but files have a size.
    pub bytes: u64,
    /// The digest of what is in it, for files.
    pub digest: Option<String>,
    /// What is in it, where that was asked for.
    pub content: Option<Vec<u8>>,
}

/// Returns where a link at an absolute path leads.
pub fn follow(path: &str, target: &str) -> String {
    let joined = Path::new(path).parent().unwrap_or(Path::new("/")).join(target);
    let mut steps: Vec<String> = Vec::new();
    for component in joined.components() {
        match component {
            Component::Normal(step) => steps.push(step.to_string_lossy().into_owned()),
            Component::ParentDir => {
                steps.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", steps.join("/"))
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

/// How much room things take on an engine, in bytes, where it can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What an image has that no other image has, by id.
    pub images: BTreeMap<String, u64>,
    /// The content of a volume, by name.
    pub volumes: BTreeMap<String, u64>,
    /// A container's own layer, by id.
    pub containers: BTreeMap<String, u64>,
}
