//! Builds with BuildKit: the request, the context, and what the trace of the build says.

use std::collections::{BTreeMap, BTreeSet};

use bollard::BollardRequest;
use bollard::models::BuildInfoAux;
use bollard_stubs::moby::buildkit::v1::{StatusResponse, Vertex};
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::Context;
use super::error::Failure;
use super::log::{Lines, Tail};
use super::news::News;
use super::request::order;
use super::{DockerEngine, encode, outgoing};
use crate::call::{Answer, Build, Call};
use crate::dockerfile::{self, Prepared, Whole};
use crate::engine::EngineError;
use crate::label::{REBUILT, UID};
use crate::progress::Progress;

/// Output lines of a step that are kept for the report of its failure.
const LAST_LINES: usize = 10_000;

impl DockerEngine {
    /// Builds an image and answers with its id.
    pub(super) async fn build(
        &self,
        call: &Call,
        build: &Build,
        uid: &str,
        progress: &Progress,
    ) -> Result<Answer, Failure> {
        let taken = build
            .files
            .iter()
            .any(|file| file.starts_with(dockerfile::RESERVED));
        let whole = Whole::of(&build.dockerfile, &build.triggers);
        let Prepared { text, below } = dockerfile::prepare(&whole.text, build.certificates.is_some(), taken);
        let context = Context {
            directory: build.context.clone(),
            files: build.files.clone(),
            below,
            extra: dockerfile::files(text.clone(), build.certificates.as_deref()),
            expected: build.digest.clone().map(|digest| {
                (
                    digest,
                    [
                        build.dockerfile.clone(),
                        dockerfile::instructions(&build.triggers),
                    ],
                )
            }),
        };
        let (archive, writing) = outgoing::stream(move |pipe| context.write(pipe));
        let request = order("/build", &query(build, uid), outgoing::request(archive))?;
        let mut trace = Trace::new(progress);
        let outcome = self.follow(request, &mut trace).await;
        if let Some(error) = writing.trouble(outcome.is_ok()).await {
            let message = format!(
                "cannot read the context of the build in {}: {error}",
                build.context.display()
            );
            return Err(EngineError::Refused { message }.into());
        }
        match outcome {
            Ok(Some(id)) => Ok(Answer::Id(id)),
            Ok(None) => Err(EngineError::Unexpected {
                call: "BuildImage: it ended without an image".to_owned(),
            }
            .into()),
            Err(failure) => Err(match failure.tell(call, &self.host) {
                EngineError::Work { message, .. } => failed(message, trace, (&whole, &text)).into(),
                error => error.into(),
            }),
        }
    }

    /// Sends a build and follows it to its end; returns the image, if there was word of one.
    async fn follow(
        &self,
        request: BollardRequest,
        trace: &mut Trace<'_>,
    ) -> Result<Option<String>, Failure> {
        let mut news = News::of(&self.open, request).await?;
        let mut image = None;
        while let Some(Info { stream, aux }) = news.next().await? {
            // What it says beside this is for other clients.
            match aux.map(serde_json::from_value) {
                Some(Ok(BuildInfoAux::BuildKit(status))) => trace.follow(status),
                Some(Ok(BuildInfoAux::Default(id))) => image = id.id.or(image),
                Some(Err(_)) | None => trace.classic(stream.unwrap_or_default().as_bytes()),
            }
        }
        Ok(image)
    }
}

/// The part of a document about a build that is read.
#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    aux: Option<Value>,
}

/// Returns what is asked for, beside the context.
fn query(build: &Build, uid: &str) -> Vec<(&'static str, String)> {
    let mut labels = encode::labels(&build.labels, uid);
    if !build.cache
        && let Some(uid) = labels.get(UID).cloned()
    {
        labels.insert(REBUILT.to_owned(), uid);
    }
    let flag = |is_set: bool| if is_set { "1" } else { "" }.to_owned();
    vec![
        ("version", "2".to_owned()),
        ("dockerfile", dockerfile::DOCKERFILE.to_owned()),
        ("t", build.tag.clone()),
        ("target", build.target.clone().unwrap_or_default()),
        ("buildargs", json!(build.args).to_string()),
        ("labels", json!(labels).to_string()),
        ("nocache", flag(!build.cache)),
        ("rm", flag(true)),
    ]
}

/// Says what a build failed at, and where in the Dockerfile; of that there is the text that was written, and the one
/// that was sent.
fn failed(message: String, trace: Trace<'_>, (whole, sent): (&Whole, &str)) -> EngineError {
    let written = whole.text.as_str();
    let own = |line: Option<u32>| line.map(|line| whole.written(line));
    if let Some(image) = trace.absent() {
        let line = own(dockerfile::line_of_image(written, &image));
        return EngineError::Absent { image, line, message };
    }
    let step = trace.failing();
    let line = step.and_then(|step| dockerfile::line_of_step(written, sent, step));
    let (message, line) = match line {
        Some(line) => (message, Some(line)),
        None => dockerfile::line_of_complaint(sent, message),
    };
    // A builder that does not know them takes their lines for instructions.
    let document = line.and_then(|line| dockerfile::line_of_document(written, line));
    if let Some(line) = document.filter(|_| message.contains("unknown instruction")) {
        return EngineError::Work {
            message: "the builder of this engine knows no here-documents".to_owned(),
            line: own(Some(line)),
            log: vec![message],
        };
    }
    EngineError::Work {
        message,
        line: own(line),
        log: trace.last_lines(),
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
    /// Output that belongs to no step, from builders other than BuildKit, and the step that they said last.
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
            if let Some((done, total)) = numbered(&line) {
                self.progress.amount("steps", done, Some(total));
                self.output.name.clone_from(&line);
                self.output.tail = Tail::of(LAST_LINES);
            } else {
                self.output.tail.push(line);
            }
        }
    }

    /// Returns the image that the build starts from, if asking a registry for it is what failed.
    fn absent(&self) -> Option<String> {
        let failed = self.steps.get(self.failed.as_ref()?)?;
        // The second one is how what `COPY --from` names is called.
        let image = failed
            .name
            .strip_prefix("[internal] load metadata for ")
            .or_else(|| failed.name.strip_prefix("FROM "))?;
        let short = image.strip_prefix("docker.io/").unwrap_or(image);
        Some(short.strip_prefix("library/").unwrap_or(short).to_owned())
    }

    /// Returns the name of the step that failed.
    fn failing(&self) -> Option<&str> {
        let step = match &self.failed {
            Some(digest) => self.steps.get(digest)?,
            None => &self.output,
        };
        Some(step.name.as_str()).filter(|name| !name.is_empty())
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

/// Returns which step a line of other builders announces, counted from 0, and of how many.
fn numbered(line: &str) -> Option<(u64, u64)> {
    let rest = line
        .strip_prefix("Step ")
        .or_else(|| line.strip_prefix("STEP "))?;
    let (step, total) = rest.split_once(':')?.0.split_once('/')?;
    let (step, total) = (step.trim().parse::<u64>().ok()?, total.trim().parse().ok()?);
    Some((step.checked_sub(1)?, total))
}

/// Says whether a step is one of the Dockerfile's.
fn is_shown(name: &str) -> bool {
    name.starts_with('[') && !name.starts_with("[internal]")
}
