//! What images that aishell did not make have a build do that begins with them (`ONBUILD`): only the engine knows.
//!
//! Files of the context and arguments that only such an instruction takes count as if the Dockerfile took them, so the
//! context is read once more where there is one. An image that is not on the engine does what the newest image of the
//! stage says that was made on it, and what no image says is found out when it is pulled for the build: that ends, and
//! the next pass knows.

use std::collections::{BTreeMap, BTreeSet};

use super::Prepared;
use crate::context::{Context, Digests};
use crate::desired::resolve::exact;
use crate::dockerfile::{BaseImage, had_done, starts, triggers};
use crate::facts::Facts;
use crate::label::{self, Mark};
use crate::manifest::Manifest;
use crate::manifest::stage::{Stage, StageName};
use crate::observed::{Image, Observed};

/// Returns the images that aishell did not make and that Dockerfiles begin with.
pub(super) fn begun_with(manifest: &Manifest, facts: &Facts) -> BTreeSet<String> {
    let built = facts.contexts.iter().filter_map(|(name, context)| {
        let (stage, _) = manifest.stage(*name)?.built()?;
        Some(starts(&context.dockerfile, &stage.args, stage.target.as_deref()))
    });
    let foreign = built.flatten().filter(BaseImage::is_foreign);
    foreign.map(|start| start.image).collect()
}

/// Returns the facts with contexts of which images take something that the Dockerfiles begin with; nothing, where none
/// does so.
pub(super) fn informed(prepared: &Prepared, observed: &Observed) -> Option<Facts> {
    let (manifest, facts) = (&prepared.loaded.manifest, &prepared.facts);
    let mut contexts: BTreeMap<StageName, Context> = BTreeMap::new();
    // What the image of the stage before has the next build do.
    let mut before = String::new();
    for name in StageName::ALL {
        let Some(written) = manifest.stage(name) else {
            continue;
        };
        let mut says = match written {
            Stage::Image { image, .. } => on_build(&exact(image, prepared.lock.lock()).0, observed),
            Stage::Dockerfile(_) | Stage::Phases(_) | Stage::Builtin(_) => String::new(),
        };
        if let (Some((stage, _)), Some(context)) = (written.built(), facts.contexts.get(&name)) {
            let known = |image: &str| {
                if observed.references.contains_key(image) {
                    on_build(image, observed)
                } else {
                    said(image, &facts.owner.manifest, name, observed)
                }
            };
            let build = (context.dockerfile.as_str(), &stage.args, stage.target.as_deref());
            let had_done = had_done(build, &before, known);
            if had_done != context.triggers {
                let own: BTreeSet<_> = prepared
                    .loaded
                    .source
                    .texts()
                    .iter()
                    .flat_map(|(file, _)| [file.to_path_buf(), crate::lock::beside(file)])
                    .collect();
                let dockerfile = (stage.dockerfile.as_path(), |_: &str| had_done);
                match Context::read_with(&context.directory, dockerfile, &own, &Digests::default()) {
                    Ok(context) => {
                        contexts.insert(name, context);
                    }
                    // It could be read a moment ago; a build that reads it says why not.
                    Err(error) => tracing::debug!(%error, stage = name.as_str(), "a context"),
                }
            }
            if let Stage::Dockerfile(_) = written {
                says = triggers(&context.dockerfile, stage.target.as_deref());
            }
        }
        before = says;
    }
    (!contexts.is_empty()).then(|| {
        let mut facts = facts.clone();
        facts.contexts.extend(contexts);
        facts
    })
}

/// Returns what an image has the next build do.
fn on_build(image: &str, observed: &Observed) -> String {
    let found = observed.references.get(image);
    let lines = found.iter().flat_map(|image| &image.config.on_build);
    lines.flat_map(|line| [line.as_str(), "\n"]).collect()
}

/// Returns what an image had a stage do that is not on the engine any more, as the newest image of that says.
fn said(image: &str, manifest: &str, stage: StageName, observed: &Observed) -> String {
    let own = format!("aishell-{manifest}:{stage}");
    let is_own = |made: &&Image| {
        made.tags.iter().any(|tag| tag.starts_with(&own)) && Mark::read(&made.labels).is_some()
    };
    let made = observed.images.values().filter(is_own);
    let told = made.filter_map(|made| {
        let label = made.labels.get(label::TRIGGERS)?;
        let mut said: BTreeMap<String, String> = serde_json::from_str(label).ok()?;
        Some((made.created, said.remove(image)?))
    });
    let newest = told.max_by_key(|(created, _)| *created);
    newest.map(|(_, said)| said).unwrap_or_default()
}
