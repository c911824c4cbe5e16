//! [`Desired`]: every default filled, every reference resolved, every key computed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::inputs::Inputs;
use self::phase::Chain;
use crate::call::Build;
use crate::dockerfile::BaseImage;
use crate::facts::Account;
use crate::grant::Grant;
use crate::key::Key;
use crate::label::{HARNESS_VOLUME, Kind, Owner};
use crate::lock::Parts;
use crate::manifest::container::{OnChange, OnDrift};
use crate::manifest::place::Place;
use crate::manifest::stage::StageName;
use crate::platform::Machine;
use crate::remote::{DownloadUrl, Sha256, Store};
use crate::spec::{Binding, ContainerSpec};

pub mod expand;
pub mod inputs;
pub mod phase;
pub mod resolve;
mod session;

pub use session::{AGENTS, Origin, Session};

/// What one manifest wants, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Whose objects these are.
    pub owner: Owner,
    /// The key of the whole.
    pub key: Key,
    /// Images that others are made from, by name: `foundation`, or the reference of a container's own image.
    pub stages: BTreeMap<String, Stage>,
    /// Identity images, by a name of their own within the manifest.
    pub identities: BTreeMap<String, Identity>,
    /// The harness set, if any container can use one; unknown until every version of it is pinned.
    pub harness: Option<Pin<HarnessSet>>,
    /// The build of the image that jobs run on where that of the foundation has no package manager: the built-in
    /// foundation, unless it is that already.
    pub fallback: Option<Box<Build>>,
    /// The private network, if any container attaches to it.
    pub network: Option<Network>,
    /// Data volumes by the engine's name.
    pub volumes: BTreeMap<String, Volume>,
    /// Containers by name.
    pub containers: BTreeMap<String, Container>,
    /// What whoever makes the images is given: files outside the project, what is fetched from elsewhere.
    pub grants: BTreeSet<Grant>,
    /// What the person should know besides.
    pub notes: Vec<String>,
}

/// A value that may not be known before something is pinned or pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin<T> {
    /// Known.
    Known(T),
    /// Not known yet, with the reason in a person's words.
    Unknown(String),
}

impl<T> Pin<T> {
    /// Returns the value if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Applies a function to a known value.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> Pin<U> {
        match self {
            Self::Known(value) => Pin::Known(function(value)),
            Self::Unknown(reason) => Pin::Unknown(reason),
        }
    }
}

/// An image that is pulled or built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where it comes from.
    pub source: StageSource,
    /// The key of the stage.
    pub key: Pin<Key>,
    /// The part of the manifest that asks for it.
    pub place: Option<Place>,
}

/// Where the image of a stage comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageSource {
    /// A registry, or the engine's own store.
    Image {
        /// The reference as it is written, for people.
        written: String,
        /// The reference it is used with: by digest, where a lock says which.
        reference: String,
        /// Whether it may be pulled when it is missing.
        pull: bool,
        /// Whether it is on the engine.
        present: bool,
        /// The platform that it is made for, where the engine does not run the programs of that.
        unfit: Option<String>,
    },
    /// A Dockerfile, the manifest's or one that ships with aishell; the build's tag is the keyed one.
    Dockerfile {
        /// The build.
        build: Box<Build>,
        /// The courtesy tag that follows the keyed one.
        alias: String,
        /// What is built, for people.
        about: String,
        /// What kind of image it is.
        kind: Kind,
        /// What it is made of, told apart.
        inputs: Box<Inputs>,
        /// The stages it is made on, the first one first; the last is its parent.
        on: Vec<StageName>,
        /// The images it starts from that have to be looked after before it is built.
        bases: Bases,
    },
    /// Phases.
    Phases(Box<Chain>),
}

/// What has to become of images before something is built from them. Otherwise the builder sees to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bases {
    /// Nothing.
    #[default]
    Builders,
    /// They are pulled where they are not there: what they have the build do has to be known before.
    Missing(Vec<BaseImage>),
    /// They are pulled, whether they are there or not.
    Pulled(Vec<BaseImage>),
    /// They have to be there.
    Present(Vec<BaseImage>),
}

impl Desired {
    /// Returns the harness set, if there is one and it is known.
    pub fn harness_set(&self) -> Option<&HarnessSet> {
        self.harness.as_ref().and_then(Pin::known)
    }

    /// Returns the stage whose image jobs run on that ask package managers.
    pub fn workshop(&self) -> Option<&Stage> {
        self.stages.get(resolve::FOUNDATION)
    }
}

impl Stage {
    /// Returns the name that the image of the stage has as a resource of a plan.
    pub fn resource(&self) -> &str {
        match &self.source {
            StageSource::Image { written, .. } => written,
            StageSource::Dockerfile { build, .. } => &build.tag,
            StageSource::Phases(chain) => &chain.tag,
        }
    }

    /// Returns the reference that containers and builds name the image with.
    pub fn reference(&self) -> &str {
        match &self.source {
            StageSource::Image { reference, .. } => reference,
            StageSource::Dockerfile { build, .. } => &build.tag,
            StageSource::Phases(chain) => &chain.tag,
        }
    }
}

/// A stage plus one layer that says who the user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of its stage.
    pub stage: String,
    /// Its key.
    pub key: Pin<Key>,
    /// Its keyed tag.
    pub tag: Pin<String>,
    /// Who the user is.
    pub account: Account,
    /// The CA bundle to put in; a fact of this host, in no key.
    pub certificates: Option<Vec<u8>>,
    /// What its programs have to run on.
    pub machine: Machine,
    /// The containers that need a shell in it, with the part of the manifest that asks for them.
    pub shells: BTreeMap<String, Option<Place>>,
    /// The part of the manifest that asks for it.
    pub place: Option<Place>,
}

/// All harnesses of a manifest, resolved: the content of one volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HarnessSet {
    /// Its key.
    pub key: Key,
    /// Members, sorted by name; the runtime comes last.
    pub members: Vec<Member>,
    /// The stage whose image installs it, if it has the package managers.
    pub stage: String,
    /// The CA bundle the installer trusts; a fact of this host, in no key.
    pub certificates: Option<Vec<u8>>,
    /// Proxy variables for the installer; facts of this host, in no key.
    pub proxies: BTreeMap<String, String>,
    /// Package manager settings of this host for the installer, in no key.
    pub installer: BTreeMap<String, String>,
    /// Where what is fetched is kept; a fact of this host, in no key.
    pub store: Arc<Store>,
    /// The part of the manifest that asks for it.
    pub place: Option<Place>,
}

/// One agent tool at one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Member {
    /// Its name in the manifest.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: MemberSource,
    /// Its exact version.
    pub version: String,
    /// What it must be made of, where a lock says so. Part of the key: what another registry calls the same is
    /// something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
    /// The programs it must bring.
    pub bin: Vec<String>,
    /// How long its installation may take; in no key.
    #[serde(skip)]
    pub timeout: Duration,
}

/// Where a member of a harness set comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum MemberSource {
    /// npm.
    Npm {
        /// The package.
        npm: String,
    },
    /// The Python package index.
    Pypi {
        /// The package.
        pypi: String,
        /// The key of the image whose Python it runs on.
        python: Key,
        /// What it is installed with, where a lock says so.
        #[serde(rename = "packages", skip_serializing_if = "Parts::is_empty")]
        parts: Parts,
    },
    /// A download.
    Download {
        /// Where it is downloaded from; who has the bytes does not matter.
        #[serde(skip)]
        url: DownloadUrl,
        /// The digest of the download.
        sha256: Sha256,
    },
}

impl HarnessSet {
    /// Returns the engine's name of the volume.
    pub fn volume(&self) -> String {
        format!("{HARNESS_VOLUME}{}", self.key.short())
    }

    /// Returns the name of the receipt container.
    pub fn receipt(&self) -> String {
        format!("aishell-receipt-{}", self.key.short())
    }

    /// Returns the members with their versions, as people and labels have them.
    pub fn display(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{} {}", member.name, member.version))
            .collect();
        members.join(", ")
    }
}

/// The private network of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The engine's name.
    pub name: String,
    /// Its key.
    pub key: Key,
}

/// A data volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name within the manifest.
    pub name: String,
    /// Its key.
    pub key: Key,
    /// The part of the manifest that asks for it.
    pub place: Option<Place>,
}

/// A named container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The engine's name.
    pub engine_name: String,
    /// Which image it runs.
    pub image: ImageChoice,
    /// Its fields, as they are asked for; its image is in [`Container::image`] while that is unknown.
    pub spec: ContainerSpec,
    /// Whether the harness set is mounted.
    pub harness: bool,
    /// The harness that a session opens, if any.
    pub opens: Option<String>,
    /// Whether it is a command that may end: an exit with 0 is its success.
    pub completes: bool,
    /// How long it may take from its start until it can be used.
    pub patience: Duration,
    /// Its name with the part of the manifest that asks for it, if its image must have a shell.
    pub shells: BTreeMap<String, Option<Place>>,
    /// The containers that come before it, by name.
    pub depends_on: BTreeSet<String>,
    /// Data volumes it mounts, by the engine's name.
    pub volumes: BTreeSet<String>,
    /// The command that tells whether it is at work, besides its sessions.
    pub busy: Option<Vec<String>>,
    /// Whether a change may interrupt it.
    pub on_change: OnChange,
    /// What is done when it is not as it was applied.
    pub on_drift: OnDrift,
    /// What it is given beyond what every sandbox has.
    pub grants: BTreeSet<Grant>,
    /// Why secrets of its configuration are not known here, by variable; it cannot be made without them.
    pub lacks: BTreeMap<String, String>,
    /// What sessions in it have besides.
    pub session: Session,
}

/// Which image a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageChoice {
    /// An identity image, by its name in [`Desired::identities`].
    Identity(String),
    /// A stage as it is, by its name in [`Desired::stages`].
    Stage(String),
}

impl Container {
    /// Returns the host ports it publishes.
    pub fn published(&self) -> BTreeSet<&Binding> {
        self.spec
            .ports
            .values()
            .flatten()
            .filter(|binding| binding.port != 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyKind;
    use crate::lock::Part;

    /// What a member is in the key of its set: other bytes are another volume.
    #[test]
    fn a_member_is_written_as_it_always_was() {
        let member = |source: MemberSource| Member {
            name: "tool".to_owned(),
            source,
            version: "1.0.0".to_owned(),
            integrity: None,
            bin: vec!["tool".to_owned()],
            timeout: Duration::from_secs(1),
        };
        let written = |source| serde_json::to_string(&member(source)).unwrap();
        assert_eq!(
            written(MemberSource::Npm {
                npm: "tool".to_owned()
            }),
            r#"{"name":"tool","npm":"tool","version":"1.0.0","bin":["tool"]}"#
        );
        let digest = "0e".repeat(32);
        assert_eq!(
            written(MemberSource::Download {
                url: "https://example.org/tool".parse().unwrap(),
                sha256: digest.parse().unwrap(),
            }),
            format!(r#"{{"name":"tool","sha256":"{digest}","version":"1.0.0","bin":["tool"]}}"#)
        );
        let python = Key::of(KeyKind::Stage, &"image");
        assert_eq!(
            written(MemberSource::Pypi {
                pypi: "tool".to_owned(),
                python: python.clone(),
                parts: Parts::new(),
            }),
            format!(
                r#"{{"name":"tool","pypi":"tool","python":"{python}","version":"1.0.0","bin":["tool"]}}"#
            )
        );
        let need = Part {
            version: "1.0".parse().unwrap(),
            file: Some("need-1.0.tar.gz".parse().unwrap()),
            integrity: None,
        };
        assert_eq!(
            written(MemberSource::Pypi {
                pypi: "tool".to_owned(),
                python: python.clone(),
                parts: [("need".parse().unwrap(), need)].into(),
            }),
            format!(
                r#"{{"name":"tool","pypi":"tool","python":"{python}","packages":{{"need":{{"version":"1.0","file":"need-1.0.tar.gz"}}}},"version":"1.0.0","bin":["tool"]}}"#
            )
        );
    }
}
