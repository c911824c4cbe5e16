//! Indices of what was observed: where many are asked for, looking through all of them each time would be dear.

use std::collections::BTreeMap;

use super::{Container, Observed, Volume};
use crate::label::{Kind, Owner};

/// Containers by the resource that their labels say they are, those of one resource by their names.
#[derive(Clone, Debug)]
pub struct ByResource<'o>(Vec<&'o Container>);

impl<'o> ByResource<'o> {
    /// Returns the containers that say they are a resource.
    pub fn of(&self, name: &str) -> &[&'o Container] {
        let first = self.0.partition_point(|one| one.mark.name.as_str() < name);
        let rest = self.0.get(first..).unwrap_or_default();
        let count = rest.iter().take_while(|one| one.mark.name == name).count();
        rest.get(..count).unwrap_or_default()
    }

    /// Returns the containers of each resource.
    pub fn all(&self) -> impl Iterator<Item = &[&'o Container]> {
        self.0.chunk_by(|one, other| one.mark.name == other.mark.name)
    }
}

impl Observed {
    /// Returns the containers by the resource that their labels say they are.
    pub fn by_resource(&self) -> ByResource<'_> {
        let mut containers: Vec<&Container> = self.containers.values().collect();
        containers.sort_by(|one, other| one.mark.name.cmp(&other.mark.name));
        ByResource(containers)
    }

    /// Returns the volumes that say that containers are to stay stopped, with their names, by the container's.
    pub fn hold_volumes(&self, owner: &Owner) -> BTreeMap<&str, (&str, &Volume)> {
        let mut holds: BTreeMap<&str, (&str, &Volume)> = BTreeMap::new();
        for (name, volume) in &self.volumes {
            if volume.mark.kind != Kind::Hold {
                continue;
            }
            let container = volume.mark.name.as_str();
            // The owner's own comes before one of who the owner was.
            if !holds.contains_key(container) || *name == owner.hold(container) {
                holds.insert(container, (name, volume));
            }
        }
        holds
    }
}
