//! The ssh agent of whoever opens a session, handed on while it is open.
//!
//! Its socket has another place after every login, and what a container mounts is fixed for its life. So the container has
//! a directory, and a session puts a socket of its own there; who connects to it is connected to the agent.
#![expect(clippy::disallowed_methods, reason = "a socket is made here, and taken away")]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::desired::AGENTS;
use crate::host::Host;

/// An agent that is handed on, until this value goes.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    relay: JoinHandle<()>,
    /// The socket as processes in the container see it.
    pub inside: String,
}

impl Agent {
    /// Hands the agent of this host on to a container that has a directory for its socket; `None` where this host has none.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn hand_on(host: &Host, directory: &Path, id: &str) -> io::Result<Option<Self>> {
        let Some(agent) = host.variable("SSH_AUTH_SOCK").map(PathBuf::from) else {
            return Ok(None);
        };
        sweep(directory);
        let name = format!("{id}.sock");
        let socket = directory.join(&name);
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        if host.uid == 0 {
            // Whoever owns the directory is who the container's processes are.
            let owner = fs::metadata(directory)?;
            std::os::unix::fs::chown(&socket, Some(owner.uid()), Some(owner.gid()))?;
        }
        let relay = tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let agent = agent.clone();
                tokio::spawn(async move {
                    if let Ok(mut outside) = UnixStream::connect(&agent).await {
                        // Either side may go away whenever it likes.
                        let _ = copy_bidirectional(&mut inside, &mut outside).await;
                    }
                });
            }
        });
        Ok(Some(Self {
            socket,
            relay,
            inside: format!("{AGENTS}/{name}"),
        }))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.relay.abort();
        let _ = fs::remove_file(&self.socket);
    }
}

/// Removes sockets whose sessions were killed: nobody listens there any more.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if std::os::unix::net::UnixStream::connect(&path).is_err_and(refused) {
            let _ = fs::remove_file(&path);
        }
    }
}
