//! Volumes and their content.

use super::file::{Files, top};
use super::world::World;
use super::{conflict, not_found, refused};
use crate::call::{Content, Usage, VolumeReply};
use crate::engine::EngineError;
use crate::label::Labels;

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// What inspect shows.
    pub reply: VolumeReply,
    /// Its content, by path within the volume.
    pub files: Files,
}

impl World {
    /// An existing volume is answered as it is, whatever labels were asked for.
    pub(super) fn create_volume(&mut self, name: &str, labels: Labels) -> Result<VolumeReply, EngineError> {
        if !super::container::is_name(name) {
            return Err(refused(format!(
                "create {name}: \"{name}\" includes invalid characters for a local volume name"
            )));
        }
        let created = self.now();
        let volume = self.volumes.entry(name.to_owned()).or_insert_with(|| Volume {
            reply: VolumeReply {
                name: name.to_owned(),
                labels,
                created,
            },
            files: Files::new(),
        });
        Ok(volume.reply.clone())
    }

    /// Every container that mounts a volume keeps it, whatever state the container is in.
    pub(super) fn remove_volume(&mut self, name: &str) -> Result<(), EngineError> {
        self.find_volume(name)?;
        if let Some(user) = self.volume_users.first(name) {
            return Err(conflict(format!("remove {name}: volume is in use - [{user}]")));
        }
        self.volumes.remove(name);
        Ok(())
    }

    /// Everything that is not empty counts one byte a file.
    pub(super) fn usage(&self) -> Usage {
        let count = |files: &Files| u64::try_from(files.len()).unwrap_or(u64::MAX);
        let images = self.images.iter();
        let volumes = self.volumes.iter();
        let containers = self.containers.iter();
        Usage {
            images: images.map(|(id, one)| (id.clone(), count(&one.files))).collect(),
            volumes: volumes
                .map(|(name, one)| (name.clone(), count(&one.files)))
                .collect(),
            containers: containers
                .map(|(id, one)| (id.clone(), count(&one.files)))
                .collect(),
        }
    }

    pub(super) fn find_volume(&self, name: &str) -> Result<&Volume, EngineError> {
        self.volumes
            .get(name)
            .ok_or_else(|| not_found(format!("get {name}: no such volume")))
    }

    /// On 20.10 the creation time that the engine tells is the time of the last change of the volume's root.
    pub(super) fn write_volume(&mut self, name: &str, path: &str, content: Content) {
        let (now, recent) = (self.now(), self.recent);
        let Some(volume) = self.volumes.get_mut(name) else {
            return;
        };
        let below = |path: &str| path.matches('/').count() > 1;
        let known = volume.files.keys().any(|one| top(one) == top(path));
        let deep = below(path) && known;
        if !recent && !deep {
            volume.reply.created = now;
        }
        if path != "/" {
            volume.files.insert(path.to_owned(), content);
        }
    }

    /// Fills an empty volume with what the image has where it is mounted, as the first creation with it does.
    pub(super) fn fill_volume(&mut self, name: &str, from: &Files, target: &str) {
        if self
            .volumes
            .get(name)
            .is_some_and(|volume| volume.files.is_empty())
        {
            for (path, content) in super::file::below(from, target) {
                self.write_volume(name, &path, content);
            }
        }
    }
}
