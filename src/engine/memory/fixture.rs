//! Worlds, said in adjectives: `World::new().with_image("debian").stranger_container("db")`.

use super::nature::{Fate, Job, Lister, Nature};
use super::world::{Image, World};
use crate::call::{Content, Create};
use crate::label::Labels;
use crate::observed::ImageReply;

use crate::spec::ContainerSpec;

/// The image that strangers run.
const STRANGER: &str = "stranger:latest";

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blueprint(Image);

impl Blueprint {
    /// Returns an ordinary image: a path to search, a shell to run.
    pub fn new() -> Self {
        Self::default()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .command(&["bash"])
    }

    /// Returns an image with the labels and the configuration of another one.
    pub fn of(reply: &ImageReply) -> Self {
        let mut image = Image::default();
        image.reply.config.clone_from(&reply.config);
        image.reply.image.labels.clone_from(&reply.image.labels);
        Self(image)
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.reply.config.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0
            .reply
            .image
            .labels
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the command.
    #[must_use]
    pub fn command(mut self, words: &[&str]) -> Self {
        self.0.reply.config.command = Some(words.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    /// Sets the entrypoint.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.0.reply.config.entrypoint = Some(words.iter().map(|word| (*word).to_owned()).collect());
        self
    }

    /// Sets the user.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.0.reply.config.user = Some(user.to_owned());
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: &[u8]) -> Self {
        let content = Content::Bytes(bytes.to_vec());
        self.0.files.insert(path.to_owned(), content);
        self
    }

    /// Takes the shell out.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.0.bare = true;
        self
    }

    /// Declares a volume.
    #[must_use]
    pub fn volume(mut self, target: &str) -> Self {
        self.0.volumes.insert(target.to_owned());
        self
    }
}

impl World {
    /// The engine answers as Docker 28 does, where that differs.
    #[must_use]
    pub fn recent(mut self) -> Self {
        self.recent = true;
        "28.5.2".clone_into(&mut self.engine.version);
        "1.51".clone_into(&mut self.engine.api_version);
        self
    }

    /// The engine is another one than most.
    #[must_use]
    pub fn identified(mut self, id: &str) -> Self {
        id.clone_into(&mut self.identity);
        self
    }

    /// Has an ordinary image under a tag.
    #[must_use]
    pub fn with_image(self, tag: &str) -> Self {
        self.with_image_of(tag, &Blueprint::new())
    }

    /// Has an image of a blueprint under a tag.
    #[must_use]
    pub fn with_image_of(mut self, tag: &str, blueprint: &Blueprint) -> Self {
        self.new_image(tag, blueprint.0.clone());
        self
    }

    /// An ordinary image can be pulled.
    #[must_use]
    pub fn with_published(self, reference: &str) -> Self {
        self.with_published_of(reference, &Blueprint::new())
    }

    /// An image of a blueprint can be pulled; one that was published under the tag before can be pulled by digest
    /// only.
    #[must_use]
    pub fn with_published_of(mut self, reference: &str, blueprint: &Blueprint) -> Self {
        self.publish(reference, blueprint.0.clone());
        self
    }

    /// Has a container that somebody made without aishell; its image and volumes come with it.
    #[must_use]
    pub fn with_container(mut self, create: &Create) -> Self {
        let Create { name, labels, spec } = create;
        if self.find_image(&spec.image).is_err() {
            self = self.with_image(&spec.image);
        }
        self.tick();
        // A name that is taken already keeps its container, as on the engine.
        let _id = self.create_container(name, labels, spec);
        self
    }

    /// Has a running container of a stranger.
    #[must_use]
    pub fn stranger_container(self, name: &str) -> Self {
        let spec = ContainerSpec {
            image: STRANGER.to_owned(),
            networks: [("bridge".to_owned(), crate::spec::Endpoint::default())].into(),
            ..ContainerSpec::default()
        };
        self.with_container(&Create {
            name: name.to_owned(),
            labels: Labels::new(),
            spec,
        })
        .started(name)
    }

    /// Has a volume of a stranger.
    #[must_use]
    pub fn stranger_volume(self, name: &str) -> Self {
        self.with_volume(name, Labels::new())
    }

    /// Has a volume.
    #[must_use]
    pub fn with_volume(mut self, name: &str, labels: Labels) -> Self {
        self.tick();
        let _volume = self.create_volume(name, labels);
        self
    }

    /// Has a network of a stranger.
    #[must_use]
    pub fn stranger_network(self, name: &str) -> Self {
        self.with_network(name, Labels::new())
    }

    /// Has a network, also where there is one of that name.
    #[must_use]
    pub fn with_network(mut self, name: &str, labels: Labels) -> Self {
        self.insert_network(name, labels, false);
        self
    }

    /// A container that is there has been started, as far as it can be.
    #[must_use]
    pub fn started(mut self, name: &str) -> Self {
        self.tick();
        // Where the start fails the container says so itself.
        let _started = self.start_container(name);
        self
    }

    /// A container has printed this.
    #[must_use]
    pub fn logging(mut self, name: &str, lines: &[&str]) -> Self {
        let id = self.names.get(name).cloned().unwrap_or_default();
        if let Some(container) = self.containers.get_mut(&id) {
            container.log = lines.iter().map(|line| (*line).to_owned()).collect();
        }
        self
    }

    /// Commands with a word that contains this text end so.
    #[must_use]
    pub fn with_fate(self, text: &str, fate: Fate) -> Self {
        self.natured(|nature| nature.fates.insert(text.to_owned(), fate))
    }

    /// Jobs whose name or image contains this text do so.
    #[must_use]
    pub fn with_job(self, text: &str, job: Job) -> Self {
        self.natured(|nature| nature.jobs.insert(text.to_owned(), job))
    }

    /// All other jobs do so.
    #[must_use]
    pub fn with_jobs(self, job: Job) -> Self {
        self.natured(|nature| nature.job = job)
    }

    /// The processes of containers are listed by somebody else than the machine of the engine.
    #[must_use]
    pub fn listed_by(self, lister: Lister) -> Self {
        self.natured(|nature| nature.lister = lister)
    }

    /// Jobs end only when somebody follows their log.
    #[must_use]
    pub fn with_slow_jobs(self) -> Self {
        self.natured(|nature| nature.slow_jobs = true)
    }

    /// The host lacks a path.
    #[must_use]
    pub fn without_path(self, path: &str) -> Self {
        self.natured(|nature| nature.absent_paths.insert(path.to_owned()))
    }

    /// A process of the host listens on a TCP port.
    #[must_use]
    pub fn with_taken_port(self, port: u16) -> Self {
        self.natured(|nature| nature.taken_ports.insert(format!("{port}/tcp")))
    }

    /// The machine has so many processors.
    #[must_use]
    pub fn with_cpus(self, count: u32) -> Self {
        self.natured(|nature| nature.cpus = u64::from(count) * 1_000_000_000)
    }

    /// The clock shows a time, in seconds since 1970.
    #[must_use]
    pub fn at_time(mut self, seconds: i64) -> Self {
        self.clock = seconds;
        self
    }

    /// Returns how things behave, to change it.
    pub fn nature(&mut self) -> &mut Nature {
        &mut self.nature
    }

    fn natured<T>(mut self, change: impl FnOnce(&mut Nature) -> T) -> Self {
        change(&mut self.nature);
        self
    }
}
