//! [`Observed`]: what the engine says exists, labels already read, values normalised. A value, never a handle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::grant::Grant;
use crate::key::Key;
use crate::label::{self, FAILED, Kind, Labels, Mark, OwnedId, Owner, SCHEMA, SCHEMA_NUMBER, UID};
use crate::spec::{ContainerSpec, Probe};

mod content;
mod index;

pub use content::{Content, Damage, SetUser};
pub use index::ByResource;

/// One snapshot of the engine, as far as one manifest is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The engine itself.
    pub engine: EngineInfo,
    /// Containers of the owner, jobs and receipts aside, by engine name.
    pub containers: BTreeMap<String, Container>,
    /// Containers of the owner that did not work when they were to replace others, by the resource they were to be.
    pub failed: BTreeMap<String, Container>,
    /// Receipt containers of everybody, by engine name.
    pub receipts: BTreeMap<String, Receipt>,
    /// The harness volumes that containers of anybody mount, jobs and what vouches for them aside.
    pub sets_in_use: BTreeSet<String>,
    /// Who else's containers that run mount a harness volume, by its name; those of the owner are known anyway.
    pub set_users: BTreeMap<String, Vec<SetUser>>,
    /// What was found in harness volumes, by the id of what vouches for them; read only where that was asked for.
    pub contents: BTreeMap<String, Content>,
    /// Jobs of everybody, by engine name.
    pub jobs: BTreeMap<String, Job>,
    /// Containers of the owner that were to be claims and do not run: whoever made them is about to start them, or was
    /// killed.
    pub idle_claims: Vec<OwnedId>,
    /// Data volumes of manifests of the same name in other projects of this host, which may have been moved here.
    pub elsewhere: Vec<Elsewhere>,
    /// Networks of the owner, by id: names are not unique.
    pub networks: BTreeMap<String, Network>,
    /// Data volumes and holds of the owner and harness volumes of everybody, by engine name.
    pub volumes: BTreeMap<String, Volume>,
    /// Images with our labels, by id.
    pub images: BTreeMap<String, Image>,
    /// Images by the reference that the manifest names them with; an absent one is not on the engine.
    pub references: BTreeMap<String, Arc<ImageReply>>,
    /// Objects that are not ours under names we need.
    pub strangers: BTreeSet<Stranger>,
    /// Whether somebody works in a container, by the engine's id; asked only where it matters.
    pub activity: BTreeMap<String, Activity>,
    /// How many files a container has in its own layer, by the engine's id; asked only where they would be discarded.
    pub layers: BTreeMap<String, usize>,
    /// What containers that did not work said last, by the engine's id; asked only where the same is tried again.
    pub last_words: BTreeMap<String, String>,
}

/// Whether somebody works in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Nobody does.
    Idle,
    /// Somebody does, or nobody can say; with the evidence in a person's words.
    Busy(String),
}

/// The engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineInfo {
    /// Where it is reached.
    pub host: String,
    /// Its version.
    pub version: String,
    /// The version of its API.
    pub api_version: String,
    /// `linux/amd64`.
    #[serde(skip)]
    pub platform: String,
}

/// A container of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's id, with the proof that it is ours.
    pub id: OwnedId,
    /// Its labels, read.
    pub mark: Mark,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: RunState,
    /// The image it runs, with what it inherits from it; `None` when the image is gone.
    pub image: Option<Arc<ImageReply>>,
    /// The id of the image it runs.
    pub image_id: String,
    /// Its fields, normalised, as the engine merged them with the image's.
    pub spec: ContainerSpec,
    /// Its fields as they were asked for when it was created, where the label could be read.
    pub applied: Option<ContainerSpec>,
    /// When it was created, RFC 3339.
    pub created: String,
    /// When it was last started, RFC 3339; `None` when never.
    pub started: Option<String>,
    /// The verdict of its health check; `None` without one.
    pub health: Option<Health>,
    /// How often the engine restarted it.
    pub restarts: u32,
    /// What the engine says of the last failure to start.
    pub error: Option<String>,
    /// The ids of the networks it is attached to, by name, where the engine knows them.
    pub network_ids: BTreeMap<String, String>,
    /// The command that tells whether it is at work, as it was asked for when it was created.
    pub busy: Option<Vec<String>>,
    /// What it was given beyond what every sandbox has, when it was created.
    pub granted: BTreeSet<Grant>,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RunState {
    /// Created and never started, or failed to start.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Ended with a code.
    Exited {
        /// The exit code.
        code: i64,
    },
    /// Being removed.
    Removing,
    /// Could not be removed.
    Dead,
}

/// The verdict of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

/// A receipt container, as the listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The engine's id, with the proof that it is ours.
    pub id: OwnedId,
    /// Its labels, read.
    pub mark: Mark,
    /// The digest of the receipt file it vouches for.
    pub digest: String,
    /// The creation time of the volume it vouches for.
    pub volume_created: String,
}

/// A job, as the listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The engine's id, with the proof that it is ours.
    pub id: OwnedId,
    /// Its labels, read; the key is that of what it makes.
    pub mark: Mark,
    /// Whether it is at work.
    pub running: bool,
}

/// A network of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The engine's id, with the proof that it is ours.
    pub id: OwnedId,
    /// Its labels, read.
    pub mark: Mark,
    /// Its name.
    pub name: String,
    /// What orders networks of one name.
    pub age: Age,
    /// How it was made.
    pub shape: NetworkShape,
}

/// What is settled of a network when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// Who runs it.
    pub driver: String,
    /// Whether nothing outside can be reached from it.
    pub internal: bool,
    /// Whether it has addresses of IP version 6.
    pub ipv6: bool,
    /// What its driver was told besides.
    pub options: BTreeMap<String, String>,
}

impl Default for NetworkShape {
    /// Returns how private networks are made.
    fn default() -> Self {
        Self {
            driver: "bridge".to_owned(),
            internal: false,
            ipv6: false,
            options: BTreeMap::new(),
        }
    }
}

/// What orders networks of one name, so that everybody agrees on the first: the time of creation, then the id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(Option<Timestamp>, String);

impl Age {
    /// Reads the time of creation as the engine writes it.
    pub fn of(created: &str, id: &str) -> Self {
        Self(created.parse().ok(), id.to_owned())
    }
}

/// A volume of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The engine's name, with the proof that it is ours.
    pub id: OwnedId,
    /// Its labels, read.
    pub mark: Mark,
    /// When it was created, as the engine says; on old engines the time of the last change of its root.
    pub created: String,
    /// The members of a harness set with their versions.
    pub harnesses: Option<String>,
    /// Who stopped a container by hand, for the volume that says so.
    pub hold: Option<Hold>,
}

/// That somebody stopped a container by hand, and wants it to stay so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Who, as `user@host`.
    pub by: String,
    /// Since when, RFC 3339.
    pub since: String,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { by, since } = self;
        let since = since.parse::<Timestamp>().map_or_else(
            |_| since.clone(),
            |since| since.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        );
        write!(f, "stopped by {by} since {since}")
    }
}

/// An image, whoever made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Every tag it has.
    pub tags: BTreeSet<String>,
    /// Its digests in registries; none for images built or imported locally.
    pub digests: BTreeSet<String>,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// How large it is with everything that it was made on, in bytes, where the engine says.
    pub bytes: Option<u64>,
}

impl Image {
    /// Says whether one of its names says that this very image was made with a key.
    pub fn is_proven(&self, mark: &Mark) -> bool {
        let promised = label::proof(&format!("-{}", mark.key.short()), &self.id);
        let mut tags = self.tags.iter();
        tags.any(|tag| tag.starts_with("aishell-") && tag.ends_with(&promised))
    }
}

/// An image with the configuration that containers inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageReply {
    /// Id, tags, digests and labels.
    pub image: Image,
    /// `linux/amd64`.
    pub platform: String,
    /// Its configuration.
    pub config: ImageConfig,
}

/// What a container inherits from its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Command.
    pub command: Option<Vec<String>>,
    /// Entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// User.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// Stop signal.
    pub stop_signal: Option<String>,
    /// Health check.
    pub health: Option<Probe>,
    /// What it has the next build do that starts from it; a container inherits nothing of that.
    pub on_build: Vec<String>,
}

/// An object that is not ours under a name we need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stranger {
    /// `container`, `volume` or `network`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// Whose it is, in a person's words.
    pub who: String,
    /// Whether it is the owner's after all, and was not listed: it was made between the listing and this look.
    pub late: bool,
    /// Whether it is a volume that nobody uses and in which nothing was measured.
    pub vacant: bool,
}

/// A data volume that may be what this manifest had before, and is not its own now: of a manifest of the same name in
/// another project of the same host, or one that it had once and that somebody else uses by now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elsewhere {
    /// Its name within the manifest.
    pub name: String,
    /// The engine's name.
    pub engine_name: String,
    /// The project.
    pub project: String,
    /// The manifest file that it was made from.
    pub file: String,
    /// The project of another manifest that uses it: both may have copied who they were earlier.
    pub user: Option<String>,
}

impl RunState {
    /// Returns the word for people.
    pub fn display(self) -> String {
        match self {
            Self::Created => "created".to_owned(),
            Self::Running => "running".to_owned(),
            Self::Paused => "paused".to_owned(),
            Self::Restarting => "restarting".to_owned(),
            Self::Exited { code } => format!("exited ({code})"),
            Self::Removing => "removing".to_owned(),
            Self::Dead => "dead".to_owned(),
        }
    }

    /// Says whether processes of the container exist.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl Container {
    /// Says whether it is called as aishell calls it, or as a replacement leaves it.
    pub fn has_own_name(&self) -> bool {
        let own = self.mark.engine_name();
        own.is_some_and(|own| self.name == own || self.name.starts_with(&format!("{own}.")))
    }
}

impl Observed {
    /// Takes in the containers of the owner, and tells those that did not work from the others.
    pub fn settle(&mut self, owner: &Owner, containers: Vec<Container>) {
        self.containers.clear();
        self.failed.clear();
        for container in containers {
            let failed = format!("{}{FAILED}", owner.object(&container.mark.name));
            if container.name == failed {
                self.failed.insert(container.mark.name.clone(), container);
            } else {
                self.containers.insert(container.name.clone(), container);
            }
        }
    }

    /// Returns the image of ours that carries a keyed tag and the key the tag promises.
    ///
    /// A tag alone proves nothing (anybody can move it), nor do labels alone (images built from ours inherit them).
    pub fn keyed(&self, tag: &str, kind: Kind, key: &Key) -> Option<&Image> {
        let mut made = self.made(kind, key);
        made.find(|image| image.tags.contains(tag))
    }

    /// Returns the images of ours that were made with a key, whoever's they are.
    pub fn made(&self, kind: Kind, key: &Key) -> impl Iterator<Item = &Image> {
        self.images.values().filter(move |image| {
            Mark::read(&image.labels).is_some_and(|mark| {
                let is_it = mark.kind == kind && mark.key == *key;
                is_it && (image.is_proven(&mark) || self.is_older(image, &mark))
            })
        })
    }

    /// Says whether an image was made before names proved anything, and has a tag that promises its key. Of those with
    /// one identifier only the first can be it.
    fn is_older(&self, image: &Image, mark: &Mark) -> bool {
        let promised = format!("-{}", mark.key.short());
        let promises = |tag: &String| tag.starts_with("aishell-") && tag.ends_with(&promised);
        let has_it = |other: &&Image| other.labels.get(UID) == Some(&mark.uid) && other.id != image.id;
        let mut others = self.images.values().filter(has_it);
        image
            .labels
            .get(SCHEMA)
            .is_some_and(|schema| schema == SCHEMA_NUMBER)
            && image.tags.iter().any(promises)
            && others.all(|other| other.created >= image.created)
    }

    /// Returns the members of the harness set in a volume, as its label tells them.
    pub fn harness_display(&self, volume: &str) -> Option<String> {
        self.volumes.get(volume)?.harnesses.clone()
    }

    /// Returns the container that is a resource now: the one of its engine name, else one that was renamed.
    pub fn resource(&self, engine_name: &str, name: &str) -> Option<&Container> {
        let ours = |live: &&Container| live.mark.name == name;
        let named = self.containers.get(engine_name).filter(ours);
        named.or_else(|| self.containers.values().find(ours))
    }

    /// Returns that somebody stopped a container by hand, if somebody did.
    pub fn hold(&self, owner: &Owner, container: &str) -> Option<&Hold> {
        self.hold_volume(owner, container)?.1.hold.as_ref()
    }

    /// Returns the volume that says so, with its name: the owner's, or one of who the owner was.
    pub fn hold_volume(&self, owner: &Owner, container: &str) -> Option<(&String, &Volume)> {
        let is_one = |(_, volume): &(&String, &Volume)| {
            volume.mark.kind == Kind::Hold && volume.mark.name == container
        };
        let own = self.volumes.get_key_value(&owner.hold(container));
        own.or_else(|| {
            self.volumes
                .iter()
                .find(is_one)
                .filter(|_| !owner.formerly.is_empty())
        })
    }

    /// Says whether a volume is one that the owner had once, and that somebody else uses by now.
    pub fn is_elsewhere(&self, volume: &str) -> bool {
        let mut taken = self.elsewhere.iter().filter(|one| one.user.is_some());
        taken.any(|one| one.engine_name == volume)
    }

    /// Returns the engine's name of a data volume of an owner: where it is, or would be.
    pub fn data_volume(&self, owner: &Owner, name: &str) -> String {
        let own = owner.object(name);
        if owner.formerly.is_empty() || self.volumes.contains_key(&own) {
            return own;
        }
        let mut found = self.volumes.iter().filter(|(_, volume)| {
            volume.mark.kind == Kind::Volume && volume.mark.name == name && owner.owns(&volume.mark)
        });
        found.next().map_or(own, |(engine_name, _)| engine_name.clone())
    }

    /// Returns the stranger under a name, if one is there.
    pub fn stranger(&self, kind: &str, name: &str) -> Option<&Stranger> {
        self.strangers
            .iter()
            .find(|stranger| stranger.kind == kind && stranger.name == name)
    }
}
