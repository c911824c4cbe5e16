//! Sessions: a command's streams on a connection of their own, which the engine takes out of HTTP.
//!
//! bollard has such connections too, but guesses from the first byte of every piece whether it came from a terminal,
//! and a terminal may well show that byte.

use std::io;
use std::path::Path;

use bollard::models::ExecConfig;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::bounds::READ_LIMIT;
use super::error::{Failure, is_unconnected, name};
use super::{DockerEngine, connect, within};
use crate::call::{Call, Exec};
use crate::engine::EngineError;
use crate::engine::sessions::{Command, Piece, Place, Sessions, Size, Stream, Wire};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// The longest answer to a refused start that is read.
const LONGEST_REFUSAL: usize = 64 * 1024;
/// The first version of the API by which a terminal has its size before anything runs in it.
const SIZED: super::negotiate::Api = super::negotiate::Api(1, 42);

impl Sessions for DockerEngine {
    async fn prepare(&self, container: &str, command: &Command) -> Result<String, EngineError> {
        let call = Call::CreateExec(Box::new(Exec {
            container: container.to_owned(),
            words: command.words.clone(),
            ..Exec::default()
        }));
        let prepared = async {
            super::check_names(&call)?;
            self.negotiate().await?;
            let config = config(command);
            within(READ_LIMIT, async {
                Ok(self.client.create_exec(container, config).await?.id)
            })
            .await
        };
        prepared
            .await
            .map_err(|failure: Failure| failure.tell(&call, &self.host))
    }

    async fn open(&self, exec: &str, place: Place) -> Result<Wire, EngineError> {
        let call = Call::StartExec {
            exec: exec.to_owned(),
            seconds: 0,
        };
        let opened = async {
            super::check_names(&call)?;
            self.negotiate().await?;
            within(READ_LIMIT, self.hijack(&call, exec, place)).await
        };
        opened.await.map_err(|failure| failure.tell(&call, &self.host))
    }

    async fn resize(&self, exec: &str, size: Size) -> Result<(), EngineError> {
        let call = Call::InspectExec {
            exec: exec.to_owned(),
        };
        let options = bollard::exec::ResizeExecOptions {
            height: size.rows,
            width: size.columns,
        };
        let resized = within(READ_LIMIT, async {
            Ok(self.client.resize_exec(exec, options).await?)
        });
        resized.await.map_err(|failure| failure.tell(&call, &self.host))
    }
}

/// Returns what the engine is told of a command.
fn config(command: &Command) -> ExecConfig {
    let Command {
        words,
        env,
        secrets,
        user,
        workdir,
        terminal,
        input,
    } = command;
    let plain = env.iter().map(|(name, value)| (name, value.as_str()));
    let secret = secrets.iter().map(|(name, value)| (name, value.expose()));
    let env = plain.chain(secret).map(|(name, value)| format!("{name}={value}"));
    ExecConfig {
        cmd: Some(words.clone()),
        env: Some(env.collect()),
        user: user.clone(),
        working_dir: workdir.clone(),
        tty: Some(*terminal),
        attach_stdin: Some(*input),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    }
}

impl DockerEngine {
    /// Starts a command on a connection of its own, and keeps the connection.
    async fn hijack(&self, call: &Call, exec: &str, place: Place) -> Result<Wire, Failure> {
        match &self.address {
            connect::Host::Socket(path) => {
                let stream = connected(&self.host, UnixStream::connect(path as &Path).await)?;
                let parts = self.upgrade(call, exec, place, stream).await?;
                let (read, write) = parts.io.into_inner().into_split();
                Ok(wire(parts.read_buf, read, write, place))
            }
            connect::Host::Tcp(authority) => {
                let stream = connected(&self.host, TcpStream::connect(authority).await)?;
                let _ = stream.set_nodelay(true);
                let parts = self.upgrade(call, exec, place, stream).await?;
                let (read, write) = parts.io.into_inner().into_split();
                Ok(wire(parts.read_buf, read, write, place))
            }
        }
    }

    async fn upgrade<S>(
        &self,
        call: &Call,
        exec: &str,
        place: Place,
        stream: S,
    ) -> Result<hyper::upgrade::Parts<TokioIo<S>>, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let unreachable = |error: hyper::Error| Failure::from(gone(&self.host, &error));
        let mut body = json!({ "Detach": false, "Tty": matches!(place, Place::Terminal(_)) });
        if let Place::Terminal(Some(Size { rows, columns })) = place
            && self.prefix.api().is_some_and(|api| api >= SIZED)
        {
            body["ConsoleSize"] = json!([rows, columns]);
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/exec/{exec}/start", self.prefix.get()))
            .header(HOST, "engine")
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .body(Full::new(Bytes::from(body.to_string())));
        let request = request.map_err(|error| unexpected(call, &error.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        // It ends when the connection is taken out of HTTP.
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await.map_err(unreachable)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status_code = answer.status().as_u16();
            let body = http_body_util::Limited::new(answer.into_body(), LONGEST_REFUSAL);
            let text = body.collect().await.map(http_body_util::Collected::to_bytes);
            let text = text.unwrap_or_default();
            let told: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
            let told = told.and_then(|told| Some(told.get("message")?.as_str()?.to_owned()));
            let message = told.unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
            let error = bollard::errors::Error::DockerResponseServerError { status_code, message };
            return Err(error.into());
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(unreachable)?;
        upgraded
            .downcast()
            .map_err(|_| unexpected(call, "another transport").into())
    }
}

fn unexpected(call: &Call, what: &str) -> EngineError {
    EngineError::Unexpected {
        call: format!("{}: {what}", name(call)),
    }
}

fn connected<S>(host: &str, result: io::Result<S>) -> Result<S, EngineError> {
    result.map_err(|error| EngineError::Unreachable {
        host: host.to_owned(),
        message: error.to_string(),
        denied: error.kind() == io::ErrorKind::PermissionDenied,
        heard: !is_unconnected(&error),
    })
}

fn gone(host: &str, error: &hyper::Error) -> EngineError {
    EngineError::Unreachable {
        host: host.to_owned(),
        message: error.to_string(),
        denied: false,
        heard: true,
    }
}

/// Makes a wire of a connection that is no longer HTTP, of which a first part may have been read already.
fn wire(
    first: Bytes,
    read: impl AsyncRead + Send + Unpin + 'static,
    write: impl AsyncWrite + Send + Unpin + 'static,
    place: Place,
) -> Wire {
    let read = io::Cursor::new(first).chain(read);
    let frames = match place {
        Place::Streams => Some(Frames::default()),
        Place::Terminal(_) => None,
    };
    let output = stream::unfold(Some((read, frames)), |state| async move {
        let (mut read, mut frames) = state?;
        let mut bytes = vec![0; CHUNK];
        let length = match read.read(&mut bytes).await {
            Ok(length) => length,
            Err(error) => return Some((vec![Err(error)], None)),
        };
        if length == 0 {
            return None;
        }
        bytes.truncate(length);
        let pieces = match &mut frames {
            Some(frames) => frames.take(&bytes),
            None => vec![Piece {
                stream: Stream::Out,
                bytes,
            }],
        };
        Some((pieces.into_iter().map(Ok).collect(), Some((read, frames))))
    });
    Wire {
        output: output.flat_map(stream::iter).boxed(),
        input: Box::new(write),
    }
}

/// Takes apart what a command without a terminal writes: both streams come in frames, in the order of writing. Pieces
/// are handed on as they come, whatever the frames say of their own length.
#[derive(Default)]
struct Frames {
    /// What has come of a head.
    head: Vec<u8>,
    /// The stream of the frame and what is still to come of it.
    stream: Option<Stream>,
    left: usize,
}

/// The length of the head of a frame.
const HEAD: usize = 8;

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [stream, _, _, _, length @ ..] = self.head.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    self.stream = match stream {
                        0 | 1 => Some(Stream::Out),
                        // What the engine itself has to say of the command has the number 3.
                        _ => Some(Stream::Err),
                    };
                    self.head.clear();
                }
                continue;
            }
            let (part, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= part.len();
            bytes = rest;
            pieces.push(Piece {
                stream: self.stream.unwrap_or(Stream::Out),
                bytes: part.to_vec(),
            });
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).expect("a length").to_be_bytes();
        [&[stream, 0, 0, 0], length.as_slice(), text.as_bytes()].concat()
    }

    /// Joins what was told apart in pieces of any size.
    fn told(bytes: &[u8], size: usize) -> (String, String) {
        let mut frames = Frames::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size).flat_map(|chunk| frames.take(chunk)) {
            match piece.stream {
                Stream::Out => out.extend(piece.bytes),
                Stream::Err => err.extend(piece.bytes),
            }
        }
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(out), text(err))
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let bytes = [
            frame(1, "one "),
            frame(2, "bad"),
            frame(1, ""),
            frame(1, "two"),
            frame(3, "!"),
        ]
        .concat();
        for size in 1..=bytes.len() {
            assert_eq!(
                told(&bytes, size),
                ("one two".to_owned(), "bad!".to_owned()),
                "{size}"
            );
        }
    }

    #[tokio::test]
    async fn a_terminal_shows_any_bytes_and_what_was_read_with_the_answer_comes_first() {
        let shown = [&[1, 0, 0, 0, 0, 0, 0, 1, 2][..], &[0, 7]].concat();
        let (read, write) = (io::Cursor::new(shown[3..].to_vec()), tokio::io::sink());
        let wire = wire(
            Bytes::copy_from_slice(&shown[..3]),
            read,
            write,
            Place::Terminal(None),
        );
        let pieces: Vec<_> = wire.output.collect().await;
        let bytes: Vec<u8> = pieces
            .into_iter()
            .flat_map(|piece| piece.expect("a piece").bytes)
            .collect();
        assert_eq!(bytes, shown);
    }
}
