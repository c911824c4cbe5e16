//! A Unix socket between a client and the engine that notes every request.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::engine::{copy_body, read_head};

/// A request that went through.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    /// When it came.
    pub at: Instant,
    /// When the engine began to answer.
    pub answered: Instant,
}

impl Request {
    /// The creation of a container with this body.
    pub fn of_create(body: &str) -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/containers/create".to_owned(),
            body: body.as_bytes().to_vec(),
            at: Instant::now(),
            answered: Instant::now(),
        }
    }

    /// What is done to which container, such as `start`; the removal is called that.
    pub fn act(&self) -> Option<(&str, &str)> {
        let path = self.path.split('?').next().unwrap_or_default();
        let mut words = path.split('/').skip_while(|word| *word != "containers").skip(1);
        let container = words.next()?;
        match (words.next(), self.method.as_str()) {
            (None, "DELETE") => Some(("remove", container)),
            (Some(act), _) => Some((act, container)),
            (None, _) => None,
        }
    }
}

/// What went through so far.
#[derive(Clone)]
pub struct Proxy {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Proxy {
    /// Listens on `socket` and hands on to `engine`, until the process ends.
    pub fn start(socket: &Path, engine: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let proxy = Self {
            socket: socket.to_owned(),
            seen: Arc::default(),
        };
        let (engine, seen) = (engine.to_owned(), Arc::clone(&proxy.seen));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (engine, seen) = (engine.clone(), Arc::clone(&seen));
                // A client that goes away in the middle is its own affair.
                thread::spawn(move || drop(serve(&client, &engine, &seen)));
            }
        });
        Ok(proxy)
    }

    /// The address for `DOCKER_HOST`.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Returns what went through since the last time.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if Arc::strong_count(&self.seen) <= 2 {
            drop(fs::remove_file(&self.socket));
        }
    }
}

fn serve(client: &UnixStream, engine: &Path, seen: &Mutex<Vec<Request>>) -> io::Result<()> {
    let upstream = UnixStream::connect(engine)?;
    let (mut requests, mut answers) = (BufReader::new(client), BufReader::new(&upstream));
    while let Some(head) = read_head(&mut requests)? {
        let line = String::from_utf8_lossy(&head.text).into_owned();
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut request = Request {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            body: Vec::new(),
            at: Instant::now(),
            answered: Instant::now(),
        };
        (&upstream).write_all(&head.text)?;
        copy_body(&mut requests, head.body, &mut |part, framing| {
            if !framing {
                request.body.extend_from_slice(part);
            }
            (&upstream).write_all(part)
        })?;
        let answer = read_head(&mut answers)?;
        request.answered = Instant::now();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let Some(answer) = answer else {
            return Ok(());
        };
        let mut to = client;
        to.write_all(&answer.text)?;
        if answer.text.starts_with(b"HTTP/1.1 101") {
            return tunnel(client, &upstream, &mut requests, &mut answers);
        }
        copy_body(&mut answers, answer.body, &mut |part, _| to.write_all(part))?;
    }
    Ok(())
}

/// Hands on raw bytes in both directions, after the protocol was switched.
fn tunnel(
    client: &UnixStream,
    upstream: &UnixStream,
    requests: &mut impl Read,
    answers: &mut (impl Read + Send),
) -> io::Result<()> {
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut to = client;
            io::copy(answers, &mut to)
        });
        let mut to = upstream;
        let copied = io::copy(requests, &mut to).map(drop);
        // What the other side still has to say comes.
        upstream.shutdown(Shutdown::Write)?;
        copied
    })
}
