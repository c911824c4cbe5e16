//! [`ContainerSpec`]: every field of a container that aishell manages, in normal form.
//!
//! Desired and live containers have this same type, so that comparing them is comparing values. What the engine
//! reports differently from how it was asked is normalised where it is decoded, never here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::digest;

mod health;
mod secrets;

pub use health::{HealthCheck, Probe};
pub use secrets::Secrets;

/// What a change of a field costs a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The engine changes it while the container runs.
    Live,
    /// Only a new container can have it.
    Create,
}

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

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path as in the manifest: `resources.memory`, `env.MODE`, `ports.3000/tcp`.
    pub field: String,
    /// The first value; `Null` is absent.
    pub from: Value,
    /// The second value; `Null` is absent.
    pub to: Value,
    /// What changing it costs.
    pub class: Class,
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

impl ContainerSpec {
    /// Returns every field with a value, by path. The image is left out: whether an image is the wanted one is
    /// decided by what it is, not by what it is called.
    fn fields(&self) -> BTreeMap<String, (Value, Class)> {
        let Self {
            image: _,
            command,
            entrypoint,
            env,
            secrets: _,
            user,
            workdir,
            hostname,
            labels,
            mounts,
            ports,
            security,
            stop,
            init,
            shm,
            health,
            groups,
            dns,
            extra_hosts,
            runtime,
            ulimits,
            resources,
            restart,
            networks,
        } = self;
        let mut fields = Fields::default();
        fields.set("command", command.as_ref(), Class::Create);
        fields.set("entrypoint", entrypoint.as_ref(), Class::Create);
        fields.each("env", env, Class::Create);
        fields.set("user", user.as_ref(), Class::Create);
        fields.set("workdir", workdir.as_ref(), Class::Create);
        fields.set("hostname", hostname.as_ref(), Class::Create);
        fields.each("labels", labels, Class::Create);
        for (target, mount) in mounts {
            fields.set(&format!("mounts.{target}"), Some(mount.display()), Class::Create);
        }
        for (port, bindings) in ports {
            let shown: Vec<String> = bindings
                .iter()
                .map(|binding| format!("{}:{}", binding.address, binding.port))
                .collect();
            fields.set(&format!("ports.{port}"), Some(shown), Class::Create);
        }
        let Security {
            no_new_privileges,
            cap_drop,
            cap_add,
            read_only,
            privileged,
            seccomp,
            devices,
        } = security;
        fields.set("security.noNewPrivileges", Some(no_new_privileges), Class::Create);
        fields.set("security.capDrop", Some(cap_drop), Class::Create);
        fields.set("security.capAdd", Some(cap_add), Class::Create);
        fields.set("security.readOnly", Some(read_only), Class::Create);
        fields.set("security.privileged", Some(privileged), Class::Create);
        fields.set(
            "security.seccomp",
            seccomp.as_deref().map(shown_profile),
            Class::Create,
        );
        fields.list("security.devices", devices);
        if let HealthCheck::Own(probe) = health {
            fields.set("ready", Some(probe), Class::Create);
        }
        fields.list("groups", groups);
        fields.list("dns", dns);
        fields.each("extraHosts", extra_hosts, Class::Create);
        fields.set("runtime", runtime.as_ref(), Class::Create);
        for (name, limit) in ulimits {
            fields.set(&format!("resources.ulimits.{name}"), Some(limit), Class::Create);
        }
        let Stop { signal, timeout } = stop;
        fields.set("stop.signal", signal.as_ref(), Class::Create);
        fields.set("stop.timeout", timeout.as_ref(), Class::Create);
        fields.set("init", Some(init), Class::Create);
        fields.set("resources.shm", Some(shm), Class::Create);
        let Resources {
            memory,
            memory_swap,
            reservation,
            cpus,
            pids,
            shares,
            cpuset,
        } = resources;
        fields.set("resources.memory", memory.as_ref(), Class::Live);
        fields.set("resources.memorySwap", memory_swap.as_ref(), Class::Live);
        fields.set("resources.reservation", reservation.as_ref(), Class::Live);
        fields.set("resources.cpus", cpus.as_ref(), Class::Live);
        fields.set("resources.pids", pids.as_ref(), Class::Live);
        fields.set("resources.shares", shares.as_ref(), Class::Live);
        fields.set("resources.cpuset", cpuset.as_ref(), Class::Live);
        fields.set("restart", Some(restart.display()), Class::Live);
        for (network, Endpoint { aliases }) in networks {
            fields.set(&format!("network.{network}"), Some(aliases), Class::Live);
        }
        fields.0
    }

    /// Returns what differs from this specification to another, by path, the image aside.
    pub fn differences(&self, to: &Self) -> Vec<Difference> {
        // Planning compares every container on every pass, and nearly all are equal.
        if self == to {
            return Vec::new();
        }
        let mut before = self.fields();
        let mut differences = self.secrets.differences(&to.secrets, (&self.env, &to.env));
        let told = |field: &str| differences.iter().any(|difference| difference.field == field);
        before.retain(|field, _| !told(field));
        let mut after = to.fields();
        after.retain(|field, _| !told(field));
        for (field, (to, class)) in after {
            let from = before.remove(&field).map_or(Value::Null, |(from, _)| from);
            if from != to {
                differences.push(Difference {
                    field,
                    from,
                    to,
                    class,
                });
            }
        }
        for (field, (from, class)) in before {
            if !from.is_null() {
                differences.push(Difference {
                    field,
                    from,
                    to: Value::Null,
                    class,
                });
            }
        }
        differences.sort_by(|one, other| one.field.cmp(&other.field));
        differences
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

/// Returns a seccomp profile as it is told: its text is long, and nobody compares it by eye.
fn shown_profile(profile: &str) -> String {
    if profile.starts_with('{') {
        format!("a profile ({})", &digest(profile.as_bytes())[..12])
    } else {
        profile.to_owned()
    }
}

/// Gathers fields by path; an absent value is no field.
#[derive(Default)]
struct Fields(BTreeMap<String, (Value, Class)>);

impl Fields {
    fn set<T: Serialize>(&mut self, path: &str, value: Option<T>, class: Class) {
        // Serialising strings, numbers, booleans and lists of them cannot fail.
        if let Some(Ok(value)) = value.map(serde_json::to_value) {
            self.0.insert(path.to_owned(), (value, class));
        }
    }

    /// Sets a list; an empty one is no field.
    fn list(&mut self, path: &str, values: &[String]) {
        self.set(path, (!values.is_empty()).then_some(values), Class::Create);
    }

    fn each(&mut self, section: &str, values: &BTreeMap<String, String>, class: Class) {
        for (name, value) in values {
            self.set(&format!("{section}.{name}"), Some(value), class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
