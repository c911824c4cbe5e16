//! A server of repositories and downloads of one test, on loopback: git's own program behind a few lines of HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Who a guarded server answers to.
pub const USER: &str = "tester";
/// The password of that.
pub const PASSWORD: &str = "open-sesame";

/// A server. It ends with the test.
pub struct GitServer {
    directory: tempfile::TempDir,
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Whether only [`USER`] gets an answer.
    guarded: AtomicBool,
    /// Whether nobody gets one, for as long as this is set.
    stalls: AtomicBool,
    over: AtomicBool,
    /// How often anything was asked.
    asked: AtomicUsize,
    /// Connections that are kept waiting.
    waiting: Mutex<Vec<TcpStream>>,
    /// Where an answer breaks off.
    breach: Mutex<Option<Breach>>,
    /// How many bytes each answer had, had it been given.
    answers: Mutex<Vec<usize>>,
}

/// A place in what a server says, after which it says no more to whoever hears it.
struct Breach {
    /// Which request is answered, of all.
    request: usize,
    /// How many bytes of the answer are sent.
    bytes: usize,
    /// What is done then. The connection is left open.
    deed: Option<Box<dyn FnOnce() + Send>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Sends an answer, or what is to be sent of it.
    fn send(&self, mut stream: TcpStream, request: usize, said: &[u8]) {
        locked(&self.answers).push(said.len());
        let breach = locked(&self.breach).take_if(|breach| breach.request == request);
        let bytes = breach.as_ref().map_or(said.len(), |breach| breach.bytes);
        let _ = stream.write_all(&said[..bytes.min(said.len())]);
        let _ = stream.flush();
        if let Some(deed) = breach.and_then(|breach| breach.deed) {
            locked(&self.waiting).push(stream);
            deed();
        } else {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl GitServer {
    /// Starts one on a port that nobody has.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State::default());
        let (shared, root) = (Arc::clone(&state), directory.path().to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, root) = (Arc::clone(&shared), root.clone());
                thread::spawn(move || answer(stream, &root, &shared));
            }
        });
        Self {
            directory,
            port,
            state,
        }
    }

    /// Answers only to [`USER`] with [`PASSWORD`] from now on.
    pub fn guard(&self) {
        self.state.guarded.store(true, Ordering::SeqCst);
    }

    /// Answers nobody while this is set.
    pub fn stall(&self, stalls: bool) {
        self.state.stalls.store(stalls, Ordering::SeqCst);
        locked(&self.state.waiting).clear();
    }

    /// Returns how many are kept waiting.
    pub fn waiting(&self) -> usize {
        locked(&self.state.waiting).len()
    }

    /// Returns how often anything was asked.
    pub fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// Returns how many bytes each answer had so far.
    pub fn answers(&self) -> Vec<usize> {
        locked(&self.state.answers).clone()
    }

    /// Breaks the connection off after so many bytes of the answer to a request, the next one being 0.
    pub fn cut(&self, request: usize, bytes: usize) {
        self.breach(request, bytes, None);
    }

    /// Does something after so many bytes of the answer to a request, and says no more there.
    pub fn interrupt(&self, request: usize, bytes: usize, deed: impl FnOnce() + Send + 'static) {
        self.breach(request, bytes, Some(Box::new(deed)));
    }

    fn breach(&self, request: usize, bytes: usize, deed: Option<Box<dyn FnOnce() + Send>>) {
        let request = self.asked() + request;
        *locked(&self.state.breach) = Some(Breach { request, bytes, deed });
    }

    /// Returns the address of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}.git", self.port)
    }

    /// Puts a file there to be downloaded; returns its address and its digest.
    pub fn file(&self, name: &str, bytes: &[u8]) -> (String, String) {
        let directory = self.directory.path().join("files");
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(name), bytes).expect("a file");
        (
            self.address(&format!("files/{name}")),
            aishell::key::digest(bytes),
        )
    }

    /// Returns an address: `files/NAME` is a file, `moved/NAME` leads there, `away/ANYTHING` leads to this machine's own
    /// files.
    pub fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Returns the directory of a repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.git"))
    }

    /// Makes a repository with a first commit on `main`, in which `README` says its name.
    pub fn repository(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir(&path).expect("a directory");
        self.git(name, &["init", "--quiet", "--bare", "--template="]);
        self.git(name, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        self.commit(name, "main", &[("README", &format!("{name}\n"))]);
        self.url(name)
    }

    /// Adds a commit to a branch, with files added to those that were there; returns it. A path that ends with `*` is
    /// an executable, one that ends with `@` a link.
    pub fn commit(&self, name: &str, branch: &str, files: &[(&str, &str)]) -> String {
        let before = self.git(name, &["rev-parse", "--quiet", "--verify", branch]);
        if before.is_empty() {
            self.git(name, &["read-tree", "--empty"]);
        } else {
            self.git(name, &["read-tree", &before]);
        }
        for (path, text) in files {
            let blob = self.fed(name, &["hash-object", "-w", "--stdin"], text);
            let (mode, path) = match (path.strip_suffix('*'), path.strip_suffix('@')) {
                (Some(path), _) => ("100755", path),
                (None, Some(path)) => ("120000", path),
                (None, None) => ("100644", *path),
            };
            let entry = format!("{mode},{blob},{path}");
            self.git(name, &["update-index", "--add", "--cacheinfo", &entry]);
        }
        let tree = self.git(name, &["write-tree"]);
        let mut words = vec!["commit-tree", "-m", "test", &tree];
        if !before.is_empty() {
            words.extend(["-p", &before]);
        }
        let commit = self.git(name, &words);
        self.git(name, &["update-ref", &format!("refs/heads/{branch}"), &commit]);
        commit
    }

    /// Runs git in a repository, and returns what it answers; nothing, if it fails.
    pub fn git(&self, name: &str, words: &[&str]) -> String {
        self.fed(name, words, "")
    }

    fn fed(&self, name: &str, words: &[&str], input: &str) -> String {
        let mut child = command(&self.path(name))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git; live tests need it: apt-get install git");
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(input.as_bytes()).expect("a reader");
        drop(stdin);
        let ended = child.wait_with_output().expect("an end");
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        locked(&self.state.waiting).clear();
        // The one who waits for somebody looks up then.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Returns git as nobody in particular.
fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_DIR", directory)
        .env("GIT_INDEX_FILE", directory.join("index"));
    for who in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{who}_NAME"), "test")
            .env(format!("GIT_{who}_EMAIL"), "test@example.org");
    }
    command
}

/// Answers one request.
fn answer(stream: TcpStream, root: &Path, state: &State) {
    let request = state.asked.fetch_add(1, Ordering::SeqCst);
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    if state.stalls.load(Ordering::SeqCst) {
        locked(&state.waiting).push(stream);
        return;
    }
    let login = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    if state.guarded.load(Ordering::SeqCst) && header("authorization") != Some(format!("Basic {login}")) {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\n\
                       Content-Length: 0\r\nConnection: close\r\n\r\n";
        return state.send(stream, request, refusal.as_bytes());
    }
    let mut first = head.split(' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = |status: &str, header: &str, body: &[u8]| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let said = match path.split_once('/').and_then(|(_, path)| path.split_once('/')) {
        Some(("files", name)) => Some(match std::fs::read(root.join("files").join(name)) {
            Ok(bytes) => plain("200 OK", "", &bytes),
            Err(_) => plain("404 Not Found", "", b""),
        }),
        Some(("moved", name)) => Some(plain("302 Found", &format!("Location: /files/{name}\r\n"), b"")),
        Some(("away", _)) => Some(plain("302 Found", "Location: file:///etc/passwd\r\n", b"")),
        _ => None,
    };
    if let Some(said) = said {
        return state.send(stream, request, &said);
    }
    let child = Command::new("git")
        .arg("http-backend")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env(
            "HTTP_CONTENT_ENCODING",
            header("content-encoding").unwrap_or_default(),
        )
        .env("CONTENT_LENGTH", length.to_string())
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return };
    let mut stdin = child.stdin.take().expect("stdin");
    let feeding = thread::spawn(move || {
        let _ = stdin.write_all(&body);
    });
    let mut answer = Vec::new();
    let _ = child.stdout.take().expect("stdout").read_to_end(&mut answer);
    let _ = (feeding.join(), child.wait());
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(answer.len(), |at| at + 4);
    let told = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = told
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK");
    let lines = told
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Status: "));
    let lines: String = lines.flat_map(|line| [line, "\r\n"]).collect();
    let length = answer.len() - end;
    let head = format!("HTTP/1.1 {status}\r\n{lines}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    state.send(stream, request, &[head.as_bytes(), &answer[end..]].concat());
}
