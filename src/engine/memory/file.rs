//! Files of containers, images and volumes, and which of them a path in a container means.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use super::{not_found, refused};
use crate::call::{Call, Content, File, FileChange, FileRecord, FileStatus, Leak, Stock};
use crate::engine::EngineError;
use crate::key::digest;
use crate::secret::search::Needles;
use crate::spec::{ContainerSpec, Mount};

/// Content by absolute path.
pub type Files = BTreeMap<String, Content>;

/// What a path in a container means. Memory file systems are not reachable from outside: what is put there lands
/// underneath.
enum Place {
    /// The container's own layer.
    Layer,
    /// A path in a volume.
    Volume {
        name: String,
        path: String,
        read_only: bool,
    },
    /// A path on the host.
    Host { path: String, read_only: bool },
}

impl World {
    pub(super) fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        let found = match place(&subject.reply.spec, path) {
            Place::Layer => subject.files.get(path).or_else(|| {
                self.images
                    .get(&subject.reply.image_id)
                    .and_then(|image| image.files.get(path))
            }),
            Place::Volume { name, path, .. } => {
                self.volumes.get(&name).and_then(|volume| volume.files.get(&path))
            }
            Place::Host { path, .. } => self.host_files.get(&path),
        };
        match found {
            Some(Content::Bytes(bytes)) => Ok(bytes.clone()),
            Some(Content::Directory | Content::Link(_) | Content::Host { .. }) => Err(refused(format!(
                "{path} in container {container} is no regular file"
            ))),
            None => Err(not_found(format!(
                "Could not find the file {path} in container {container}"
            ))),
        }
    }

    pub(super) fn read_tree(&self, container: &str, path: &str) -> Result<Vec<File>, EngineError> {
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        let mut files = self
            .images
            .get(&subject.reply.image_id)
            .map(|image| below(&image.files, path))
            .unwrap_or_default();
        files.extend(below(&subject.files, path));
        files.remove("/");
        if files.is_empty() {
            let message = format!("Could not find the file {path} in container {container}");
            return Err(not_found(message));
        }
        let file = |(path, content): (String, Content)| File {
            path: path.trim_start_matches('/').to_owned(),
            uid: 0,
            gid: 0,
            mode: if content == Content::Directory {
                0o755
            } else {
                0o644
            },
            content,
        };
        Ok(files.into_iter().map(file).collect())
    }

    /// Nobody owns files here: all of them are root's.
    pub(super) fn stat_file(&self, container: &str, path: &str) -> Result<FileStatus, EngineError> {
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        let image = self.images.get(&subject.reply.image_id);
        let layers = || {
            [Some(&subject.files), image.map(|image| &image.files)]
                .into_iter()
                .flatten()
        };
        let status = |kind, mode| FileStatus {
            kind,
            mode,
            ..FileStatus::default()
        };
        let is_bare = image.is_some_and(|image| image.bare);
        if path == "/bin/sh" && !is_bare {
            return Ok(status("file", 0o755));
        }
        let found = layers().find_map(|files| files.get(path));
        let directory = format!("{}/", path.trim_end_matches('/'));
        let has_more = |files: &Files| files.keys().any(|file| file.starts_with(&directory));
        match found {
            Some(Content::Bytes(_) | Content::Host { .. }) => Ok(status("file", 0o644)),
            Some(Content::Link(target)) => Ok(FileStatus {
                target: Some(target.clone()),
                ..status("link", 0o777)
            }),
            Some(Content::Directory) => Ok(status("directory", 0o755)),
            None if path == "/" || layers().any(has_more) => Ok(status("directory", 0o755)),
            None => Err(not_found(format!(
                "Could not find the file {path} in container {container}"
            ))),
        }
    }

    /// Directories on the way are changed too, as in a real layer.
    pub(super) fn changes(&self, container: &str) -> Result<Vec<FileChange>, EngineError> {
        let id = self.container_id(container)?;
        let mut paths = BTreeSet::new();
        for path in self.at(&id)?.files.keys() {
            paths.extend(path.match_indices('/').map(|(at, _)| &path[..at]).skip(1));
            paths.insert(path);
        }
        let change = |path: &str| FileChange {
            path: path.to_owned(),
            removed: false,
        };
        Ok(paths.into_iter().map(change).collect())
    }

    pub(super) fn search_files(&self, call: &Call) -> Result<Option<Leak>, EngineError> {
        let Call::SearchFiles {
            container,
            path,
            only,
            secrets,
        } = call
        else {
            return Ok(None);
        };
        let id = self.container_id(container)?;
        let secrets = secrets.iter().map(|(name, secret)| (name.as_str(), secret));
        let Some(needles) = Needles::of(secrets) else {
            return Ok(None);
        };
        let files = self.at(&id)?.files.iter();
        let mut files = files.filter(|(file, _)| file.starts_with(path.as_str()) && only.contains(*file));
        Ok(files.find_map(|(path, content)| {
            let bytes = match content {
                Content::Bytes(bytes) => bytes.as_slice(),
                Content::Link(target) => target.as_bytes(),
                _ => &[],
            };
            let path = path.clone();
            needles.find(bytes).map(|hit| Leak { path, hit })
        }))
    }

    /// Directories that only files tell of are not seen.
    pub(super) fn take_stock(&self, call: &Call) -> Result<Stock, EngineError> {
        let Call::TakeStock {
            container,
            path,
            whole,
        } = call
        else {
            return Ok(Stock::new());
        };
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        let (files, root) = match place(&subject.reply.spec, path) {
            Place::Volume { name, path, .. } => (self.find_volume(&name)?.files.clone(), path),
            Place::Host { path, .. } => (self.host_files.clone(), path),
            Place::Layer => (subject.files.clone(), path.clone()),
        };
        let record = |path: &str, content: Content| {
            let (kind, mode) = match content {
                Content::Bytes(_) | Content::Host { .. } => ("file", 0o644),
                Content::Directory => ("directory", 0o755),
                Content::Link(_) => ("link", 0o777),
            };
            let (bytes, target) = match content {
                Content::Bytes(bytes) => (Some(bytes), None),
                Content::Link(target) => (None, Some(target)),
                Content::Directory | Content::Host { .. } => (None, None),
            };
            FileRecord {
                status: FileStatus {
                    kind,
                    mode,
                    target,
                    ..FileStatus::default()
                },
                bytes: bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
                digest: bytes.as_deref().map(digest),
                content: bytes.filter(|_| within(whole, path).is_some()),
            }
        };
        let found = below(&files, &root).into_iter().map(|(path, content)| {
            let path = path.trim_matches('/').to_owned();
            let record = record(&path, content);
            (path, record)
        });
        Ok(found.collect())
    }

    pub(super) fn upload(&mut self, container: &str, files: &[File]) -> Result<(), EngineError> {
        let id = self.container_id(container)?;
        if self.at(&id)?.reply.spec.security.read_only {
            return Err(refused("container rootfs is marked read-only"));
        }
        for file in files {
            let path = format!("/{}", file.path.trim_matches('/'));
            if !self.write_file(&id, &path, file.content.clone()) {
                return Err(refused(format!(
                    "Error processing tar file: open {path}: read-only file system"
                )));
            }
        }
        Ok(())
    }

    /// Writes a file as a process in the container, or an upload, would; read-only mounts refuse.
    pub(super) fn write_file(&mut self, id: &str, path: &str, content: Content) -> bool {
        let Some(subject) = self.containers.get_mut(id) else {
            return false;
        };
        match place(&subject.reply.spec, path) {
            Place::Layer => {
                subject.files.insert(path.to_owned(), content);
            }
            Place::Volume { read_only: true, .. } | Place::Host { read_only: true, .. } => return false,
            Place::Volume {
                name,
                path,
                read_only: false,
            } => self.write_volume(&name, &path, content),
            Place::Host {
                path,
                read_only: false,
            } => {
                self.host_files.insert(path, content);
            }
        }
        true
    }
}

fn place(spec: &ContainerSpec, path: &str) -> Place {
    let mounted = spec
        .mounts
        .iter()
        .filter_map(|(target, mount)| Some((within(target, path)?, mount)));
    match mounted.min_by_key(|(rest, _)| rest.len()) {
        Some((path, Mount::Volume { name, read_only })) => Place::Volume {
            name: name.clone(),
            path,
            read_only: *read_only,
        },
        Some((path, Mount::Bind { source, read_only })) => Place::Host {
            path: format!("{source}{path}"),
            read_only: *read_only,
        },
        Some((_, Mount::Tmpfs { .. })) | None => Place::Layer,
    }
}

/// Returns a path as seen from a directory, if it lies there: `/tools` and `/tools/a` make `/a`.
fn within(directory: &str, path: &str) -> Option<String> {
    match path.strip_prefix(directory.trim_end_matches('/'))? {
        "" => Some("/".to_owned()),
        rest if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

/// Returns what lies in a directory, by path within it.
pub(super) fn below(files: &Files, directory: &str) -> Files {
    files
        .iter()
        .filter_map(|(path, content)| Some((within(directory, path)?, content.clone())))
        .collect()
}

/// Returns the first component of a path.
pub(super) fn top(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}
