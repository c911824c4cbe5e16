//! [`Environment`]: the variables that the processes of a session have, and the container itself has not.
//!
//! They are gathered when somebody opens a session: a changed secret counts from the next one on. What the manifest
//! sets itself is part of the container, and nothing here takes its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::consent::Given;
use super::git;
use crate::desired::{Container, Origin, Session};
use crate::grant::Grant;
use crate::host::Host;
use crate::manifest::place::Problem;
use crate::secret::{Missing, Secret, Source};

/// How long a command may take to print a secret. Somebody may have to type something, or to touch a key.
const PATIENCE: Duration = Duration::from_secs(60);

/// The variables of a session, by name. What they are set to cannot be printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, Secret>);

/// Why a session cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Sessions would get secrets that nobody has given them.
    #[error("sessions in container {container} would get {}, which nobody has consented to", what.join(", "))]
    Widens {
        /// The container.
        container: String,
        /// What they would get, in a person's words.
        what: Vec<String>,
    },
    /// Secrets cannot be had.
    #[error("{} of the secrets of container {container} cannot be had", problems.len())]
    Secrets {
        /// The container.
        container: String,
        /// Every one of them, and where the manifest asks for it.
        problems: Vec<Problem>,
    },
}

impl Environment {
    /// Returns the variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Says whether a variable is set.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a variable, whatever it was; what no variable can hold leaves it as it was.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Ok(value) = Secret::of_text(name, value.to_owned()) {
            self.0.insert(name.to_owned(), value);
        }
    }
}

/// Gathers the variables of a session that somebody opens in a container now, given what a person has consented to.
/// Commands that print secrets are run.
///
/// # Errors
/// Nobody has consented to some secrets, or they cannot be had. Nothing of what they hold is told.
///
/// # Cancel safety
/// A command that runs is ended.
pub async fn gather(
    container: &Container,
    host: &Host,
    given: &Given,
) -> Result<Environment, EnvironmentError> {
    let lacks = given.lacks(container);
    if !lacks.is_empty() {
        return Err(EnvironmentError::Widens {
            container: container.session.name.clone(),
            what: lacks.into_iter().map(Grant::display).collect(),
        });
    }
    let Session {
        name,
        command: _,
        set,
        passed,
        secrets,
        proxies,
        project,
        common,
        agents: _,
    } = &container.session;
    let project = project.as_deref();
    let mut environment = Environment::default();
    // Some tools refuse to work without questions unless they know that they cannot do harm.
    environment.set("IS_SANDBOX", "1");
    if let Some(zone) = host.time_zone() {
        environment.set("TZ", &zone);
    }
    for (name, value) in git::identity(host, project.map(Path::new), common.as_deref().map(Path::new)) {
        environment.set(&name, &value);
    }
    if let Some(project) = project {
        // The files may belong to another user than the one inside: git would not touch them.
        for (name, value) in [
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", project),
        ] {
            environment.set(name, value);
        }
    }
    for (name, value) in proxies.iter().chain(set) {
        environment.set(name, value);
    }
    for name in passed {
        if let Some(value) = host.variable(name) {
            environment.set(name, value);
        }
    }
    let mut problems = Vec::new();
    for (variable, origin) in secrets {
        match find(variable, &origin.source, host, PATIENCE).await {
            Ok(Some(secret)) => {
                environment.0.insert(variable.clone(), secret);
            }
            Ok(None) => {}
            Err(error) => problems.push(problem(name, variable, origin, &error)),
        }
    }
    if !problems.is_empty() {
        return Err(EnvironmentError::Secrets {
            container: name.clone(),
            problems,
        });
    }
    // What the manifest says is said.
    environment
        .0
        .retain(|name, _| !container.spec.env.contains_key(name));
    Ok(environment)
}

fn problem(container: &str, variable: &str, origin: &Origin, error: &Missing) -> Problem {
    let hint = match error {
        Missing::Variable(name) => Some(format!(
            "set it, or write `{variable}: {{ fromEnv: {name}, optional: true }}`"
        )),
        Missing::Elsewhere { .. } => Some("somebody changed a link in the project; look at it".to_owned()),
        Missing::NotAFile { .. }
        | Missing::Unreadable { .. }
        | Missing::Unusable { .. }
        | Missing::NotRun { .. }
        | Missing::Failed { .. }
        | Missing::Slow { .. } => None,
    };
    Problem {
        place: origin.place.clone(),
        hint,
        ..Problem::new(format!("secret {variable} of container {container}: {error}"))
    }
}

/// Returns a secret; `None` if it is missing and may be.
async fn find(
    variable: &str,
    source: &Source,
    host: &Host,
    patience: Duration,
) -> Result<Option<Secret>, Missing> {
    let words = match source {
        Source::Command { words } => words,
        Source::Variable { .. } | Source::File { .. } => {
            return source.read(variable, host).unwrap_or(Ok(None));
        }
    };
    let bytes = output(words, host, patience).await?;
    source.made(variable, bytes).map(Some)
}

/// Runs a command and returns what it printed. What it has to say besides goes where aishell's own words go.
///
/// It is run in the home of who runs aishell, where no sandbox can leave anything that it would find.
async fn output(words: &[String], host: &Host, patience: Duration) -> Result<Vec<u8>, Missing> {
    let command = || words.join(" ");
    let not_run = |cause| Missing::NotRun {
        command: command(),
        cause,
    };
    let Some((program, arguments)) = words.split_first() else {
        return Ok(Vec::new());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(&host.home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let mut bytes = Vec::new();
    let finished = async {
        if let Some(printed) = child.stdout.take() {
            // Whoever prints more than that is told so by a closed pipe.
            printed.take(Secret::READ).read_to_end(&mut bytes).await?;
        }
        child.wait().await
    };
    let Ok(finished) = tokio::time::timeout(patience, finished).await else {
        return Err(Missing::Slow {
            command: command(),
            seconds: patience.as_secs(),
        });
    };
    let status = finished.map_err(not_run)?;
    let is_long = u64::try_from(bytes.len()).is_ok_and(|length| length >= Secret::READ);
    if !status.success() && !is_long {
        return Err(Missing::Failed {
            command: command(),
            status: status.to_string(),
        });
    }
    Ok(bytes)
}

impl fmt::Display for Environment {
    /// Names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests;
