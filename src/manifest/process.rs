//! How the process of a container runs: as whom, under which host name, how it restarts and stops.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::Duration;
use crate::written::written_as_text;

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
