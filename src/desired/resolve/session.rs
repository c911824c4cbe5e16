//! What sessions have besides what their container is configured with.

use std::collections::BTreeMap;

use super::Resolver;
use crate::catalogue;
use crate::desired::{Origin, Session};
use crate::manifest::container::{Container, Workspace};
use crate::manifest::harness::Harness;
use crate::name::{ContainerName, VariableName};
use crate::secret::Source;
use crate::spec::Secrets;

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
        // The container has the others, and so has every process in it.
        let own = written.env.0.iter().filter(|(_, value)| !value.is_exposed());
        let secrets = own.filter_map(|(variable, value)| {
            let place = self
                .loaded
                .source
                .place(&format!("containers.{name}.env.{variable}"));
            let origin = Origin {
                source: self.facts.source(value)?,
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
            common: self.facts.common.clone(),
            agents: written.ssh_agent.then(|| self.facts.agents_of(name.as_str())),
            project: (written.workspace == Workspace::Project).then(|| self.facts.owner.project.clone()),
        }
    }

    /// Returns where the secrets of a container and its sessions come from, by variable: those that the manifest asks
    /// for. What harnesses are passed that aishell knows by name is none of the manifest's doing.
    pub(super) fn sources(&self, written: &Container) -> BTreeMap<String, Source> {
        let mut sources: BTreeMap<String, Source> = BTreeMap::new();
        let own = written.harness.as_ref();
        let own =
            own.and_then(|name| Some((self.manifest.harnesses.get(name)?, catalogue::find(name.as_str()))));
        if let Some((
            Harness {
                env: Some(passed), ..
            },
            known,
        )) = own
        {
            let known = known.map(|known| known.env.as_slice()).unwrap_or_default();
            for name in passed.iter().filter(|name| !known.contains(name)) {
                let source = Source::Variable {
                    name: name.as_str().to_owned(),
                    optional: true,
                };
                sources.insert(name.as_str().to_owned(), source);
            }
        }
        let secrets = written.env.0.iter();
        sources.extend(
            secrets.filter_map(|(name, value)| Some((name.as_str().to_owned(), self.facts.source(value)?))),
        );
        sources
    }

    /// Returns the secrets that are part of a container's configuration, and why some are not known here.
    pub(super) fn exposed(&self, name: &ContainerName) -> (Secrets, BTreeMap<String, String>) {
        let mut secrets = Secrets::default();
        let mut lacks = BTreeMap::new();
        for (variable, found) in self.facts.exposed.get(name.as_str()).into_iter().flatten() {
            let value = match found {
                Ok(value) => value.clone(),
                Err(reason) => {
                    lacks.insert(variable.clone(), reason.clone());
                    None
                }
            };
            secrets.insert(variable, value);
        }
        (secrets, lacks)
    }
}
