//! From a manifest file to something that can be reconciled: load, gather, check.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::desired::Desired;
use crate::desired::resolve::{Pins, check, references, resolve, wishes};
use crate::facts::{Facts, gather, whereabouts};
use crate::host::Host;
use crate::label::Owner;
use crate::lock::{self, Lock, Wishes};
use crate::manifest;
use crate::manifest::load::{LoadError, Loaded, STANDARD_INPUT, load};
use crate::manifest::place::{Place, Problem};
use crate::observed::Observed;
use crate::plan::Widen;
use crate::reconcile::Intent;
use crate::spec::Mount;
use crate::step::ManifestInfo;

mod file;
mod source;
mod triggers;

pub use file::{LockError, LockFile, Winner};
pub use source::SourceError;
use source::{Maker, fill};
use triggers::begun_with;

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
    /// What its references meant when they were pinned.
    lock: LockFile,
    /// Everything a lock can have an entry for.
    wishes: Wishes,
}

/// Why a manifest cannot be reconciled.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The lock beside it cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
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
        let standard_input = loaded.source.path() == Path::new(STANDARD_INPUT);
        let lock = (!standard_input).then(|| lock::beside(loaded.source.path()));
        Self::with_lock(loaded, host, lock)
    }

    /// Gathers what this host says about a manifest that is loaded, and has its lock at a place of its own.
    ///
    /// # Errors
    /// As [`Prepared::of`].
    pub fn with_lock(mut loaded: Loaded, host: &Host, lock: Option<PathBuf>) -> Result<Self, PrepareError> {
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
            for context in facts.contexts.values() {
                loaded.source.remember(&context.path, &context.dockerfile);
            }
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
        let lock = LockFile::read(lock)?;
        Ok(Self {
            references: asked(&loaded.manifest, &facts, &lock),
            wishes: wishes(&loaded.manifest, &facts),
            loaded,
            facts,
            info,
            lock,
        })
    }

    /// Returns the lock, and where it is.
    pub fn lock(&self) -> &LockFile {
        &self.lock
    }

    /// Returns everything that the lock can have an entry for.
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// Reads the lock again: somebody may have pinned meanwhile.
    ///
    /// # Errors
    /// As [`LockFile::read`].
    pub fn refresh(&mut self) -> Result<(), LockError> {
        self.lock.refresh()?;
        self.references = asked(&self.loaded.manifest, &self.facts, &self.lock);
        Ok(())
    }

    /// Returns what the lock lacks.
    pub fn missing(&self) -> Wishes {
        self.lock.lock().missing(&self.wishes)
    }

    /// Pins: adds entries to the lock, and writes it.
    ///
    /// # Errors
    /// As [`LockFile::add`].
    pub fn pin(&mut self, new: Lock, winner: Winner, host: &Host) -> Result<(), LockError> {
        // Only root could give a file to somebody else.
        let owner = (host.uid == 0).then_some((self.facts.account.uid, self.facts.account.gid));
        self.lock.add(new, &self.wishes, winner, owner)?;
        self.references = asked(&self.loaded.manifest, &self.facts, &self.lock);
        Ok(())
    }
}

impl Prepared {
    /// Returns what is wrong with a manifest on an engine that does not see this host's files: every bind.
    pub fn remote_problems(&self, engine: &str) -> Vec<Problem> {
        if self.loaded.manifest.engine.shares_files {
            return Vec::new();
        }
        let desired = resolve(&self.loaded, &self.facts, &Pins::default());
        let mut problems = Vec::new();
        for (name, container) in &desired.containers {
            for (target, mount) in &container.spec.mounts {
                if let Mount::Bind { source, .. } = mount {
                    let project = *source == self.facts.owner.project;
                    let hint = if project {
                        "`workspace: none` leaves the project out"
                    } else {
                        "use a volume"
                    };
                    let message = format!(
                        "container `{name}` binds {source}, which the engine at {engine} does not see"
                    );
                    let place = self
                        .loaded
                        .source
                        .place(&format!("containers.{name}.mounts.{target}"));
                    problems.push(Problem {
                        place,
                        ..Problem::new(message).hint(hint)
                    });
                }
            }
        }
        problems
    }

    /// Returns the directories whose files the manifest's builds can see.
    pub fn context_directories(&self) -> BTreeSet<PathBuf> {
        let contexts = self.facts.contexts.values().flat_map(Context::directories);
        let trees = self.facts.trees.values().flat_map(|tree| tree.directories());
        contexts.chain(trees).collect()
    }

    /// Makes what mounts show and is missing, owned by the project's owner: directories that ask for it with
    /// `create: directory`, and where a harness keeps its configuration. All of it where a person has consented, else
    /// what lies in the project. A file that a harness cannot work with while it is empty gets its first content.
    ///
    /// # Errors
    /// The first one that cannot be made.
    pub fn make_sources(&self, widen: &Widen) -> Result<(), SourceError> {
        let maker = Maker {
            uid: self.facts.account.uid,
            gid: self.facts.account.gid,
        };
        for (name, _) in self
            .loaded
            .manifest
            .containers
            .iter()
            .filter(|(_, one)| one.ssh_agent)
        {
            let agents = PathBuf::from(self.facts.agents_of(name.as_str()));
            if let Some(parent) = agents.parent() {
                Maker::ours(parent)?;
            }
            maker.directory(&agents, true)?;
        }
        let mounts = self.loaded.manifest.containers.values();
        for mount in mounts.flat_map(|container| &container.mounts) {
            let manifest::mount::Mount::Bind { source, create, .. } = mount else {
                continue;
            };
            if *widen != Widen::Allowed && !whereabouts(source).starts_with(&self.facts.ground) {
                continue;
            }
            let mut members = self.facts.members.values();
            let configured = members.find(|member| member.config.contains(source));
            match (create, configured.map(|member| member.seed.get(source))) {
                (Some(manifest::mount::Create::Directory), _) => maker.directory(source, false)?,
                (None, Some(Some(text))) => maker.file(source, text)?,
                (None, Some(None)) => maker.directory(source, true)?,
                (None, None) => {}
            }
            for (path, text) in self.facts.members.values().flat_map(|member| &member.seed) {
                if path.starts_with(source) {
                    fill(path, text)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the images that the engine is asked about.
fn asked(manifest: &manifest::Manifest, facts: &Facts, lock: &LockFile) -> BTreeSet<String> {
    let mut asked = references(manifest, lock.lock());
    asked.extend(begun_with(manifest, facts));
    asked
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
        let informed = triggers::informed(self, observed);
        resolve(
            &self.loaded,
            informed.as_ref().unwrap_or(&self.facts),
            &Pins::of(observed, self.owner(), self.lock.lock()),
        )
    }

    /// The file is named as seen from where the manifest is.
    fn place(&self, path: &str) -> Option<Place> {
        self.loaded
            .source
            .place(path)
            .map(|place| place.seen_from(self.loaded.source.directory()))
    }
}
