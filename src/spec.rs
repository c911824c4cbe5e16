//! [`ContainerSpec`]: every field of a container that aishell manages, in normal form.
//!
//! Desired and live containers have this same type, so that comparing them is comparing values. What the engine
//! reports differently from how it was asked is normalised where it is decoded, never here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod difference;
mod health;
mod secrets;

pub use difference::{Class, Difference, Fields, Texts};
pub use health::{HealthCheck, Probe};
pub use secrets::Secrets;

/// Every field of a container that aishell manages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ContainerSpec {
    /// The image: a keyed tag of ours, or a reference.
    pub image: String,
    /// The command; `None` is the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The entrypoint; `None` is the image's, an empty list none at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables, without those of the image.
    pub env: BTreeMap<String, String>,
    /// Environment variables with secrets; those of a live container are among the others.
    #[serde(skip_serializing_if = "Secrets::is_empty")]
    pub secrets: Secrets,
    /// `uid:gid`, or what the image says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working directory; `None` is the image's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The host name; `None` is the engine's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The person's own labels, without those of the image and of aishell.
    pub labels: BTreeMap<String, String>,
    /// Mounts by target path; those of a live container include volumes that its image declares.
    pub mounts: BTreeMap<String, Mount>,
    /// Published ports by `PORT/PROTOCOL`.
    pub ports: BTreeMap<String, Vec<Binding>>,
    /// Isolation.
    pub security: Security,
    /// How the container is asked to stop.
    pub stop: Stop,
    /// Whether PID 1 is the engine's init.
    pub init: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm: u64,
    /// How the engine tells whether it can be used.
    #[serde(skip_serializing_if = "HealthCheck::is_image")]
    pub health: HealthCheck,
    /// Groups of the user besides its own, by number or by a name of the image, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Name servers in the order they are asked; none is the engine's choice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Addresses of host names besides those that are looked up; `host-gateway` is the host's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, String>,
    /// The engine's runtime; `None` is the engine's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Limits of processes by name; those that are not here are the engine's choice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Limits that the engine can change while the container runs.
    pub resources: Resources,
    /// When the engine restarts the container.
    pub restart: Restart,
    /// Attached networks by name; none means no network at all.
    pub networks: BTreeMap<String, Endpoint>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Mount {
    /// A directory or file of the host.
    #[serde(rename_all = "camelCase")]
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Whether the container cannot write to it.
        read_only: bool,
    },
    /// A named volume.
    #[serde(rename_all = "camelCase")]
    Volume {
        /// The engine's name of the volume.
        name: String,
        /// Whether the container cannot write to it.
        read_only: bool,
    },
    /// Memory that is gone when the container stops.
    #[serde(rename_all = "camelCase")]
    Tmpfs {
        /// Options as the engine takes them (`size=…,mode=…`), in the order they were asked for.
        options: String,
    },
}

/// Where a container port is published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    /// Address on the host.
    pub address: String,
    /// Port on the host; 0 lets the engine choose.
    pub port: u16,
}

/// Isolation settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Security {
    /// Whether processes can gain no privileges beyond their parent's.
    pub no_new_privileges: bool,
    /// Dropped capabilities, upper case without prefix, sorted.
    pub cap_drop: Vec<String>,
    /// Added capabilities, upper case without prefix, sorted.
    pub cap_add: Vec<String>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Whether the container has every privilege of the host.
    pub privileged: bool,
    /// The system calls it may make: `None` is the engine's choice, else `unconfined` or a profile as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// Devices of the host, sorted, as `HOST:CONTAINER:PERMISSIONS`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

/// A limit of processes; -1 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What processes start with.
    pub soft: i64,
    /// What they may raise it to.
    pub hard: i64,
}

/// How a container is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// The signal; `None` is the image's or SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Seconds until it is killed; `None` is the engine's 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// Limits that can be changed in place. `None` is unlimited, or the engine's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory and swap together in bytes; `-1` is unlimited swap. Set whenever `memory` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    /// Memory reservation in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<u64>,
    /// Processor time in billionths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u64>,
    /// Number of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Weight of its processor time among others; `None` is the engine's 1024. No manifest asks for another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// The processors it may use, as in `0-1`; `None` is all. No manifest asks for fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
}

/// When the engine restarts a container that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Whatever the reason.
    Always,
    /// Unless somebody stopped it.
    UnlessStopped,
    /// After a failure, at most so many times; 0 is without end.
    OnFailure(u32),
}

/// How a container is attached to one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Names it answers to, sorted, without the short id that the engine adds.
    pub aliases: Vec<String>,
}

impl Restart {
    /// Returns the policy as a person writes it.
    pub fn display(self) -> String {
        match self {
            Self::No => "no".to_owned(),
            Self::Always => "always".to_owned(),
            Self::UnlessStopped => "unless-stopped".to_owned(),
            Self::OnFailure(0) => "on-failure".to_owned(),
            Self::OnFailure(times) => format!("on-failure:{times}"),
        }
    }
}

impl Mount {
    /// Says whether it is a volume that nobody named: one that an image declares, or that was carried over from a
    /// container that had it.
    pub fn is_anonymous(&self) -> bool {
        match self {
            Self::Volume { name, .. } => {
                name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            Self::Bind { .. } | Self::Tmpfs { .. } => false,
        }
    }

    /// Returns the mount as a person would write it.
    pub fn display(&self) -> String {
        let mode = |read_only: bool| if read_only { " (read-only)" } else { "" };
        match self {
            Self::Bind { source, read_only } => format!("{source}{}", mode(*read_only)),
            Self::Volume { name, read_only } => format!("volume {name}{}", mode(*read_only)),
            Self::Tmpfs { options } if options.is_empty() => "tmpfs".to_owned(),
            Self::Tmpfs { options } => format!("tmpfs ({options})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_field_that_differs_is_named_with_both_values_and_its_class() {
        let mut one = ContainerSpec::default();
        one.env.insert("MODE".to_owned(), "fast".to_owned());
        let mut other = one.clone();
        other.env.insert("MODE".to_owned(), "safe".to_owned());
        other.resources.memory = Some(4 << 30);
        let found: Vec<_> = one
            .differences(&other)
            .into_iter()
            .map(|difference| (difference.field, difference.from, difference.to, difference.class))
            .collect();
        assert_eq!(
            found,
            [
                ("env.MODE".to_owned(), json!("fast"), json!("safe"), Class::Create),
                (
                    "resources.memory".to_owned(),
                    Value::Null,
                    json!(4_294_967_296_u64),
                    Class::Live
                ),
            ]
        );
    }

    #[test]
    fn what_is_missing_on_the_other_side_differs_too() {
        let mut one = ContainerSpec::default();
        one.networks.insert("legacy".to_owned(), Endpoint::default());
        let differences = one.differences(&ContainerSpec::default());
        assert_eq!(differences.len(), 1);
        assert_eq!(
            (differences[0].field.as_str(), &differences[0].to),
            ("network.legacy", &Value::Null)
        );
    }
}
