//! [`Sessions`]: commands in running containers whose streams are held by whoever asks.
//!
//! It stands beside [`Engine`](super::Engine), not in it: a call is a value with one answer, a session is a wire that
//! lives as long as a person works.

use std::future::Future;
use std::io;

use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::EngineError;
use crate::secret::Secret;

/// A place where sessions are opened.
pub trait Sessions: Send + Sync {
    /// Prepares a command in a running container, and returns its id. Nothing runs yet.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the container does not run, [`EngineError::NotFound`] when there is none.
    fn prepare(
        &self,
        container: &str,
        command: &Command,
    ) -> impl Future<Output = Result<String, EngineError>> + Send;

    /// Starts a command that was prepared, and takes hold of its streams.
    ///
    /// # Errors
    /// It was not started. That there is no such program is no error here: the wire tells, and so does the code.
    fn open(&self, exec: &str, place: Place) -> impl Future<Output = Result<Wire, EngineError>> + Send;

    /// Tells a command how large its terminal is.
    ///
    /// # Errors
    /// It has ended, has no terminal, or the engine cannot be asked.
    fn resize(&self, exec: &str, size: Size) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Its words.
    pub words: Vec<String>,
    /// What its environment has besides that of the container.
    pub env: Vec<(String, String)>,
    /// More of it, which nobody may see.
    pub secrets: Vec<(String, Secret)>,
    /// `uid:gid`; `None` is the container's.
    pub user: Option<String>,
    /// The directory it starts in; `None` is the container's.
    pub workdir: Option<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Whether somebody writes to its standard input.
    pub input: bool,
}

/// Where a command writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Two streams.
    Streams,
    /// A terminal, of this size where it is known.
    Terminal(Option<Size>),
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// What a command wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// To which of its streams. All that a terminal shows is of the first.
    pub stream: Stream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A stream that a command writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Both directions of a command's streams. Dropping it hangs up; the command goes on, without anybody who listens.
pub struct Wire {
    /// What the command writes, until it has ended. Nothing is read ahead of whoever asks for it.
    pub output: BoxStream<'static, io::Result<Piece>>,
    /// What the command reads. Shutting it down is the end of its input; the output goes on.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
}
