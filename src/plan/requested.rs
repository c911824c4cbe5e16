//! [`Requested`] and [`Rebuilt`]: containers and stages that a person wants made anew though nothing differs.

use std::collections::BTreeSet;

use crate::label::Mark;
use crate::manifest::stage::StageName;
use crate::observed::{Container, Image, Observed};

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

/// Which stages are built anew, without what earlier builds left, though nothing differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The stages.
    pub stages: BTreeSet<StageName>,
    /// The images that were there when it was asked for, by id; `None`: whichever are there.
    seen: Option<BTreeSet<String>>,
}

impl Rebuilt {
    /// Returns the request for some stages.
    pub fn of(stages: BTreeSet<StageName>) -> Self {
        Self { stages, seen: None }
    }

    /// Returns the same request, settled: what takes the place of an image that is there by then is not meant.
    #[must_use]
    pub fn seen(&self, observed: &Observed) -> Self {
        let meant = |image: &&Image| {
            let mark = Mark::read(&image.labels);
            mark.is_some_and(|mark| self.stages.iter().any(|stage| stage.as_str() == mark.name))
        };
        let images = observed.images.values().filter(meant);
        Self {
            stages: self.stages.clone(),
            seen: Some(images.map(|image| image.id.clone()).collect()),
        }
    }

    /// Says whether a stage is to be built anew, of which there may be an image.
    pub(super) fn includes(&self, stage: &str, image: Option<&Image>) -> bool {
        let named = self.stages.iter().any(|name| name.as_str() == stage);
        let meant = |image: &Image| self.seen.as_ref().is_none_or(|seen| seen.contains(&image.id));
        named && image.is_none_or(meant)
    }
}
