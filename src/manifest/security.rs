//! What a container may do.

use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::form::{self, Absent, Form, formed};
use super::suggest;

/// What a container may do: a profile, and what differs from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The profile everything unset comes from.
    pub profile: Profile,
    /// Capabilities it gets besides, as in `NET_ADMIN`.
    pub cap_add: Vec<String>,
    /// Capabilities it loses besides.
    pub cap_drop: Vec<String>,
    /// Whether its processes can never gain privileges.
    pub no_new_privileges: Option<bool>,
    /// Whether its root file system is read-only.
    pub read_only: Option<bool>,
    /// The seccomp profile: `default`, `unconfined` or a file.
    pub seccomp: Option<String>,
    /// Whether it may do everything the host may.
    pub privileged: Option<bool>,
    /// Devices of the host it sees.
    pub devices: Vec<String>,
    /// Dangerous mounts it may have, by name.
    pub allow: Vec<String>,
}

/// A set of rules by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Unprivileged, no capabilities, no new privileges, read-only root (default).
    #[default]
    Strict,
    /// As strict as a development container can be.
    Dev,
    /// What older sandboxes were given.
    Legacy,
}

/// The fields of the map form.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub struct SecurityFields {
    /// The profile everything unset comes from: `strict` (default), `dev`, `legacy`.
    profile: Profile,
    /// Capabilities it gets besides, as in `NET_ADMIN`.
    cap_add: Vec<String>,
    /// Capabilities it loses besides.
    cap_drop: Vec<String>,
    /// Whether its processes can never gain privileges.
    no_new_privileges: Option<bool>,
    /// Whether its root file system is read-only.
    read_only: Option<bool>,
    /// The seccomp profile: `default`, `unconfined` or a file.
    seccomp: Option<String>,
    /// Whether it may do everything the host may.
    privileged: Option<bool>,
    /// Devices of the host it sees.
    devices: Vec<String>,
    /// Dangerous mounts it may have, by name.
    allow: Vec<String>,
}

impl Form for Security {
    const EXPECTED: &'static str = "strict, dev, legacy, or a map";
    type Map = SecurityFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        let profile = match text {
            "strict" => Profile::Strict,
            "dev" => Profile::Dev,
            "legacy" => Profile::Legacy,
            other => return Err(format!("expected {}, found `{other}`", Self::EXPECTED)),
        };
        Ok(Self {
            profile,
            ..Self::default()
        })
    }

    fn from_map(fields: SecurityFields) -> Result<Self, String> {
        let SecurityFields {
            profile,
            cap_add,
            cap_drop,
            no_new_privileges,
            read_only,
            seccomp,
            privileged,
            devices,
            allow,
        } = fields;
        Ok(Self {
            profile,
            cap_add,
            cap_drop,
            no_new_privileges,
            read_only,
            seccomp,
            privileged,
            devices,
            allow,
        })
    }
}

impl JsonSchema for Security {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Security".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            form::words(&["strict", "dev", "legacy"]),
            generator.subschema_for::<SecurityFields>(),
        ];
        form::one_of(
            "`strict` (default), `dev`, `legacy`, or a map over those.",
            choices,
        )
    }
}

formed!(Security);

/// The capabilities of Linux, and all of them.
const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// What `allow` can name: places of the host that are too much for a sandbox without being asked for by name.
pub const DANGERS: [&str; 5] = ["host", "home", "credentials", "system", "engine-socket"];

impl Security {
    /// Says whether a seccomp profile is one that has a name, and not a file.
    pub fn is_named(profile: &str) -> bool {
        matches!(profile, "default" | "unconfined")
    }

    /// Returns the file of the seccomp profile, if it is one.
    pub fn profile_file(&self) -> Option<&Path> {
        self.seccomp
            .as_deref()
            .filter(|profile| !Self::is_named(profile))
            .map(Path::new)
    }

    /// Returns the name of a capability as the engine has it: upper case, without prefix.
    pub fn capability(text: &str) -> String {
        let upper = text.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
    }

    /// Returns what is wrong, with the key to blame and a hint.
    pub fn faults(&self) -> Vec<(&'static str, String, Option<String>)> {
        let Self {
            profile: _,
            cap_add,
            cap_drop,
            no_new_privileges: _,
            read_only: _,
            seccomp: _,
            privileged: _,
            devices,
            allow,
        } = self;
        let mut faults = Vec::new();
        for (key, names) in [("capAdd", cap_add), ("capDrop", cap_drop)] {
            for name in names {
                let plain = Self::capability(name);
                if !CAPABILITIES.contains(&plain.as_str()) {
                    let near = suggest::nearest(&plain, CAPABILITIES.iter().copied());
                    let hint = near.map(|near| format!("did you mean `{near}`?"));
                    faults.push((key, format!("there is no capability `{name}`"), hint));
                }
            }
        }
        for device in devices {
            if let Err(message) = device.parse::<Device>() {
                faults.push(("devices", message, None));
            }
        }
        for name in allow {
            if !DANGERS.contains(&name.as_str()) {
                let hint = format!(
                    "known here: {}",
                    DANGERS.map(|name| format!("`{name}`")).join(", ")
                );
                faults.push((
                    "allow",
                    format!("`{name}` is nothing that can be allowed"),
                    Some(hint),
                ));
            }
        }
        faults
    }
}

/// A device of the host: `HOST`, `HOST:CONTAINER` or `HOST:CONTAINER:PERMISSIONS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device(String);

impl std::str::FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a device; write /dev/fuse, /dev/fuse:/dev/fuse or /dev/fuse:/dev/fuse:rwm"
            )
        };
        let parts: Vec<_> = text.split(':').collect();
        let absolute = |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
        let permissions = |text: &str| !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
        match parts.as_slice() {
            [host] if absolute(host) => Ok(Self(format!("{host}:{host}:rwm"))),
            [host, inside] if absolute(host) && absolute(inside) => Ok(Self(format!("{host}:{inside}:rwm"))),
            [host, inside, mode] if absolute(host) && absolute(inside) && permissions(mode) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_paths_with_permissions() {
        for (text, whole) in [
            ("/dev/fuse", "/dev/fuse:/dev/fuse:rwm"),
            ("/dev/a:/dev/b", "/dev/a:/dev/b:rwm"),
            ("/dev/a:/dev/b:r", "/dev/a:/dev/b:r"),
        ] {
            assert_eq!(
                text.parse::<Device>().map(|device| device.to_string()),
                Ok(whole.to_owned())
            );
        }
        for text in [
            "",
            "fuse",
            "/dev/a:b",
            "/dev/a:/dev/b:x",
            "/dev/../etc:/x",
            "/dev/a:/dev/b:",
        ] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_capability_may_be_written_with_its_prefix() {
        let security = Security {
            cap_add: vec!["cap_net_admin".to_owned(), "SYS_PTRCE".to_owned()],
            ..Security::default()
        };
        let faults = security.faults();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].2.as_deref(), Some("did you mean `SYS_PTRACE`?"));
    }
}
