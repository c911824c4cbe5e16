//! Sessions that can be left and returned to.
//!
//! The engine lets nobody return to a command, so a process on this host holds it: the [`holder`]. It keeps the wire and
//! the lifeline, and offers a socket to whoever sits at a terminal. Ended by whatever, it takes its session with it.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::SessionError;
use crate::claim::Claims;
use crate::engine::sessions::Command;
use crate::host::Host;
use crate::secret::Secret;

mod client;
mod frame;
pub mod holder;
pub mod keys;

pub use client::{Left, resume};

/// Where a program finds itself, also when its file was replaced meanwhile.
const SELF: &str = "/proc/self/exe";

/// A session that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What tells it from others.
    pub id: String,
    /// The engine's id of its container.
    pub container: String,
    /// The words of its command.
    pub words: Vec<String>,
    /// When it was opened, RFC 3339.
    pub since: String,
}

/// Where held sessions are found.
#[derive(Clone, Debug)]
pub struct Sockets {
    directory: PathBuf,
}

/// What a holder is told: everything it needs, since it reads nothing of this host itself.
#[derive(Serialize, Deserialize)]
struct Order {
    held: Held,
    engine: String,
    socket: PathBuf,
    env: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
    user: Option<String>,
    workdir: Option<String>,
}

impl Order {
    fn command(&self) -> Command {
        let secrets = self.secrets.iter().filter_map(|(name, value)| {
            let value = Secret::of_text(name, value.clone()).ok()?;
            Some((name.clone(), value))
        });
        Command {
            words: self.held.words.clone(),
            env: self.env.clone(),
            secrets: secrets.collect(),
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            terminal: true,
            input: true,
        }
    }
}

impl Sockets {
    /// Finds the place: beside the claims, where only the user can write.
    pub fn of(host: &Host) -> Self {
        Self {
            directory: Claims::of(host).directory().join("sessions"),
        }
    }

    fn socket(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}.sock"))
    }

    /// Lists the sessions that are held in containers, the oldest first. What a holder left that is gone is removed.
    pub async fn list(&self) -> Vec<Held> {
        let mut found = Vec::new();
        let Ok(mut entries) = tokio::fs::read_dir(&self.directory).await else {
            return found;
        };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "sock") {
                continue;
            }
            match ask(&path).await {
                Ok(held) => found.push(held),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = tokio::fs::remove_file(&path).await;
                }
                // It is about to begin or to end.
                Err(_) => {}
            }
        }
        found.sort_by(|one: &Held, other| (&one.since, &one.id).cmp(&(&other.since, &other.id)));
        found
    }

    /// Opens a session that can be left, and waits until it can be entered.
    ///
    /// # Errors
    /// No process can be started to hold it, or there is no place for its socket.
    pub async fn open(&self, engine: &str, container: &str, command: &Command) -> Result<Held, SessionError> {
        let held = Held {
            id: super::identifier().map_err(SessionError::System)?[..6].to_owned(),
            container: container.to_owned(),
            words: command.words.clone(),
            since: jiff::Timestamp::now().to_string(),
        };
        let secrets = command.secrets.iter();
        let order = Order {
            engine: engine.to_owned(),
            socket: self.socket(&held.id),
            env: command.env.clone(),
            secrets: secrets
                .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                .collect(),
            user: command.user.clone(),
            workdir: command.workdir.clone(),
            held: held.clone(),
        };
        self.begin(&order).await.map_err(SessionError::System)?;
        Ok(held)
    }

    async fn begin(&self, order: &Order) -> io::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let mut child = tokio::process::Command::new(SELF)
            .arg(holder::WORD)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (Some(mut order_to), Some(mut told)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // Secrets go through a pipe, which nobody else reads.
        order_to.write_all(&serde_json::to_vec(order)?).await?;
        drop(order_to);
        let mut byte = [0];
        told.read_exact(&mut byte).await?;
        Ok(())
    }
}

/// Asks a holder what it holds.
async fn ask(socket: &Path) -> io::Result<Held> {
    let mut stream = UnixStream::connect(socket).await?;
    let asked = async {
        frame::write(&mut stream, &frame::Frame::Ask).await?;
        match frame::read(&mut stream).await? {
            Some(frame::Frame::Held(held)) => Ok(held),
            Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(2), asked)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
