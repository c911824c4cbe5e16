//! [`World`]: every object of the engine, with the indices that keep each call cheap among 100,000 of them.

use std::collections::{BTreeMap, BTreeSet};

use super::file::Files;
use super::nature::Nature;
use super::volume::Volume;
use crate::call::{Answer, Call, ContainerReply, ExecReply, ListedContainer, NetworkReply};
use crate::engine::EngineError;
use crate::key::digest;
use crate::label::{Labels, UID};
use crate::observed::{EngineInfo, ImageReply, RunState};
use crate::progress::Progress;
use crate::spec::{Endpoint, Mount};

/// Everything an engine holds, and how the things around it behave.
#[derive(Clone, PartialEq, Eq)]
pub struct World {
    pub(super) engine: EngineInfo,
    /// The id it keeps for its life.
    pub(super) identity: String,
    /// Whether it answers as Docker 28 does, where that differs from 20.10.
    pub(super) recent: bool,
    pub(super) nature: Nature,
    /// Ids are made from it.
    count: u64,
    /// Seconds since 1970; one passes with each write.
    pub(super) clock: i64,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) names: BTreeMap<String, String>,
    /// The ids of containers that end with their standard input, and are gone then.
    pub(super) kept: BTreeSet<String>,
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) volumes: BTreeMap<String, Volume>,
    pub(super) images: BTreeMap<String, Image>,
    /// Tags and digests.
    pub(super) references: BTreeMap<String, String>,
    /// What a pull finds, by tag and by digest.
    pub(super) registry: BTreeMap<String, Image>,
    /// What uploads wrote to the host through bind mounts.
    pub(super) host_files: Files,
    pub(super) network_names: Index,
    pub(super) network_users: Index,
    pub(super) volume_users: Index,
    pub(super) image_users: Index,
    pub(super) image_children: Index,
    /// Who listens where: port with protocol, then address.
    pub(super) ports: BTreeMap<String, BTreeMap<String, String>>,
}

/// A container, as inspect shows it, and what inspect does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What inspect shows, networks aside.
    pub reply: ContainerReply,
    /// Its attachments, by network name.
    pub attachments: BTreeMap<String, Attachment>,
    /// The volumes that were made because its image declares them; they may go with it.
    pub(super) anonymous: BTreeSet<String>,
    /// The networks on which it has an address now.
    pub(super) endpoints: BTreeSet<String>,
    /// What it wrote to its own layer.
    pub files: Files,
    /// What it printed.
    pub log: Vec<String>,
    /// Bytes of memory it uses; a limit below is refused.
    pub memory_used: u64,
    /// Commands that run in it besides its own, by id.
    pub execs: BTreeMap<String, ExecReply>,
    /// Terminal sessions that no command of the engine's list belongs to, such as those inside tmux.
    pub abandoned: u32,
    /// Its last exit code.
    pub code: i64,
}

/// How a container is attached to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The id of the network, known once the container has run on it. From then on the container starts on that
    /// very network only, even where another one has taken the name.
    pub network: Option<String>,
    /// Names it answers to.
    pub aliases: Vec<String>,
}

/// A network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// What inspect shows.
    pub reply: NetworkReply,
    /// Whether the engine made it itself.
    pub builtin: bool,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What inspect shows.
    pub reply: ImageReply,
    /// Where it declares volumes.
    pub volumes: BTreeSet<String>,
    /// The image it was built or committed from.
    pub parent: Option<String>,
    /// Its content.
    pub files: Files,
    /// Whether it lacks what every distribution has: a shell.
    pub bare: bool,
}

/// Which objects belong to which, both ways cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index(BTreeMap<String, BTreeSet<String>>);

impl Index {
    pub(super) fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().insert(value.to_owned());
    }

    pub(super) fn remove(&mut self, key: &str, value: &str) {
        if let Some(values) = self.0.get_mut(key) {
            values.remove(value);
            if values.is_empty() {
                self.0.remove(key);
            }
        }
    }

    pub(super) fn of(&self, key: &str) -> impl Iterator<Item = &String> {
        self.0.get(key).into_iter().flatten()
    }

    pub(super) fn first(&self, key: &str) -> Option<&String> {
        self.of(key).next()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Makes an engine with nothing on it but the networks that every engine has.
    pub fn new() -> Self {
        let mut world = Self {
            engine: EngineInfo {
                host: "memory".to_owned(),
                version: "20.10.24".to_owned(),
                api_version: "1.41".to_owned(),
                platform: "linux/amd64".to_owned(),
            },
            identity: "MEMO:RY".to_owned(),
            recent: false,
            nature: Nature::default(),
            count: 0,
            clock: 1_735_689_600,
            containers: BTreeMap::new(),
            names: BTreeMap::new(),
            kept: BTreeSet::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            references: BTreeMap::new(),
            registry: BTreeMap::new(),
            host_files: Files::new(),
            network_names: Index::default(),
            network_users: Index::default(),
            volume_users: Index::default(),
            image_users: Index::default(),
            image_children: Index::default(),
            ports: BTreeMap::new(),
        };
        for name in ["bridge", "host", "none"] {
            world.insert_network(name, Labels::new(), true);
        }
        world
    }

    /// Carries out one call.
    ///
    /// # Errors
    /// As the engine would refuse it.
    pub fn answer(&mut self, call: &Call, progress: &Progress) -> Result<Answer, EngineError> {
        if call.is_write() {
            self.tick();
        }
        let done = |()| Answer::Done;
        match call {
            Call::Version => Ok(Answer::Engine(self.engine.clone())),
            Call::Identify => Ok(Answer::Id(self.identity.clone())),
            Call::Clock => {
                // Whoever asks may wait for it to go on.
                self.tick();
                let time = jiff::Timestamp::from_second(self.clock);
                Ok(Answer::Time(time.unwrap_or(jiff::Timestamp::MAX)))
            }
            Call::ListContainers => {
                let ours = self.containers.values().filter(|one| is_ours(&one.reply.labels));
                Ok(Answer::Containers(self.listing(ours.map(Container::listed))))
            }
            Call::ListUsers => {
                let all = self.containers.values();
                Ok(Answer::Containers(self.listing(all.map(Container::listed))))
            }
            Call::MeasureUsage => Ok(Answer::Usage(self.usage())),
            Call::ListVolumes => {
                let ours = self
                    .volumes
                    .values()
                    .map(|one| &one.reply)
                    .filter(|one| is_ours(&one.labels));
                Ok(Answer::Volumes(self.listing(ours.cloned())))
            }
            Call::ListNetworks => {
                let ours = self
                    .networks
                    .values()
                    .map(|one| &one.reply)
                    .filter(|one| is_ours(&one.labels));
                Ok(Answer::Networks(self.listing(ours.cloned())))
            }
            Call::ListImages => Ok(Answer::Images(self.listing(self.listed_images().into_iter()))),
            Call::InspectContainer { container } => {
                let id = self.container_id(container)?;
                Ok(Answer::Container(Box::new(self.at(&id)?.shown())))
            }
            Call::InspectImage { image } => {
                let mut reply = self.find_image(image)?.reply.clone();
                // An entrypoint that was cleared is kept as such, and shown as none.
                reply.config.entrypoint = reply.config.entrypoint.filter(|words| !words.is_empty());
                Ok(Answer::Image(Box::new(reply)))
            }
            Call::InspectVolume { volume } => Ok(Answer::Volume(self.find_volume(volume)?.reply.clone())),
            Call::InspectNetwork { network } => {
                let id = self.network_id(network)?;
                Ok(Answer::Network(self.networks[&id].reply.clone()))
            }
            Call::ReadFile { container, path } => self.read_file(container, path).map(Answer::Bytes),
            Call::ReadTree { container, path } => self.read_tree(container, path).map(Answer::Files),
            Call::StatFile { container, path } => self.stat_file(container, path).map(Answer::File),
            Call::FollowLog { container } => {
                let log = self.follow_log(container)?;
                for line in &log {
                    progress.line(line);
                }
                Ok(Answer::Log(log))
            }
            Call::AskRegistry { reference } => self.ask_registry(reference).map(Answer::Digest),
            Call::ListProcesses { container } => self.processes(container).map(Answer::Processes),
            Call::ListChanges { container } => self.changes(container).map(Answer::Changes),
            Call::SearchFiles { .. } => self.search_files(call).map(Answer::Found),
            Call::TakeStock { .. } => self.take_stock(call).map(Answer::Stock),
            Call::InspectExec { exec } => self.exec(exec).map(Answer::Exec),
            Call::PullImage { reference } => {
                progress.line(format!("Pulling {reference}"));
                self.pull_image(reference).map(done)
            }
            Call::BuildImage(build) => self.build_image(build, progress).map(Answer::Id),
            Call::CommitContainer(commit) => self.commit_container(commit).map(Answer::Id),
            Call::TagImage { image, tag } => self.tag_image(image, tag).map(done),
            Call::RemoveImage { image } => self.remove_image(image, false).map(done),
            Call::CreateVolume { name, labels } => {
                let labels = self.with_uid(labels);
                self.create_volume(name, labels).map(Answer::Volume)
            }
            Call::RemoveVolume { volume } => self.remove_volume(volume.id()).map(done),
            Call::CreateNetwork { name, labels } => {
                let labels = self.with_uid(labels);
                self.create_network(name, labels).map(Answer::Id)
            }
            Call::RemoveNetwork { network } => self.remove_network(network.id()).map(done),
            Call::ConnectNetwork {
                network,
                container,
                endpoint,
            } => self.connect_network(network, container, endpoint).map(done),
            Call::DisconnectNetwork { network, container } => {
                self.disconnect_network(network, container).map(done)
            }
            Call::CreateContainer(create) => {
                let labels = self.with_uid(&create.labels);
                self.create_container(&create.name, &labels, &create.spec)
                    .map(Answer::Id)
            }
            Call::CreateKept(create) => {
                let labels = self.with_uid(&create.labels);
                let id = self.create_container(&create.name, &labels, &create.spec)?;
                self.kept.insert(id.clone());
                Ok(Answer::Id(id))
            }
            Call::StartContainer { container } => self.start_container(container).map(done),
            Call::StopContainer { container } => self.stop_container(container.id()).map(done),
            Call::KillContainer { container } => self.kill_container(container.id()).map(done),
            Call::UnpauseContainer { container } => self.unpause_container(container).map(done),
            Call::RenameContainer { container, name } => {
                self.rename_container(container.id(), name).map(done)
            }
            Call::UpdateContainer {
                container,
                resources,
                restart,
            } => self
                .update_container(container, resources.as_ref(), *restart)
                .map(done),
            Call::RemoveContainer { container, volumes } => {
                self.remove_container(container.id(), *volumes).map(done)
            }
            Call::RemoveIdle { container } => self.remove_idle(container.id()).map(done),
            Call::CreateExec(exec) => self.prepare_exec(&exec.container, &exec.words).map(Answer::Id),
            Call::StartExec { exec, .. } => self.start_exec(exec).map(Answer::Output),
            Call::FollowExec { exec, .. } => self.follow_exec(exec, progress),
            Call::Upload { container, files } => self.upload(container, files).map(done),
        }
    }

    fn listing<T>(&self, found: impl DoubleEndedIterator<Item = T>) -> Vec<T> {
        if self.nature.backwards {
            found.rev().collect()
        } else {
            found.collect()
        }
    }

    /// Returns where the engine pretends to be.
    pub fn host(&self) -> &str {
        &self.engine.host
    }

    /// Returns the container of a name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.get(self.names.get(name)?)
    }

    /// Returns every container.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    /// Returns the volume of a name.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.get(name)
    }

    /// Returns every volume.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    /// Returns the networks of a name, of which there may be several.
    pub fn networks_named(&self, name: &str) -> Vec<&Network> {
        self.network_names
            .of(name)
            .filter_map(|id| self.networks.get(id))
            .collect()
    }

    /// Returns every network but those the engine made itself.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values().filter(|network| !network.builtin)
    }

    /// Returns the image of a reference or an id.
    pub fn image(&self, reference: &str) -> Option<&Image> {
        self.find_image(reference).ok()
    }

    /// Returns every image.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// Returns what uploads wrote to the host through bind mounts; nothing ever should.
    pub fn host_files(&self) -> &Files {
        &self.host_files
    }

    /// Returns a new id of 64 digits that no other object has.
    pub(super) fn id(&mut self) -> String {
        self.count += 1;
        digest(format!("id {}", self.count).as_bytes())
    }

    /// Returns labels with a random identifier, as the real engine's adapter adds it where there is none.
    pub(super) fn with_uid(&mut self, labels: &Labels) -> Labels {
        let mut labels = labels.clone();
        if !labels.contains_key(UID) {
            labels.insert(UID.to_owned(), self.identifier());
        }
        labels
    }

    /// Returns an identifier that no other object has.
    pub(super) fn identifier(&mut self) -> String {
        self.id()[..32].to_owned()
    }

    /// Lets a second pass.
    pub(super) fn tick(&mut self) {
        self.clock += 1;
    }

    /// Returns the time, RFC 3339.
    pub(super) fn now(&self) -> String {
        jiff::Timestamp::from_second(self.clock).map_or_else(|_| String::new(), |now| now.to_string())
    }

    /// Returns the container of an id that was just resolved.
    pub(super) fn at(&self, id: &str) -> Result<&Container, EngineError> {
        self.containers
            .get(id)
            .ok_or_else(|| super::not_found(format!("No such container: {id}")))
    }

    /// Returns the container of an id that was just resolved.
    pub(super) fn at_mut(&mut self, id: &str) -> Result<&mut Container, EngineError> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| super::not_found(format!("No such container: {id}")))
    }
}

impl Container {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.reply.name
    }

    /// Returns what it is doing.
    pub fn state(&self) -> RunState {
        self.reply.state
    }

    /// Returns what inspect shows.
    pub fn shown(&self) -> ContainerReply {
        let mut reply = self.reply.clone();
        reply.spec.networks = self
            .attachments
            .iter()
            .filter(|(name, _)| *name != "none")
            .map(|(name, attachment)| {
                (
                    name.clone(),
                    Endpoint {
                        aliases: attachment.aliases.clone(),
                    },
                )
            })
            .collect();
        reply.network_ids = self
            .attachments
            .iter()
            .filter_map(|(name, attachment)| Some((name.clone(), attachment.network.clone()?)))
            .collect();
        reply.execs = self.execs.keys().cloned().collect();
        reply.process = reply.state.is_alive().then_some(super::session::FIRST);
        reply
    }

    /// Returns what the listing shows.
    pub fn listed(&self) -> ListedContainer {
        let ContainerReply {
            id,
            name,
            image_id,
            labels,
            state,
            created,
            ..
        } = &self.reply;
        ListedContainer {
            id: id.clone(),
            name: name.clone(),
            image_id: image_id.clone(),
            labels: labels.clone(),
            volumes: self.volumes().map(str::to_owned).collect(),
            running: state.is_alive(),
            created: created.parse().ok(),
        }
    }

    /// Returns the names of the volumes it mounts.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.reply.spec.mounts.values().filter_map(|mount| match mount {
            Mount::Volume { name, .. } => Some(name.as_str()),
            Mount::Bind { .. } | Mount::Tmpfs { .. } => None,
        })
    }
}

/// Says whether the listings' label filter lets an object pass.
pub(super) fn is_ours(labels: &Labels) -> bool {
    labels.contains_key(UID)
}
