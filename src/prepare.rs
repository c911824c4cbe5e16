//! From a manifest file to something that can be reconciled: load, gather, check.

use std::collections::BTreeSet;
use std::path::Path;

use crate::desired::Desired;
use crate::desired::resolve::{Pins, check, references, resolve};
use crate::facts::{Facts, gather};
use crate::host::Host;
use crate::label::Owner;
use crate::manifest::load::{LoadError, Loaded, load};
use crate::manifest::place::{Place, Problem};
use crate::observed::Observed;
use crate::reconcile::Intent;
use crate::step::ManifestInfo;

/// A manifest with everything this host says about it, free of problems.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The manifest and where it came from.
    pub loaded: Loaded,
    /// What this host says about what it names.
    pub facts: Facts,
    /// The images it names that aishell does not make.
    pub references: BTreeSet<String>,
    /// The manifest, for people.
    pub info: ManifestInfo,
}

/// Why a manifest cannot be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is well formed, and asks for what cannot be.
    #[error("the manifest has {} problems", problems.len())]
    Problems {
        /// Everything that is wrong.
        problems: Vec<Problem>,
        /// Where it came from, for the lines.
        loaded: Box<Loaded>,
    },
}

impl Prepared {
    /// Loads a manifest and gathers what this host says about it.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn load(path: &Path, host: &Host) -> Result<Self, PrepareError> {
        Self::of(load(path, host)?, host)
    }

    /// Gathers what this host says about a manifest that is loaded.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn of(loaded: Loaded, host: &Host) -> Result<Self, PrepareError> {
        let facts = match gather(&loaded, host) {
            Ok(facts) => facts,
            Err(problems) => {
                return Err(PrepareError::Problems {
                    problems,
                    loaded: Box::new(loaded),
                });
            }
        };
        let problems = check(&loaded, &facts);
        if !problems.is_empty() {
            return Err(PrepareError::Problems {
                problems,
                loaded: Box::new(loaded),
            });
        }
        let path = loaded.source.path();
        let path = path
            .strip_prefix(&host.directory)
            .unwrap_or(path)
            .display()
            .to_string();
        let info = ManifestInfo {
            name: facts.owner.manifest.clone(),
            path,
            key: String::new(),
        };
        Ok(Self {
            references: references(&loaded.manifest),
            loaded,
            facts,
            info,
        })
    }
}

impl Intent for Prepared {
    fn owner(&self) -> &Owner {
        &self.facts.owner
    }

    fn references(&self) -> &BTreeSet<String> {
        &self.references
    }

    fn info(&self) -> &ManifestInfo {
        &self.info
    }

    fn resolve(&self, observed: &Observed) -> Desired {
        resolve(&self.loaded, &self.facts, &Pins::of(observed))
    }

    /// The file is named as seen from where the manifest is.
    fn place(&self, path: &str) -> Option<Place> {
        self.loaded
            .source
            .place(path)
            .map(|place| place.seen_from(self.loaded.source.directory()))
    }
}
