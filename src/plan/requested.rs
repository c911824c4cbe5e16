//! [`Requested`] and [`Rebuilt`]: containers and stages that a person wants made anew though nothing differs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::desired::resolve::BUILT;
use crate::label::Mark;
use crate::manifest::phase::PhaseName;
use crate::manifest::stage::StageName;
use crate::observed::{Container, Image, Observed};
use crate::written::written_as_text;

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

/// A stage that is built anew, or those of its phases that are done anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The stage.
    pub stage: StageName,
    /// The first of its phases that is done anew; `None`: all of the stage.
    pub phase: Option<PhaseName>,
}

/// Why a text is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a stage, or a stage and a phase, as in foundation/repos")]
pub struct TargetError(String);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stage.as_str())?;
        match self.phase {
            Some(phase) => write!(f, "/{}", phase.as_str()),
            None => Ok(()),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError(text.to_owned());
        let (stage, phase) = match text.split_once('/') {
            Some((stage, phase)) => (stage, Some(PhaseName::parse(phase).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let mut stages = StageName::ALL.into_iter();
        let stage = stages.find(|name| name.as_str() == stage).ok_or_else(wrong)?;
        Ok(Self { stage, phase })
    }
}

written_as_text!(Target, "RebuildTarget", {
    "description": "A stage that is built anew, or one of its phases with those after it, as in `foundation/repos`.",
    "type": "string"
});

/// Which stages are built anew, without what earlier builds left, though nothing differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The stages, and phases of them.
    pub targets: BTreeSet<Target>,
    /// The images that were there when it was asked for, by id; `None`: whichever are there.
    seen: Option<BTreeSet<String>>,
}

impl Rebuilt {
    /// Returns the request for some stages.
    pub fn of(targets: BTreeSet<Target>) -> Self {
        Self { targets, seen: None }
    }

    /// Returns the same request, settled: what takes the place of an image that is there by then is not meant.
    #[must_use]
    pub fn seen(&self, observed: &Observed) -> Self {
        let meant = |image: &&Image| {
            let mark = Mark::read(&image.labels);
            mark.is_some_and(|mark| {
                let begun = PhaseName::Dockerfile.to_string();
                self.targets.iter().any(|target| match target.stage {
                    stage if stage.as_str() == mark.name => true,
                    StageName::Foundation => mark.name == begun,
                    stage => mark.name == format!("{stage}-{begun}"),
                })
            })
        };
        let images = observed.images.values().filter(meant);
        Self {
            targets: self.targets.clone(),
            seen: Some(images.map(|image| image.id.clone()).collect()),
        }
    }

    /// Says whether a stage is to be built anew, of which there may be an image.
    pub(super) fn includes(&self, stage: &str, image: Option<&Image>) -> bool {
        let named = self.of_stage(stage).next().is_some();
        let meant = |image: &Image| self.seen.as_ref().is_none_or(|seen| seen.contains(&image.id));
        named && image.is_none_or(meant)
    }

    /// Says whether something that a Dockerfile makes is to be built anew: a stage, or what its phases start from.
    pub(super) fn includes_built(&self, name: &str, image: Option<&Image>) -> bool {
        match name.strip_suffix(BUILT) {
            None => self.includes(name, image),
            Some(stage) => {
                let first = self.of_stage(stage).map(|target| target.phase).min();
                let begins =
                    first.is_some_and(|first| first.is_none_or(|first| first == PhaseName::Dockerfile));
                begins && self.includes(stage, image)
            }
        }
    }

    /// Returns the first phase of a stage that is done anew; `None`: all of it.
    pub(super) fn first(&self, stage: &str) -> Option<PhaseName> {
        self.of_stage(stage).map(|target| target.phase).min().flatten()
    }

    fn of_stage(&self, stage: &str) -> impl Iterator<Item = &Target> {
        self.targets
            .iter()
            .filter(move |target| target.stage.as_str() == stage)
    }
}
