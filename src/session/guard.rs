//! [`Guard`]: a process that gives the terminal back when this one cannot.
//!
//! Nothing that a program does helps it when it is killed. So a second one stands by, in a session of its own where no
//! signal of the terminal and of its group reaches it, and waits on a pipe for the end of the first.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::termios::{LocalModes, OutputModes, tcgetattr};

use super::terminal::give_back;

/// The word by which a program learns that it is one.
pub const WORD: &str = "terminal-guard";
/// Where a program finds itself, also when its file was replaced meanwhile.
const SELF: &str = "/proc/self/exe";
/// The length that says that there is nothing left to guard.
const DISMISSED: u16 = u16::MAX;

/// A process that stands by.
pub struct Guard {
    child: Child,
    pipe: ChildStdin,
}

impl Guard {
    /// Starts one. Without it the terminal is given back in all cases but one.
    pub(super) fn begin() -> Option<Self> {
        match start() {
            Ok(guard) => guard,
            Err(error) => {
                tracing::debug!("no guard: {error}");
                None
            }
        }
    }

    /// Waits until it has seen the terminal.
    pub(super) fn ready(mut self) -> Option<Self> {
        let mut byte = [0];
        let mut told = self.child.stdout.take()?;
        told.read_exact(&mut byte).ok()?;
        Some(self)
    }

    /// Tells what would make the screen plain again.
    pub(super) fn note(&mut self, undo: &[u8]) {
        let length = u16::try_from(undo.len()).unwrap_or_default().min(DISMISSED - 1);
        let undo = &undo[..usize::from(length)];
        // Where it is gone there is nobody to tell.
        let _ = self.pipe.write_all(&[&length.to_be_bytes(), undo].concat());
    }

    /// Ends it.
    pub(super) fn dismiss(mut self) {
        let _ = self.pipe.write_all(&DISMISSED.to_be_bytes());
        drop(self.pipe);
        let _ = self.child.wait();
    }
}

fn start() -> io::Result<Option<Guard>> {
    let terminal = rustix::stdio::stdin().try_clone_to_owned()?;
    let program = if std::path::Path::new(SELF).exists() {
        SELF.into()
    } else {
        std::env::current_exe()?
    };
    let mut child = Command::new(program)
        .arg(WORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(terminal))
        .spawn()?;
    let pipe = child.stdin.take();
    Ok(pipe.map(|pipe| Guard { child, pipe }))
}

/// Stands by: the terminal is standard error.
pub fn stand_by() {
    // In a session without a terminal nobody minds who sets one.
    let _ = rustix::process::setsid();
    let terminal = rustix::stdio::stderr();
    let Ok(before) = tcgetattr(terminal) else { return };
    let mut out = io::stdout();
    if out.write_all(b"!").and_then(|()| out.flush()).is_err() {
        return;
    }
    let Some(undo) = watch(&mut io::stdin().lock()) else {
        return;
    };
    let Ok(now) = tcgetattr(terminal) else { return };
    // A shell that noticed first has put it right already, and may have begun to read.
    let raw = !now.local_modes.intersects(LocalModes::ICANON | LocalModes::ISIG)
        && !now.output_modes.contains(OutputModes::OPOST);
    if raw {
        give_back(terminal.as_fd(), &before, &undo);
    }
}

/// Waits for the end of who is guarded, and returns what would make the screen plain; `None` when it was dismissed.
fn watch(pipe: &mut impl io::Read) -> Option<Vec<u8>> {
    let mut undo = Vec::new();
    let mut length = [0; 2];
    while pipe.read_exact(&mut length).is_ok() {
        match u16::from_be_bytes(length) {
            DISMISSED => return None,
            length => {
                let mut new = vec![0; usize::from(length)];
                if pipe.read_exact(&mut new).is_err() {
                    break;
                }
                undo = new;
            }
        }
    }
    Some(undo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_unless_it_is_the_end() {
        let note = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let end = DISMISSED.to_be_bytes().to_vec();
        let heard = |parts: &[Vec<u8>]| watch(&mut io::Cursor::new(parts.concat()));
        assert_eq!(heard(&[]), Some(Vec::new()));
        assert_eq!(heard(&[note("a"), note("bc")]), Some(b"bc".to_vec()));
        assert_eq!(heard(&[note("a"), note("bc")[..3].to_vec()]), Some(b"a".to_vec()));
        assert_eq!(heard(&[note("a"), end]), None);
    }
}
