//! Containers: their lives, and what they take from their images.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::file::Files;
use super::merge::merge;
use super::nature::Fate;
use super::world::{Container, World};
use super::{conflict, failed, not_found, refused};
use crate::call::ContainerReply;
use crate::engine::EngineError;
use crate::label::{DEVCONTAINER, KIND, Kind, Labels, PREFIX};
use crate::observed::{Health, RunState};
use crate::spec::{Binding, ContainerSpec, HealthCheck, Mount, Restart};

impl World {
    /// Neither ports nor networks are looked at before the start; volumes that do not exist are made. Only the first
    /// network can be given here.
    pub(super) fn create_container(
        &mut self,
        name: &str,
        labels: &Labels,
        spec: &ContainerSpec,
    ) -> Result<String, EngineError> {
        self.check_created(&spec.resources)?;
        for mount in spec.mounts.values() {
            if let Mount::Bind { source, .. } = mount
                && self.nature.absent_paths.contains(source)
            {
                return Err(refused(format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {source}"
                )));
            }
        }
        let image = self
            .find_image(&spec.image)
            .map_err(|_| not_found(format!("No such image: {}", spec.image)))?;
        let (image_id, files) = (image.reply.image.id.clone(), image.files.clone());
        let declared = image.volumes.clone();
        let inherited = image.reply.image.labels.clone();
        let mut merged = merge(spec, &image.reply.config)?;
        if let Some(user) = self.names.get(name) {
            return Err(taken(name, user));
        }
        if !is_name(name) {
            return Err(refused(format!(
                "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            )));
        }
        let all: Labels = [&inherited, &spec.labels, labels]
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        merged.labels = all
            .iter()
            .filter(|(name, _)| !name.starts_with(PREFIX) && *name != DEVCONTAINER)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        merged.networks.clear();
        let secrets = std::mem::take(&mut merged.secrets);
        let secrets = secrets
            .known()
            .map(|(name, value)| (name.to_owned(), value.expose().to_owned()));
        merged.env.extend(secrets);
        let id = self.id();
        let mut anonymous = BTreeSet::new();
        for target in declared {
            if let Entry::Vacant(vacant) = merged.mounts.entry(target) {
                let name = self.id();
                anonymous.insert(name.clone());
                vacant.insert(Mount::Volume {
                    name,
                    read_only: false,
                });
            }
        }
        for (target, mount) in &merged.mounts {
            if let Mount::Volume { name, .. } = mount {
                self.create_volume(name, Labels::new())?;
                self.fill_volume(name, &files, target);
                self.volume_users.add(name, &id);
            }
        }
        self.image_users.add(&image_id, &id);
        self.names.insert(name.to_owned(), id.clone());
        let reply = ContainerReply {
            id: id.clone(),
            name: name.to_owned(),
            image_id,
            labels: all,
            state: RunState::Created,
            spec: merged,
            created: self.now(),
            started: None,
            health: None,
            restarts: 0,
            network_ids: BTreeMap::new(),
            error: None,
            process: None,
            execs: BTreeSet::new(),
            health_check: None,
        };
        let container = Container {
            reply,
            attachments: self.attachments(&spec.networks),
            anonymous,
            endpoints: BTreeSet::new(),
            files: Files::new(),
            log: Vec::new(),
            memory_used: 0,
            execs: BTreeMap::new(),
            abandoned: 0,
            code: 0,
        };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    /// A start that fails leaves the container as it was, with the error noted.
    pub(super) fn start_container(&mut self, container: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        match self.at(&id)?.state() {
            RunState::Running | RunState::Restarting => return Ok(()),
            RunState::Paused => return Err(conflict("cannot start a paused container, try unpause instead")),
            RunState::Removing | RunState::Dead => {
                return Err(conflict("container is marked for removal and cannot be started"));
            }
            RunState::Created | RunState::Exited { .. } => {}
        }
        // An update may have left limits that no container could be created with.
        self.check_created(&self.at(&id)?.reply.spec.resources)?;
        let started = self
            .join_networks(&id)
            .and_then(|()| self.take_ports(&id))
            .and_then(|()| self.run(&id));
        if let Err(error) = started {
            self.let_go(&id);
            let subject = self.at_mut(&id)?;
            subject.reply.error = Some(error.to_string());
            if subject.code == 0 {
                subject.code = 128;
            }
            if let RunState::Exited { code } = &mut subject.reply.state {
                *code = subject.code;
            }
            return Err(error);
        }
        Ok(())
    }

    /// Runs the command of a container that has everything it needs.
    fn run(&mut self, id: &str) -> Result<(), EngineError> {
        let now = self.now();
        let subject = self.at(id)?;
        let ContainerSpec {
            command,
            entrypoint,
            init,
            ..
        } = &subject.reply.spec;
        let fate = self.nature.fate(entrypoint.iter().chain(command).flatten());
        let init = *init;
        if fate == Some(Fate::Missing) && !init {
            self.at_mut(id)?.code = 127;
            return Err(refused(
                "unable to start container process: executable file not found in $PATH",
            ));
        }
        let is_job = subject
            .reply
            .labels
            .get(KIND)
            .is_some_and(|kind| kind == Kind::Job.as_str());
        let subject = self.at_mut(id)?;
        subject.reply.state = RunState::Running;
        subject.reply.started = Some(now);
        subject.reply.error = None;
        subject.reply.restarts = 0;
        // It passes unless a hand says otherwise.
        subject.reply.health = match &subject.reply.spec.health {
            HealthCheck::Own(_) => Some(Health::Healthy),
            HealthCheck::Image | HealthCheck::Off => None,
        };
        subject.code = 0;
        if is_job {
            self.begin_job(id);
        }
        match fate {
            Some(Fate::Missing) => self.end(id, 127),
            Some(Fate::Ends(code)) => self.end(id, code),
            Some(Fate::Obeys) | None => {}
        }
        Ok(())
    }

    /// Lets the command of a running container end; its restart policy decides what comes of it.
    pub(super) fn end(&mut self, id: &str, code: i64) {
        let Some(subject) = self.containers.get_mut(id) else {
            return;
        };
        subject.code = code;
        let (again, restarts) = match subject.reply.spec.restart {
            Restart::Always | Restart::UnlessStopped => (true, 1),
            Restart::OnFailure(0) if code != 0 => (true, 1),
            Restart::OnFailure(times) if code != 0 => (false, times),
            Restart::OnFailure(_) | Restart::No => (false, 0),
        };
        subject.reply.restarts += restarts;
        subject.reply.state = if again {
            RunState::Restarting
        } else {
            RunState::Exited { code }
        };
        if !again {
            self.let_go(id);
            self.leave(id);
        }
    }

    /// Removes a container that is not to outlive its command.
    fn leave(&mut self, id: &str) {
        if self.kept.contains(id) {
            // It is there: it has just ended.
            let _removed = self.remove_container(id, true);
        }
    }

    /// Whoever was at the standard input of a container goes away; one that was not started stays as it is.
    pub(super) fn hang_up(&mut self, id: &str) {
        let running = self.containers.get(id).is_some_and(|one| one.state().is_alive());
        if running && self.kept.contains(id) {
            self.end(id, 0);
        }
    }

    /// The init passes the signal on and ends with its number; a bare process 1 ignores it and is killed.
    pub(super) fn stop_container(&mut self, container: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        let ContainerSpec {
            command,
            entrypoint,
            init,
            stop,
            ..
        } = &subject.reply.spec;
        let code = match subject.state() {
            RunState::Created | RunState::Exited { .. } | RunState::Removing | RunState::Dead => {
                return Ok(());
            }
            RunState::Restarting => subject.code,
            RunState::Running | RunState::Paused => {
                match self.nature.fate(entrypoint.iter().chain(command).flatten()) {
                    Some(Fate::Obeys) => 0,
                    Some(Fate::Ends(_) | Fate::Missing) | None if *init => {
                        128 + signal(stop.signal.as_deref())
                    }
                    Some(Fate::Ends(_) | Fate::Missing) | None => 137,
                }
            }
        };
        self.halt(&id, code)
    }

    pub(super) fn kill_container(&mut self, container: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        if !matches!(self.at(&id)?.state(), RunState::Running | RunState::Paused) {
            let message = format!("Cannot kill container: {container}: Container {id} is not running");
            return Err(conflict(message));
        }
        self.halt(&id, 137)
    }

    /// Ends a container for good, whatever its restart policy.
    pub(super) fn halt(&mut self, id: &str, code: i64) -> Result<(), EngineError> {
        let subject = self.at_mut(id)?;
        subject.code = code;
        subject.reply.state = RunState::Exited { code };
        self.let_go(id);
        self.leave(id);
        Ok(())
    }

    pub(super) fn unpause_container(&mut self, container: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        let subject = self.at_mut(&id)?;
        if subject.state() != RunState::Paused {
            return Err(failed(format!("Container {id} is not paused")));
        }
        subject.reply.state = RunState::Running;
        Ok(())
    }

    pub(super) fn rename_container(&mut self, container: &str, name: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        let old = self.at(&id)?.reply.name.clone();
        if old == name {
            return Err(refused(
                "Renaming a container with the same name as its current name",
            ));
        }
        if let Some(user) = self.names.get(name) {
            return Err(taken(name, user));
        }
        if !is_name(name) {
            return Err(refused(format!(
                "Error when allocating new name: Invalid container name (/{name})"
            )));
        }
        self.names.remove(&old);
        self.names.insert(name.to_owned(), id.clone());
        name.clone_into(&mut self.at_mut(&id)?.reply.name);
        Ok(())
    }

    pub(super) fn remove_idle(&mut self, container: &str) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        if self.at(&id)?.state().is_alive() {
            return Err(conflict(format!(
                "You cannot remove a running container {id}. Stop the container before attempting removal or force remove"
            )));
        }
        self.remove_container(&id, true)
    }

    /// Only volumes that nobody named go with a container, and only where nothing else uses them.
    pub(super) fn remove_container(&mut self, container: &str, volumes: bool) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        self.let_go(&id);
        let Some(container) = self.containers.remove(&id) else {
            return Ok(());
        };
        self.names.remove(container.name());
        self.kept.remove(&id);
        self.image_users.remove(&container.reply.image_id, &id);
        for volume in container.volumes() {
            self.volume_users.remove(volume, &id);
        }
        for volume in container.anonymous.iter().filter(|_| volumes) {
            // One that something else uses stays.
            let _removed = self.remove_volume(volume);
        }
        Ok(())
    }

    /// Takes the ports that a container publishes; none of a container without networks.
    fn take_ports(&mut self, id: &str) -> Result<(), EngineError> {
        let subject = self.at(id)?;
        if subject.attachments.keys().all(|network| network == "none") {
            return Ok(());
        }
        let name = subject.reply.name.clone();
        let wanted: Vec<(String, String)> = published(&subject.reply.spec.ports).collect();
        for (port, address) in wanted {
            let any = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
            let holders = self.ports.entry(port.clone()).or_default();
            let held = holders
                .keys()
                .any(|other| *other == address || any(other) || any(&address));
            if held || self.nature.taken_ports.contains(&port) {
                return Err(refused(format!(
                    "driver failed programming external connectivity on endpoint {name}: Bind for {address}:{} \
                     failed: port is already allocated",
                    port.split('/').next().unwrap_or_default()
                )));
            }
            holders.insert(address, id.to_owned());
        }
        Ok(())
    }

    /// Gives back the ports and network endpoints of a container that does not run.
    fn let_go(&mut self, id: &str) {
        self.leave_networks(id);
        let Some(subject) = self.containers.get_mut(id) else {
            return;
        };
        subject.execs.clear();
        subject.abandoned = 0;
        let Some(subject) = self.containers.get(id) else {
            return;
        };
        for (port, address) in published(&subject.reply.spec.ports) {
            if let Some(holders) = self.ports.get_mut(&port) {
                if holders.get(&address).is_some_and(|holder| holder == id) {
                    holders.remove(&address);
                }
                if holders.is_empty() {
                    self.ports.remove(&port);
                }
            }
        }
    }

    /// Resolves an id, then a name, then the beginning of an id.
    pub(super) fn container_id(&self, container: &str) -> Result<String, EngineError> {
        if self.containers.contains_key(container) {
            return Ok(container.to_owned());
        }
        self.names
            .get(container)
            .cloned()
            .or_else(|| by_prefix(&self.containers, container))
            .ok_or_else(|| not_found(format!("No such container: {container}")))
    }
}

/// Returns port with protocol and address of everything published under a fixed port.
fn published(ports: &BTreeMap<String, Vec<Binding>>) -> impl Iterator<Item = (String, String)> + '_ {
    ports.iter().flat_map(|(inside, bindings)| {
        let protocol = inside.split('/').nth(1).unwrap_or("tcp");
        bindings
            .iter()
            .filter(|binding| binding.port != 0)
            .map(move |binding| (format!("{}/{protocol}", binding.port), binding.address.clone()))
    })
}

/// Returns the number of a signal.
fn signal(name: Option<&str>) -> i64 {
    match name.map(|name| name.trim_start_matches("SIG")) {
        Some("HUP") => 1,
        Some("INT") => 2,
        Some("QUIT") => 3,
        Some("KILL") => 9,
        Some("USR1") => 10,
        Some("USR2") => 12,
        Some("RTMIN+3") => 37,
        Some(other) => other.parse().unwrap_or(15),
        None => 15,
    }
}

/// Says whether the engine accepts a name.
pub(super) fn is_name(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|each| each.is_ascii_alphanumeric() || "_.-".contains(each))
}

/// Returns the only id that begins with a text.
pub(super) fn by_prefix<T>(objects: &BTreeMap<String, T>, prefix: &str) -> Option<String> {
    let mut found = objects
        .range(prefix.to_owned()..)
        .map(|(id, _)| id)
        .take_while(|id| id.starts_with(prefix));
    let first = found.next().filter(|_| !prefix.is_empty())?;
    found.next().is_none().then(|| first.clone())
}

fn taken(name: &str, user: &str) -> EngineError {
    conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{user}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    ))
}
