//! The streams of this process, each on a thread of its own: reading and writing them may take for ever, and the
//! system has no way to wait for all kinds of them at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use super::{Ended, SessionError};
use crate::engine::sessions::{Piece, Stream};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// How many pieces may wait on their way.
const WAITING: usize = 4;

/// Standard input.
pub(super) struct Input {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Closed with this value, which ends the thread: keys that are pressed later are for somebody else.
    _open: UnixStream,
}

impl Input {
    /// Begins to read.
    pub(super) fn open() -> io::Result<Self> {
        let (open, closed) = UnixStream::pair()?;
        let (sender, pieces) = mpsc::channel(WAITING);
        thread::Builder::new().spawn(move || {
            while let Some(piece) = read(rustix::stdio::stdin(), closed.as_fd()) {
                let last = piece.is_err();
                if sender.blocking_send(piece).is_err() || last {
                    return;
                }
            }
        })?;
        Ok(Self { pieces, _open: open })
    }

    /// Waits for the next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        self.pieces.recv().await
    }
}

/// Reads a piece; `None` at the end, or when nobody wants it.
fn read(from: BorrowedFd<'_>, closed: BorrowedFd<'_>) -> Option<io::Result<Vec<u8>>> {
    let mut bytes = vec![0; CHUNK];
    loop {
        let mut both = [
            PollFd::from_borrowed_fd(from, PollFlags::IN),
            PollFd::from_borrowed_fd(closed, PollFlags::IN),
        ];
        match poll(&mut both, None) {
            Ok(_) => {}
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Some(Err(error.into())),
        }
        if !both[1].revents().is_empty() {
            return None;
        }
        match rustix::io::read(from, &mut bytes) {
            Ok(0) => return None,
            Ok(length) => {
                bytes.truncate(length);
                return Some(Ok(bytes));
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal that has gone away has no more to say.
            Err(Errno::IO) => return None,
            Err(error) => return Some(Err(error.into())),
        }
    }
}

/// Standard output and standard error, in the order of writing.
pub(super) struct Output {
    pieces: Option<mpsc::Sender<Piece>>,
    ended: Option<oneshot::Receiver<Option<(Stream, io::Error)>>>,
}

impl Output {
    /// Makes ready to write.
    pub(super) fn open() -> Self {
        let (pieces, mut waiting) = mpsc::channel::<Piece>(WAITING);
        let (tell, ended) = oneshot::channel();
        // Where there is no thread the first write tells.
        let _ = thread::Builder::new().spawn(move || {
            while let Some(Piece { stream, bytes }) = waiting.blocking_recv() {
                let to = match stream {
                    Stream::Out => rustix::stdio::stdout(),
                    Stream::Err => rustix::stdio::stderr(),
                };
                if let Err(error) = write(to, &bytes) {
                    let _ = tell.send(Some((stream, error)));
                    return;
                }
            }
            let _ = tell.send(None);
        });
        Self {
            pieces: Some(pieces),
            ended: Some(ended),
        }
    }

    /// Writes a piece. It may not be out yet.
    pub(super) async fn write(&mut self, piece: Piece) -> Result<(), Ended> {
        let sent = match &self.pieces {
            Some(pieces) => pieces.send(piece).await.is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { self.finish().await }
    }

    /// Waits until everything is out. What went wrong is told once.
    pub(super) async fn finish(&mut self) -> Result<(), Ended> {
        self.pieces = None;
        let Some(ended) = self.ended.take() else {
            return Ok(());
        };
        match ended.await {
            Ok(None) => Ok(()),
            // There was no thread for it.
            Err(_) => Err(Ended::Unread),
            Ok(Some((Stream::Out, error))) if error.kind() == io::ErrorKind::BrokenPipe => Err(Ended::Unread),
            Ok(Some((stream, cause))) => Err(Ended::Failed(SessionError::Streams {
                name: match stream {
                    Stream::Out => "output",
                    Stream::Err => "error",
                },
                cause,
            })),
        }
    }
}

/// Writes everything.
pub(super) fn write(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // Somebody has made it one that does not wait.
            Err(Errno::AGAIN) => {
                let mut one = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                let _ = poll(&mut one, None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
