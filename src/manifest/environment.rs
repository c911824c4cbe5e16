//! Environment variables of containers: literal values, and where secrets come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::form::{self, Absent, Form, Scalar, formed};
use crate::name::VariableName;

/// The environment of a container, by variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(pub BTreeMap<VariableName, EnvValue>);

/// What a variable is set to, or where its secret value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// Set to this text, part of the container's configuration.
    Literal(String),
    /// A secret from the host's environment.
    FromEnv {
        /// The host's variable.
        name: VariableName,
        /// Whether it may be missing.
        optional: bool,
        /// Who sees it.
        expose: Expose,
    },
    /// A secret from a file.
    FromFile {
        /// The file, absolute.
        path: PathBuf,
        /// Who sees it.
        expose: Expose,
    },
    /// A secret that a command on the host prints.
    FromCommand {
        /// The command.
        command: Vec<String>,
        /// Who sees it.
        expose: Expose,
    },
}

impl EnvValue {
    /// Says whether it is a secret that the container itself has.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::FromEnv { expose, .. }
            | Self::FromFile { expose, .. }
            | Self::FromCommand { expose, .. } => *expose == Expose::Container,
        }
    }
}

/// Who sees a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expose {
    /// The processes of sessions alone (default).
    #[default]
    Sessions,
    /// The container itself, and whoever may inspect it.
    Container,
}

/// The fields of a secret.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvFields {
    /// The variable of the host's environment it comes from.
    from_env: Option<VariableName>,
    /// Whether that variable may be missing; default: false.
    optional: Option<bool>,
    /// The file it is read from.
    from_file: Option<PathBuf>,
    /// The command on the host that prints it.
    #[schemars(with = "Option<Vec<Scalar>>")]
    from_command: Option<Vec<String>>,
    /// Who sees it: `sessions` (default) or `container`, which makes it visible to whoever may inspect it.
    #[serde(default)]
    expose: Expose,
}

impl Form for EnvValue {
    const EXPECTED: &'static str = "text, or a map with `fromEnv`, `fromFile` or `fromCommand`";
    type Map = EnvFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('\0') {
            return Err("a variable cannot hold a NUL character".into());
        }
        Ok(Self::Literal(text.to_owned()))
    }

    fn from_map(fields: EnvFields) -> Result<Self, String> {
        let EnvFields {
            from_env,
            optional,
            from_file,
            from_command,
            expose,
        } = fields;
        if optional.is_some() && from_env.is_none() {
            return Err("`optional` goes with `fromEnv`".into());
        }
        match (from_env, from_file, from_command) {
            (Some(name), None, None) => Ok(Self::FromEnv {
                name,
                optional: optional.unwrap_or(false),
                expose,
            }),
            (None, Some(path), None) => Ok(Self::FromFile { path, expose }),
            (None, None, Some(command)) if command.first().is_none_or(String::is_empty) => {
                Err("`fromCommand` is empty".into())
            }
            (None, None, Some(command)) if command.iter().any(|word| word.contains('\0')) => {
                Err("a command cannot hold a NUL character".into())
            }
            (None, None, Some(_)) if expose == Expose::Container => Err(
                "`fromCommand` is run when somebody opens a session, which a container cannot wait for; write what \
                 it prints to a file and use `fromFile`"
                    .into(),
            ),
            (None, None, Some(command)) => Ok(Self::FromCommand { command, expose }),
            _ => Err("a secret has exactly one of `fromEnv`, `fromFile`, `fromCommand`".into()),
        }
    }
}

impl JsonSchema for EnvValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<Scalar>(),
            generator.subschema_for::<EnvFields>(),
        ];
        form::one_of("Text, or where a secret comes from.", choices)
    }
}

impl Form for Environment {
    const EXPECTED: &'static str = "a map, or a list of NAME=value and NAME";
    type Map = BTreeMap<VariableName, EnvValue>;
    type Item = String;

    fn from_list(items: Vec<String>) -> Result<Self, String> {
        let mut map = BTreeMap::new();
        for item in items {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (item.as_str(), None),
            };
            let name: VariableName = name.parse().map_err(|error| format!("{error}"))?;
            let value = match value {
                Some(value) => EnvValue::from_text(value)?,
                None => EnvValue::FromEnv {
                    name: name.clone(),
                    optional: false,
                    expose: Expose::Sessions,
                },
            };
            map.insert(name, value);
        }
        Ok(Self(map))
    }

    fn from_map(map: BTreeMap<VariableName, EnvValue>) -> Result<Self, String> {
        Ok(Self(map))
    }
}

impl JsonSchema for Environment {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Environment".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<BTreeMap<VariableName, EnvValue>>();
        let list = generator.subschema_for::<Vec<String>>();
        form::one_of(
            "Variables as a map, or as a list of `NAME=value`; a bare `NAME` is a secret from the host's environment.",
            vec![map, list],
        )
    }
}

formed!(EnvValue, Environment);
