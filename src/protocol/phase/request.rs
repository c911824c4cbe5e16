//! What a phase asks for: its container, its commands, its image; and what it says of a command that failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{At, CERTIFICATES, DoPhase};
use crate::call::{Commit, Create, Exec};
use crate::desired::phase::{Act, Command};
use crate::label::{FILE, HOST, PHASE_FROM, PROJECT, PROJECT_HASH, PROVEN, SCHEMA};
use crate::protocol::hinted;
use crate::protocol::identity::{CERTIFICATE_VARIABLES, DEFAULT_PATH};
use crate::report::Failure;
use crate::spec::{ContainerSpec, Endpoint};
use crate::step::PHASE_LOG;

impl DoPhase {
    pub(super) fn create(&self) -> Create {
        let words = ["sleep", "infinity"].map(str::to_owned);
        let network = ("bridge".to_owned(), Endpoint::default());
        Create {
            name: self.work.job_name.clone(),
            labels: self.work.job.clone(),
            spec: ContainerSpec {
                image: self.work.from.clone(),
                // An entrypoint of its own, and no command: a commit can clear the one, but not the other.
                entrypoint: Some(words.into()),
                command: Some(Vec::new()),
                init: true,
                shm: 64 << 20,
                networks: if self.runs() {
                    [network].into()
                } else {
                    BTreeMap::new()
                },
                ..ContainerSpec::default()
            },
        }
    }

    fn path(&self) -> &str {
        self.config.env.get("PATH").map_or(DEFAULT_PATH, String::as_str)
    }

    pub(super) fn commit(&self) -> Commit {
        let settings = &self.work.settings;
        let mut labels = self.work.labels.clone();
        labels.insert(SCHEMA.to_owned(), PROVEN.to_owned());
        labels.insert(PHASE_FROM.to_owned(), self.from.clone());
        // A commit passes on what the container says of its owner, and an image has none: nothing takes a label away,
        // and one that is empty says nothing.
        for label in [PROJECT, PROJECT_HASH, HOST, FILE] {
            labels.insert(label.to_owned(), String::new());
        }
        let command = settings.command.clone();
        let entrypoint = settings.entrypoint.clone();
        Commit {
            container: self.id(),
            rebuilt: self.work.renews,
            tag: self.work.making.clone(),
            labels,
            env: settings
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.with_path(self.path())))
                .collect(),
            command: command
                .or_else(|| self.config.command.clone())
                .or(Some(Vec::new())),
            entrypoint: entrypoint
                .or_else(|| self.config.entrypoint.clone())
                .or(Some(Vec::new())),
            user: settings.user.clone(),
            workdir: settings.workdir.clone(),
        }
    }

    pub(super) fn exec(&self, command: &Command) -> Exec {
        let mut env = self.work.proxies.clone();
        if self.work.certificates.is_some() {
            let variables = CERTIFICATE_VARIABLES.iter().chain(&["npm_config_cafile"]);
            env.extend(variables.map(|name| ((*name).to_owned(), CERTIFICATES.to_owned())));
        }
        env.extend(command.env.clone());
        Exec {
            container: self.id(),
            words: vec![command.shell.clone(), "-ec".to_owned(), command.run.clone()],
            // An image need not have a table in which root has a name.
            user: Some(if command.user == "root" {
                "0:0".to_owned()
            } else {
                command.user.clone()
            }),
            workdir: command.workdir.clone(),
            env,
            secrets: Arc::new(
                command
                    .secrets
                    .known()
                    .map(|(name, secret)| (name.to_owned(), secret.clone()))
                    .collect(),
            ),
        }
    }

    /// Returns what comes after a command that did not end with 0.
    pub(super) fn ended(&mut self, code: Option<i64>, log: Vec<String>) -> At {
        // The runtime found the container ended, whatever it calls that.
        let is_gone = |line: &String| line.contains("cannot exec in a ") || line.contains("not running");
        if code == Some(126) && log.len() == 1 && log.iter().all(is_gone) {
            let lacking = self.lacking("sleep", Vec::new());
            return self.afresh().unwrap_or_else(|| self.fail(lacking));
        }
        if let Some(shell) = self.lacks_shell(&log) {
            let lacking = self.lacking(&shell, log);
            return self.fail(lacking);
        }
        let code = code.map_or_else(|| "nobody knows what".to_owned(), |code| code.to_string());
        let failure = self.failed(log, &format!("ended with {code}"));
        self.fail(failure)
    }

    /// Returns the program that the command is given to, if the runtime says that there is none.
    pub(super) fn lacks_shell(&self, log: &[String]) -> Option<String> {
        let Some(Act::Run(command)) = self.work.acts.get(self.act) else {
            return None;
        };
        let shell = self.exec(command).words.into_iter().next()?;
        let quoted = format!("exec: \"{shell}\"");
        let said = |line: &String| line.contains("OCI runtime exec failed") && line.contains(&quoted);
        log.iter().any(said).then_some(shell)
    }

    /// Says that a program is missing without which no command can be run.
    pub(super) fn lacking(&self, program: &str, log: Vec<String>) -> Failure {
        let (first, place) = match self.work.acts.get(self.act) {
            Some(Act::Run(command)) => {
                let first = command.run.trim().lines().next().unwrap_or_default();
                let shown: String = first.chars().take(80).collect();
                (format!("`{shown}` ({}) ", command.field), command.place.clone())
            }
            // What is put in for the commands is taken out again after the last one.
            _ => ("its container ".to_owned(), None),
        };
        let message = format!("{first}cannot run: an image that commands run in needs `{program}`");
        let failure = Failure::new(message).log(log).at(place);
        failure.hint("take a base image that has it, or bring it with `files`")
    }

    /// Returns the failure of a command.
    pub(super) fn failed(&self, log: Vec<String>, how: &str) -> Failure {
        let command = match self.work.acts.get(self.act) {
            Some(Act::Run(command)) => command.clone(),
            _ => return Failure::new("a command failed that was not to be run"),
        };
        let first = command.run.trim().lines().next().unwrap_or_default();
        let shown: String = first.chars().take(80).collect();
        let failure = Failure::new(format!("`{shown}` ({}) {how}", command.field))
            .log(log)
            .at(command.place.clone());
        let hinted = hinted(failure);
        let shell = self.work.shell_in(Some(&command));
        let shell = format!(
            "`aishell logs --job` shows all that it printed ({}:{PHASE_LOG}); `{shell}` opens a shell in it; `aishell apply` goes on from here",
            self.work.failed_name
        );
        Failure {
            hint: Some(match hinted.hint {
                Some(hint) => format!("{hint}\n{shell}"),
                None => shell,
            }),
            ..hinted
        }
    }
}
