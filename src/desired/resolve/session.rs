//! What sessions have besides what their container is configured with.

use std::collections::BTreeMap;
use std::path::Path;

use super::Resolver;
use crate::desired::{Origin, Session, Source};
use crate::manifest::container::{Container, Workspace};
use crate::manifest::environment::EnvValue;
use crate::name::{ContainerName, VariableName};

impl Resolver<'_> {
    /// Returns what sessions in a container have; `tools` says whether they find the harnesses.
    pub(super) fn session(&self, name: &ContainerName, written: &Container, tools: bool) -> Session {
        let text = |name: &VariableName| name.as_str().to_owned();
        let member = written.harness.as_ref();
        let member = member.and_then(|harness| self.facts.members.get(harness));
        let program = member.and_then(|member| member.bin.first()).cloned();
        let mut command: Vec<String> = program.into_iter().collect();
        if let Some(member) = member {
            command.extend(member.args.iter().chain(&written.args).cloned());
        }
        // A shell finds every harness there is, and none of them can update itself.
        let members = self.facts.members.values().filter(|_| tools);
        let set = members.flat_map(|member| &member.set);
        let secrets = written.env.0.iter().filter_map(|(variable, value)| {
            let place = self
                .loaded
                .source
                .place(&format!("containers.{name}.env.{variable}"));
            let origin = Origin {
                source: self.source(value)?,
                place,
            };
            Some((text(variable), origin))
        });
        Session {
            name: name.as_str().to_owned(),
            command,
            set: set.map(|(name, value)| (text(name), value.clone())).collect(),
            passed: member
                .into_iter()
                .flat_map(|member| &member.env)
                .map(text)
                .collect(),
            secrets: secrets.collect(),
            proxies: self.facts.proxies.clone(),
            project: (written.workspace == Workspace::Project).then(|| self.facts.owner.project.clone()),
        }
    }

    /// Returns where the secrets of a container come from, by variable.
    pub(super) fn sources(&self, written: &Container) -> BTreeMap<String, Source> {
        let secrets = written.env.0.iter();
        secrets
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), self.source(value)?)))
            .collect()
    }

    fn source(&self, value: &EnvValue) -> Option<Source> {
        match value {
            EnvValue::Literal(_) => None,
            EnvValue::FromEnv { name, optional, .. } => Some(Source::Variable {
                name: name.as_str().to_owned(),
                optional: *optional,
            }),
            EnvValue::FromFile { path, .. } => {
                // A link that a sandbox can write leads where the sandbox wants.
                let real = self.facts.sources.get(&path.display().to_string());
                let leads = real.filter(|_| path.starts_with(&self.facts.ground));
                Some(Source::File {
                    path: path.clone(),
                    leads: leads.map(Path::new).map(Path::to_path_buf),
                })
            }
            EnvValue::FromCommand { command, .. } => Some(Source::Command {
                words: command.clone(),
            }),
        }
    }
}
