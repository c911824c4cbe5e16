//! Calls whose answer comes in pieces: files, logs, pulls.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::BollardRequest;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::{CreateImageInfo, DistributionInspect};
use bollard::query_parameters::{DownloadFromContainerOptions, LogsOptions};
use futures_util::{Stream, StreamExt as _};
use hyper::header::HeaderValue;

use super::credentials::header;
use super::error::Failure;
use super::log::{Lines, Tail};
use super::news::News;
use super::request::{order, question};
use super::{DockerEngine, archive, log};
use crate::call::{Call, File, FileStatus, follow};
use crate::engine::EngineError;
use crate::progress::{Event, Progress};
use crate::secret::Secret;
use crate::secret::search::Needles;

/// The size of the largest file that is read from a container.
const LARGEST_FILE: usize = 16 * 1024 * 1024;
/// What an archive has around the content of a file.
const ARCHIVE_FRAME: usize = 64 * 1024;
/// Links followed from one to the next.
const MOST_LINKS: usize = 8;
/// The size of what a command prints, as far as it is kept.
const LARGEST_OUTPUT: usize = 1024 * 1024;
/// Lines of a log that are returned.
const LOG_LINES: usize = 200;
/// How much of what a command prints is kept: its end, where there is more.
const LOG_BYTES: usize = 16 << 20;
/// Lines of a pull that are kept for the report of its failure.
const PULL_LINES: usize = 40;

/// Which part of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Whether what is yet to be written is waited for.
    pub follow: bool,
    /// How many of the last lines; `None`: all.
    pub last: Option<u64>,
    /// Whether every line begins with the time when it was written.
    pub timestamps: bool,
}

/// Some of what a process has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// To its standard output.
    Output(Vec<u8>),
    /// To its standard error.
    Error(Vec<u8>),
}

impl DockerEngine {
    /// Reads one file. A link at the end of the path costs one more request, since the engine does not follow it.
    pub(super) async fn read_file(&self, container: &str, path: &str) -> Result<Vec<u8>, Failure> {
        let refused = |message: String| Failure::from(EngineError::Refused { message });
        let mut path = path.to_owned();
        for _ in 0..=MOST_LINKS {
            let options = DownloadFromContainerOptions { path: path.clone() };
            let mut chunks = self.client.download_from_container(container, Some(options));
            let mut archive = Vec::new();
            while let Some(chunk) = chunks.next().await {
                archive.extend_from_slice(&chunk?);
                if archive::is_directory(&archive) {
                    return Err(refused(format!("{path} in container {container} is a directory")));
                }
                if archive.len() > LARGEST_FILE + ARCHIVE_FRAME {
                    return Err(refused(format!(
                        "{path} in container {container} is larger than 16 MiB"
                    )));
                }
            }
            match archive::unpack(&archive) {
                Ok(archive::Found::Bytes(bytes)) => return Ok(bytes),
                Ok(archive::Found::Link(target)) => path = follow(&path, &target),
                Ok(archive::Found::Other) => {
                    return Err(refused(format!("{path} in container {container} is no file")));
                }
                Err(error) => {
                    let call = format!("ReadFile: {error}");
                    return Err(EngineError::Unexpected { call }.into());
                }
            }
        }
        Err(refused(format!(
            "{path} in container {container} is one of too many links"
        )))
    }

    /// Returns what the processes of a container have written, as it was written, and perhaps what they go on to write.
    ///
    /// # Errors
    /// The engine cannot be asked, or does not keep what they write.
    pub async fn written(
        &self,
        container: &str,
        wanted: &Excerpt,
    ) -> Result<impl Stream<Item = Result<Written, EngineError>> + Send + use<'_>, EngineError> {
        let call = Call::FollowLog {
            container: container.to_owned(),
        };
        let ready = async {
            super::check_names(&call)?;
            self.negotiate().await
        };
        ready.await.map_err(|failure| failure.tell(&call, &self.host))?;
        let Excerpt {
            follow,
            last,
            timestamps,
        } = wanted;
        let options = LogsOptions {
            follow: *follow,
            stdout: true,
            stderr: true,
            timestamps: *timestamps,
            tail: last.map_or_else(|| "all".to_owned(), |last| last.to_string()),
            ..LogsOptions::default()
        };
        let pieces = self.client.logs(container, Some(options));
        Ok(pieces.map(move |piece| match piece {
            Ok(LogOutput::StdErr { message }) => Ok(Written::Error(message.to_vec())),
            Ok(
                LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message },
            ) => Ok(Written::Output(message.to_vec())),
            Err(error) => Err(Failure::from(error).tell(&call, &self.host)),
        }))
    }

    /// Reads a log until it ends, both streams, each by its own lines.
    pub(super) async fn follow_log(
        &self,
        container: &str,
        progress: &Progress,
    ) -> Result<Vec<String>, Failure> {
        let options = LogsOptions {
            follow: true,
            stdout: true,
            stderr: true,
            ..LogsOptions::default()
        };
        let pieces = self.client.logs(container, Some(options));
        let mut tail = Tail::of(LOG_LINES);
        told(pieces, &mut tail, progress).await?;
        Ok(tail.into_vec())
    }

    /// Runs a command that was prepared, and returns what it printed; `None` if it does not end in time.
    pub(super) async fn run_exec(&self, exec: &str, limit: Duration) -> Result<Option<String>, Failure> {
        let run = async {
            let StartExecResults::Attached { mut output, input: _ } =
                self.client.start_exec(exec, None).await?
            else {
                return Ok(String::new());
            };
            let mut bytes = Vec::new();
            while let Some(piece) = output.next().await {
                let piece = piece?.into_bytes();
                bytes.extend(
                    piece
                        .iter()
                        .take(LARGEST_OUTPUT - bytes.len().min(LARGEST_OUTPUT)),
                );
            }
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        match tokio::time::timeout(limit, run).await {
            Ok(result) => result.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Runs a command that was prepared, telling its lines; returns the last ones, and whether it ended.
    pub(super) async fn follow_exec(
        &self,
        exec: &str,
        limit: Option<Duration>,
        secrets: &BTreeMap<String, Secret>,
        progress: &Progress,
    ) -> Result<(Vec<String>, bool), Failure> {
        let needles = Needles::of(secrets.iter().map(|(name, secret)| (name.as_str(), secret)));
        let hidden = Progress::to({
            let progress = progress.clone();
            let needles = needles.clone();
            move |event| match (event, &needles) {
                (Event::Line(line), Some(needles)) => progress.line(needles.hide(&line)),
                (Event::Line(line), None) => progress.line(line),
                (Event::Amount { of, done, total }, _) => progress.amount(of, done, total),
            }
        });
        let progress = &hidden;
        let mut tail = Tail::of_bytes(LOG_BYTES);
        let run = async {
            let StartExecResults::Attached { output, input: _ } = self.client.start_exec(exec, None).await?
            else {
                return Ok(());
            };
            told(output, &mut tail, progress).await
        };
        let ended = match limit {
            None => run.await.map(|()| true)?,
            Some(limit) => match tokio::time::timeout(limit, run).await {
                Ok(result) => result.map(|()| true)?,
                Err(_) => false,
            },
        };
        let mut lines = tail.into_vec();
        if let Some(needles) = &needles {
            for line in &mut lines {
                *line = needles.hide(line);
            }
        }
        Ok((lines, ended))
    }

    /// Reads a directory. Where there is none, or something else, there is nothing below it.
    pub(super) async fn read_tree(&self, container: &str, path: &str) -> Result<Vec<File>, Failure> {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let mut chunks = self.client.download_from_container(container, Some(options));
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.next().await {
            archive.extend_from_slice(&chunk?);
            if archive.len() > LARGEST_FILE {
                let message = format!("{path} in container {container} is larger than 16 MiB");
                return Err(EngineError::Refused { message }.into());
            }
        }
        Ok(archive::tree(&archive).map_err(|error| EngineError::Unexpected {
            call: format!("ReadTree: {error}"),
        })?)
    }

    /// Asks what there is at a path: of the archive that the engine makes of it only the beginning is read.
    pub(super) async fn stat_file(&self, container: &str, path: &str) -> Result<FileStatus, Failure> {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let mut chunks = self.client.download_from_container(container, Some(options));
        let mut start = Vec::new();
        while let Some(chunk) = chunks.next().await {
            start.extend_from_slice(&chunk?);
            match archive::status(&start) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => {
                    let call = format!("StatFile: {error}");
                    return Err(EngineError::Unexpected { call }.into());
                }
            }
        }
        let call = "StatFile: an archive of nothing".to_owned();
        Err(EngineError::Unexpected { call }.into())
    }

    /// Adds who we are to the registry of an image.
    async fn as_somebody(
        &self,
        mut request: BollardRequest,
        reference: &str,
    ) -> Result<BollardRequest, Failure> {
        if let Some(credentials) = self.credentials.for_image(reference).await? {
            let value = HeaderValue::from_str(&header(&credentials)?);
            let mut value = value.map_err(|error| EngineError::Refused {
                message: error.to_string(),
            })?;
            value.set_sensitive(true);
            request.headers_mut().insert("X-Registry-Auth", value);
        }
        Ok(request)
    }

    /// Asks the registry of an image what it means now. bollard would say who we are in letters that engines do not
    /// read, and they take that for nobody.
    pub(super) async fn digest_of(&self, reference: &str) -> Result<String, Failure> {
        let request = question(&format!("/distribution/{reference}/json"))?;
        let request = self.as_somebody(request, reference).await?;
        let answer: Option<DistributionInspect> = News::of(&self.open, request).await?.next().await?;
        let digest = answer.and_then(|answer| answer.descriptor.digest);
        Ok(digest.ok_or_else(|| EngineError::Unexpected {
            call: format!("AskRegistry: {reference} has no digest"),
        })?)
    }

    /// Pulls an image, telling how far its layers are.
    pub(super) async fn pull(
        &self,
        call: &Call,
        reference: &str,
        progress: &Progress,
    ) -> Result<(), Failure> {
        // Without a tag the engine would take all there are.
        let last = reference.rsplit('/').next().unwrap_or_default();
        let reference = if last.contains([':', '@']) {
            reference.to_owned()
        } else {
            format!("{reference}:latest")
        };
        let query = [("fromImage", reference)];
        let request = order("/images/create", &query, question("/")?)?;
        let request = self.as_somebody(request, &query[0].1).await?;
        let mut news = News::of(&self.open, request).await?;
        let mut tail = Tail::of(PULL_LINES);
        loop {
            let news: CreateImageInfo = match news.next().await {
                Ok(Some(news)) => news,
                Ok(None) => return Ok(()),
                Err(failure) => {
                    return Err(match failure.tell(call, &self.host) {
                        EngineError::Work { message, .. } => EngineError::Work {
                            message,
                            line: None,
                            log: tail.into_vec(),
                        },
                        error => error,
                    }
                    .into());
                }
            };
            let status = log::clean(news.status.unwrap_or_default().as_bytes());
            let detail = news.progress_detail.unwrap_or_default();
            match (
                news.id,
                detail.current.and_then(|bytes| u64::try_from(bytes).ok()),
            ) {
                (Some(layer), Some(done)) => {
                    let total = detail
                        .total
                        .and_then(|bytes| u64::try_from(bytes).ok())
                        .filter(|total| *total > 0);
                    progress.amount(format!("{status} {layer}"), done, total);
                }
                (_, _) if status.is_empty() => {}
                (Some(layer), None) => tail.push(format!("{layer}: {status}")),
                (None, _) => {
                    progress.line(status.clone());
                    tail.push(status);
                }
            }
        }
    }
}

/// Tells what comes in two streams, each by its own lines, and keeps the last ones.
async fn told(
    mut pieces: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
    tail: &mut Tail,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut tell = |line: String| {
        progress.line(line.clone());
        tail.push(line);
    };
    let (mut out, mut err) = (Lines::default(), Lines::default());
    while let Some(piece) = pieces.next().await {
        let (lines, message) = match piece? {
            LogOutput::StdErr { message } => (&mut err, message),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                (&mut out, message)
            }
        };
        lines.push(&message).into_iter().for_each(&mut tell);
    }
    let rest = [out.finish(), err.finish()];
    rest.into_iter().flatten().for_each(&mut tell);
    Ok(())
}
