//! The least a client needs to talk to an engine: HTTP/1.1 on a Unix socket, one request at a time on a connection
//! that is kept. No crate of the program under test has a part in it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many requests are under way at once, as in the program under test.
pub const AT_ONCE: usize = 8;

/// A connection that is kept.
pub struct Connection {
    stream: BufReader<UnixStream>,
}

/// The start of a message: its first line, and what its headers say about the body.
pub struct Head {
    pub text: Vec<u8>,
    pub body: Body,
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Body {
    None,
    Length(u64),
    Chunked,
    UntilClosed,
}

impl Connection {
    pub fn open(socket: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, UnixStream::connect(socket)?),
        })
    }

    /// Sends a request and returns status and body of the answer.
    pub fn send(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<(u16, Vec<u8>)> {
        self.send_as("application/json", (method, path), body)
    }

    fn send_as(
        &mut self,
        kind: &str,
        (method, path): (&str, &str),
        body: Option<&[u8]>,
    ) -> io::Result<(u16, Vec<u8>)> {
        let length = body.map_or(0, <[u8]>::len);
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\n").into_bytes();
        if body.is_some() {
            request.extend(format!("Content-Type: {kind}\r\nContent-Length: {length}\r\n").bytes());
        } else if method == "POST" {
            request.extend(b"Content-Length: 0\r\n");
        }
        request.extend(b"\r\n");
        request.extend(body.unwrap_or_default());
        self.stream.get_mut().write_all(&request)?;
        let head = read_head(&mut self.stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = String::from_utf8_lossy(&head.text)
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut answer = Vec::new();
        copy_body(&mut self.stream, head.body, &mut |part, framing| {
            if !framing {
                answer.extend_from_slice(part);
            }
            Ok(())
        })?;
        Ok((status, answer))
    }

    /// Sends a request that has to succeed.
    pub fn ask(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
        Self::good((method, path), self.send(method, path, body))
    }

    /// Sends an archive, which has to succeed.
    pub fn upload(&mut self, method: &str, path: &str, archive: &[u8]) -> Vec<u8> {
        let sent = self.send_as("application/x-tar", (method, path), Some(archive));
        Self::good((method, path), sent)
    }

    fn good((method, path): (&str, &str), sent: io::Result<(u16, Vec<u8>)>) -> Vec<u8> {
        let (status, answer) = sent.expect("the engine answers");
        assert!(
            (200..400).contains(&status),
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
        answer
    }
}

/// Reads a head, or nothing if the other side is done. A response that has no body by its status has none here.
pub fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut text = Vec::new();
    let mut body = None;
    let mut line = Vec::new();
    let mut bodiless = false;
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        text.extend_from_slice(&line);
        let header = String::from_utf8_lossy(&line).to_ascii_lowercase();
        let header = header.trim_end();
        if header.is_empty() {
            break;
        } else if text.len() == line.len() {
            let request = !header.starts_with("http/");
            let status = header.split(' ').nth(1).unwrap_or_default();
            bodiless = request || status.starts_with('1') || status == "204" || status == "304";
        } else if let Some(length) = header.strip_prefix("content-length:") {
            body = length.trim().parse().ok().map(Body::Length);
        } else if header.starts_with("transfer-encoding:") && header.contains("chunked") {
            body = Some(Body::Chunked);
        }
    }
    let body = body.unwrap_or(if bodiless { Body::None } else { Body::UntilClosed });
    Ok(Some(Head { text, body }))
}

/// Hands on a body part by part; what only frames chunks is marked.
pub fn copy_body(
    stream: &mut impl BufRead,
    body: Body,
    take: &mut impl FnMut(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    match body {
        Body::None => Ok(()),
        Body::Length(length) => copy(stream, length, take).map(drop),
        Body::UntilClosed => copy(stream, u64::MAX, take).map(drop),
        Body::Chunked => loop {
            let mut line = Vec::new();
            stream.read_until(b'\n', &mut line)?;
            take(&line, true)?;
            let size = String::from_utf8_lossy(&line);
            let size = u64::from_str_radix(size.trim().split(';').next().unwrap_or_default(), 16)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            copy(stream, size, take)?;
            let mut end = [0; 2];
            stream.read_exact(&mut end)?;
            take(&end, true)?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

fn copy(
    stream: &mut impl BufRead,
    mut length: u64,
    take: &mut impl FnMut(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    while length > 0 {
        let there = stream.fill_buf()?;
        if there.is_empty() {
            break;
        }
        let part = there.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        take(&there[..part], false)?;
        stream.consume(part);
        length -= part as u64;
    }
    Ok(())
}

/// Returns the ids in an answer, in order.
pub fn ids(listing: &[u8]) -> Vec<String> {
    let listing: Vec<serde_json::Value> = serde_json::from_slice(listing).expect("a listing");
    listing
        .iter()
        .map(|listed| listed["Id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Does `work` for every index below `count`, [`AT_ONCE`] at a time, each worker on one of `connections` or on a
/// new one.
pub fn at_once(
    socket: &Path,
    connections: Vec<Connection>,
    count: usize,
    work: impl Fn(&mut Connection, usize) + Sync,
) {
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    let mut kept = connections.into_iter();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            let kept = kept.next();
            scope.spawn(move || {
                let mut connection =
                    kept.unwrap_or_else(|| Connection::open(socket).expect("the engine listens"));
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    work(&mut connection, index);
                }
            });
        }
    });
}
