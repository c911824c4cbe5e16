//! Stages that are built in phases: what each phase does, and its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::Resolver;
use super::built::kind;
use crate::desired::inputs::PARENT;
use crate::desired::phase::{Chain, Phase};
use crate::desired::{Pin, Stage, StageSource};
use crate::facts::Facts;
use crate::key::{Key, KeyKind};
use crate::label::{self, Kind, Labels};
use crate::lock::Lock;
use crate::manifest::load::Loaded;
use crate::manifest::phase::PhaseName;
use crate::manifest::phases::Phases;
use crate::manifest::place::Problem;
use crate::manifest::stage::{DockerfileStage, Pull, Stage as WrittenStage, StageName};

mod checks;
mod environment;
mod fetched;
mod reading;
mod whole;
mod words;

use reading::Reading;

/// The version of what phases make of what is written; part of every key.
const VERSION: u32 = 1;
/// What the name of a stage ends with that only is what the phases of another one start from.
pub const BUILT: &str = ".dockerfile";

/// Returns everything that is wrong with phases as a whole.
pub(super) fn problems(loaded: &Loaded, facts: &Facts) -> Vec<Problem> {
    let none = Lock::default();
    let stages = StageName::ALL.into_iter();
    let written = stages.filter_map(|stage| match loaded.manifest.stage(stage) {
        Some(WrittenStage::Phases(written)) => Some((stage, &**written)),
        Some(WrittenStage::Image { .. } | WrittenStage::Dockerfile(_) | WrittenStage::Builtin(_)) | None => {
            None
        }
    });
    written
        .flat_map(|(stage, written)| {
            let mut reading = Reading::of(stage, written, loaded, facts, &none);
            reading.whole();
            for name in PhaseName::ALL {
                reading.phase(name);
            }
            reading.problems
        })
        .collect()
}

impl Resolver<'_> {
    /// Returns what the Dockerfile makes that phases start from.
    fn dockerfile_phase(
        &self,
        name: StageName,
        prefix: &str,
        written: &DockerfileStage,
        stages: &BTreeMap<String, Stage>,
    ) -> Option<Stage> {
        let mut stage = self.dockerfile_stage(name, written, stages)?;
        let manifest = &self.facts.owner.manifest;
        let word = format!("{prefix}{}", PhaseName::Dockerfile);
        let own = format!("aishell-{manifest}:{word}");
        if let StageSource::Dockerfile {
            build, alias, kind, ..
        } = &mut stage.source
        {
            build.tag.clone_from(&own);
            if let Pin::Known(key) = &stage.key {
                build.tag = format!("{own}-{}", key.short());
                let inputs = build.labels.remove(label::INPUTS).unwrap_or_default();
                build.labels = label::shared(manifest, Kind::Snapshot, &word, key);
                let hash = label::phase_hash(PhaseName::Dockerfile.as_str());
                build.labels.insert(hash, key.as_str().to_owned());
                let phase = PhaseName::Dockerfile.to_string();
                build.labels.insert(label::PHASE.to_owned(), phase);
                build.labels.insert(label::INPUTS.to_owned(), inputs);
            }
            *alias = own;
            *kind = Kind::Snapshot;
        }
        stage.place = self.loaded.source.place(&format!("{name}.phases.dockerfile"));
        Some(stage)
    }

    /// Returns the stage that phases make, and where the first one starts.
    pub(super) fn phases_stage(
        &self,
        name: StageName,
        written: &Phases,
        stages: &mut BTreeMap<String, Stage>,
    ) -> Option<Stage> {
        let before = StageName::ALL.into_iter().take_while(|stage| *stage < name);
        let on: Vec<StageName> = before
            .filter(|stage| stages.contains_key(stage.as_str()))
            .collect();
        let prefix = match name {
            StageName::Foundation => String::new(),
            StageName::Base | StageName::Extension => format!("{name}-"),
        };
        let dockerfile = written.dockerfile();
        let from = if let Some(dockerfile) = &dockerfile {
            let stage = self.dockerfile_phase(name, &prefix, dockerfile, stages)?;
            let from = format!("{name}{BUILT}");
            stages.insert(from.clone(), stage);
            from
        } else if name == StageName::Foundation {
            let image = &written.base.as_ref()?.image;
            let stage = self.image_stage(image, Pull::Missing, "foundation.phases.base.image");
            stages.entry(image.to_string()).or_insert(stage);
            image.to_string()
        } else {
            on.last()?.as_str().to_owned()
        };
        let manifest = &self.facts.owner.manifest;
        let alias = format!("aishell-{manifest}:{name}");
        let mut key = stages.get(&from)?.key.clone();
        let mut reading = Reading::of(name, written, self.loaded, self.facts, &self.pins.lock);
        let mut phases: Vec<Phase> = Vec::new();
        let mut hashes = Labels::new();
        if let (Some(_), Pin::Known(key)) = (&dockerfile, &key) {
            let hash = label::phase_hash(PhaseName::Dockerfile.as_str());
            hashes.insert(hash, key.as_str().to_owned());
        }
        for phase in PhaseName::ALL {
            let own = format!("aishell-{manifest}:{prefix}{phase}");
            let Some(done) = reading.phase(phase) else {
                // What does nothing leaves what was there before.
                if phase.leaves_snapshot()
                    && let Some(last) = phases.iter_mut().rev().find(|last| last.name.leaves_snapshot())
                {
                    last.aliases.push(own);
                }
                continue;
            };
            let mut inputs = done.inputs;
            if phases.is_empty()
                && let Some(parent) = key.known()
            {
                let place = stages.get(&from).and_then(|stage| stage.place.clone());
                inputs.add(PARENT, json!(parent.short()), place);
            }
            if let (Pin::Known(_), Some(reason)) = (&key, done.unknown) {
                key = Pin::Unknown(reason);
            }
            key = key.map(|parent| {
                let inputs = json!({
                    "version": VERSION,
                    "parent": parent,
                    "phase": phase.as_str(),
                    "acts": done.acts,
                    "settings": done.settings,
                });
                Key::of(KeyKind::Phase, &inputs)
            });
            let mut labels = Labels::new();
            let mut tag = own.clone();
            if let Pin::Known(key) = &key {
                hashes.insert(label::phase_hash(phase.as_str()), key.as_str().to_owned());
                labels = label::shared(manifest, Kind::Snapshot, &format!("{prefix}{phase}"), key);
                tag = format!("{own}-{}", key.short());
            }
            labels.extend(hashes.clone());
            labels.insert(label::PHASE.to_owned(), phase.to_string());
            labels.insert(label::INPUTS.to_owned(), inputs.label().unwrap_or_default());
            phases.push(Phase {
                name: phase,
                key: key.clone(),
                tag,
                aliases: vec![own],
                labels,
                acts: done.acts,
                settings: done.settings,
                inputs,
                about: done.about,
                lacks: done.lacks,
                place: self
                    .loaded
                    .source
                    .place(&format!("{name}.phases.{}", phase.as_str())),
            });
        }
        let platform = &self.pins.platform;
        let key = key.map(|key| Key::of(KeyKind::Stage, &json!({ "platform": platform, "phases": key })));
        let tag = match &key {
            Pin::Known(key) => format!("{alias}-{}", key.short()),
            Pin::Unknown(_) => alias.clone(),
        };
        if let (Some(last), Pin::Known(key)) = (phases.last_mut(), &key) {
            let tested = |phase: PhaseName| reading.does(phase).to_string();
            last.labels.extend(self.labels(name.as_str(), kind(name), key));
            last.labels
                .insert(label::VERIFIED.to_owned(), tested(PhaseName::Verify));
            last.labels
                .insert(label::TESTED.to_owned(), tested(PhaseName::Test));
        }
        Some(Stage {
            source: StageSource::Phases(Box::new(Chain {
                from,
                phases,
                tag,
                alias,
                kind: kind(name),
                on,
                certificates: self.facts.certificates.clone(),
                proxies: self.facts.proxies.clone(),
                store: Arc::clone(&self.facts.store),
            })),
            key,
            place: self.loaded.source.place(&format!("{name}.phases")),
        })
    }
}
