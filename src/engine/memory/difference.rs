//! What differs between two worlds, in lines a person can read.

use std::collections::BTreeMap;
use std::fmt;

use super::volume::Volume;
use super::world::{Container, Image, Network, World};

/// One object, told apart from every other.
#[derive(PartialEq)]
enum Object<'a> {
    Container(&'a Container),
    Network(&'a Network),
    Volume(&'a Volume),
    Image(&'a Image),
}

impl World {
    /// Returns every object in one line: kind, name, what it is doing.
    pub fn summary(&self) -> Vec<String> {
        self.objects()
            .into_iter()
            .map(|(name, object)| format!("{name}: {}", object.line()))
            .collect()
    }

    /// Returns what another world has more (`+`), less (`-`) and otherwise (`~`) than this one; containers by name.
    pub fn difference(&self, to: &Self) -> Vec<String> {
        let mut before = self.objects();
        let mut lines = Vec::new();
        for (name, object) in to.objects() {
            match before.remove(&name) {
                None => lines.push(format!("+ {name}: {}", object.line())),
                Some(old) if old == object => {}
                Some(old) => lines.push(format!("~ {name}: {} -> {}", old.line(), object.line())),
            }
        }
        lines.extend(
            before
                .into_iter()
                .map(|(name, object)| format!("- {name}: {}", object.line())),
        );
        lines
    }

    fn objects(&self) -> BTreeMap<String, Object<'_>> {
        let containers = self
            .containers
            .values()
            .map(|one| (format!("container {}", one.name()), Object::Container(one)));
        let networks = self.networks().map(|one| {
            (
                format!("network {} {}", one.reply.name, &one.reply.id[..6]),
                Object::Network(one),
            )
        });
        let volumes = self
            .volumes
            .values()
            .map(|one| (format!("volume {}", one.reply.name), Object::Volume(one)));
        let images = self.images.values().map(|one| {
            (
                format!("image {}", &one.reply.image.id["sha256:".len()..][..12]),
                Object::Image(one),
            )
        });
        containers.chain(networks).chain(volumes).chain(images).collect()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("World ")?;
        formatter.debug_list().entries(self.summary()).finish()
    }
}

impl Object<'_> {
    fn line(&self) -> String {
        match self {
            Self::Container(one) => format!("{} {}", &one.reply.id[..6], one.state().display()),
            Self::Network(one) => format!("{} labels", one.reply.labels.len()),
            Self::Volume(one) => format!("{} files", one.files.len()),
            Self::Image(one) => one.reply.image.tags.iter().cloned().collect::<Vec<_>>().join(" "),
        }
    }
}
