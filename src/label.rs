//! The labels aishell writes and reads. Ownership is decided here and nowhere else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::{Key, digest};

/// Labels as the engine stores them.
pub type Labels = BTreeMap<String, String>;

/// The manifest an object was made for.
pub const MANIFEST: &str = "aishell.manifest";
/// What kind of object it is; see [`Kind`].
pub const KIND: &str = "aishell.kind";
/// The name of the resource within its manifest.
pub const NAME: &str = "aishell.name";
/// The whole key of the resource.
pub const KEY: &str = "aishell.key";
/// The schema number of the labels.
pub const SCHEMA: &str = "aishell.schema";
/// The version of aishell that wrote the object.
pub const VERSION: &str = "aishell.version";
/// What the names of harness volumes begin with.
pub const HARNESS_VOLUME: &str = "aishell-harness-";
/// A random identifier, so that a copy can be told from the original.
pub const UID: &str = "aishell.uid";
/// The canonical path of the owner's project.
pub const PROJECT: &str = "aishell.project";
/// The first eight digits of the digest of the project path.
pub const PROJECT_HASH: &str = "aishell.project.hash";
/// The hashed machine id of the host that wrote the object.
pub const HOST: &str = "aishell.host";
/// The path of the manifest file.
pub const FILE: &str = "aishell.file";
/// What a container was given beyond what every sandbox has, as a JSON list: a person has consented to it.
pub const GRANTED: &str = "aishell.granted";
/// The command that tells whether a container is at work, as a JSON list.
pub const BUSY: &str = "aishell.busy";
/// Canonical JSON of a container's create-time fields as they were asked for.
pub const APPLIED: &str = "aishell.applied";
/// The key of a foundation's own inputs.
pub const FOUNDATION_HASH: &str = "aishell.foundation.hash";
/// The id of the foundation that a base or an extension was made on.
pub const FOUNDATION_ID: &str = "aishell.foundation.id";
/// The key of a base.
pub const BASE_HASH: &str = "aishell.base.hash";
/// The id of the base that an extension was made on.
pub const BASE_ID: &str = "aishell.base.id";
/// The key of an extension.
pub const EXTENSION_HASH: &str = "aishell.extension.hash";
/// What the image of a stage is made of, told apart, as JSON: it explains, and decides nothing.
pub const INPUTS: &str = "aishell.inputs";
/// The identifier of the last image on the way here that was made anew on request; whatever is made on it inherits it.
pub const REBUILT: &str = "aishell.rebuilt";
/// The phase that left a snapshot, as in `8-repos`.
pub const PHASE: &str = "aishell.phase";
/// The id of the image that a snapshot was made on.
pub const PHASE_FROM: &str = "aishell.phase.from";
/// Whether it was looked for what must be there, on the image of a stage built in phases.
pub const VERIFIED: &str = "aishell.verified";
/// Whether the tests passed, on the image of a stage built in phases.
pub const TESTED: &str = "aishell.tested";
/// The key of a harness set.
pub const HARNESS_HASH: &str = "aishell.harness.hash";
/// The schema of a harness set's layout.
pub const HARNESS_VERSION: &str = "aishell.harness.version";
/// The members of a harness set with their versions, comma separated.
pub const HARNESSES: &str = "aishell.harnesses";
/// The digest of the receipt file that a receipt container vouches for.
pub const RECEIPT: &str = "aishell.receipt";
/// The creation time of the volume that a receipt container vouches for.
pub const RECEIPT_VOLUME: &str = "aishell.receipt.volume";
/// Who keeps something from others: holds a container, or a claim.
pub const HOLDER: &str = "aishell.holder";
/// Since when, RFC 3339.
pub const SINCE: &str = "aishell.since";
/// The number of the process that keeps something from others.
pub const PID: &str = "aishell.pid";
/// The command that keeps something from others.
pub const COMMAND: &str = "aishell.command";
/// The lock on the host of who keeps something from others: free means that who held it is gone.
pub const LOCK: &str = "aishell.lock";
/// What tells one claim from all others.
pub const NONCE: &str = "aishell.nonce";
/// What images have a stage do that its Dockerfile starts from and that aishell did not make, JSON: it is asked for where
/// they are gone.
pub const TRIGGERS: &str = "aishell.triggers";
/// What editors read to attach to a container.
pub const DEVCONTAINER: &str = "devcontainer.metadata";

/// The suffix of the name of a container that did not work when it was to replace another one.
pub const FAILED: &str = ".failed";

/// What the tag of an image begins with while it is made.
pub const MAKING: &str = "making-";

/// What the name of a container or volume begins with that says that somebody writes.
pub const CLAIM: &str = "aishell-claim-";

/// The prefix of every label that is aishell's own.
pub const PREFIX: &str = "aishell.";
/// The schema number written to [`SCHEMA`].
pub const SCHEMA_NUMBER: &str = "1";
/// The schema number of images that carry the name which [`proof`] returns.
pub const PROVEN: &str = "2";

/// What an object made by aishell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The image of the foundation stage.
    Foundation,
    /// The image of the base stage.
    Base,
    /// The image of the extension stage.
    Extension,
    /// The snapshot of a phase.
    Snapshot,
    /// An identity image: a stage plus one layer that says who the user is.
    Identity,
    /// A sandbox.
    Container,
    /// The private network of a manifest.
    Network,
    /// A data volume, homes included.
    Volume,
    /// A harness volume.
    Harness,
    /// A container, never started, that proves the content of a harness volume.
    Receipt,
    /// A short-lived container that does work.
    Job,
    /// An empty volume that says that a container is stopped by hand.
    Hold,
    /// A container or volume that says that somebody writes to the objects of an owner.
    Claim,
}

impl Kind {
    /// Returns the value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foundation => "foundation",
            Self::Base => "base",
            Self::Extension => "extension",
            Self::Snapshot => "snapshot",
            Self::Identity => "identity",
            Self::Container => "container",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Harness => "harness",
            Self::Receipt => "receipt",
            Self::Job => "job",
            Self::Hold => "hold",
            Self::Claim => "claim",
        }
    }

    /// Reads the value of the label.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Foundation,
            Self::Base,
            Self::Extension,
            Self::Snapshot,
            Self::Identity,
            Self::Container,
            Self::Network,
            Self::Volume,
            Self::Harness,
            Self::Receipt,
            Self::Job,
            Self::Hold,
            Self::Claim,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// Whose an owned object is: a project and the name of a manifest in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The canonical absolute path of the project.
    pub project: String,
    /// The name of the manifest.
    pub manifest: String,
    /// The hashed machine id of this host.
    pub host: String,
    /// The absolute path of the manifest file.
    pub file: String,
    /// Who it was earlier: what belonged to them belongs to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<Former>,
}

/// Who an owner was earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Former {
    /// The canonical absolute path that the project had.
    pub project: String,
    /// The name that the manifest had.
    pub manifest: String,
}

impl Owner {
    /// Returns the eight digits of the project that names carry.
    pub fn project8(&self) -> String {
        digest(self.project.as_bytes())[..8].to_owned()
    }

    /// Returns the engine's name of a sandbox, network or volume of this project.
    pub fn object(&self, name: &str) -> String {
        object(&self.project, name)
    }

    /// Returns the engine's name of the volume that says that a container is stopped by hand.
    pub fn hold(&self, container: &str) -> String {
        format!("aishell-hold-{}-{container}", self.project8())
    }

    /// Returns the engine's name of the container or volume that says that somebody writes to what this owner has.
    pub fn claim(&self) -> String {
        let digits = digest(format!("{}\0{}", self.project, self.manifest).as_bytes());
        format!("{CLAIM}{}", &digits[..8])
    }

    /// Says whether labels name this owner, as it is called or was.
    pub fn owns(&self, mark: &Mark) -> bool {
        self.is_named(mark) || self.was_named(mark)
    }

    /// Says whether labels name this owner as it is called.
    pub fn is_named(&self, mark: &Mark) -> bool {
        mark.manifest == self.manifest && mark.project.as_deref() == Some(self.project.as_str())
    }

    /// Says whether labels name this owner only as it was called.
    pub fn is_former(&self, mark: &Mark) -> bool {
        self.was_named(mark) && !self.is_named(mark)
    }

    /// Returns who this owner was earlier, each as an owner of its own.
    pub fn earlier(&self) -> impl Iterator<Item = Self> {
        let others = self
            .formerly
            .iter()
            .filter(|former| former.project != self.project || former.manifest != self.manifest);
        others.map(|former| Self {
            project: former.project.clone(),
            manifest: former.manifest.clone(),
            host: self.host.clone(),
            file: self.file.clone(),
            formerly: Vec::new(),
        })
    }

    fn was_named(&self, mark: &Mark) -> bool {
        self.formerly.iter().any(|former| {
            mark.manifest == former.manifest && mark.project.as_deref() == Some(former.project.as_str())
        })
    }

    /// Returns the labels of an object that belongs to this owner.
    pub fn labels(&self, kind: Kind, name: &str, key: &Key) -> Labels {
        let mut labels = shared(&self.manifest, kind, name, key);
        labels.insert(PROJECT.to_owned(), self.project.clone());
        labels.insert(PROJECT_HASH.to_owned(), self.project8());
        labels.insert(HOST.to_owned(), self.host.clone());
        labels.insert(FILE.to_owned(), self.file.clone());
        labels
    }
}

/// Returns the engine's name of an object of a project.
fn object(project: &str, name: &str) -> String {
    format!("aishell-{}-{name}", &digest(project.as_bytes())[..8])
}

/// Returns the label that has the key of a phase, on its own snapshot and those after it.
pub fn phase_hash(phase: &str) -> String {
    format!("{PHASE}.{phase}.hash")
}

/// Says whether a label has the key of a phase.
pub fn is_phase_hash(name: &str) -> bool {
    let phase = name.strip_prefix(PHASE).and_then(|rest| rest.strip_prefix('.'));
    phase.is_some_and(|phase| phase.strip_suffix(".hash").is_some())
}

/// Returns the name that only the image of an id has: its keyed tag, and the beginning of the id.
///
/// Whatever is built from an image of ours inherits its labels and may be given its tag, but never its id.
pub fn proof(tag: &str, id: &str) -> String {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    format!("{tag}-{}", id.get(..12).unwrap_or(id))
}

/// Returns the labels that every object carries, shared ones included. [`UID`] is added when it is created.
pub fn shared(manifest: &str, kind: Kind, name: &str, key: &Key) -> Labels {
    [
        (MANIFEST, manifest),
        (KIND, kind.as_str()),
        (NAME, name),
        (KEY, key.as_str()),
        (SCHEMA, SCHEMA_NUMBER),
        (VERSION, env!("CARGO_PKG_VERSION")),
    ]
    .into_iter()
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .collect()
}

/// The labels of one object, read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The manifest it was made for.
    pub manifest: String,
    /// What it is.
    pub kind: Kind,
    /// The name of the resource in its manifest.
    pub name: String,
    /// The key it was made with.
    pub key: Key,
    /// Its random identifier.
    pub uid: String,
    /// The path of the owner's project, for owned objects.
    pub project: Option<String>,
    /// The manifest file it was made from, for owned objects.
    pub file: Option<String>,
    /// The host that it was made on, for owned objects.
    pub host: Option<String>,
}

impl Mark {
    /// Returns the name that the engine knows an owned object by, unless somebody gave it another one.
    pub fn engine_name(&self) -> Option<String> {
        Some(object(self.project.as_ref()?, &self.name))
    }

    /// Reads labels; incomplete or unreadable ones are nobody's.
    pub fn read(labels: &Labels) -> Option<Self> {
        let text = |label: &str| labels.get(label).filter(|value| !value.is_empty()).cloned();
        Some(Self {
            manifest: text(MANIFEST)?,
            kind: Kind::parse(labels.get(KIND)?)?,
            name: text(NAME)?,
            key: Key::parse(labels.get(KEY)?)?,
            uid: text(UID)?,
            project: text(PROJECT),
            file: text(FILE),
            host: text(HOST),
        })
    }

    /// Reads the labels of a container and says whether they are its own.
    ///
    /// Images pass their labels on to every container made from them, a `docker commit` of one of ours included,
    /// so labels count only when the identifier is not the image's.
    pub fn read_container(labels: &Labels, image: &Labels) -> Option<Self> {
        let mark = Self::read(labels)?;
        (image.get(UID) != Some(&mark.uid)).then_some(mark)
    }
}

/// Proof that an object is ours: only labels that say so make one, and only with one can an object be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OwnedId {
    id: String,
    uid: String,
}

impl OwnedId {
    /// Accepts the id of an object whose labels were read as ours.
    pub fn new(id: &str, mark: &Mark) -> Self {
        Self {
            id: id.to_owned(),
            uid: mark.uid.clone(),
        }
    }

    /// Accepts the id of an object that the caller has just created.
    pub fn made(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            uid: String::new(),
        }
    }

    /// Accepts a volume under a name that only aishell gives, of which somebody has seen that nothing is in it.
    pub fn vacant(name: &str) -> Self {
        Self::made(name)
    }

    /// Returns the engine's id (a name for volumes).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the random identifier the object had when it was observed.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyKind;

    fn owner() -> Owner {
        Owner {
            project: "/srv/demo".to_owned(),
            manifest: "demo".to_owned(),
            host: "h".to_owned(),
            file: "/srv/demo/aishell.yaml".to_owned(),
            formerly: Vec::new(),
        }
    }

    fn labels(uid: &str) -> Labels {
        let mut labels = owner().labels(Kind::Container, "api", &Key::of(KeyKind::Container, &1));
        labels.insert(UID.to_owned(), uid.to_owned());
        labels
    }

    #[test]
    fn own_labels_are_read_back() {
        let mark = Mark::read(&labels("u1")).expect("complete labels");
        assert!(owner().owns(&mark));
        assert_eq!((mark.kind, mark.name.as_str()), (Kind::Container, "api"));
        assert_eq!(owner().object("api"), "aishell-926574b4-api");
    }

    #[test]
    fn labels_inherited_from_an_image_are_not_the_containers_own() {
        assert_eq!(Mark::read_container(&labels("u1"), &labels("u1")), None);
        assert!(Mark::read_container(&labels("u1"), &labels("u2")).is_some());
        assert!(Mark::read_container(&labels("u1"), &Labels::new()).is_some());
    }

    #[test]
    fn incomplete_labels_are_nobodys() {
        for label in [MANIFEST, KIND, NAME, KEY, UID] {
            let mut labels = labels("u1");
            labels.remove(label);
            assert_eq!(Mark::read(&labels), None, "without {label}");
        }
    }

    #[test]
    fn another_project_or_manifest_is_another_owner() {
        let mark = Mark::read(&labels("u1")).expect("complete labels");
        assert!(
            !Owner {
                project: "/srv/other".to_owned(),
                ..owner()
            }
            .owns(&mark)
        );
        assert!(
            !Owner {
                manifest: "other".to_owned(),
                ..owner()
            }
            .owns(&mark)
        );
    }
}
