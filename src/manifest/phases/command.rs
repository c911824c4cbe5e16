//! Commands of phases, as they are written.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::super::environment::{EnvValue, Environment};
use super::super::form::{self, Absent, Form, formed};
use crate::units::Duration;

/// A test: a command, or a script from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PhaseTest {
    /// A command.
    Command(PhaseCommand),
    /// A script from the host.
    File(PathBuf),
}

/// The fields of a test.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseTestFields {
    /// A script from the host.
    file: Option<PathBuf>,
    /// A command, run by the shell.
    run: Option<String>,
    /// Who runs it; default: the user.
    user: Option<String>,
    /// Where it runs.
    workdir: Option<String>,
    /// How long it may take; default: no limit.
    timeout: Option<Duration>,
    /// The shell; default: `/bin/sh`.
    shell: Option<String>,
    /// Environment of its own; secrets are given to it and to nothing else.
    #[serde(default)]
    env: Environment,
}

impl Form for PhaseTest {
    const EXPECTED: &'static str = "a command or a map with `file` or `run`";
    type Map = PhaseTestFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        PhaseCommand::from_text(text).map(Self::Command)
    }

    fn from_map(fields: PhaseTestFields) -> Result<Self, String> {
        let PhaseTestFields {
            file,
            run,
            user,
            workdir,
            timeout,
            shell,
            env,
        } = fields;
        check(&env)?;
        match (file, run) {
            (None, Some(run)) => Ok(Self::Command(PhaseCommand {
                run,
                user,
                workdir,
                timeout,
                shell,
                env,
            })),
            (Some(_), None)
                if user.is_some()
                    || workdir.is_some()
                    || timeout.is_some()
                    || shell.is_some()
                    || !env.0.is_empty() =>
            {
                Err("`user`, `workdir`, `timeout`, `shell` and `env` go with `run`, not with `file`".into())
            }
            (Some(file), None) => Ok(Self::File(file)),
            (Some(_), Some(_)) | (None, None) => Err("a test has exactly one of `file`, `run`".into()),
        }
    }
}

impl JsonSchema for PhaseTest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PhaseTest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<String>(),
            generator.subschema_for::<PhaseTestFields>(),
        ];
        form::one_of("A test: a command, or a map with `file` or `run`.", choices)
    }
}

/// A command: text run by `/bin/sh -ec`, or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseCommand {
    /// What the shell runs.
    pub run: String,
    /// Who runs it.
    pub user: Option<String>,
    /// Where it runs.
    pub workdir: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// The shell; `None` is `/bin/sh`.
    pub shell: Option<String>,
    /// Environment of its own.
    pub env: Environment,
}

/// The fields of a command.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PhaseCommandFields {
    /// What the shell runs; exit code 0 is success.
    run: String,
    /// Who runs it; default: depends on the phase.
    user: Option<String>,
    /// Where it runs; default: the working directory.
    workdir: Option<String>,
    /// How long it may take; default: no limit.
    timeout: Option<Duration>,
    /// The shell; default: `/bin/sh`.
    shell: Option<String>,
    /// Environment of its own; secrets are given to it and to nothing else.
    #[serde(default)]
    env: Environment,
}

impl Form for PhaseCommand {
    const EXPECTED: &'static str = "a command or a map with `run`";
    type Map = PhaseCommandFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the command is empty".into());
        }
        Ok(Self {
            run: text.to_owned(),
            user: None,
            workdir: None,
            timeout: None,
            shell: None,
            env: Environment::default(),
        })
    }

    fn from_map(fields: PhaseCommandFields) -> Result<Self, String> {
        let PhaseCommandFields {
            run,
            user,
            workdir,
            timeout,
            shell,
            env,
        } = fields;
        check(&env)?;
        Ok(Self {
            run,
            user,
            workdir,
            timeout,
            shell,
            env,
        })
    }
}

impl JsonSchema for PhaseCommand {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PhaseCommand".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<String>(),
            generator.subschema_for::<PhaseCommandFields>(),
        ];
        form::one_of("A command: text run by `/bin/sh -ec`, or a map.", choices)
    }
}

/// Says what cannot be in the environment of a command of a phase.
fn check(env: &Environment) -> Result<(), String> {
    for (name, value) in &env.0 {
        if matches!(value, EnvValue::FromCommand { .. }) {
            return Err(format!(
                "`fromCommand` ({name}) is run when somebody opens a session; write what it prints to a file and use `fromFile`"
            ));
        }
        if value.is_exposed() {
            return Err(format!(
                "`expose` ({name}) is for containers: secrets of a phase are in no image"
            ));
        }
    }
    Ok(())
}

formed!(PhaseTest, PhaseCommand);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_cannot_be_given_is_refused() {
        let given = |change: fn(&mut PhaseTestFields)| {
            let mut fields = PhaseTestFields {
                file: Some("a.sh".into()),
                run: None,
                user: None,
                workdir: None,
                timeout: None,
                shell: None,
                env: Environment::default(),
            };
            change(&mut fields);
            PhaseTest::from_map(fields)
        };
        assert!(matches!(given(|_| {}), Ok(PhaseTest::File(_))));
        let changes: [fn(&mut PhaseTestFields); 5] = [
            |fields| fields.user = Some("dev".to_owned()),
            |fields| fields.workdir = Some("/w".to_owned()),
            |fields| fields.timeout = Some("5s".parse().expect("a duration")),
            |fields| fields.shell = Some("/bin/bash".to_owned()),
            |fields| {
                let name = "TOKEN".parse().expect("a name");
                fields.env.0.insert(name, EnvValue::Literal("x".to_owned()));
            },
        ];
        for change in changes {
            let told = given(change).expect_err("it would be ignored");
            assert!(told.contains("not with `file`"), "{told}");
        }
    }
}
