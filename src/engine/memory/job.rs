//! Jobs: containers that do their work and end.

use std::collections::BTreeMap;

use serde_json::json;

use super::nature::Job;
use super::world::World;
use crate::call::{ContainerReply, Content};
use crate::engine::EngineError;
use crate::key::digest;
use crate::label::{HARNESSES, KEY, KIND, Kind};
use crate::observed::RunState;
use crate::spec::Mount;

/// Where harnesses are installed.
const TOOLS: &str = "/tools";
/// Where the receipt lies in a harness volume.
const RECEIPT: &str = "/.aishell/receipt.json";

impl World {
    /// Lets a job that was just started do its work, unless jobs take their time.
    pub(super) fn begin_job(&mut self, id: &str) {
        if let Some(volume) = self.tools(id) {
            // Nothing vouches for what is about to change.
            self.volumes.entry(volume).and_modify(|volume| {
                volume.files.remove(RECEIPT);
            });
        }
        if !self.nature.slow_jobs {
            self.work(id);
        }
    }

    /// Of a container that runs on without end only what it has said so far is told; a slow job ends now.
    pub(super) fn follow_log(&mut self, container: &str) -> Result<Vec<String>, EngineError> {
        let id = self.container_id(container)?;
        let ContainerReply { labels, state, .. } = &self.at(&id)?.reply;
        if *state == RunState::Running && labels.get(KIND).is_some_and(|kind| kind == Kind::Job.as_str()) {
            self.work(&id);
        }
        Ok(self.at(&id)?.log.clone())
    }

    /// Runs a job to its end, unless it has none.
    fn work(&mut self, id: &str) {
        let Some(subject) = self.containers.get_mut(id) else {
            return;
        };
        let keeps = subject.reply.spec.entrypoint.as_ref();
        if keeps.is_some_and(|words| words.iter().any(|word| word == "infinity")) {
            // Others run their commands in it.
            return;
        }
        let files = match self
            .nature
            .job(&subject.reply.name, &subject.reply.spec.image)
            .clone()
        {
            Job::Installs => self.installed(id),
            Job::Writes(files) => files,
            Job::Fails { code, log } => {
                subject.log.extend(log);
                return self.end(id, code);
            }
            Job::Hangs => return,
        };
        for (path, bytes) in files {
            self.write_file(id, &path, Content::Bytes(bytes));
        }
        self.end(id, 0);
    }

    /// Returns what an installer leaves: the programs that the volume's label promises, and the receipt.
    fn installed(&self, id: &str) -> BTreeMap<String, Vec<u8>> {
        let volume = self.tools(id).and_then(|name| self.volumes.get(&name));
        let Some(labels) = volume.map(|volume| &volume.reply.labels) else {
            return BTreeMap::new();
        };
        let promised = labels.get(HARNESSES).map(String::as_str).unwrap_or_default();
        let members: Vec<(&str, &str)> = promised
            .split(", ")
            .filter_map(|member| member.rsplit_once(' '))
            .collect();
        let mut files: BTreeMap<String, Vec<u8>> = members
            .iter()
            .map(|(name, version)| {
                (
                    format!("{TOOLS}/bin/{name}"),
                    format!("{name} {version}").into_bytes(),
                )
            })
            .collect();
        let listed: Vec<_> = members
            .iter()
            .map(|(name, version)| json!({"name": name, "version": version, "npm": name, "integrity": null}))
            .collect();
        let receipt = json!({
            "schema": 1,
            "key": labels.get(KEY),
            "members": listed,
            "files": files.len(),
            "digest": digest(promised.as_bytes()),
        });
        files.insert(format!("{TOOLS}{RECEIPT}"), receipt.to_string().into_bytes());
        files
    }

    fn tools(&self, id: &str) -> Option<String> {
        match self.containers.get(id)?.reply.spec.mounts.get(TOOLS)? {
            Mount::Volume {
                name,
                read_only: false,
            } => Some(name.clone()),
            Mount::Volume { read_only: true, .. } | Mount::Bind { .. } | Mount::Tmpfs { .. } => None,
        }
    }
}
