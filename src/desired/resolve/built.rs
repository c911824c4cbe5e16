//! Images that are built: from a Dockerfile of the manifest, or from one that ships with aishell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Resolver;
use super::chain::origin_of;
use crate::builtin;
use crate::call::{Build, Trigger};
use crate::context::Context;
use crate::desired::inputs::{CONTEXT, Inputs, PARENT};
use crate::desired::{Bases, Pin, Stage, StageSource};
use crate::dockerfile::{
    BaseImage, base_images, declares, instructions, is_foreign, line_of_argument, line_of_file, starts,
};
use crate::key::{Key, KeyKind};
use crate::label::{self, Kind};
use crate::manifest::builtin::PackageName;
use crate::manifest::place::Place;
use crate::manifest::stage::{DockerfileStage, Pull, Stage as WrittenStage, StageName};

/// The name of the built-in foundation where it is not the manifest's, and jobs run on it.
const BUILTIN: &str = "builtin";

impl Resolver<'_> {
    /// Returns the stage that a Dockerfile of the manifest makes, if its context could be read, and the stage before
    /// it is wanted.
    pub(super) fn dockerfile_stage(
        &self,
        name: StageName,
        written: &DockerfileStage,
        stages: &BTreeMap<String, Stage>,
    ) -> Option<Stage> {
        let context = self.facts.contexts.get(&name)?;
        let before = StageName::ALL.into_iter().take_while(|stage| *stage < name);
        let on: Vec<StageName> = before
            .filter(|stage| stages.contains_key(stage.as_str()))
            .collect();
        let parent = on.last().and_then(|parent| stages.get(parent.as_str()));
        if parent.is_none() && name != StageName::Foundation {
            return None;
        }
        let mut inputs = json!({
            "platform": self.pins.platform,
            "dockerfile": context.dockerfile,
            "context": context.digest,
            "args": counting(written, context),
            "target": written.target,
        });
        // What its own parents have it do is part of what these are.
        let foreign = foreign(context);
        if !foreign.is_empty() {
            inputs["triggers"] = json!(foreign);
        }
        let key = match parent.map(|parent| &parent.key) {
            None => Pin::Known(Key::of(KeyKind::Stage, &inputs)),
            Some(Pin::Known(parent)) => {
                inputs["parent"] = json!(parent);
                Pin::Known(Key::of(KeyKind::Stage, &inputs))
            }
            Some(Pin::Unknown(reason)) => Pin::Unknown(reason.clone()),
        };
        let dockerfile = match parent {
            None => context.dockerfile.clone(),
            Some(parent) => origin_of(written, context).on(&context.dockerfile, parent.reference()),
        };
        let build = Build {
            tag: String::new(),
            labels: BTreeMap::new(),
            dockerfile,
            triggers: on_parent(&context.triggers, parent),
            path: Some(context.path.clone()),
            context: context.directory.clone(),
            files: context.files.clone(),
            digest: Some(context.digest.clone()),
            args: written.args.clone(),
            target: written.target.clone(),
            certificates: None,
            cache: true,
        };
        let about = match context.files.len() {
            1 => "1 file in the context".to_owned(),
            number => format!("{number} files in the context"),
        };
        let inputs = self.inputs(name, written, context, parent);
        let mut stage = self.built_stage(name, (key, inputs), build, about, on);
        if let StageSource::Dockerfile { build, bases, .. } = &mut stage.source {
            if !foreign.is_empty() && !build.labels.is_empty() {
                let said = json!(foreign).to_string();
                build.labels.insert(label::TRIGGERS.to_owned(), said);
            }
            let starts = || starts(&context.dockerfile, &written.args, written.target.as_deref());
            let images = || base_images(&context.dockerfile, &written.args, written.target.as_deref());
            *bases = match written.pull {
                Pull::Missing => Bases::Missing(starts().into_iter().filter(BaseImage::is_foreign).collect()),
                Pull::Always => Bases::Pulled(images()),
                Pull::Never => Bases::Present(images()),
            };
        }
        Some(stage)
    }

    /// Returns what a stage is made of, each with the line that says or uses it.
    fn inputs(
        &self,
        name: StageName,
        written: &DockerfileStage,
        context: &Context,
        parent: Option<&Stage>,
    ) -> Inputs {
        let in_dockerfile = |line: u32| Place {
            file: context.path.clone(),
            line,
            column: 1,
        };
        let inner = match self.manifest.stage(name) {
            Some(WrittenStage::Phases(_)) => ".phases.dockerfile",
            Some(WrittenStage::Image { .. } | WrittenStage::Dockerfile(_) | WrittenStage::Builtin(_))
            | None => "",
        };
        let in_manifest = |field: &str| self.loaded.source.place(&format!("{name}{inner}.{field}"));
        let text = &context.dockerfile;
        let mut inputs = Inputs::default();
        inputs.dockerfile(text, in_dockerfile(1));
        inputs.add("platform", json!(self.pins.platform), None);
        for trigger in context
            .triggers
            .iter()
            .filter(|trigger| is_foreign(&trigger.image))
        {
            let at = in_dockerfile(trigger.line);
            inputs.add(
                format!("onbuild.{}", trigger.image),
                json!(trigger.instructions.trim_end()),
                Some(at),
            );
        }
        if let Some(target) = &written.target {
            inputs.add("target", json!(target), in_manifest("target"));
        }
        for (argument, value) in counting(written, context) {
            let field = format!("args.{argument}");
            let place = in_manifest(&field);
            let place = place.or_else(|| line_of_argument(text, argument).map(in_dockerfile));
            inputs.add(field, json!(value), place);
        }
        for (file, digest) in &context.parts {
            let place = line_of_file(text, file).map(in_dockerfile);
            inputs.add(format!("{CONTEXT}{file}"), json!(digest), place);
        }
        if let Some(key) = parent.and_then(|parent| parent.key.known()) {
            inputs.add(
                PARENT,
                json!(key.short()),
                parent.and_then(|parent| parent.place.clone()),
            );
        }
        inputs
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
                Some(Box::new(self.tagged(BUILTIN, Kind::Foundation, &key, build)))
            }
        }
    }

    pub(super) fn builtin_stage(&self, packages: &[PackageName]) -> Stage {
        let packages: BTreeSet<PackageName> = packages.iter().cloned().collect();
        let version = self.version();
        let key = version.key(&self.pins.platform, &packages);
        let (key, build) = (Pin::Known(key), version.build(&packages));
        let about = version.display(&packages);
        let inputs = Inputs::default();
        self.built_stage(StageName::Foundation, (key, inputs), build, about, Vec::new())
    }

    /// Returns the stage that a build makes, with what builds have in common.
    fn built_stage(
        &self,
        name: StageName,
        (key, inputs): (Pin<Key>, Inputs),
        build: Build,
        about: String,
        on: Vec<StageName>,
    ) -> Stage {
        let manifest = &self.facts.owner.manifest;
        let alias = format!("aishell-{manifest}:{name}");
        let build = match &key {
            Pin::Known(key) => {
                let mut build = self.tagged(name.as_str(), kind(name), key, build);
                // Where there is nothing to say, that of an image it is made on must not be inherited.
                let label = inputs.label().unwrap_or_default();
                build.labels.insert(label::INPUTS.to_owned(), label);
                build
            }
            Pin::Unknown(_) => Build {
                tag: alias.clone(),
                ..build
            },
        };
        let how = match self.manifest.stage(name) {
            Some(WrittenStage::Dockerfile(_)) => "dockerfile",
            Some(WrittenStage::Image { .. } | WrittenStage::Phases(_) | WrittenStage::Builtin(_)) | None => {
                "builtin"
            }
        };
        Stage {
            source: StageSource::Dockerfile {
                build: Box::new(build),
                alias,
                about,
                kind: kind(name),
                inputs: Box::new(inputs),
                on,
                bases: Bases::Builders,
            },
            key,
            place: self.loaded.source.place(&format!("{name}.{how}")),
        }
    }

    /// Returns the labels of the image of a stage.
    pub(super) fn labels(&self, name: &str, kind: Kind, key: &Key) -> label::Labels {
        let mut labels = label::shared(&self.facts.owner.manifest, kind, name, key);
        let own = match kind {
            Kind::Base => label::BASE_HASH,
            Kind::Extension => label::EXTENSION_HASH,
            _ => label::FOUNDATION_HASH,
        };
        labels.insert(own.to_owned(), key.as_str().to_owned());
        labels
    }

    /// Returns a build with the name of its image, its labels, and what the host has to say.
    fn tagged(&self, name: &str, kind: Kind, key: &Key, build: Build) -> Build {
        let manifest = &self.facts.owner.manifest;
        let labels = self.labels(name, kind, key);
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

/// Returns what kind of image a stage is.
pub(super) fn kind(stage: StageName) -> Kind {
    match stage {
        StageName::Foundation => Kind::Foundation,
        StageName::Base => Kind::Base,
        StageName::Extension => Kind::Extension,
    }
}

/// Returns what images that aishell did not make have a build do that begins with them, by their names.
fn foreign(context: &Context) -> BTreeMap<&str, &str> {
    let triggers = context.triggers.iter();
    let foreign = triggers.filter(|trigger| is_foreign(&trigger.image));
    foreign
        .map(|trigger| (trigger.image.as_str(), trigger.instructions.as_str()))
        .collect()
}

/// Returns what images have a build do, that of the stage before by the name that it has.
fn on_parent(triggers: &[Trigger], parent: Option<&Stage>) -> Vec<Trigger> {
    let mut triggers = triggers.to_vec();
    for trigger in &mut triggers {
        if let Some(parent) = parent.filter(|_| !is_foreign(&trigger.image)) {
            parent.reference().clone_into(&mut trigger.image);
        }
    }
    triggers
}

/// Arguments that every Dockerfile knows, in either case.
const PREDEFINED: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Returns the arguments that the Dockerfile does not know.
pub(super) fn unknown<'a>(written: &'a DockerfileStage, context: &Context) -> Vec<&'a str> {
    let known = counting(written, context);
    let names = written.args.keys().map(String::as_str);
    names
        .filter(|name| !known.contains_key(name))
        .filter(|name| !PREDEFINED.iter().any(|known| known.eq_ignore_ascii_case(name)))
        .collect()
}

/// Returns the arguments that can change an image: those that the Dockerfile declares, and those for the builder itself.
fn counting<'a>(written: &'a DockerfileStage, context: &Context) -> BTreeMap<&'a str, &'a str> {
    let triggers = instructions(&context.triggers);
    let counts = |name: &str| name.starts_with("BUILDKIT_") || declares(&context.dockerfile, &triggers, name);
    let args = written
        .args
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    args.filter(|(name, _)| counts(name)).collect()
}
