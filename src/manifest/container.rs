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

/// Who runs in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// The owner of the project directory (default), with a passwd entry.
    #[default]
    Owner,
    /// Whoever the image says.
    Image,
    /// A user id, perhaps with a group id.
    Id {
        /// The user id.
        uid: u32,
        /// The group id; `None` is that of the user in the image.
        gid: Option<u32>,
    },
    /// A user of the image, perhaps with a group.
    Named {
        /// The user's name.
        name: String,
        /// The group's name or number.
        group: Option<String>,
    },
}

/// Why a text names no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a user; write owner, image, 1000, 1000:1000 or a name")]
pub struct UserError(String);

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        let wrong = || UserError(text.to_owned());
        match text {
            "owner" => return Ok(Self::Owner),
            "image" => return Ok(Self::Image),
            _ => {}
        }
        let (user, group) = text
            .split_once(':')
            .map_or((text, None), |(user, group)| (user, Some(group)));
        let number = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse::<u32>())
        };
        let name = |text: &str| {
            let first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.$-".contains(&byte);
            text.len() <= 256 && text.bytes().next().is_some_and(first) && text.bytes().all(rest)
        };
        if !name(user) || group.is_some_and(|group| !name(group)) {
            return Err(wrong());
        }
        match (number(user), group.map(|group| (group, number(group)))) {
            (Some(uid), None) => Ok(Self::Id {
                uid: uid.map_err(|_| wrong())?,
                gid: None,
            }),
            (Some(uid), Some((_, Some(gid)))) => Ok(Self::Id {
                uid: uid.map_err(|_| wrong())?,
                gid: Some(gid.map_err(|_| wrong())?),
            }),
            (_, group) => Ok(Self::Named {
                name: user.to_owned(),
                group: group.map(|(group, _)| group.to_owned()),
            }),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("owner"),
            Self::Image => f.write_str("image"),
            Self::Id { uid, gid: None } => write!(f, "{uid}"),
            Self::Id { uid, gid: Some(gid) } => write!(f, "{uid}:{gid}"),
            Self::Named { name, group: None } => f.write_str(name),
            Self::Named {
                name,
                group: Some(group),
            } => write!(f, "{name}:{group}"),
        }
    }
}

written_as_text!(User, "User", {
    "description": "`owner` (default; the owner of the project), `image`, a user id, `uid:gid`, or a name of the image.",
    "type": ["string", "integer"],
    "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.$-]*(:[A-Za-z0-9_][A-Za-z0-9_.$-]*)?$",
    "minimum": 0
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

/// When a container is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// Always, also when the engine starts.
    Always,
    /// Like always, until somebody stops it.
    UnlessStopped,
    /// When it fails, perhaps only so many times.
    OnFailure {
        /// The most times; `None` is no limit.
        retries: Option<u32>,
    },
}

/// Why a text is no restart policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a restart policy; write no, always, unless-stopped, on-failure or on-failure:3")]
pub struct RestartError(String);

impl FromStr for Restart {
    type Err = RestartError;

    fn from_str(text: &str) -> Result<Self, RestartError> {
        Ok(match text {
            "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure { retries: None },
            other => {
                let retries = other
                    .strip_prefix("on-failure:")
                    .and_then(|retries| retries.parse().ok());
                Self::OnFailure {
                    retries: Some(retries.ok_or_else(|| RestartError(text.to_owned()))?),
                }
            }
        })
    }
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
            Self::OnFailure { retries: None } => f.write_str("on-failure"),
            Self::OnFailure {
                retries: Some(retries),
            } => write!(f, "on-failure:{retries}"),
        }
    }
}

written_as_text!(Restart, "Restart", {
    "description": "`no`, `always`, `unless-stopped`, `on-failure` or `on-failure:3`.",
    "type": "string",
    "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$"
});

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

/// How a container is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Stop {
    /// The signal; default: SIGTERM.
    pub signal: Option<Signal>,
    /// How long it may take until it is killed; default: 10s.
    pub timeout: Option<Duration>,
}

/// A signal, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal(String);

const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "KILL", "PIPE", "PROF", "PWR",
    "QUIT", "SEGV", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM",
    "WINCH", "XCPU", "XFSZ",
];

impl Signal {
    /// Returns the name, as in `SIGTERM`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signal; write its name, as in SIGTERM")]
pub struct SignalError(String);

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let realtime = name
            .strip_prefix("RTMIN+")
            .and_then(|number| number.parse::<u8>().ok());
        if SIGNALS.contains(&name)
            || name == "RTMIN"
            || name == "RTMAX"
            || realtime.is_some_and(|number| number <= 15)
        {
            return Ok(Self(format!("SIG{name}")));
        }
        Err(SignalError(text.to_owned()))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(Signal, "Signal", {
    "description": "A signal by name, as in `SIGTERM`.",
    "type": "string",
    "pattern": "^[A-Za-z0-9+]+$"
});

/// The host name of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname(String);

impl Hostname {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a host name: use letters, digits and `-`, at most 63 characters, with a letter or digit at both ends"
)]
pub struct HostnameError(String);

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, HostnameError> {
        let part = |part: &str| {
            let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
            let inner = part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            edge(part.bytes().next()) && edge(part.bytes().last()) && inner
        };
        if text.len() <= 63 && text.split('.').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(HostnameError(text.to_owned()))
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(Hostname, "Hostname", {
    "description": "A host name: letters, digits and `-`, at most 63 characters.",
    "type": "string",
    "pattern": "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
    "maxLength": 63
});

/// When a container counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ready {
    /// A command that succeeds once it is ready.
    #[schemars(with = "Vec<Scalar>")]
    pub exec: Vec<String>,
    /// How long failures do not count after a start; default: 0s.
    pub start_period: Option<Duration>,
    /// How long to wait between two tries; default: 1s.
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
