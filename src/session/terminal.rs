//! The terminal of this process: every key goes to the session, and afterwards it is as it was.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::guard::Guard;
use super::screen::Screen;
use super::streams::write;
use crate::engine::sessions::Size;

/// Says whether a person types.
pub fn on_input() -> bool {
    io::stdin().is_terminal()
}

/// Says whether a person reads.
pub fn on_output() -> bool {
    io::stdout().is_terminal()
}

/// Returns the size of the terminal; `None` where there is none, or nobody knows.
pub fn size() -> Option<Size> {
    let sizes = [
        tcgetwinsize(rustix::stdio::stdout()),
        tcgetwinsize(rustix::stdio::stdin()),
    ];
    let size = sizes.into_iter().find_map(Result::ok)?;
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then_some(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// A terminal whose keys mean nothing to the system. Dropped, it is given back as it was, screen included.
pub(super) struct Raw {
    terminal: OwnedFd,
    before: Termios,
    screen: Screen,
    guard: Option<Guard>,
}

impl Raw {
    /// Takes the terminal that standard input is.
    pub(super) fn enter(guard: Option<Guard>) -> io::Result<Self> {
        let terminal = rustix::stdio::stdin().try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        // Whoever is to give it back must have seen it as it was.
        let guard = guard.and_then(Guard::ready);
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Self {
            terminal,
            before,
            screen: Screen::default(),
            guard,
        })
    }

    /// Takes note of what is shown.
    pub(super) fn shown(&mut self, bytes: &[u8]) {
        if self.screen.show(bytes)
            && let Some(guard) = &mut self.guard
        {
            guard.note(&self.screen.undo());
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        give_back(&self.terminal, &self.before, &self.screen.undo());
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }
}

/// Makes a terminal what it was. That it has gone away is no trouble.
pub(super) fn give_back(terminal: impl AsFd, before: &Termios, undo: &[u8]) {
    let _ = write(terminal.as_fd(), undo);
    let _ = tcsetattr(&terminal, OptionalActions::Now, before);
}
