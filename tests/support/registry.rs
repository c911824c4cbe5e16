//! A registry of images of one test, on loopback, where engines take plain HTTP.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::raw;

/// A registry. It ends with the test, and what the test pushed and pulled is removed.
pub struct Registry {
    child: Child,
    port: u16,
    _storage: tempfile::TempDir,
}

impl Registry {
    /// Starts one on a port that nobody has.
    pub fn start() -> Self {
        raw::engine();
        let storage = tempfile::tempdir().expect("a directory");
        // Another process may take the port before the registry does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a port")
                .port();
            let configuration = json!({
                "version": 0.1,
                "log": { "level": "error" },
                "storage": { "filesystem": { "rootdirectory": storage.path().join("data") } },
                "http": { "addr": format!("127.0.0.1:{port}") },
            });
            let file = storage.path().join("configuration.yml");
            std::fs::write(&file, configuration.to_string()).expect("a file");
            let child = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            let mut child = child.unwrap_or_else(|error| {
                panic!("docker-registry: {error}\nlive tests need one; run: scripts/test engine")
            });
            let answers = raw::until("the registry answers", || {
                let ended = child.try_wait().expect("a child").is_some();
                (ended || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!ended)
            });
            if answers {
                return Self {
                    child,
                    port,
                    _storage: storage,
                };
            }
        }
        panic!("every port is taken");
    }

    /// Returns the reference of an image here.
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Publishes a small image that has a variable, and leaves nothing of it on the engine but what others use.
    pub fn publish(&self, name: &str, variable: &str) -> String {
        let reference = self.reference(name);
        raw::derive(&reference, &format!("ENV MARK={variable}\n"));
        raw::push(&reference);
        self.forget(name);
        reference
    }

    /// Removes an image from the engine, by whatever name it has here.
    pub fn forget(&self, name: &str) {
        let reference = self.reference(name);
        let (status, image) = raw::ask("GET", &format!("/images/{reference}/json"), &Value::Null);
        if status != 200 {
            return;
        }
        let names = |field: &str| {
            let names = image[field].as_array().cloned().unwrap_or_default();
            names
                .into_iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .filter(|name| name.starts_with(&self.reference("")))
                .collect::<Vec<_>>()
        };
        for name in names("RepoTags").into_iter().chain(names("RepoDigests")) {
            raw::ask("DELETE", &format!("/images/{name}"), &Value::Null);
        }
    }

    /// Removes everything from the engine that came from here and that nothing uses any more.
    fn sweep(&self) {
        let Value::Array(images) = raw::get("/images/json?digests=1") else {
            return;
        };
        for image in images {
            for field in ["RepoTags", "RepoDigests"] {
                for name in image[field]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                {
                    if name.starts_with(&self.reference("")) {
                        raw::ask("DELETE", &format!("/images/{name}"), &Value::Null);
                    }
                }
            }
        }
    }

    /// Ends the registry: nobody answers from now on.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.sweep();
        self.stop();
    }
}
