//! A second opinion: the engine asked with plain HTTP over its socket, so that a test does not see through the eyes
//! of what it tests. Blocking, one request a connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::BASE;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(180);

/// The engine's socket, as the environment names it.
pub fn socket() -> PathBuf {
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => host
            .strip_prefix("unix://")
            .unwrap_or_else(|| panic!("live tests talk to a local socket, and DOCKER_HOST is {host}"))
            .into(),
        _ => "/var/run/docker.sock".into(),
    }
}

fn connect() -> UnixStream {
    let stream = UnixStream::connect(socket())
        .unwrap_or_else(|error| panic!("{error}\nlive tests need an engine; run: scripts/engine up"));
    stream.set_read_timeout(Some(REQUEST)).expect("a timeout");
    stream
}

/// Sends one request and returns the stream with the answer.
fn send(method: &str, path: &str, kind: &str, body: &[u8]) -> UnixStream {
    send_with(method, path, &format!("Content-Type: {kind}\r\n"), body)
}

/// Sends one request with headers of its own.
fn send_with(method: &str, path: &str, headers: &str, body: &[u8]) -> UnixStream {
    let mut stream = connect();
    // Answers to HTTP/1.0 are not in chunks and end with the connection.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: engine\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("a request");
    stream.write_all(body).expect("a request");
    stream
}

/// Reads the head of an answer and returns its status.
fn status(reader: &mut BufReader<UnixStream>) -> u16 {
    let mut line = String::new();
    reader.read_line(&mut line).expect("an answer");
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no answer: {line:?}"));
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line).expect("an answer");
    }
    status
}

fn exchange(method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut reader = BufReader::new(send(method, path, kind, body));
    let status = status(&mut reader);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("an answer");
    (status, bytes)
}

/// Sends one request and returns the status and the document.
pub fn ask(method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let (status, bytes) = exchange(method, path, "application/json", &body);
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Sends a request that has to succeed.
fn must(method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = ask(method, path, body);
    assert!(status < 400, "{method} {path}: {status} {answer}");
    answer
}

pub fn get(path: &str) -> Value {
    must("GET", path, &Value::Null)
}

pub fn post(path: &str, body: &Value) -> Value {
    must("POST", path, body)
}

pub fn delete(path: &str) {
    must("DELETE", path, &Value::Null);
}

/// Returns filters as the engine takes them in an address.
fn filters(filters: &Value) -> String {
    let mut text = String::new();
    for byte in filters.to_string().bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Returns everything the engine says of a container, or nothing if there is none.
pub fn container(container: &str) -> Option<Value> {
    let (status, mut answer) = ask("GET", &format!("/containers/{container}/json"), &Value::Null);
    // Their order is another one each time.
    if let Some(mounts) = answer["Mounts"].as_array_mut() {
        mounts.sort_by_key(|mount| mount["Destination"].as_str().unwrap_or_default().to_owned());
    }
    (status == 200).then_some(answer)
}

/// Insists that what the engine says of something has not changed, and names what has.
pub fn same(now: &Value, before: &Value) {
    let mut different = Vec::new();
    compare("", now, before, &mut different);
    assert!(different.is_empty(), "{different:#?}");
}

fn compare(path: &str, now: &Value, before: &Value, different: &mut Vec<String>) {
    match (now, before) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                compare(&format!("{path}/{name}"), &now[name], &before[name], different);
            }
        }
        _ if now == before => {}
        _ => different.push(format!("{path}: {before} -> {now}")),
    }
}

/// Lists containers, running or not, with a label.
pub fn containers(label: &str) -> Vec<Value> {
    let filters = filters(&json!({ "label": [label] }));
    array(get(&format!("/containers/json?all=1&filters={filters}")))
}

/// Lists images with a label.
pub fn images(label: &str) -> Vec<Value> {
    let filters = filters(&json!({ "label": [label] }));
    array(get(&format!("/images/json?filters={filters}")))
}

/// Lists volumes with a label.
pub fn volumes(label: &str) -> Vec<Value> {
    let filters = filters(&json!({ "label": [label] }));
    array(get(&format!("/volumes?filters={filters}"))["Volumes"].take())
}

/// Lists networks with a label.
pub fn networks(label: &str) -> Vec<Value> {
    let filters = filters(&json!({ "label": [label] }));
    array(get(&format!("/networks?filters={filters}")))
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

/// Removes whatever carries a label, again while the engine is still busy with some of it.
pub fn sweep(label: &str) {
    for _ in 0..50 {
        sweep_once(label);
        if containers(label).is_empty() && networks(label).is_empty() && volumes(label).is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("left behind: {label}");
}

/// Removes whatever carries a label: containers before what they use.
fn sweep_once(label: &str) {
    for container in containers(label) {
        let id = container["Id"].as_str().unwrap_or_default();
        ask("DELETE", &format!("/containers/{id}?force=1&v=1"), &Value::Null);
    }
    for network in networks(label) {
        let id = network["Id"].as_str().unwrap_or_default();
        ask("DELETE", &format!("/networks/{id}"), &Value::Null);
    }
    for volume in volumes(label) {
        let name = volume["Name"].as_str().unwrap_or_default();
        ask("DELETE", &format!("/volumes/{name}"), &Value::Null);
    }
    // An image with several tags goes tag by tag. Manifests share images: the names that others have are theirs.
    let own = label
        .strip_prefix("aishell.manifest=")
        .map(|name| format!("aishell-{name}:"));
    let mut images = images(label);
    if let Some(own) = &own {
        let filters = filters(&json!({ "reference": [own.trim_end_matches(':')] }));
        images.extend(array(get(&format!("/images/json?filters={filters}"))));
    }
    for image in images {
        let tags = image["RepoTags"].as_array().cloned().unwrap_or_default();
        let is_own = |tag: &&str| own.as_ref().is_none_or(|own| tag.starts_with(own));
        for tag in tags.iter().filter_map(Value::as_str).filter(is_own) {
            ask("DELETE", &format!("/images/{tag}"), &Value::Null);
        }
        // As long as it has other names the engine keeps it.
        let id = image["Id"].as_str().unwrap_or_default();
        let named = tags
            .iter()
            .filter_map(Value::as_str)
            .any(|tag| !is_own(&tag) && !tag.contains("<none>"));
        if !named {
            ask("DELETE", &format!("/images/{id}"), &Value::Null);
        }
    }
}

/// Waits until something is so, looking again and again; gives up loudly.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a command in a container said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i64,
    pub text: String,
}

/// Runs a command in a container, as its user and without a terminal.
pub fn exec(container: &str, command: &[&str]) -> Said {
    let options = json!({ "Cmd": command, "AttachStdout": true, "AttachStderr": true });
    let exec = post(&format!("/containers/{container}/exec"), &options);
    let id = exec["Id"].as_str().expect("an exec");
    let start = json!({ "Detach": false, "Tty": false }).to_string();
    let path = format!("/exec/{id}/start");
    let mut reader = BufReader::new(send("POST", &path, "application/json", start.as_bytes()));
    assert_eq!(status(&mut reader), 200, "{command:?}");
    let mut text = Vec::new();
    let mut head = [0; 8];
    while reader.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        reader.read_exact(&mut frame).expect("a frame");
        text.extend(frame);
    }
    let code = until("the exec ended", || {
        let exec = get(&format!("/exec/{id}/json"));
        (exec["Running"] == false).then(|| exec["ExitCode"].as_i64().expect("a code"))
    });
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Said { code, text }
}

/// Runs a command in a container, as its user, and does not wait for its end.
pub fn detached(container: &str, command: &[&str], terminal: bool) -> String {
    let options = json!({ "Cmd": command, "Tty": terminal });
    let exec = post(&format!("/containers/{container}/exec"), &options);
    let id = exec["Id"].as_str().expect("an exec").to_owned();
    let start = json!({ "Detach": true, "Tty": terminal });
    post(&format!("/exec/{id}/start"), &start);
    id
}

/// A shell in a terminal in a container, as somebody has it open.
pub struct Terminal {
    exec: String,
    stream: UnixStream,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    pub fn open(container: &str) -> Self {
        let options = json!({
            "Cmd": ["sh"], "Tty": true, "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        });
        let exec = post(&format!("/containers/{container}/exec"), &options);
        let exec = exec["Id"].as_str().expect("an exec").to_owned();
        let start = json!({ "Detach": false, "Tty": true }).to_string();
        let path = format!("/exec/{exec}/start");
        let stream = send("POST", &path, "application/json", start.as_bytes());
        stream.set_read_timeout(None).expect("no timeout");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        assert_eq!(status(&mut reader), 200);
        let screen = Arc::<Mutex<String>>::default();
        let shown = Arc::clone(&screen);
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length) = reader.read(&mut part) {
                if length == 0 {
                    break;
                }
                let text = String::from_utf8_lossy(&part[..length]);
                shown.lock().expect("a screen").push_str(&text);
            }
        });
        Self { exec, stream, screen }
    }

    /// Types something.
    pub fn types(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("a terminal");
    }

    /// Returns everything that was shown.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("a screen").clone()
    }

    /// Returns what the engine says of the command.
    pub fn inspect(&self) -> Value {
        get(&format!("/exec/{}/json", self.exec))
    }
}

/// Waits until a command that was run in a container has ended.
pub fn ended(exec: &str) {
    until("the exec ended", || {
        let (status, exec) = ask("GET", &format!("/exec/{exec}/json"), &Value::Null);
        (status == 404 || exec["Running"] == false).then_some(())
    });
}

/// Runs a command that has to succeed, and returns what it said.
pub fn said(container: &str, command: &[&str]) -> String {
    let Said { code, text } = exec(container, command);
    assert_eq!(code, 0, "{command:?}: {text}");
    text
}

/// Runs a command in a container of its own, with a volume at `/v`.
pub fn beside(volume: &str, label: &str, command: &[&str]) {
    beside_on(&tiny(), volume, label, command);
}

/// Does the same on an image that has other programs.
pub fn beside_on(image: &str, volume: &str, label: &str, command: &[&str]) {
    let options = json!({
        "Image": image,
        "Cmd": command,
        "HostConfig": { "Binds": [format!("{volume}:/v")], "NetworkMode": "none" },
        "Labels": { "aishelltest": label },
    });
    let made = post("/containers/create", &options);
    let id = made["Id"].as_str().expect("an id");
    post(&format!("/containers/{id}/start"), &Value::Null);
    let ended = post(&format!("/containers/{id}/wait"), &Value::Null);
    delete(&format!("/containers/{id}?force=1"));
    assert_eq!(ended["StatusCode"], 0, "{command:?}");
}

/// Puts a file into a container.
pub fn put(container: &str, directory: &str, name: &str, content: &[u8]) {
    let body = archive(&[(name, 0o644, content)]);
    let path = format!("/containers/{container}/archive?path={directory}");
    let (status, answer) = exchange("PUT", &path, "application/x-tar", &body);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(u64::try_from(content.len()).expect("a length"));
        archive
            .append_data(&mut header, name, *content)
            .expect("an archive");
    }
    archive.into_inner().expect("an archive")
}

/// Says that the engine and its base image are there, or what to do about it.
pub fn engine() {
    let (status, _) = ask("GET", &format!("/images/{BASE}/json"), &Value::Null);
    assert_ne!(
        status, 404,
        "the engine has no {BASE}; run: scripts/engine base-image"
    );
}

const DOCKERFILE: &str = include_str!("tiny/Dockerfile");
const NPM: &str = include_str!("tiny/npm");

/// Returns the reference of an image from scratch: a shell, a few programs, an `npm` that installs what tests ask
/// for, and no user database. It is made once and kept, like the base image; its tag says what it is made of.
pub fn tiny() -> String {
    static MAKING: Mutex<()> = Mutex::new(());
    engine();
    let digest = aishell::key::digest([DOCKERFILE, NPM].join("\0").as_bytes());
    let tag = format!("aishelltest-tiny:{}", &digest[..12]);
    let guard = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (status, _) = ask("GET", &format!("/images/{tag}/json"), &Value::Null);
    if status != 200 {
        let context = archive(&[
            ("Dockerfile", 0o644, DOCKERFILE.as_bytes()),
            ("npm", 0o755, NPM.as_bytes()),
        ]);
        let path = format!("/build?version=2&t={tag}");
        let (status, answer) = exchange("POST", &path, "application/x-tar", &context);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            status == 200 && !answer.contains("errorDetail"),
            "{status} {answer}"
        );
    }
    drop(guard);
    tag
}

/// Makes an image of the tiny one and more instructions.
pub fn derive(tag: &str, instructions: &str) {
    build(tag, &tiny(), instructions);
}

/// Makes an image of everything in a directory, as its Dockerfile says.
pub fn build_directory(tag: &str, directory: &std::path::Path, args: &Value) {
    let mut context = tar::Builder::new(Vec::new());
    context.follow_symlinks(false);
    context.append_dir_all(".", directory).expect("an archive");
    let context = context.into_inner().expect("an archive");
    let (status, answer) = exchange(
        "POST",
        &format!("/build?version=2&t={tag}&buildargs={}", filters(args)),
        "application/x-tar",
        &context,
    );
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        status == 200 && !answer.contains("errorDetail"),
        "{status} {answer}"
    );
}

/// Returns every file of an image, as an archive.
pub fn export(image: &str) -> Vec<u8> {
    let options = json!({ "Image": image, "Cmd": ["none"] });
    let made = post("/containers/create", &options);
    let id = made["Id"].as_str().expect("an id");
    let (status, archive) = exchange(
        "GET",
        &format!("/containers/{id}/export"),
        "application/json",
        &[],
    );
    delete(&format!("/containers/{id}?force=1&v=1"));
    assert_eq!(status, 200);
    archive
}

/// Returns a directory of a container as an archive, or nothing where it has none.
pub fn archived(container: &str, path: &str) -> Option<Vec<u8>> {
    let path = format!("/containers/{container}/archive?path={path}");
    let (status, archive) = exchange("GET", &path, "application/json", &[]);
    (status == 200).then_some(archive)
}

/// Returns what a container has printed.
pub fn log(container: &str) -> Vec<u8> {
    let path = format!("/containers/{container}/logs?stdout=1&stderr=1");
    let (status, log) = exchange("GET", &path, "application/json", &[]);
    assert_eq!(status, 200, "{container}");
    log
}

/// Returns everything there is of an image: its layers, its configuration, its history.
pub fn save(image: &str) -> Vec<u8> {
    let (status, archive) = exchange("GET", &format!("/images/{image}/get"), "application/json", &[]);
    assert_eq!(status, 200);
    archive
}

/// Makes an image of another one and more instructions.
pub fn build(tag: &str, from: &str, instructions: &str) {
    build_for(tag, "", from, instructions);
}

/// Makes an image for a platform; an empty one is the engine's.
pub fn build_for(tag: &str, platform: &str, from: &str, instructions: &str) {
    let dockerfile = format!("FROM {from}\n{instructions}");
    let context = archive(&[("Dockerfile", 0o644, dockerfile.as_bytes())]);
    let (status, answer) = exchange(
        "POST",
        &format!("/build?version=2&t={tag}&platform={platform}"),
        "application/x-tar",
        &context,
    );
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        status == 200 && !answer.contains("errorDetail"),
        "{status} {answer}"
    );
}

/// Pulls an image by its tag.
pub fn pull(reference: &str) {
    let (repository, tag) = reference.rsplit_once(':').expect("a tag");
    let path = format!("/images/create?fromImage={repository}&tag={tag}");
    let (status, answer) = exchange("POST", &path, "application/json", &[]);
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        status == 200 && !answer.contains("errorDetail"),
        "{status} {answer}"
    );
}

/// Pushes an image to the registry that its name begins with.
pub fn push_as(reference: &str, user: &str, password: &str) {
    let (repository, tag) = reference.rsplit_once(':').expect("a tag");
    let path = format!("/images/{repository}/push?tag={tag}");
    let login = json!({ "username": user, "password": password }).to_string();
    let headers = format!(
        "X-Registry-Auth: {}\r\n",
        base64::engine::general_purpose::URL_SAFE.encode(login)
    );
    let mut reader = BufReader::new(send_with("POST", &path, &headers, &[]));
    let status = status(&mut reader);
    let mut answer = String::new();
    reader.read_to_string(&mut answer).expect("an answer");
    assert!(
        status == 200 && !answer.contains("errorDetail"),
        "{status} {answer}"
    );
}

/// The engine's events, gathered from now on.
pub struct Events {
    seen: Arc<Mutex<Vec<Value>>>,
    stream: UnixStream,
}

impl Events {
    /// Listens to events of a type.
    pub fn of(kind: &str) -> Self {
        Self::each(kind, |_| {})
    }

    /// Listens to events of a type, and does something about each as it comes.
    pub fn each(kind: &str, mut act: impl FnMut(&Value) + Send + 'static) -> Self {
        let path = format!("/events?filters={}", filters(&json!({ "type": [kind] })));
        let stream = send("GET", &path, "application/json", &[]);
        stream.set_read_timeout(None).expect("no timeout");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        // The engine answers with the first event, or at once: either way it listens when the head is there.
        assert_eq!(status(&mut reader), 200);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        thread::spawn(move || {
            for line in reader.lines() {
                let Ok(line) = line else { break };
                if let Ok(event) = serde_json::from_str(&line) {
                    act(&event);
                    sink.lock().expect("events").push(event);
                }
            }
        });
        Self { seen, stream }
    }

    /// Returns what was seen so far.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("events").clone()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
