//! Sessions: somebody at work inside a container, with the terminal or the streams of who runs aishell.
//!
//! A session is a command of the engine whose streams are held here. Beside it runs a [`lifeline`], which ends what the
//! session has begun when nobody holds it any more; the terminal is given back by whoever is left, see [`guard`].

use std::io;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use self::lifeline::Lifeline;
use self::signals::{Signal, Signals};
use self::streams::{Input, Output};
use self::terminal::Raw;
use crate::call::{Answer, Call};
use crate::engine::sessions::{Command, Place, Sessions, Wire};
use crate::engine::{Engine, EngineError};
use crate::observed::RunState;
use crate::progress::Progress;

pub mod agent;
pub mod consent;
pub mod detached;
pub mod environment;
mod git;
pub mod guard;
mod lifeline;
pub mod place;
mod refusal;
pub mod screen;
pub mod shell;
pub mod signals;
mod streams;
pub mod terminal;
pub mod variables;

/// The variable that every process of a session has, with a value of its own.
pub const VARIABLE: &str = "AISHELL_SESSION";
/// The code of a program that nobody reads any more, as of one that SIGPIPE ends.
const UNREAD: u8 = 128 + 13;
/// How long a command runs before it gets a lifeline. Most have ended by then, and need none.
const SHORT: Duration = Duration::from_millis(200);
/// How long the engine may take to learn that a command has ended whose terminal is closed.
const LATE: Duration = Duration::from_secs(2);
/// How long the engine may take to learn that a container has ended whose commands are gone.
const SETTLED: Duration = Duration::from_secs(1);
/// The shortest and the longest time between two questions whether a command has ended.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Why a session did not come about, or did not last.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The engine cannot be asked, or refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such program in the container.
    #[error("there is no program `{word}` in the container")]
    NotFound {
        /// The first word of the command.
        word: String,
    },
    /// It is there and cannot be run.
    #[error("`{word}` in the container cannot be run: {message}")]
    NotExecutable {
        /// The first word of the command.
        word: String,
        /// What the engine said.
        message: String,
    },
    /// The directory it is to start in is not there.
    #[error("there is no directory {path} in the container")]
    NoDirectory {
        /// The directory.
        path: String,
    },
    /// The connection broke in mid-session.
    #[error("the connection to the engine was lost in mid-session")]
    Lost,
    /// The container ended in mid-session.
    #[error("the container ended in mid-session")]
    ContainerEnded,
    /// The terminal cannot be used.
    #[error("the terminal cannot be used")]
    Terminal(#[source] io::Error),
    /// What is read or written here failed.
    #[error("standard {name} failed")]
    Streams {
        /// Which.
        name: &'static str,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The process that held the session is gone.
    #[error("whatever held the session is gone")]
    Unheld,
    /// A session that is held elsewhere did not come about, or did not last.
    #[error("{message}")]
    Held {
        /// The code to end with.
        code: u8,
        /// Why.
        message: String,
    },
    /// There are no random numbers, or no signals.
    #[error("the system refuses what a session needs")]
    System(#[source] io::Error),
}

impl SessionError {
    /// Returns the code that a command would end with in its place.
    pub fn code(&self) -> u8 {
        match self {
            Self::NotExecutable { .. } => 126,
            Self::NotFound { .. } => 127,
            Self::ContainerEnded => 137,
            Self::Held { code, .. } => *code,
            Self::Engine(_)
            | Self::NoDirectory { .. }
            | Self::Lost
            | Self::Terminal(_)
            | Self::Streams { .. }
            | Self::Unheld
            | Self::System(_) => 125,
        }
    }
}

/// A session that is to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The engine's id of the container.
    pub container: String,
    /// The command.
    pub command: Command,
}

/// Opens a session on the streams of this process, stays until it ends, and returns the code it ended with.
///
/// # Errors
/// Nothing ran, or it cannot be said how it ended. The terminal is as it was in any case.
pub async fn run<E: Engine + Sessions>(engine: &E, opening: Opening) -> Result<u8, SessionError> {
    let Opening {
        container,
        mut command,
    } = opening;
    let id = identifier().map_err(SessionError::System)?;
    command.env.retain(|(name, _)| name != VARIABLE);
    command.env.push((VARIABLE.to_owned(), id.clone()));
    let line = Line {
        engine,
        container: &container,
        user: command.user.as_deref(),
        id: &id,
    };
    if command.terminal && terminal::on_input() {
        Box::pin(in_terminal(&line, &command)).await
    } else {
        Box::pin(on_streams(&line, &command)).await
    }
}

/// What it takes to let a lifeline down.
struct Line<'a, E> {
    engine: &'a E,
    container: &'a str,
    user: Option<&'a str>,
    id: &'a str,
}

impl<E: Sessions> Line<'_, E> {
    async fn cast(&self) -> Option<Lifeline> {
        match Lifeline::cast(self.engine, self.container, self.user, self.id).await {
            Ok(lifeline) => Some(lifeline),
            Err(error) => {
                tracing::info!("{error}; what the session leaves behind is not ended");
                None
            }
        }
    }
}

/// How the conversation came to its end.
enum Ended {
    /// What the command writes to is closed.
    Closed,
    /// It could not be started: what the engine said in its place.
    Refused(String),
    /// The wire broke.
    Broken,
    /// Somebody wants this program to end.
    Told(Signal),
    /// Nobody reads what is written.
    Unread,
    /// What is read or written here failed.
    Failed(SessionError),
}

async fn in_terminal<E: Engine + Sessions>(
    line: &Line<'_, E>,
    command: &Command,
) -> Result<u8, SessionError> {
    let engine = line.engine;
    let mut signals = Signals::listen().map_err(SessionError::System)?;
    let watcher = guard::Guard::begin();
    let exec = engine.prepare(line.container, command).await?;
    // From here on every way out gives the terminal back.
    let mut raw = Raw::enter(watcher).map_err(SessionError::Terminal)?;
    let (lifeline, wire) = tokio::join!(line.cast(), engine.open(&exec, Place::Terminal(terminal::size())));
    let Wire {
        mut output,
        mut input,
    } = wire?;
    let mut keys = Input::open().map_err(SessionError::System)?;
    let mut screen = Output::open();
    let ended = {
        let show = async {
            let mut refusal = refusal::Watch::default();
            while let Some(piece) = output.next().await {
                let Ok(piece) = piece else { return Ended::Broken };
                for piece in refusal.pass(piece) {
                    raw.shown(&piece.bytes);
                    if let Err(ended) = screen.write(piece).await {
                        return ended;
                    }
                }
            }
            refusal.end()
        };
        let type_in = async {
            while let Some(bytes) = keys.next().await {
                // That nobody reads is told by the other direction.
                let Ok(bytes) = bytes else { break };
                if input.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        };
        let attend = async {
            // Before API 1.42 a terminal has no size until somebody tells.
            let mut told = None;
            loop {
                let size = terminal::size();
                if let Some(new) = size
                    && told != size
                {
                    told = size;
                    if let Err(error) = engine.resize(&exec, new).await {
                        tracing::debug!("{error}");
                    }
                }
                match signals.next().await {
                    Signal::Resize => {}
                    other => return Ended::Told(other),
                }
            }
        };
        tokio::select! {
            biased;
            ended = show => ended,
            ended = attend => ended,
            ended = type_in => ended,
        }
    };
    let written = screen.finish().await;
    drop(raw);
    let ended = match (ended, written) {
        (Ended::Closed, Err(ended)) => ended,
        (ended, _) => ended,
    };
    conclude(line, command, &exec, lifeline, ended).await
}

async fn on_streams<E: Engine + Sessions>(line: &Line<'_, E>, command: &Command) -> Result<u8, SessionError> {
    let engine = line.engine;
    let mut signals = Signals::listen().map_err(SessionError::System)?;
    let exec = engine.prepare(line.container, command).await?;
    let place = if command.terminal {
        Place::Terminal(terminal::size())
    } else {
        Place::Streams
    };
    let Wire {
        mut output,
        mut input,
    } = engine.open(&exec, place).await?;
    let mut own = Output::open();
    let mut lifeline = None;
    let ended = {
        let write = async {
            let mut refusal = refusal::Watch::default();
            while let Some(piece) = output.next().await {
                let Ok(piece) = piece else { return Ended::Broken };
                for piece in refusal.pass(piece) {
                    if let Err(ended) = own.write(piece).await {
                        return ended;
                    }
                }
            }
            refusal.end()
        };
        let read = async {
            if command.input {
                let mut bytes = match Input::open() {
                    Ok(bytes) => bytes,
                    Err(cause) => return Ended::Failed(SessionError::System(cause)),
                };
                while let Some(bytes) = bytes.next().await {
                    let bytes = match bytes {
                        Ok(bytes) => bytes,
                        Err(cause) => {
                            return Ended::Failed(SessionError::Streams { name: "input", cause });
                        }
                    };
                    if input.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            }
            // The end of the input; what the command writes still comes.
            let _ = input.shutdown().await;
            std::future::pending().await
        };
        let attend = async {
            let mut asked = false;
            loop {
                let signal = if lifeline.is_none() && !asked {
                    tokio::select! {
                        signal = signals.next() => signal,
                        () = tokio::time::sleep(SHORT) => {
                            lifeline = line.cast().await;
                            asked = true;
                            continue;
                        }
                    }
                } else {
                    signals.next().await
                };
                if signal == Signal::Resize {
                    continue;
                }
                if lifeline.is_none() {
                    lifeline = line.cast().await;
                }
                // The command learns of it and ends as it likes; who insists is obeyed at once.
                let Some(lifeline) = &mut lifeline else {
                    return Ended::Told(signal);
                };
                lifeline.pass(signal).await;
                loop {
                    match signals.next().await {
                        Signal::Resize => {}
                        again => return Ended::Told(again),
                    }
                }
            }
        };
        tokio::select! {
            biased;
            ended = write => ended,
            ended = attend => ended,
            ended = read => ended,
        }
    };
    let written = own.finish().await;
    let ended = match (ended, written) {
        (Ended::Closed, Err(ended)) => ended,
        (ended, _) => ended,
    };
    let lifeline = match (&ended, lifeline) {
        // What goes on inside is to end, and that takes a lifeline.
        (Ended::Unread | Ended::Failed(_) | Ended::Broken, None) => line.cast().await,
        (_, lifeline) => lifeline,
    };
    conclude(line, command, &exec, lifeline, ended).await
}

/// Finds out how a command ended, and lets its lifeline go.
async fn conclude<E: Engine + Sessions>(
    line: &Line<'_, E>,
    command: &Command,
    exec: &str,
    lifeline: Option<Lifeline>,
    ended: Ended,
) -> Result<u8, SessionError> {
    match ended {
        Ended::Closed => {}
        Ended::Refused(message) => {
            release(lifeline).await;
            let limit = Some(LATE);
            let code = code(line, exec, limit).await?;
            return Err(refusal::error(command, code, message));
        }
        // The lifeline is dropped, and ends what goes on.
        Ended::Broken => return Err(SessionError::Lost),
        Ended::Told(signal) => return Ok(signal.code()),
        Ended::Unread => {
            if let Some(mut lifeline) = lifeline {
                lifeline.unread().await;
            }
            return Ok(UNREAD);
        }
        Ended::Failed(error) => return Err(error),
    }
    // A terminal is open while anything runs in it. Without one a command may close its streams and go on.
    let limit = command.terminal.then_some(LATE);
    let code = code(line, exec, limit).await;
    let broken = match (&code, lifeline) {
        (Err(_), _) => true,
        (Ok(_), None) => false,
        (Ok(_), Some(mut lifeline)) => {
            let cut = lifeline.is_cut().await;
            if !cut {
                lifeline.release().await;
            }
            cut
        }
    };
    if !broken {
        return code;
    }
    // Whatever cut both has ended the command too, and its code says nothing of it.
    let ended = tokio::time::timeout(SETTLED, container_ends(line)).await;
    Err(match ended {
        Ok(true) => SessionError::ContainerEnded,
        Ok(false) | Err(_) => SessionError::Lost,
    })
}

/// Waits until the engine says that the container has ended; `false` when it cannot be asked.
async fn container_ends<E: Engine>(line: &Line<'_, E>) -> bool {
    let call = Call::InspectContainer {
        container: line.container.to_owned(),
    };
    loop {
        match line.engine.call(&call, &Progress::default()).await {
            Ok(Answer::Container(reply)) if reply.state == RunState::Running => {}
            Ok(_) | Err(EngineError::NotFound { .. }) => return true,
            Err(_) => return false,
        }
        tokio::time::sleep(ASK_AGAIN.1).await;
    }
}

async fn release(lifeline: Option<Lifeline>) {
    if let Some(lifeline) = lifeline {
        lifeline.release().await;
    }
}

/// Returns the code that a command ended with, as soon as the engine knows.
async fn code<E: Engine>(
    line: &Line<'_, E>,
    exec: &str,
    limit: Option<Duration>,
) -> Result<u8, SessionError> {
    let call = Call::InspectExec {
        exec: exec.to_owned(),
    };
    let asking = async {
        let (mut pause, longest) = ASK_AGAIN;
        loop {
            match line.engine.call(&call, &Progress::default()).await {
                Ok(Answer::Exec(reply)) => {
                    if let Some(code) = reply.code {
                        // Codes of processes are bytes.
                        return Ok(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
                    }
                }
                Ok(_) => {
                    let call = "InspectExec".to_owned();
                    return Err(EngineError::Unexpected { call }.into());
                }
                Err(EngineError::NotFound { .. }) => return Err(SessionError::ContainerEnded),
                Err(EngineError::Unreachable { .. }) => return Err(SessionError::Lost),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    };
    match limit {
        Some(limit) => tokio::time::timeout(limit, asking)
            .await
            .unwrap_or(Err(SessionError::Lost)),
        None => asking.await,
    }
}

/// Returns what tells the processes of a session from all others.
pub(crate) fn identifier() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
