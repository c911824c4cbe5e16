//! How steps are carried out: the payload of each protocol, settled when it is planned.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ResourceKind;
use crate::call::{Build, Call, Create};
use crate::desired::phase::{Act, Command, Settings};
use crate::desired::{Bases, Member};
use crate::facts::Account;
use crate::key::Key;
use crate::label::{Labels, OwnedId};
use crate::manifest::phase::PhaseName;
use crate::manifest::place::Place;
use crate::manifest::stage::StageName;
use crate::platform::Machine;
use crate::remote::Store;
use crate::spec::Endpoint;

/// How a step is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// One call after the other.
    Calls(Vec<Call>),
    /// One call after the other, if an object of ours is still the one that was observed.
    Guarded {
        /// The object.
        object: OwnedId,
        /// What kind of object it is.
        kind: ResourceKind,
        /// The calls.
        calls: Vec<Call>,
    },
    /// A build and the courtesy tag after it.
    Build {
        /// The build.
        build: Box<Build>,
        /// The courtesy tag.
        alias: String,
        /// What it is called while it is made; nobody else calls anything that.
        making: String,
        /// The images it is made on, the first one first.
        on: Vec<Ancestor>,
        /// The id of an image that was made of the same: it only gets the names, if it is still there.
        made: Option<String>,
        /// What has to become of the images it starts from before that.
        bases: Bases,
        /// The images that it starts from without what they have it do.
        bare: Vec<Bare>,
    },
    /// A network of a name that nobody else of ours has.
    Network {
        /// Its name.
        name: String,
        /// Its labels.
        labels: Labels,
    },
    /// The removal of something that nobody uses.
    Clear(Box<ClearWork>),
    /// One phase of a stage.
    Phase(Box<PhaseWork>),
    /// The identity protocol.
    Identity(Box<IdentityWork>),
    /// The populate protocol.
    Populate(Box<PopulateWork>),
    /// Creation and start of a container.
    Create(Box<CreateWork>),
    /// Start of a container that is there and that others wait for.
    Start {
        /// Its id.
        container: String,
        /// How it would have been created: how long others wait, and what counts as success.
        work: Box<CreateWork>,
    },
    /// A new container in the place of an old one.
    Replace {
        /// The old one.
        old: OwnedId,
        /// The new one.
        new: Box<CreateWork>,
        /// A new one that did not work before, and that goes with this.
        failed: Option<OwnedId>,
        /// The new one itself, where it has the name already: a replacement was cut, and goes on.
        begun: Option<OwnedId>,
    },
}

impl Work {
    /// Says whether an image is made under a name, of which whatever has it is removed before.
    pub fn makes(&self, name: &str) -> bool {
        let is_bare = match self {
            Self::Build { bare, .. } => bare.iter().any(|bare| bare.making == name),
            _ => false,
        };
        is_bare || self.making().is_some_and(|making| making == name)
    }

    fn making(&self) -> Option<&String> {
        match self {
            Self::Build { making, .. } => Some(making),
            Self::Phase(work) => Some(&work.making),
            Self::Identity(work) => Some(&work.making),
            Self::Calls(_)
            | Self::Guarded { .. }
            | Self::Network { .. }
            | Self::Clear(_)
            | Self::Populate(_)
            | Self::Create(_)
            | Self::Start { .. }
            | Self::Replace { .. } => None,
        }
    }
}

/// What the job is for that makes a [`Bare`] image.
pub const BARE: &str = "onbuild";

/// An image without what it has the next build do, made for one build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// The image.
    pub image: String,
    /// What the other one is called.
    pub making: String,
    /// The labels of that.
    pub labels: Labels,
    /// The name of the container that it is made of.
    pub container: String,
    /// The labels of that.
    pub job: Labels,
}

/// An image that another one is made on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The label in which the other one says which it was.
    pub label: &'static str,
    /// Its reference.
    pub reference: String,
    /// Its key, if it is one of ours.
    pub key: Option<Key>,
}

/// What nobody uses and goes, unless somebody uses it by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClearWork {
    /// An image.
    Image {
        /// The image.
        image: OwnedId,
        /// The names of the manifests that it was made for.
        manifests: BTreeSet<String>,
        /// Its tags besides one.
        tags: Vec<String>,
    },
    /// A harness volume.
    Harness {
        /// The volume.
        volume: OwnedId,
        /// The container that vouches for it, and that goes first.
        receipt: Option<OwnedId>,
    },
    /// An image that was not given its names: whoever made it was killed.
    Unfinished {
        /// The image.
        image: OwnedId,
        /// The name of the manifest that it was made for.
        manifest: String,
    },
    /// A job that does not run.
    Job(OwnedId),
    /// A container that was to claim something, and does not run.
    Claim(OwnedId),
}

/// Where a container that failed at a phase has everything that its commands printed.
pub const PHASE_LOG: &str = "/.aishell-log";

/// What one phase does, and what it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseWork {
    /// Which one.
    pub name: PhaseName,
    /// The stage it belongs to.
    pub stage: String,
    /// What its snapshot is called while it is made; nobody else calls anything that.
    pub making: String,
    /// Whether it is the first one that is done anew because that was asked for: what is made on it says so as well.
    pub renews: bool,
    /// The name of the container it is done in.
    pub job_name: String,
    /// The name that container gets if it fails.
    pub failed_name: String,
    /// The image to start from.
    pub from: String,
    /// The key of that image, if it is one of ours.
    pub from_key: Option<Key>,
    /// The images of the stages before.
    pub on: Vec<Ancestor>,
    /// The key of what it leaves.
    pub key: Key,
    /// The names of what it leaves, of which the first is the keyed one; none, if it leaves nothing.
    pub names: Vec<String>,
    /// Labels of what it leaves.
    pub labels: Labels,
    /// Labels of the container.
    pub job: Labels,
    /// What is done.
    pub acts: Vec<Act>,
    /// How the image is configured by it.
    pub settings: Settings,
    /// The CA bundle that commands trust.
    pub certificates: Option<Vec<u8>>,
    /// Proxy variables for commands.
    pub proxies: BTreeMap<String, String>,
    /// Where what is fetched is kept.
    pub store: Arc<Store>,
}

impl PhaseWork {
    /// Returns the courtesy tag of its snapshot; nothing, if it leaves none.
    pub fn alias(&self) -> Option<&str> {
        let own = self.name.to_string();
        let mut names = self.names.iter().map(String::as_str);
        names.find(|name| name.ends_with(&own))
    }

    /// Returns the phase as its tag has it: `8-repos`, `base-8-repos`.
    pub fn word(&self) -> String {
        let name = self.name;
        if self.stage == StageName::Foundation.as_str() {
            name.to_string()
        } else {
            format!("{}-{name}", self.stage)
        }
    }

    /// Returns the command that opens a shell in what is left when it fails: as whoever ran a command, else as root.
    pub fn shell_in(&self, command: Option<&Command>) -> String {
        let name = &self.failed_name;
        let user = command.map_or("root", |command| &command.user);
        let user = if user == "root" { "0" } else { user };
        let shell = command.map_or("/bin/sh", |command| &command.shell);
        format!("docker start {name} && docker exec -it -u {user} {name} {shell}")
    }
}

/// What the identity protocol makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityWork {
    /// The id of the one that is there, and is made anew all the same.
    pub renews: Option<String>,
    /// What it is called while it is made; nobody else calls anything that.
    pub making: String,
    /// The image to start from.
    pub from: String,
    /// The keyed tag of the result.
    pub tag: String,
    /// Its key.
    pub key: Key,
    /// Labels of the result.
    pub labels: Labels,
    /// Labels of the container that helps.
    pub job: Labels,
    /// Who the user is.
    pub account: Account,
    /// The CA bundle to put in.
    pub certificates: Option<Vec<u8>>,
    /// What its programs have to run on.
    pub machine: Machine,
    /// The part of the manifest that asks for the image to start from.
    pub place: Option<Place>,
    /// The containers that need a shell in it, with the part of the manifest that asks for them.
    pub shells: BTreeMap<String, Option<Place>>,
}

/// What the populate protocol makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulateWork {
    /// The volume.
    pub volume: String,
    /// Its key.
    pub key: Key,
    /// Labels of the volume.
    pub labels: Labels,
    /// Labels of the job.
    pub job: Labels,
    /// The name of the job, which is the mutex.
    pub job_name: String,
    /// The name a failed job gets.
    pub failed_name: String,
    /// The receipt container.
    pub receipt_name: String,
    /// Labels of the receipt container, without digest and time.
    pub receipt: Labels,
    /// The image that installs the set, if it has the package managers.
    pub image: String,
    /// The build of the image that does it if not.
    pub fallback: Option<Box<Build>>,
    /// Its members.
    pub members: Vec<Member>,
    /// Volumes of other sets that have some of them, ready to be copied from.
    pub older: Vec<String>,
    /// Whether something has the name of the volume that seems to be empty and used by nobody, and may go.
    pub vacant: bool,
    /// The container that vouches for what was found broken: it does so no longer.
    pub refuted: Option<OwnedId>,
    /// The members that are made anew whatever is recorded of them, by the directories they are in.
    pub anew: BTreeSet<String>,
    /// Directories in the volume that the installer could not write to.
    pub reclaim: BTreeSet<String>,
    /// The CA bundle the installer trusts.
    pub certificates: Option<Vec<u8>>,
    /// Environment of the installer: proxies and package manager settings of this host.
    pub env: BTreeMap<String, String>,
    /// Where what is fetched is kept.
    pub store: Arc<Store>,
}

/// A container to create and start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateWork {
    /// What to create.
    pub create: Create,
    /// The networks to connect after the first, with their endpoints.
    pub connect: Vec<(String, Endpoint)>,
    /// Whether an end with code 0 is its success.
    pub completes: bool,
    /// How long it may take from its start until it can be used.
    pub patience: Duration,
    /// Whether somebody waits until it can be used.
    pub awaited: bool,
    /// Its name with the part of the manifest that asks for it, if its image must have a shell.
    pub shells: BTreeMap<String, Option<Place>>,
}
