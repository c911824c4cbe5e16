//! Containers, as they are written. Defaults are named here and filled where they are resolved.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::form::{self, Absent, Form, Scalar, formed};
use super::mount::{Mount, Target};
use super::phases::PhaseCommand;
use super::port::{PortRange, PortSpec, ports};
pub use super::process::{Hostname, Restart, Signal, Stop, User};
use super::resources::Resources;
use super::security::Security;
use super::stage::{ImageReference, StageName};
use crate::name::{ContainerName, HarnessName};
use crate::units::Duration;
use crate::written::written_as_text;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Container {
    /// The harness that `aishell run NAME` opens.
    pub harness: Option<HarnessName>,
    /// What runs instead of the keeper, as child of the init.
    #[schemars(with = "Option<Vec<Scalar>>")]
    pub command: Option<Vec<String>>,
    /// Arguments the harness is given.
    #[schemars(with = "Vec<Scalar>")]
    pub args: Vec<String>,
    /// `foundation`, `base`, `extension` or an image reference; default: the last stage.
    pub image: Option<ContainerImage>,
    /// Environment variables.
    pub env: Environment,
    /// What is mounted besides the project.
    pub mounts: Vec<Mount>,
    /// Published ports.
    #[serde(deserialize_with = "ports")]
    #[schemars(with = "Vec<PortRange>")]
    pub ports: Vec<PortSpec>,
    /// Who runs in it; default: the project's owner.
    pub user: User,
    /// What its home is; default: a data volume of the container.
    pub home: Home,
    /// What it sees of the project; default: all of it at its real path.
    pub workspace: Workspace,
    /// Limits.
    pub resources: Resources,
    /// When it is restarted; default: `unless-stopped` for keepers, `no` for commands.
    pub restart: Option<Restart>,
    /// The networks it is in; default: one private network per manifest.
    pub network: Network,
    /// How it is stopped.
    pub stop: Stop,
    /// Its host name; default: its name.
    pub hostname: Option<Hostname>,
    /// Labels; those starting with `aishell.` are aishell's own.
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub labels: BTreeMap<String, String>,
    /// Where it starts; default: the project.
    pub workdir: Option<Target>,
    /// The entrypoint; default: the image's for a sidecar, else none.
    #[schemars(with = "Option<Vec<Scalar>>")]
    pub entrypoint: Option<Vec<String>>,
    /// Commands run in it before it counts as started.
    pub pre_start: Vec<PhaseCommand>,
    /// When it counts as ready; default: when it runs.
    pub ready: Option<Ready>,
    /// What tells that it must not be interrupted, besides its sessions.
    pub busy: Option<Busy>,
    /// What is done when it is not as it was applied: `repair` (default), `report`, `recreate`.
    pub on_drift: OnDrift,
    /// Whether a change may interrupt it: `when-idle` (default), `immediately`, `never`.
    pub on_change: OnChange,
    /// What it may do: `strict` (default), `dev`, `legacy`, or a map over those.
    pub security: Security,
    /// Containers that are ready before it starts.
    pub depends_on: Vec<ContainerName>,
    /// Whether its sessions may use the ssh agent of whoever opens them; default: false.
    pub ssh_agent: bool,
    /// Additional groups of its user, by name or number.
    #[schemars(with = "Vec<Scalar>")]
    pub groups: Vec<String>,
    /// Name servers; default: the engine's.
    pub dns: Vec<IpAddr>,
    /// Additional host names, by name.
    pub extra_hosts: BTreeMap<String, String>,
    /// The engine's runtime, as in `runsc`; default: the engine's.
    pub runtime: Option<String>,
}

/// The image of a container: a stage of the manifest, or a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerImage {
    /// A stage of the manifest.
    Stage(StageName),
    /// Any image.
    Reference(ImageReference),
}

impl FromStr for ContainerImage {
    type Err = super::stage::ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "foundation" => Self::Stage(StageName::Foundation),
            "base" => Self::Stage(StageName::Base),
            "extension" => Self::Stage(StageName::Extension),
            reference => Self::Reference(reference.parse()?),
        })
    }
}

impl fmt::Display for ContainerImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => stage.fmt(f),
            Self::Reference(reference) => reference.fmt(f),
        }
    }
}

written_as_text!(ContainerImage, "ContainerImage", {
    "description": "`foundation`, `base`, `extension`, or an image reference.",
    "type": "string",
    "pattern": "^[a-zA-Z0-9][a-zA-Z0-9._:/@\\[\\]-]*$",
    "maxLength": 512
});

/// What the home of a container's user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// A data volume of the container (default).
    #[default]
    Volume,
    /// Memory: it is empty after every start.
    Tmpfs,
}

/// What a container sees of the project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Workspace {
    /// All of it, at its real path (default).
    #[default]
    Project,
    /// Nothing.
    None,
}

/// The networks a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// One private network per manifest (default).
    #[default]
    Default,
    /// None at all.
    None,
    /// Networks that exist.
    Existing(Vec<String>),
}

impl Form for Network {
    const EXPECTED: &'static str = "default, none, or a list of networks";
    type Map = Absent;
    type Item = String;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::None),
            "host" => {
                Err("the network of the host is never shared with a sandbox; publish ports instead".into())
            }
            other => Err(format!(
                "expected {}; an existing network is written as [{other}]",
                Self::EXPECTED
            )),
        }
    }

    fn from_list(mut networks: Vec<String>) -> Result<Self, String> {
        let usable = |name: &String| {
            let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            name.bytes()
                .next()
                .is_some_and(|byte| byte.is_ascii_alphanumeric())
                && name.bytes().all(rest)
        };
        if let Some(name) = networks.iter().find(|name| !usable(name)) {
            return Err(format!("`{name}` is not the name of a network"));
        }
        if let Some(name) = networks
            .iter()
            .find(|name| ["host", "none", "default"].contains(&name.as_str()))
        {
            return Err(format!("`{name}` is not an existing network that can be joined"));
        }
        if networks.is_empty() {
            return Err("the list of networks is empty; write none for no network".into());
        }
        networks.sort();
        networks.dedup();
        Ok(Self::Existing(networks))
    }
}

impl JsonSchema for Network {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            form::words(&["default", "none"]),
            generator.subschema_for::<Vec<String>>(),
        ];
        form::one_of(
            "`default` (one private network per manifest), `none`, or a list of existing networks.",
            choices,
        )
    }
}

formed!(Network);

/// When a container counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ready {
    /// A command that succeeds once it is ready.
    #[schemars(with = "Vec<Scalar>")]
    pub exec: Vec<String>,
    /// How long failures do not count after a start; default: 0s.
    pub start_period: Option<Duration>,
    /// How long to wait between two tries; default: 5s.
    pub interval: Option<Duration>,
    /// How long it may take to become ready; default: 60s.
    pub timeout: Option<Duration>,
}

/// What tells that a container must not be interrupted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Busy {
    /// A command that succeeds while it is busy.
    #[schemars(with = "Vec<Scalar>")]
    pub exec: Vec<String>,
}

/// What is done when a container is not as it was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// It is made so again, with the least force (default).
    #[default]
    Repair,
    /// It is said, and a person decides.
    Report,
    /// It is made anew.
    Recreate,
}

/// Whether a change may interrupt a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// When nobody uses it (default).
    #[default]
    WhenIdle,
    /// At once.
    Immediately,
    /// Never; a person decides.
    Never,
}
