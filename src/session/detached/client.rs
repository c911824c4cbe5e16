//! Sitting down at a session that is held.

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::frame::{self, Frame};
use super::keys::{Keys, Pressed};
use super::{Held, Sockets};
use crate::engine::sessions::{Piece, Stream};
use crate::session::guard::Guard;
use crate::session::signals::{Signal, Signals};
use crate::session::streams::{Input, Output};
use crate::session::terminal::{self, Raw};
use crate::session::{Ended, SessionError};

/// How many things may wait on their way.
const WAITING: usize = 4;

/// How somebody came to leave a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It has ended, with a code.
    Ended(u8),
    /// By the keys for it; it goes on.
    ByKeys,
    /// Somebody sat down elsewhere; it goes on.
    Taken,
    /// A signal ended this program; it goes on.
    Told(u8),
}

/// Sits down at a session in this terminal, until it ends or is left.
///
/// # Errors
/// It cannot be entered, or nobody knows how it ended. The terminal is as it was in any case.
pub async fn resume(sockets: &Sockets, held: &Held, keys: &Keys) -> Result<Left, SessionError> {
    let mut signals = Signals::listen().map_err(SessionError::System)?;
    let guard = Guard::begin();
    let stream = UnixStream::connect(sockets.socket(&held.id)).await;
    let (mut read, mut write) = stream.map_err(|_| SessionError::Unheld)?.into_split();
    let mut raw = Raw::enter(guard).map_err(SessionError::Terminal)?;
    let mut typed = Input::open().map_err(SessionError::System)?;
    let mut screen = Output::open();
    let (to, mut waiting) = mpsc::channel(WAITING);
    let saying = tokio::spawn(async move {
        while let Some(frame) = waiting.recv().await {
            if frame::write(&mut write, &frame).await.is_err() {
                break;
            }
        }
        let _ = write.shutdown().await;
    });
    let said = to.send(Frame::Size(terminal::size())).await;
    said.map_err(|_| SessionError::Unheld)?;
    let left = {
        let show = async {
            loop {
                match frame::read(&mut read).await {
                    Ok(Some(Frame::Bytes(bytes))) => {
                        raw.shown(&bytes);
                        let stream = Stream::Out;
                        match screen.write(Piece { stream, bytes }).await {
                            Ok(()) => {}
                            Err(Ended::Failed(error)) => return Err(error),
                            // The terminal has gone away.
                            Err(_) => return Ok(Left::Told(Signal::HangUp.code())),
                        }
                    }
                    Ok(Some(Frame::Ended(code))) => return Ok(Left::Ended(code)),
                    Ok(Some(Frame::Failed(code, message))) => {
                        return Err(SessionError::Held { code, message });
                    }
                    Ok(Some(Frame::Taken)) => return Ok(Left::Taken),
                    Ok(_) | Err(_) => return Err(SessionError::Unheld),
                }
            }
        };
        let type_in = async {
            let mut pressed = Pressed::new(keys.clone());
            while let Some(Ok(bytes)) = typed.next().await {
                let (on, leaves) = pressed.press(&bytes);
                if !on.is_empty() && to.send(Frame::Bytes(on)).await.is_err() {
                    break;
                }
                if leaves {
                    return Ok(Left::ByKeys);
                }
            }
            std::future::pending().await
        };
        let attend = async {
            loop {
                match signals.next().await {
                    Signal::Resize => {
                        // That nobody hears is told by the other direction.
                        let _ = to.send(Frame::Size(terminal::size())).await;
                    }
                    other => return Ok(Left::Told(other.code())),
                }
            }
        };
        tokio::select! {
            biased;
            left = show => left,
            left = attend => left,
            left = type_in => left,
        }
    };
    let written = screen.finish().await;
    drop(raw);
    drop(to);
    // What was typed before the keys to leave is still for the session.
    if matches!(left, Ok(Left::ByKeys)) {
        let _ = saying.await;
    }
    match (left, written) {
        (Ok(_), Err(Ended::Failed(error))) => Err(error),
        (left, _) => left,
    }
}
