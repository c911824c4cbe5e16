//! Images: references, pulls, commits and removal.

use std::collections::BTreeSet;

use super::world::{Image, World, is_ours};
use super::{conflict, failed, not_found};
use crate::call::Commit;
use crate::engine::EngineError;
use crate::key::digest;
use crate::label::{REBUILT, UID};
use crate::observed::{self, ImageConfig};

impl World {
    /// An image without a tag is listed only while nothing was made from it.
    pub(super) fn listed_images(&self) -> Vec<observed::Image> {
        self.images
            .values()
            .map(|image| &image.reply.image)
            .filter(|image| is_ours(&image.labels))
            .filter(|image| !image.tags.is_empty() || self.image_children.first(&image.id).is_none())
            .cloned()
            .collect()
    }

    pub(super) fn find_image(&self, image: &str) -> Result<&Image, EngineError> {
        self.image_id(image)
            .and_then(|id| self.images.get(&id))
            .ok_or_else(|| not_found(format!("No such image: {image}")))
    }

    fn image_id(&self, image: &str) -> Option<String> {
        let hexadecimal = image.strip_prefix("sha256:").unwrap_or(image);
        let id = format!("sha256:{hexadecimal}");
        if self.images.contains_key(&id) {
            return Some(id);
        }
        self.references
            .get(&normal(image))
            .cloned()
            .or_else(|| super::container::by_prefix(&self.images, &id).filter(|_| hexadecimal.len() >= 4))
    }

    /// Pulling a tag that has moved moves it here too; the image that had it keeps its digest.
    pub(super) fn pull_image(&mut self, reference: &str) -> Result<(), EngineError> {
        let reference = normal(reference);
        let published = self
            .registry
            .get(&reference)
            .cloned()
            .ok_or_else(|| EngineError::Work {
                message: format!("manifest for {reference} not found: manifest unknown: manifest unknown"),
                line: None,
                log: Vec::new(),
            })?;
        let id = published.reply.image.id.clone();
        let digests = published.reply.image.digests.clone();
        self.insert_image(published);
        for digest in digests {
            self.references.insert(digest.clone(), id.clone());
            if let Some(image) = self.images.get_mut(&id) {
                image.reply.image.digests.insert(digest);
            }
        }
        if !reference.contains('@') {
            self.move_tag(&reference, &id);
        }
        Ok(())
    }

    /// Returns the digest that a reference has in its registry.
    pub(super) fn ask_registry(&self, reference: &str) -> Result<String, EngineError> {
        let published = self.registry.get(&normal(reference));
        let digests = published.map(|image| &image.reply.image.digests);
        digests
            .and_then(|digests| digests.first()?.split_once('@'))
            .map(|(_, digest)| digest.to_owned())
            .ok_or_else(|| not_found(format!("manifest unknown: {reference}")))
    }

    /// A commit takes over everything of the container's configuration that it is not told otherwise, labels and
    /// environment without exception, and the files of its own layer, but none of its mounts.
    pub(super) fn commit_container(&mut self, commit: &Commit) -> Result<String, EngineError> {
        let Commit {
            container,
            rebuilt,
            tag,
            labels,
            env,
            command,
            entrypoint,
            user,
            workdir,
        } = commit;
        let mut labels = self.with_uid(labels);
        if let Some(uid) = labels.get(UID).filter(|_| *rebuilt).cloned() {
            labels.insert(REBUILT.to_owned(), uid);
        }
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        let spec = &subject.reply.spec;
        let mut config = ImageConfig {
            env: spec.env.clone(),
            command: None,
            entrypoint: None,
            user: user
                .clone()
                .filter(|user| !user.is_empty())
                .or_else(|| spec.user.clone()),
            workdir: workdir.clone().or_else(|| spec.workdir.clone()),
            stop_signal: spec.stop.signal.clone(),
            health: spec.health.probe(None).cloned(),
            on_build: Vec::new(),
        };
        config.env.extend(env.clone());
        (config.entrypoint, config.command) = super::merge::inherit(
            (entrypoint.clone(), command.clone()),
            (spec.entrypoint.clone(), spec.command.clone()),
        );
        let mut all = subject.reply.labels.clone();
        all.extend(labels);
        // Where an image of it declares volumes, this one does too.
        let mut image = self
            .images
            .get(&subject.reply.image_id)
            .cloned()
            .unwrap_or_default();
        image.parent = Some(subject.reply.image_id.clone());
        image.files.extend(subject.files.clone());
        image.reply.image.labels = all;
        image.reply.config = config;
        Ok(self.new_image(tag, image))
    }

    pub(super) fn tag_image(&mut self, image: &str, tag: &str) -> Result<(), EngineError> {
        let id = self.find_image(image)?.reply.image.id.clone();
        if tag.chars().any(char::is_uppercase)
            && tag
                .split(':')
                .next()
                .is_some_and(|name| name != name.to_lowercase())
        {
            return Err(failed(
                "invalid reference format: repository name must be lowercase",
            ));
        }
        self.move_tag(&normal(tag), &id);
        Ok(())
    }

    /// A reference that is one of several is only taken away; the last one, or an id, takes the image along, unless
    /// a container uses it. What was made from an image keeps it, without a name; nameless ones that it was made from
    /// go along, if asked for.
    pub(super) fn remove_image(&mut self, image: &str, parents: bool) -> Result<(), EngineError> {
        let id = self.find_image(image)?.reply.image.id.clone();
        let reference = normal(image);
        let tags = self.images[&id].reply.image.tags.clone();
        let short = &id["sha256:".len()..][..12];
        let by_reference = self.references.contains_key(&reference);
        if by_reference && tags.len() > 1 {
            self.untag(&reference);
            return Ok(());
        }
        if let Some(user) = self.image_users.first(&id) {
            return Err(conflict(format!(
                "conflict: unable to remove repository reference \"{image}\" (must force) - container {} is using \
                 its referenced image {short}",
                &user[..12]
            )));
        }
        let has_children = self.image_children.first(&id).is_some();
        if !by_reference && has_children {
            return Err(conflict(format!(
                "conflict: unable to delete {short} (cannot be forced) - image has dependent child images"
            )));
        }
        if !by_reference && tags.len() > 1 {
            return Err(conflict(format!(
                "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )));
        }
        for tag in tags {
            self.untag(&tag);
        }
        self.drop_image(&id, parents);
        Ok(())
    }

    /// Drops an image that nothing needs any more, and the nameless ones it was made from.
    fn drop_image(&mut self, id: &str, parents: bool) {
        let mut next = Some(id.to_owned());
        while let Some(id) = next.take() {
            let needed = self.image_users.first(&id).is_some() || self.image_children.first(&id).is_some();
            let Some(image) = self.images.get(&id) else { return };
            if needed || !image.reply.image.tags.is_empty() {
                return;
            }
            if let Some(image) = self.images.remove(&id) {
                for digest in &image.reply.image.digests {
                    self.references.remove(digest);
                }
                if let Some(parent) = &image.parent {
                    self.image_children.remove(parent, &id);
                }
                next = image.parent.filter(|_| parents);
            }
        }
    }

    /// Gives an image an id and a tag.
    pub(super) fn new_image(&mut self, tag: &str, mut image: Image) -> String {
        let id = format!("sha256:{}", self.id());
        image.reply.image.id.clone_from(&id);
        image.reply.platform.clone_from(&self.engine.platform);
        image.reply.image.created = self.now().parse().ok();
        self.insert_image(image);
        self.move_tag(&normal(tag), &id);
        id
    }

    /// Keeps an image that is there already as it is.
    fn insert_image(&mut self, mut image: Image) {
        let id = image.reply.image.id.clone();
        if self.images.contains_key(&id) {
            return;
        }
        if let Some(parent) = &image.parent {
            self.image_children.add(parent, &id);
        }
        image.reply.image.tags = BTreeSet::new();
        image.reply.image.digests = BTreeSet::new();
        self.images.insert(id, image);
    }

    pub(super) fn move_tag(&mut self, tag: &str, id: &str) {
        self.untag(tag);
        self.references.insert(tag.to_owned(), id.to_owned());
        if let Some(image) = self.images.get_mut(id) {
            image.reply.image.tags.insert(tag.to_owned());
        }
    }

    fn untag(&mut self, tag: &str) {
        if let Some(id) = self.references.remove(tag)
            && let Some(image) = self.images.get_mut(&id)
        {
            image.reply.image.tags.remove(tag);
            image.reply.image.digests.remove(tag);
        }
    }

    /// Publishes an image under a tag, which moves there, and under its digest, which stays.
    pub(super) fn publish(&mut self, reference: &str, mut image: Image) {
        let reference = normal(reference);
        let id = format!("sha256:{}", self.id());
        let repository = reference
            .rsplit_once(':')
            .map_or(reference.as_str(), |(repository, _)| repository);
        let by_digest = format!("{repository}@sha256:{}", digest(id.as_bytes()));
        image.reply.platform.clone_from(&self.engine.platform);
        image.reply.image.id = id;
        image.reply.image.digests = [by_digest.clone()].into();
        self.registry.insert(reference, image.clone());
        self.registry.insert(by_digest, image);
    }
}

/// Returns a reference as the engine keeps it: a tag is never left out, the default registry always.
pub(super) fn normal(reference: &str) -> String {
    let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let short = short.strip_prefix("library/").unwrap_or(short);
    let name_start = short.rfind('/').map_or(0, |slash| slash + 1);
    match short.split_once('@') {
        Some((name, digest)) => {
            let name = &name[..name[name_start.min(name.len())..]
                .find(':')
                .map_or(name.len(), |at| name_start + at)];
            format!("{name}@{digest}")
        }
        None if short[name_start..].contains(':') => short.to_owned(),
        None => format!("{short}:latest"),
    }
}
