//! The process that holds a session. It has no terminal, and says what it has to say to whoever sits at one.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{self, Frame};
use super::{Held, Order};
use crate::engine::docker::{DockerEngine, Host};
use crate::engine::sessions::{Place, Sessions as _, Size, Wire};
use crate::session::screen::Screen;
use crate::session::{Ended, Line, SessionError, VARIABLE, conclude, identifier, refusal};

/// The word by which a program learns that it is one.
pub const WORD: &str = "session-holder";
/// How long nobody may come at all.
const FIRST: Duration = Duration::from_secs(60);
/// How long the last words may take to be heard.
const LAST: Duration = Duration::from_secs(5);
/// How many things may wait on their way.
const WAITING: usize = 16;
/// How much of what was shown is shown again.
const TAIL: usize = 32 * 1024;

/// Holds the session that standard input orders, until it ends.
pub fn hold() {
    let _ = rustix::process::setsid();
    let mut order = Vec::new();
    if std::io::stdin().read_to_end(&mut order).is_err() {
        return;
    }
    let Ok(order) = serde_json::from_slice::<Order>(&order) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        runtime.block_on(serve(order));
        runtime.shutdown_background();
    }
}

/// A socket that is gone when its holder is.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Somebody who sits at a terminal.
struct Sitter {
    number: u64,
    to: mpsc::Sender<Frame>,
    writing: JoinHandle<()>,
}

/// What happens at the socket.
enum Event {
    Sat(Sitter, Option<Size>),
    Size(u64, Option<Size>),
    Gone(u64),
}

async fn serve(order: Order) {
    let Ok(listener) = UnixListener::bind(&order.socket) else {
        return;
    };
    let _socket = Socket(order.socket.clone());
    let mut out = std::io::stdout();
    if out.write_all(b"!").and_then(|()| out.flush()).is_err() {
        return;
    }
    let (tell, mut events) = mpsc::channel(WAITING);
    let (press, keys) = mpsc::channel(WAITING);
    tokio::spawn(accept(listener, order.held.clone(), tell, press));
    let Ok(Some(Event::Sat(sitter, size))) = tokio::time::timeout(FIRST, events.recv()).await else {
        return;
    };
    let mut sitter = Some(sitter);
    let last = match hold_one(&order, size, &mut sitter, &mut events, keys).await {
        Ok(code) => Frame::Ended(code),
        Err(error) => Frame::Failed(error.code(), error.to_string()),
    };
    if let Some(Sitter { to, writing, .. }) = sitter {
        let _ = to.send(last).await;
        drop(to);
        let _ = tokio::time::timeout(LAST, writing).await;
    }
}

/// Lets people in, each on a connection of their own.
async fn accept(listener: UnixListener, held: Held, tell: mpsc::Sender<Event>, press: mpsc::Sender<Vec<u8>>) {
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        tokio::spawn(attend(stream, number, held.clone(), tell.clone(), press.clone()));
    }
}

async fn attend(
    mut stream: UnixStream,
    number: u64,
    held: Held,
    tell: mpsc::Sender<Event>,
    press: mpsc::Sender<Vec<u8>>,
) {
    let size = match frame::read(&mut stream).await {
        Ok(Some(Frame::Ask)) => {
            let _ = frame::write(&mut stream, &Frame::Held(held)).await;
            return;
        }
        Ok(Some(Frame::Size(size))) => size,
        Ok(_) | Err(_) => return,
    };
    let (mut read, mut write) = stream.into_split();
    let (to, mut waiting) = mpsc::channel(WAITING);
    let writing = tokio::spawn(async move {
        while let Some(frame) = waiting.recv().await {
            let last = matches!(frame, Frame::Taken);
            if frame::write(&mut write, &frame).await.is_err() || last {
                break;
            }
        }
        let _ = write.shutdown().await;
    });
    let sitter = Sitter { number, to, writing };
    if tell.send(Event::Sat(sitter, size)).await.is_err() {
        return;
    }
    loop {
        let told = match frame::read(&mut read).await {
            Ok(Some(Frame::Bytes(bytes))) => press.send(bytes).await.is_ok(),
            Ok(Some(Frame::Size(size))) => tell.send(Event::Size(number, size)).await.is_ok(),
            Ok(_) | Err(_) => false,
        };
        if !told {
            let _ = tell.send(Event::Gone(number)).await;
            return;
        }
    }
}

async fn hold_one(
    order: &Order,
    size: Option<Size>,
    sitter: &mut Option<Sitter>,
    events: &mut mpsc::Receiver<Event>,
    mut keys: mpsc::Receiver<Vec<u8>>,
) -> Result<u8, SessionError> {
    let unreachable = |message: String| SessionError::System(std::io::Error::other(message));
    let host = Host::parse(&order.engine).map_err(|error| unreachable(error.to_string()))?;
    let engine = DockerEngine::at(&host).map_err(|error| unreachable(error.to_string()))?;
    let id = identifier().map_err(SessionError::System)?;
    let mut command = order.command();
    command.env.push((VARIABLE.to_owned(), id.clone()));
    let line = Line {
        engine: &engine,
        container: &order.held.container,
        user: order.user.as_deref(),
        id: &id,
    };
    let exec = engine.prepare(line.container, &command).await?;
    let (lifeline, wire) = tokio::join!(line.cast(), engine.open(&exec, Place::Terminal(size)));
    let Wire {
        mut output,
        mut input,
    } = wire?;
    // What is pasted may wait for the command while that waits to be read.
    tokio::spawn(async move {
        while let Some(bytes) = keys.recv().await {
            if input.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let resize = async |size: Option<Size>| {
        if let Some(size) = size
            && let Err(error) = engine.resize(&exec, size).await
        {
            tracing::debug!("{error}");
        }
    };
    resize(size).await;
    let mut screen = Screen::default();
    let mut refusal = refusal::Watch::default();
    let mut tail: Vec<u8> = Vec::new();
    let mut unsaid: std::collections::VecDeque<Vec<u8>> = std::collections::VecDeque::new();
    let ended = loop {
        let to = sitter.as_ref().filter(|_| !unsaid.is_empty());
        let to = to.map(|sitter| sitter.to.clone());
        let say = async {
            match to {
                Some(to) => to.reserve_owned().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(Event::Sat(new, size)) => {
                    if let Some(old) = sitter.replace(new) {
                        // One who does not even listen learns of it by the end of the connection.
                        if old.to.try_send(Frame::Taken).is_err() {
                            old.writing.abort();
                        }
                    }
                    unsaid.clear();
                    if !screen.is_full() {
                        unsaid.push_back(tail.clone());
                    }
                    unsaid.push_back(screen.redo());
                    // Another size makes a program draw everything again.
                    let other = size.map(|size| Size { rows: size.rows.saturating_sub(1).max(1), ..size });
                    resize(other).await;
                    resize(size).await;
                }
                Some(Event::Size(number, size)) if sits(number, sitter.as_ref()) => resize(size).await,
                Some(Event::Gone(number)) if sits(number, sitter.as_ref()) => {
                    *sitter = None;
                    unsaid.clear();
                }
                // One who sat there before.
                Some(Event::Size(..) | Event::Gone(_)) | None => {}
            },
            place = say => {
                if let Ok(place) = place {
                    if let Some(bytes) = unsaid.pop_front() {
                        place.send(Frame::Bytes(bytes));
                    }
                } else {
                    *sitter = None;
                    unsaid.clear();
                }
            }
            piece = output.next(), if unsaid.is_empty() || sitter.is_none() => match piece {
                None => break refusal.end(),
                Some(Err(_)) => break Ended::Broken,
                Some(Ok(piece)) => for piece in refusal.pass(piece) {
                    screen.show(&piece.bytes);
                    keep(&mut tail, &piece.bytes);
                    if sitter.is_some() {
                        unsaid.push_back(piece.bytes);
                    }
                },
            },
        }
    };
    while let (Some(bytes), Some(sitter)) = (unsaid.pop_front(), sitter.as_ref()) {
        if sitter.to.send(Frame::Bytes(bytes)).await.is_err() {
            break;
        }
    }
    conclude(&line, &command, &exec, lifeline, ended).await
}

fn sits(number: u64, sitter: Option<&Sitter>) -> bool {
    sitter.is_some_and(|sitter| sitter.number == number)
}

/// Keeps the last lines of what is shown.
fn keep(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(bytes);
    if tail.len() > 2 * TAIL {
        let from = tail.len() - TAIL;
        let line = tail[from..].iter().position(|byte| *byte == b'\n');
        tail.drain(..from + line.map_or(0, |line| line + 1));
    }
}
