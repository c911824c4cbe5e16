//! A proxy before the engine's socket: it counts requests, tells reads from writes, and does to them what a test
//! wants: refuse, cut the connection, or kill whoever asked.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::raw;

/// One request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// The path without version and query.
    pub path: String,
    pub query: String,
    /// How many writes have come by, this one included.
    pub writes: usize,
}

impl Request {
    /// Says whether the request changes anything.
    pub fn is_write(&self) -> bool {
        let waits = self.method == "POST" && self.path.ends_with("/wait");
        !(waits || self.method == "GET" || self.method == "HEAD")
    }

    /// Says whether the request names what keeps others out.
    pub fn names_claim(&self) -> bool {
        self.path.contains("aishell-claim-") || self.query.contains("aishell-claim-")
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It reaches the engine.
    Pass,
    /// It is answered with an error, and the engine never hears of it.
    Refuse,
    /// The connection ends, and the engine never hears of it.
    Cut,
    /// The connection ends once the engine has the request.
    CutAfter,
    /// The engine carries it out and begins to answer; then the connection ends, and nobody hears the answer.
    Unheard,
    /// It is answered with the id of an engine that is no other's.
    OtherEngine,
    /// It is answered as a stream in which nothing ever comes, and the engine never hears of it.
    Mute,
}

type Rule = Box<dyn FnMut(&Request) -> Verdict + Send>;

struct Shared {
    /// Where the engine is.
    engine: PathBuf,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Request>>,
    clients: Mutex<Vec<UnixStream>>,
}

/// A proxy that lives as long as this value.
pub struct Proxy {
    shared: Arc<Shared>,
    directory: tempfile::TempDir,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Lets everything pass.
    pub fn new() -> Self {
        Self::ruled(|_| Verdict::Pass)
    }

    /// Refuses whatever would change something.
    pub fn read_only() -> Self {
        Self::ruled(|request| {
            if request.is_write() {
                Verdict::Refuse
            } else {
                Verdict::Pass
            }
        })
    }

    /// Asks a rule about every request.
    pub fn ruled(rule: impl FnMut(&Request) -> Verdict + Send + 'static) -> Self {
        Self::before(raw::socket(), rule)
    }

    /// Asks a rule about every request to the engine at a socket.
    pub fn before(engine: PathBuf, rule: impl FnMut(&Request) -> Verdict + Send + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("engine.sock")).expect("a socket");
        let shared = Arc::new(Shared {
            engine,
            rule: Mutex::new(Box::new(rule)),
            seen: Mutex::default(),
            clients: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { break };
                lock(&serving.clients).extend(client.try_clone());
                let shared = Arc::clone(&serving);
                thread::spawn(move || {
                    // Whichever side goes away ends the connection; that is no failure of the proxy.
                    let _ = serve(&client, &shared);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { shared, directory }
    }

    /// Returns the address for `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }

    /// Returns the writes that came by, as `METHOD path`.
    pub fn writes(&self) -> Vec<String> {
        let seen = lock(&self.shared.seen);
        let writes = seen.iter().filter(|request| request.is_write());
        writes
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    /// Ends every connection there is.
    pub fn disconnect(&self) {
        for client in lock(&self.shared.clients).drain(..) {
            // One that has ended already needs no end.
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Returns the requests that came by from a number on.
    pub fn seen_from(&self, first: usize) -> Vec<Request> {
        lock(&self.shared.seen).iter().skip(first).cloned().collect()
    }

    /// Returns how many requests came by.
    pub fn requests(&self) -> usize {
        lock(&self.shared.seen).len()
    }
}

/// Serves one connection: a request passes when it is allowed to, answers flow back as they come.
fn serve(client: &UnixStream, shared: &Shared) -> io::Result<()> {
    let mut engine = UnixStream::connect(&shared.engine)?;
    let (back, front) = (engine.try_clone()?, client.try_clone()?);
    let unheard = Arc::new(AtomicBool::new(false));
    let answers = thread::spawn({
        let unheard = Arc::clone(&unheard);
        move || {
            // Whichever side goes away ends it.
            let _ = answer(&back, &front, &unheard);
            let _ = front.shutdown(Shutdown::Both);
            let _ = back.shutdown(Shutdown::Both);
        }
    });
    let mut reader = BufReader::new(client.try_clone()?);
    let served = requests(&mut reader, &mut engine, client, (shared, &unheard));
    if matches!(served, Ok(End::Input)) {
        // The input of a command has ended; what it writes still comes.
        let _ = engine.shutdown(Shutdown::Write);
        let _ = answers.join();
    } else if unheard.load(Ordering::SeqCst) {
        let _ = answers.join();
    }
    let _ = engine.shutdown(Shutdown::Both);
    served.map(|_| ())
}

/// How a connection came to its end.
enum End {
    /// Nothing more is asked.
    Requests,
    /// Of one that is no longer HTTP: nothing more is read.
    Input,
}

/// Hands answers on until one is not to be heard.
fn answer(mut engine: &UnixStream, mut client: &UnixStream, unheard: &AtomicBool) -> io::Result<()> {
    let mut part = [0; 16 << 10];
    loop {
        let length = engine.read(&mut part)?;
        if length == 0 || unheard.load(Ordering::SeqCst) {
            return Ok(());
        }
        client.write_all(&part[..length])?;
    }
}

fn requests(
    reader: &mut BufReader<UnixStream>,
    engine: &mut UnixStream,
    mut client: &UnixStream,
    (shared, unheard): (&Shared, &AtomicBool),
) -> io::Result<End> {
    loop {
        let Some(head) = head(reader)? else {
            return Ok(End::Requests);
        };
        let request = note(&head, shared);
        let verdict = (lock(&shared.rule))(&request);
        match verdict {
            Verdict::Pass if field(&head, "upgrade").is_some() => {
                pass(&head, reader, engine)?;
                return io::copy(reader, engine).map(|_| End::Input);
            }
            Verdict::Pass => pass(&head, reader, engine)?,
            Verdict::Refuse => {
                let text = format!(
                    r#"{{"message":"{} {} is refused here"}}"#,
                    request.method, request.path
                );
                let answer = format!(
                    "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                return client.write_all(answer.as_bytes()).map(|()| End::Requests);
            }
            Verdict::OtherEngine => {
                let text = r#"{"ID":"SOME:OTHE:RONE"}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                return client.write_all(answer.as_bytes()).map(|()| End::Requests);
            }
            Verdict::Mute => {
                client.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
                )?;
                // Nothing more is asked on this connection; it ends when the client ends it.
                return io::copy(reader, &mut io::sink()).map(|_| End::Requests);
            }
            Verdict::Cut => return Ok(End::Requests),
            Verdict::CutAfter => return pass(&head, reader, engine).map(|()| End::Requests),
            Verdict::Unheard => {
                // Answers come one by one: whatever comes from now on is the one to this request.
                unheard.store(true, Ordering::SeqCst);
                return pass(&head, reader, engine).map(|()| End::Requests);
            }
        }
    }
}

fn note(head: &[String], shared: &Shared) -> Request {
    let mut words = head.first().map_or("", String::as_str).split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')) {
        Some((_, rest)) => format!("/{rest}"),
        None => path.to_owned(),
    };
    let mut seen = lock(&shared.seen);
    let writes = seen.iter().filter(|request| request.is_write()).count();
    let mut request = Request {
        method,
        path,
        query: query.to_owned(),
        writes,
    };
    request.writes += usize::from(request.is_write());
    seen.push(request.clone());
    request
}

/// Reads the lines of a head, the empty one left out.
fn head(reader: &mut BufReader<UnixStream>) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            return Ok(Some(lines));
        }
        lines.push(line);
    }
}

fn field<'h>(head: &'h [String], name: &str) -> Option<&'h str> {
    head.iter().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Hands one request on, whole.
fn pass(head: &[String], reader: &mut BufReader<UnixStream>, engine: &mut UnixStream) -> io::Result<()> {
    let mut text = head.concat();
    text.push_str("\r\n");
    engine.write_all(text.as_bytes())?;
    if field(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            engine.write_all(size.as_bytes())?;
            let digits = size.trim().split(';').next().unwrap_or_default();
            let length = u64::from_str_radix(digits, 16)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // The piece and the end of its line.
            io::copy(&mut reader.by_ref().take(length + 2), engine)?;
            if length == 0 {
                return Ok(());
            }
        }
    }
    let length = field(head, "content-length").and_then(|value| value.parse().ok());
    io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), engine)?;
    Ok(())
}
