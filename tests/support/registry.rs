//! A registry of images of one test, on loopback, where engines take plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::raw;

/// Who a guarded registry answers to.
pub const USER: &str = "tester";
/// The password of that, and what a registry is told of it.
pub const PASSWORD: &str = "open sesame";
const HASH: &str = "$2b$04$r6BcnWEFMZY3bgZsERDFjevdP7xQMOrmqu5g4AMZoOs5pXhyLKfUi";

/// A registry. It ends with the test, and what the test pushed and pulled is removed.
pub struct Registry {
    child: Child,
    port: u16,
    _storage: tempfile::TempDir,
}

impl Registry {
    /// Starts one on a port that nobody has.
    pub fn start() -> Self {
        Self::started(false)
    }

    /// Starts one that only answers to [`USER`] with [`PASSWORD`].
    pub fn guarded() -> Self {
        Self::started(true)
    }

    fn started(guarded: bool) -> Self {
        raw::engine();
        let storage = tempfile::tempdir().expect("a directory");
        // Another process may take the port before the registry does.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a port")
                .port();
            let mut configuration = json!({
                "version": 0.1,
                "log": { "level": "error" },
                "storage": { "filesystem": { "rootdirectory": storage.path().join("data") } },
                "http": { "addr": format!("127.0.0.1:{port}") },
            });
            if guarded {
                let users = storage.path().join("users");
                std::fs::write(&users, format!("{USER}:{HASH}\n")).expect("a file");
                configuration["auth"] = json!({ "htpasswd": { "realm": "test", "path": users } });
            }
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
        self.publish_with(name, &format!("ENV MARK={variable}\n"))
    }

    /// Publishes a small image with more instructions, and leaves nothing of it on the engine but what others use.
    pub fn publish_with(&self, name: &str, instructions: &str) -> String {
        let reference = self.reference(name);
        // Images of one content are one image for the engine: another test that removes the last name of its own would
        // take away what this one is just pulling.
        let port = self.port;
        raw::derive(&reference, &format!("{instructions}LABEL registry={port}\n"));
        raw::push_as(&reference, USER, PASSWORD);
        self.forget(name);
        reference
    }

    /// Says that an image is for machines that nobody tests on, under another tag of it.
    pub fn for_other_machines(&self, name: &str, tag: &str) -> String {
        let (repository, published) = name.split_once(':').expect("a tag");
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let path = format!("/v2/{repository}/manifests/{published}");
        let (head, body) = self.http("GET", &path, &format!("Accept: {kind}\r\n"), "");
        let digest = head
            .lines()
            .find_map(|line| line.strip_prefix("Docker-Content-Digest: "))
            .unwrap_or_else(|| panic!("no digest: {head}"));
        let list = "application/vnd.docker.distribution.manifest.list.v2+json";
        let text = json!({
            "schemaVersion": 2,
            "mediaType": list,
            "manifests": [{
                "mediaType": kind, "size": body.len(), "digest": digest.trim(),
                "platform": { "architecture": "s390x", "os": "linux" },
            }],
        });
        let path = format!("/v2/{repository}/manifests/{tag}");
        let header = format!("Content-Type: {list}\r\n");
        let (head, _) = self.http("PUT", &path, &header, &text.to_string());
        assert!(
            head.starts_with("HTTP/1.0 201") || head.starts_with("HTTP/1.1 201"),
            "{head}"
        );
        self.reference(&format!("{repository}:{tag}"))
    }

    /// Asks the registry itself; returns the head and the body of its answer.
    fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("a registry");
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: registry\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
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
