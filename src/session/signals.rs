//! Signals that a session heeds.

use std::io;

use tokio::signal::unix::{Signal as Source, SignalKind, signal};

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C, where the terminal is not the command's own.
    Interrupt,
    /// A polite wish of the system, or of whoever runs it.
    Terminate,
    /// The terminal has gone away.
    HangUp,
    /// The terminal has another size.
    Resize,
}

impl Signal {
    /// Returns the name by which a shell sends it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::HangUp => "HUP",
            Self::Resize => "WINCH",
        }
    }

    /// Returns the code of a program that it ends.
    pub fn code(self) -> u8 {
        match self {
            Self::HangUp => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Resize => 0,
        }
    }
}

/// All signals, listened to.
pub struct Signals {
    interrupt: Source,
    terminate: Source,
    /// None where whoever started the program wants it to outlive its terminal.
    hang_up: Option<Source>,
    resize: Source,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if outlives_terminal() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it misses nothing.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            () = heard(self.hang_up.as_mut()) => Signal::HangUp,
            _ = self.resize.recv() => Signal::Resize,
        }
    }
}

/// Waits for a signal; for ever, if it is not listened to.
pub async fn heard(source: Option<&mut Source>) {
    match source {
        Some(source) => {
            source.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Says whether the program was started with `nohup` or the like: listening would undo that.
#[expect(clippy::disallowed_methods, reason = "only the system knows what is ignored")]
pub fn outlives_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is that of the first signal, which is this one.
    mask.is_some_and(|mask| mask & 1 == 1)
}
