//! Signals: the first one asks work to end early, the second one ends it at once.

use tokio::signal::unix::{Signal as Source, SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;
use super::failure::Failure;
use crate::session::signals::{heard, outlives_terminal};

/// A signal that ends the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A polite wish of the system, or of whoever runs it.
    Terminate,
    /// The terminal has gone away.
    HangUp,
}

impl Signal {
    /// Returns how the program ends after it.
    pub fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
            Self::HangUp => Exit::HungUp,
        }
    }
}

/// How work came to its end.
#[derive(Debug)]
pub enum Ended<T> {
    /// By itself, perhaps sooner than planned because of a signal.
    Whole(T, Option<Signal>),
    /// It was dropped where it was.
    Cut(Signal),
}

/// All signals, listened to.
struct Signals {
    interrupt: Source,
    terminate: Source,
    /// None where whoever started the program wants it to outlive its terminal.
    hang_up: Option<Source>,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::usage(
                    format!("signals cannot be listened to: {error}"),
                    "check the limits on open files",
                )
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if outlives_terminal() {
                None
            } else {
                Some(listen(SignalKind::hangup())?)
            },
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            () = heard(self.hang_up.as_mut()) => Signal::HangUp,
        }
    }
}

/// Waits for work under the eyes of all signals.
///
/// At the first one `under_way` is asked: while it says that nothing is, the work is dropped; else the wish to stop
/// is expressed and the work may end by itself. At the second one it is dropped in any case.
///
/// # Errors
/// Signals cannot be listened to. Nothing was begun.
pub async fn watched<T>(
    work: impl Future<Output = T>,
    wish: &watch::Sender<bool>,
    under_way: impl Fn(Signal) -> bool,
) -> Result<Ended<T>, Failure> {
    let mut signals = Signals::listen()?;
    let mut work = std::pin::pin!(work);
    let first = tokio::select! {
        result = &mut work => return Ok(Ended::Whole(result, None)),
        signal = signals.next() => signal,
    };
    if !under_way(first) {
        return Ok(Ended::Cut(first));
    }
    wish.send_replace(true);
    Ok(tokio::select! {
        result = &mut work => Ended::Whole(result, Some(first)),
        second = signals.next() => Ended::Cut(second),
    })
}
