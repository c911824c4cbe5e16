//! Taking stock of a directory of a container: one archive, hashed by several threads while it comes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bollard::query_parameters::DownloadFromContainerOptions;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::DockerEngine;
use super::archive::Pieces;
use super::error::Failure;
use crate::call::{FileRecord, FileStatus, Stock};
use crate::engine::EngineError;
use crate::key::Hasher;

/// How many pieces of an archive may wait to be read.
const WAITING: usize = 16;
/// How much of a file is handed to whoever hashes it at once, in bytes.
const PIECE: usize = 256 << 10;
/// How many pieces of files may wait to be hashed by one thread.
const AHEAD: usize = 32;
/// How many threads hash at most: one connection gives no more than a few can take.
const THREADS: usize = 4;
/// The zeros that end an archive: an engine that meets a trouble breaks off between two entries.
const END: usize = 1024;
/// The size of the largest file that is returned whole.
const LARGEST: u64 = 16 << 20;

impl DockerEngine {
    /// Takes stock of a directory and everything below.
    pub(super) async fn take_stock(
        &self,
        container: &str,
        path: &str,
        whole: &str,
    ) -> Result<Stock, Failure> {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let mut chunks = self.client.download_from_container(container, Some(options));
        let (sender, receiver) = mpsc::channel(WAITING);
        let whole = whole.to_owned();
        let reading = tokio::task::spawn_blocking(move || read(Pieces::of(receiver), &whole));
        while let Some(chunk) = chunks.next().await {
            // Whoever cannot read on says why.
            if sender.send(chunk?).await.is_err() {
                break;
            }
        }
        drop(sender);
        let read = reading.await.map_err(|error| error.to_string());
        let stock = read.and_then(|read| read.map_err(|error| error.to_string()));
        Ok(stock.map_err(|error| EngineError::Unexpected {
            call: format!("TakeStock: {error}"),
        })?)
    }
}

/// What is told to a thread that hashes.
enum Order {
    /// The next bytes of a file.
    Bytes(Vec<u8>),
    /// That was all of the one of this number.
    End(usize),
}

/// Reads an archive of a directory.
fn read(archive: impl Read, whole: &str) -> io::Result<Stock> {
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS);
    thread::scope(|scope| {
        let (mut senders, mut hashing) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            senders.push(sender);
            hashing.push(scope.spawn(move || hash(&receiver)));
        }
        let entries = entries(archive, whole, &senders);
        // They end when there is nobody left to tell them anything.
        drop(senders);
        let mut digests = BTreeMap::new();
        for hashed in hashing {
            let hashed = hashed.join();
            digests.extend(hashed.map_err(|_| io::Error::other("a thread that hashes has ended"))?);
        }
        Ok(together(entries?, &digests))
    })
}

/// Hashes files, and returns their digests by number.
fn hash(orders: &Receiver<Order>) -> BTreeMap<usize, String> {
    let mut digests = BTreeMap::new();
    let mut hasher = Hasher::new();
    while let Ok(order) = orders.recv() {
        match order {
            Order::Bytes(bytes) => hasher.update(&bytes),
            Order::End(number) => {
                digests.insert(number, std::mem::take(&mut hasher).finish());
            }
        }
    }
    digests
}

/// What an archive is read from, with the number of zeros that came last.
struct Ending<R> {
    archive: R,
    zeros: usize,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.archive.read(buffer)?;
        let read = &buffer[..length];
        let zeros = read.iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if zeros == length {
            self.zeros + zeros
        } else {
            zeros
        };
        Ok(length)
    }
}

/// One entry of an archive.
struct Entry {
    path: String,
    record: FileRecord,
    /// The path of the file of which it is another name.
    same: Option<String>,
}

/// Reads the entries of an archive in their order, and gives the files away to be hashed.
fn entries(archive: impl Read, whole: &str, threads: &[SyncSender<Order>]) -> io::Result<Vec<Entry>> {
    let mut archive = tar::Archive::new(Ending { archive, zeros: 0 });
    let mut found = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = inner(&entry.path_bytes());
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        let header = entry.header();
        let kind = header.entry_type();
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let mut record = FileRecord {
            status: FileStatus {
                kind: match kind {
                    tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::Link => "file",
                    tar::EntryType::Directory => "directory",
                    tar::EntryType::Symlink => "link",
                    _ => "other",
                },
                uid: number(header.uid()?),
                gid: number(header.gid()?),
                mode: header.mode()? & 0o7777,
                target: None,
            },
            ..FileRecord::default()
        };
        let mut same = None;
        match kind {
            tar::EntryType::Symlink => {
                record.status.target = link.map(|link| String::from_utf8_lossy(&link).into_owned());
            }
            tar::EntryType::Link => same = link.map(|link| inner(&link)),
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                record.bytes = entry.size();
                let kept = below(&path, whole) && record.bytes <= LARGEST;
                record.content = give(&mut entry, (found.len(), threads), kept)?;
            }
            _ => {}
        }
        found.push(Entry { path, record, same });
    }
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    if rest.zeros < END {
        let early = "the archive ends before its end";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, early));
    }
    Ok(found)
}

/// Gives what is in a file to the thread whose turn it is, and returns it as well where it is kept.
fn give(
    file: &mut impl Read,
    (number, threads): (usize, &[SyncSender<Order>]),
    kept: bool,
) -> io::Result<Option<Vec<u8>>> {
    let gone = |_| io::Error::other("a thread that hashes has ended");
    let thread = threads.get(number % threads.len().max(1));
    let thread = thread.ok_or_else(|| io::Error::other("nobody hashes"))?;
    let mut content = kept.then(Vec::new);
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let limit = u64::try_from(PIECE).unwrap_or(u64::MAX);
        if file.by_ref().take(limit).read_to_end(&mut piece)? == 0 {
            break;
        }
        if let Some(content) = &mut content {
            content.extend_from_slice(&piece);
        }
        thread.send(Order::Bytes(piece)).map_err(gone)?;
    }
    thread.send(Order::End(number)).map_err(gone)?;
    Ok(content)
}

/// Puts digests to the files they are of; a file of several names has one.
fn together(entries: Vec<Entry>, digests: &BTreeMap<usize, String>) -> Stock {
    let mut stock = Stock::new();
    for (number, Entry { path, record, same }) in entries.into_iter().enumerate() {
        let record = match same.and_then(|same| stock.get(&same)) {
            Some(first) => FileRecord {
                status: record.status,
                ..first.clone()
            },
            None => FileRecord {
                digest: digests.get(&number).cloned(),
                ..record
            },
        };
        stock.insert(path, record);
    }
    stock
}

/// Returns a path as seen from the directory that the archive is of: its name comes first.
fn inner(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let path = path.trim_matches('/');
    let inner = path.split_once('/').map_or("", |(_, inner)| inner);
    inner.to_owned()
}

/// Says whether a path lies below a directory.
fn below(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::digest;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let head = |kind, mode| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(7);
            header.set_gid(8);
            header.set_size(0);
            header
        };
        let mut directory = head(tar::EntryType::Directory, 0o755);
        builder
            .append_data(&mut directory, "tools/", io::empty())
            .expect("an entry");
        let large = vec![b'x'; PIECE + 1];
        let long = format!("tools/{}/name", "n".repeat(120));
        for (path, content) in [
            ("tools/.aishell/receipt.json", &b"{}"[..]),
            ("tools/large", &large),
            (&long, b"long"),
            ("tools/empty", b""),
        ] {
            let mut header = head(tar::EntryType::Regular, 0o4755);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content).expect("an entry");
        }
        let mut link = head(tar::EntryType::Symlink, 0o777);
        builder
            .append_link(&mut link, "tools/link", "../x")
            .expect("an entry");
        let mut other = head(tar::EntryType::Link, 0o4755);
        builder
            .append_link(&mut other, "tools/second", "tools/large")
            .expect("an entry");
        builder.into_inner().expect("an archive")
    }

    #[test]
    fn everything_in_an_archive_is_told_as_it_is() {
        let stock = read(&archive()[..], ".aishell").expect("stock");
        let paths: Vec<&str> = stock.keys().map(String::as_str).collect();
        let long = format!("{}/name", "n".repeat(120));
        assert_eq!(
            paths,
            [
                "",
                ".aishell/receipt.json",
                "empty",
                "large",
                "link",
                &long,
                "second"
            ]
        );
        assert_eq!(
            stock[".aishell/receipt.json"].content.as_deref(),
            Some(&b"{}"[..])
        );
        let large = &stock["large"];
        assert_eq!(
            (large.status.kind, large.status.uid, large.status.mode),
            ("file", 7, 0o4755)
        );
        assert_eq!((large.bytes, &large.content), (PIECE as u64 + 1, &None));
        assert_eq!(large.digest, Some(digest(&vec![b'x'; PIECE + 1])));
        assert_eq!(stock["second"].digest, large.digest);
        assert_eq!(stock["empty"].digest, Some(digest(b"")));
        assert_eq!(stock["link"].status.target.as_deref(), Some("../x"));
        assert_eq!((stock[""].status.kind, &stock[""].digest), ("directory", &None));
    }

    #[test]
    fn an_archive_that_breaks_off_is_no_stock() {
        let whole = archive();
        for end in [512, 700, 1600, PIECE, whole.len() - 1024] {
            assert!(read(&whole[..end], "").is_err(), "{end}");
        }
        assert!(read(&[7; 1024][..], "").is_err());
    }
}
