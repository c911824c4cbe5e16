//! [`Requested`]: containers that a person wants replaced though nothing differs.

use std::collections::BTreeSet;

use crate::observed::{Container, Observed};

/// Which containers are replaced though nothing differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// Whichever have these names in the manifest.
    Named(BTreeSet<String>),
    /// These and no others, by the engine's id.
    Seen(BTreeSet<String>),
}

impl Default for Requested {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl Requested {
    /// Returns the same request, settled: whoever asks for another container means one that is there by then. What
    /// takes its place is not meant, and a pass that looks again does not replace it again.
    #[must_use]
    pub fn seen(&self, observed: &Observed) -> Self {
        let containers = observed.containers.values().filter(|one| self.includes(one));
        Self::Seen(containers.map(|one| one.id.id().to_owned()).collect())
    }

    /// Says whether a container is to be replaced.
    pub(super) fn includes(&self, container: &Container) -> bool {
        match self {
            Self::Named(names) => names.contains(&container.mark.name),
            Self::Seen(ids) => ids.contains(container.id.id()),
        }
    }
}
