//! Builds: enough of a Dockerfile to know what an image inherits, and whether it fails.

use std::collections::BTreeMap;

use super::world::{Image, World};
use crate::call::Build;
use crate::engine::EngineError;
use crate::label::{REBUILT, UID};
use crate::progress::Progress;

/// What a stage of a Dockerfile has become so far.
#[derive(Clone, Default)]
struct Stage {
    name: Option<String>,
    image: Image,
}

impl World {
    /// Labels, environment and the like are taken over from the base; of `RUN` only `exit` and `false` do anything.
    pub(super) fn build_image(&mut self, build: &Build, progress: &Progress) -> Result<String, EngineError> {
        let Build {
            tag,
            labels,
            dockerfile,
            args,
            target,
            cache,
            ..
        } = build;
        let mut labels = self.with_uid(labels);
        if !cache && let Some(uid) = labels.get(UID).cloned() {
            labels.insert(REBUILT.to_owned(), uid);
        }
        let mut stages: Vec<Stage> = Vec::new();
        let mut values: BTreeMap<String, String> = args.clone();
        let mut log = Vec::new();
        for line in lines(dockerfile) {
            progress.line(&line);
            log.push(line.clone());
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            let rest = expand(rest.trim(), &values);
            match (word.to_uppercase().as_str(), stages.last_mut()) {
                ("ARG", _) => {
                    let (name, value) = rest.split_once('=').unwrap_or((&rest, ""));
                    values.entry(name.to_owned()).or_insert_with(|| unquote(value));
                }
                ("FROM", _) => {
                    if target.is_some() && stages.last().is_some_and(|stage| stage.name == *target) {
                        break;
                    }
                    stages.push(self.stage(&rest, &stages)?);
                }
                ("RUN", Some(_)) if rest == "false" || rest.starts_with("exit ") => {
                    return Err(failure(
                        format!("process \"/bin/sh -c {rest}\" did not complete"),
                        &log,
                    ));
                }
                (word, Some(stage)) => stage.instruct(word, &rest),
                (_, None) => return Err(failure("no build stage in current context".to_owned(), &log)),
            }
        }
        let found = stages.pop();
        let wanted = |stage: &Stage| target.is_none() || stage.name == *target;
        let Some(Stage { mut image, .. }) = found.filter(wanted) else {
            let target = target.as_deref().unwrap_or_default();
            return Err(failure(format!("target stage {target} could not be found"), &log));
        };
        image.reply.image.labels.extend(labels);
        Ok(self.new_image(tag, image))
    }

    /// Opens a stage; its base is an earlier stage, a local tag, or pulled. An image id is no base.
    fn stage(&mut self, from: &str, stages: &[Stage]) -> Result<Stage, EngineError> {
        let mut words = from.split_whitespace().filter(|word| !word.starts_with("--"));
        let base = words.next().unwrap_or_default();
        let name = words.nth(1).map(str::to_owned);
        if let Some(earlier) = stages.iter().find(|stage| stage.name.as_deref() == Some(base)) {
            return Ok(Stage {
                name,
                ..earlier.clone()
            });
        }
        if base == "scratch" {
            return Ok(Stage {
                name,
                ..Stage::default()
            });
        }
        let missing = || EngineError::Absent {
            image: base.to_owned(),
            line: None,
            message: "not found".to_owned(),
        };
        if base.starts_with("sha256:") {
            return Err(missing());
        }
        if self.find_image(base).is_err() {
            self.pull_image(base).map_err(|_| missing())?;
        }
        let mut image = self.find_image(base).map_err(|_| missing())?.clone();
        image.parent = Some(image.reply.image.id.clone());
        Ok(Stage { name, image })
    }
}

impl Stage {
    fn instruct(&mut self, word: &str, rest: &str) {
        let pairs = || {
            rest.split_whitespace()
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), unquote(value)))
        };
        let Image { reply, volumes, .. } = &mut self.image;
        match word {
            "LABEL" => reply.image.labels.extend(pairs()),
            "VOLUME" => volumes.extend(rest.split_whitespace().map(str::to_owned)),
            "ENV" => reply.config.env.extend(pairs()),
            "USER" => reply.config.user = Some(rest.to_owned()),
            "WORKDIR" => reply.config.workdir = Some(rest.to_owned()),
            "STOPSIGNAL" => reply.config.stop_signal = Some(rest.to_owned()),
            "CMD" => reply.config.command = Some(words(rest)),
            "ENTRYPOINT" => {
                reply.config.entrypoint = Some(words(rest)).filter(|words| !words.is_empty());
                reply.config.command = None;
            }
            _ => {}
        }
    }
}

/// Returns the instructions, continued lines joined.
fn lines(dockerfile: &str) -> Vec<String> {
    dockerfile
        .replace("\\\n", " ")
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn words(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn unquote(text: &str) -> String {
    text.trim_matches('"').to_owned()
}

fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value)
    })
}

fn failure(message: String, log: &[String]) -> EngineError {
    EngineError::Work {
        message,
        line: None,
        log: log.to_vec(),
    }
}
