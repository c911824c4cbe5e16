//! Images that are built: from a Dockerfile of the manifest, or from one that ships with aishell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{FOUNDATION, Resolver};
use crate::builtin;
use crate::call::Build;
use crate::desired::{Pin, Stage, StageSource};
use crate::key::{Key, KeyKind};
use crate::label::{self, Kind};
use crate::manifest;
use crate::manifest::builtin::PackageName;
use crate::manifest::stage::Stage as WrittenStage;

/// The name of the built-in foundation where it is not the manifest's, and jobs run on it.
const BUILTIN: &str = "builtin";

impl Resolver<'_> {
    /// Returns the foundation that a Dockerfile of the manifest makes, if its context could be read.
    pub(super) fn dockerfile_stage(&self, written: &manifest::stage::DockerfileStage) -> Option<Stage> {
        let context = self.facts.foundation.as_ref()?;
        let key = Key::of(
            KeyKind::Stage,
            &json!({
                "platform": self.pins.platform,
                "dockerfile": context.dockerfile,
                "context": context.digest,
                "args": written.args,
                "target": written.target,
            }),
        );
        let build = Build {
            tag: String::new(),
            labels: BTreeMap::new(),
            dockerfile: context.dockerfile.clone(),
            context: context.directory.clone(),
            files: context.files.clone(),
            args: written.args.clone(),
            target: written.target.clone(),
            certificates: None,
        };
        let about = format!("{} files in the context", context.files.len());
        Some(self.built_stage(key, build, about, "foundation.dockerfile"))
    }

    /// Returns the version of the built-in foundation: what the lock says, while this aishell has it.
    fn version(&self) -> builtin::Version {
        let locked = self.pins.lock.builtin.and_then(builtin::version);
        locked.unwrap_or_else(builtin::newest)
    }

    /// Returns the build of the image that jobs run on where the foundation has no npm: the built-in one, unless it
    /// is the foundation.
    pub(super) fn fallback(&self) -> Option<Box<Build>> {
        let packages = BTreeSet::new();
        let version = self.version();
        let key = version.key(&self.pins.platform, &packages);
        let build = version.build(&packages);
        match &self.manifest.foundation {
            Some(WrittenStage::Builtin(_)) | None => None,
            Some(WrittenStage::Image { .. } | WrittenStage::Dockerfile(_) | WrittenStage::Phases(_)) => {
                Some(Box::new(self.tagged(BUILTIN, &key, build)))
            }
        }
    }

    pub(super) fn builtin_stage(&self, packages: &[PackageName]) -> Stage {
        let packages: BTreeSet<PackageName> = packages.iter().cloned().collect();
        let version = self.version();
        let key = version.key(&self.pins.platform, &packages);
        self.built_stage(
            key,
            version.build(&packages),
            version.display(&packages),
            "foundation.builtin",
        )
    }

    /// Returns the foundation that a build makes, with what builds have in common.
    fn built_stage(&self, key: Key, build: Build, about: String, path: &str) -> Stage {
        let manifest = &self.facts.owner.manifest;
        Stage {
            source: StageSource::Dockerfile {
                build: Box::new(self.tagged(FOUNDATION, &key, build)),
                alias: format!("aishell-{manifest}:{FOUNDATION}"),
                about,
            },
            key: Pin::Known(key),
            place: self.loaded.source.place(path),
        }
    }

    /// Returns a build with the name of its image, its labels, and what the host has to say.
    fn tagged(&self, name: &str, key: &Key, build: Build) -> Build {
        let manifest = &self.facts.owner.manifest;
        let mut labels = label::shared(manifest, Kind::Foundation, name, key);
        labels.insert(label::FOUNDATION_HASH.to_owned(), key.as_str().to_owned());
        let mut args = self.facts.proxies.clone();
        args.extend(build.args);
        Build {
            tag: format!("aishell-{manifest}:{name}-{}", key.short()),
            labels,
            args,
            certificates: self.facts.certificates.clone(),
            ..build
        }
    }
}
