//! The stages as a chain: which is made on which, and what their Dockerfiles say of that.

use std::collections::BTreeMap;

use super::built::unknown;
use crate::context::Context;
use crate::desired::Stage;
use crate::dockerfile::{Mention, Origin, origin};
use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::manifest::place::{Place, Problem};
use crate::manifest::stage::{DockerfileStage, Pull, Stage as WrittenStage, StageName};

/// Returns the stage that containers run on unless they say otherwise.
pub(super) fn last(stages: &BTreeMap<String, Stage>) -> &'static str {
    let there = |name: &StageName| stages.contains_key(name.as_str());
    let last = StageName::ALL.into_iter().rfind(there);
    last.unwrap_or(StageName::Foundation).as_str()
}

/// Returns where the image of a stage comes from, as its Dockerfile says.
pub(super) fn origin_of(written: &DockerfileStage, context: &Context) -> Origin {
    origin(&context.dockerfile, &written.args, written.target.as_deref())
}

/// Returns every stage that has a Dockerfile, with what that says of where its image comes from.
fn origins<'a>(
    manifest: &'a Manifest,
    facts: &'a Facts,
) -> impl Iterator<Item = (StageName, &'a Context, Origin)> {
    facts.contexts.iter().filter_map(|(name, context)| {
        let (written, _) = manifest.stage(*name)?.built()?;
        Some((*name, context, origin_of(&written, context)))
    })
}

/// Returns what is wrong with where Dockerfiles say that their images come from.
pub(super) fn problems(manifest: &Manifest, facts: &Facts) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, context, origin) in origins(manifest, facts) {
        for mention in origin.mentions {
            let known = StageName::ALL
                .into_iter()
                .find(|stage| stage.as_str() == mention.tag);
            let image = match mention.tag.as_str() {
                "" => "aishell".to_owned(),
                tag => format!("aishell:{tag}"),
            };
            let (message, hint) = match known {
                _ if name == StageName::Foundation => (
                    format!("`{image}` means the stage before, and nothing comes before the foundation"),
                    "begin it with an image that exists, such as debian:bookworm-slim",
                ),
                None => (
                    format!("`{image}` is no stage"),
                    "the stage before is aishell:foundation or aishell:base",
                ),
                Some(stage) if stage >= name => (
                    format!("`{image}` does not come before the {name}"),
                    "the stage before is aishell:foundation or aishell:base",
                ),
                Some(_) => continue,
            };
            problems.push(at(context, &mention, &message).hint(hint));
        }
    }
    problems
}

/// Returns what a person should know of where Dockerfiles say that their images come from.
pub(super) fn notes(manifest: &Manifest, facts: &Facts) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(WrittenStage::Image {
        image,
        pull: Pull::Always,
    }) = &manifest.foundation
        && image.digest().is_none()
    {
        let message = "each apply asks its registry what it means (pull: always)";
        notes.push(format!("image {image}: {message}"));
    }
    for (name, context, origin) in origins(manifest, facts) {
        let file = facts.display(&context.path);
        if name != StageName::Foundation && !origin.is_based {
            let message = "the image it makes is not made on the stage before it, of which nothing stays";
            notes.push(format!("{name} ({file}): {message}"));
        }
        if let Some(WrittenStage::Dockerfile(written)) = manifest.stage(name) {
            for argument in unknown(written, context) {
                let message = "no ARG of the file declares it";
                notes.push(format!("{name} ({file}): argument {argument}: {message}"));
            }
        }
        for mention in &origin.mentions {
            if mention.tag == "base" && manifest.base.is_none() {
                let line = mention.line;
                notes.push(format!(
                    "{name} ({file}:{line}): aishell:base means the foundation, since there is no base"
                ));
            }
        }
    }
    notes
}

fn at(context: &Context, mention: &Mention, message: &str) -> Problem {
    Problem {
        place: Some(Place {
            file: context.path.clone(),
            line: mention.line,
            column: mention.column,
        }),
        length: mention.length,
        ..Problem::new(message)
    }
}
