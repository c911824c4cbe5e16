//! What a container may do.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::form::{self, Absent, Form, formed};

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
