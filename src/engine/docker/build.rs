//! Builds with BuildKit: the request, the context, and what the trace of the build says.

use std::collections::{BTreeMap, BTreeSet};

use bollard::Docker;
use bollard::models::{BuildInfo, BuildInfoAux};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use bollard_stubs::moby::buildkit::v1::{StatusResponse, Vertex};
use futures_util::StreamExt as _;

use super::archive::Context;
use super::encode;
use super::error::Failure;
use super::log::{Lines, Tail};
use crate::call::{Answer, Build, Call};
use crate::dockerfile::{self, Prepared};
use crate::engine::EngineError;
use crate::progress::Progress;

/// Output lines of a step that are kept for the report of its failure.
const LAST_LINES: usize = 40;

/// Builds an image and answers with its id.
pub(super) async fn build(
    client: &Docker,
    call: &Call,
    build: &Build,
    uid: &str,
    host: &str,
    progress: &Progress,
) -> Result<Answer, Failure> {
    let Build {
        tag,
        labels,
        dockerfile,
        context,
        files,
        args,
        target,
        certificates,
        cache,
    } = build;
    let taken = files.iter().any(|file| file.starts_with(dockerfile::RESERVED));
    let Prepared { text, below } = dockerfile::prepare(dockerfile, certificates.is_some(), taken);
    let (archive, reading) = Context {
        directory: context.clone(),
        files: files.clone(),
        below,
        extra: dockerfile::files(text, certificates.as_deref()),
    }
    .send();
    let options = BuildImageOptions {
        dockerfile: dockerfile::DOCKERFILE.to_owned(),
        t: Some(tag.clone()),
        buildargs: Some(args.clone().into_iter().collect()),
        labels: Some(encode::labels(labels, uid)),
        target: target.clone().unwrap_or_default(),
        version: BuilderVersion::BuilderBuildKit,
        nocache: !cache,
        rm: true,
        ..BuildImageOptions::default()
    };
    let body = bollard::body_try_stream(archive.map(|chunk| chunk.map(Into::into)));
    let mut answers = client.build_image(options, None, Some(body));
    let mut trace = Trace::new(progress);
    let mut image = None;
    let mut failure = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(BuildInfo {
                aux: Some(BuildInfoAux::BuildKit(status)),
                ..
            }) => trace.follow(status),
            Ok(BuildInfo {
                aux: Some(BuildInfoAux::Default(id)),
                ..
            }) => image = id.id,
            Ok(BuildInfo { stream, .. }) => trace.classic(stream.unwrap_or_default().as_bytes()),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    drop(answers);
    // What kept us from sending the context is the cause of whatever the engine made of it. But an engine that
    // failed by itself may leave the rest of the context unread for ever.
    if (failure.is_none() || reading.is_finished())
        && let Ok(Err(error)) = reading.await
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let message = format!(
            "cannot read the context of the build in {}: {error}",
            context.display()
        );
        return Err(EngineError::Refused { message }.into());
    }
    match (failure, image) {
        (Some(error), _) => Err(match Failure::Api(error).tell(call, host) {
            EngineError::Work { message, .. } => match trace.absent() {
                Some(image) => EngineError::Absent { image, message },
                None => EngineError::Work {
                    message,
                    log: trace.last_lines(),
                },
            }
            .into(),
            error => error.into(),
        }),
        (None, Some(id)) => Ok(Answer::Id(id)),
        (None, None) => Err(EngineError::Unexpected {
            call: "BuildImage: it ended without an image".to_owned(),
        }
        .into()),
    }
}

/// What is known of the steps of a build.
struct Trace<'a> {
    progress: &'a Progress,
    /// Steps by digest.
    steps: BTreeMap<String, Step>,
    /// The step that failed.
    failed: Option<String>,
    /// How many steps were last told to be done, and of how many.
    told: Option<(usize, usize)>,
    /// Output that belongs to no step, from builders other than BuildKit.
    output: Step,
}

struct Step {
    name: String,
    announced: bool,
    completed: bool,
    lines: Lines,
    tail: Tail,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            name: String::new(),
            announced: false,
            completed: false,
            lines: Lines::default(),
            tail: Tail::of(LAST_LINES),
        }
    }
}

impl<'a> Trace<'a> {
    fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            steps: BTreeMap::new(),
            failed: None,
            told: None,
            output: Step::default(),
        }
    }

    /// Takes news: steps first, so that output finds its step.
    fn follow(&mut self, status: StatusResponse) {
        let mut counted = false;
        for vertex in status.vertexes {
            counted |= self.step(vertex);
        }
        if counted {
            let shown: BTreeSet<_> = self
                .steps
                .values()
                .filter(|step| is_shown(&step.name))
                .map(|step| (&step.name, step.completed))
                .collect();
            let done = shown.iter().filter(|(_, completed)| *completed).count();
            let steps = (done, shown.len());
            // What does not count is news too, and nobody wants to read the same again.
            if self.told != Some(steps) {
                self.told = Some(steps);
                self.progress
                    .amount("steps", done as u64, Some(shown.len() as u64));
            }
        }
        for status in status.statuses {
            if let (Ok(done), Ok(total)) = (u64::try_from(status.current), u64::try_from(status.total))
                && total > 0
            {
                self.progress.amount(status.id, done, Some(total));
            }
        }
        for log in status.logs {
            let step = self.steps.entry(log.vertex).or_default();
            for line in step.lines.push(&log.msg) {
                self.progress.line(line.clone());
                step.tail.push(line);
            }
        }
    }

    /// Takes news of one step; says whether the count of steps changed.
    fn step(&mut self, vertex: Vertex) -> bool {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        step.name = vertex.name;
        let mut counted = false;
        if vertex.started.is_some() && !step.announced {
            step.announced = true;
            counted = true;
            if is_shown(&step.name) && !vertex.cached {
                self.progress.line(step.name.clone());
            }
        }
        if vertex.completed.is_some() && !step.completed {
            step.completed = true;
            counted = true;
            if vertex.cached && is_shown(&step.name) {
                self.progress.line(format!("{} (cached)", step.name));
            }
        }
        // Steps that ran beside the failing one are cancelled for its sake.
        if !vertex.error.is_empty() && self.failed.is_none() && !vertex.error.contains("context canceled") {
            self.failed = Some(vertex.digest);
        }
        counted
    }

    fn classic(&mut self, piece: &[u8]) {
        for line in self.output.lines.push(piece) {
            self.progress.line(line.clone());
            self.output.tail.push(line);
        }
    }

    /// Returns the image that the build starts from, if asking a registry for it is what failed.
    fn absent(&self) -> Option<String> {
        let failed = self.steps.get(self.failed.as_ref()?)?;
        let image = failed.name.strip_prefix("[internal] load metadata for ")?;
        let short = image.strip_prefix("docker.io/").unwrap_or(image);
        Some(short.strip_prefix("library/").unwrap_or(short).to_owned())
    }

    /// Returns the last lines of the step that failed, with its name.
    fn last_lines(mut self) -> Vec<String> {
        let failed = self.failed.and_then(|digest| self.steps.remove(&digest));
        let Step {
            name,
            mut lines,
            mut tail,
            ..
        } = failed.unwrap_or(self.output);
        if let Some(line) = lines.finish() {
            tail.push(line);
        }
        (!name.is_empty())
            .then_some(name)
            .into_iter()
            .chain(tail.into_vec())
            .collect()
    }
}

/// Says whether a step is one of the Dockerfile's.
fn is_shown(name: &str) -> bool {
    name.starts_with('[') && !name.starts_with("[internal]")
}
