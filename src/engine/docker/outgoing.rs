//! Archives that are written while they are sent, so that no size of them needs more memory than any other.

use std::io::{self, Write};

use bollard::BollardRequest;
use futures_util::stream::{Stream, unfold};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes sent at a time.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait to be sent.
const WAITING: usize = 8;

/// The sending end; a blocking writer with bounded memory.
pub(super) struct Pipe {
    chunks: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pipe {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.chunks
            .blocking_send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// The outcome of writing an archive.
pub(super) struct Writing(JoinHandle<io::Result<()>>);

impl Writing {
    /// Returns what kept the archive from being written, which is the cause of whatever the engine made of it.
    /// `is_taken` says whether the engine took it: one that failed by itself may leave the rest unread for ever.
    pub(super) async fn trouble(self, is_taken: bool) -> Option<io::Error> {
        if !is_taken && !self.0.is_finished() {
            return None;
        }
        let error = self.0.await.ok()?.err()?;
        (error.kind() != io::ErrorKind::BrokenPipe).then_some(error)
    }
}

/// Starts writing an archive and returns it as a stream, with the outcome of the writing.
///
/// When the writing fails the stream ends in garbage; the request then fails too, and the cause is in the outcome.
pub(super) fn stream(
    write: impl FnOnce(&mut Pipe) -> io::Result<()> + Send + 'static,
) -> (impl Stream<Item = Result<Vec<u8>, io::Error>>, Writing) {
    let (chunks, received) = mpsc::channel(WAITING);
    let writing = tokio::task::spawn_blocking(move || {
        let mut pipe = Pipe {
            chunks,
            buffer: Vec::with_capacity(CHUNK),
        };
        let outcome = write(&mut pipe);
        if outcome.is_err() {
            // An archive that just ended would be taken for a whole one.
            pipe.buffer = vec![0xff; 512];
        }
        outcome.and(pipe.send())
    });
    let stream = unfold(received, |mut received: mpsc::Receiver<Vec<u8>>| async {
        received.recv().await.map(|chunk| (Ok(chunk), received))
    });
    (stream, Writing(writing))
}

/// Returns a request without address whose body is an archive.
pub(super) fn request(
    archive: impl Stream<Item = Result<Vec<u8>, io::Error>> + Send + 'static,
) -> BollardRequest {
    use futures_util::StreamExt as _;
    let body = bollard::body_try_stream(archive.map(|chunk| chunk.map(Into::into)));
    let mut request = BollardRequest::new(body);
    let kind = HeaderValue::from_static("application/x-tar");
    request.headers_mut().insert(CONTENT_TYPE, kind);
    request
}
