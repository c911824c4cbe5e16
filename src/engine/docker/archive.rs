//! Tar archives: what is uploaded, what is downloaded, and the context of a build as a stream.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use futures_util::stream::{Stream, unfold};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::call::{Content, File, FileStatus};
use crate::key::Hasher;

/// The time of every entry: archives of the same files are the same bytes. It is the first day that the formats
/// with the narrowest idea of time can express in every time zone: 2 January 1980.
const TIME: u64 = 315_619_200;
/// Bytes sent at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes in which the whole head of an entry is.
const LONGEST_HEAD: usize = 16 * 1024;
/// Chunks that wait to be sent.
const WAITING: usize = 8;

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(0);
    header
}

/// Returns an archive of files, in their order.
pub(super) fn pack(files: &[File]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for File {
        path,
        uid,
        gid,
        mode,
        content,
    } in files
    {
        let path = path.trim_start_matches('/');
        let owned = |kind| {
            let mut header = header(kind, *mode);
            header.set_uid(u64::from(*uid));
            header.set_gid(u64::from(*gid));
            header
        };
        match content {
            Content::Directory => {
                let path = format!("{}/", path.trim_end_matches('/'));
                builder.append_data(&mut owned(tar::EntryType::Directory), path, io::empty())?;
            }
            Content::Bytes(bytes) => {
                let mut header = owned(tar::EntryType::Regular);
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())?;
            }
            Content::Host { path: file, digest } => {
                let mut file = Sent::open(file)?;
                let mut header = owned(tar::EntryType::Regular);
                header.set_size(file.size);
                builder.append_data(&mut header, path, &mut file)?;
                file.ended_as(digest)?;
            }
            Content::Link(target) => {
                builder.append_link(&mut owned(tar::EntryType::Symlink), path, target)?;
            }
        }
    }
    builder.into_inner()
}

/// A file of this host that is hashed while it is sent.
struct Sent {
    path: PathBuf,
    file: std::fs::File,
    size: u64,
    hasher: Hasher,
}

impl Sent {
    fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::open(path).map_err(|error| about(path, error))?;
        let size = file.metadata().map_err(|error| about(path, error))?.len();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
            hasher: Hasher::new(),
        })
    }

    fn ended_as(self, digest: &str) -> io::Result<()> {
        if self.hasher.finish() == digest {
            return Ok(());
        }
        let changed = io::Error::other("it was changed meanwhile; nothing was made of it");
        Err(about(&self.path, changed))
    }
}

impl io::Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Reads the head of the first entry of an archive, once enough of it is there.
pub(super) fn status(start: &[u8]) -> io::Result<Option<FileStatus>> {
    let mut archive = tar::Archive::new(start);
    let entry = match archive.entries()?.next() {
        Some(Ok(entry)) => entry,
        // A long name comes in a head of its own.
        Some(Err(_)) | None if start.len() < LONGEST_HEAD => return Ok(None),
        Some(Err(error)) => return Err(error),
        None => return Ok(Some(FileStatus::default())),
    };
    let header = entry.header();
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let kind = header.entry_type();
    let link = entry.link_name()?;
    Ok(Some(FileStatus {
        kind: match kind {
            tar::EntryType::Regular => "file",
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "link",
            _ => "other",
        },
        uid: number(header.uid()?),
        gid: number(header.gid()?),
        mode: header.mode()? & 0o7777,
        target: link.map(|link| link.to_string_lossy().into_owned()),
    }))
}

/// What the archive of one path holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A link to this target.
    Link(String),
    /// Neither.
    Other,
}

/// Says whether the first header of an archive is a directory's.
pub(super) fn is_directory(start: &[u8]) -> bool {
    // The type is one byte at a fixed place.
    start.get(156) == Some(&b'5')
}

/// Reads the one entry of an archive.
pub(super) fn unpack(archive: &[u8]) -> io::Result<Found> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else {
        return Ok(Found::Other);
    };
    let mut entry = entry?;
    let kind = entry.header().entry_type();
    if kind.is_symlink() {
        let target = entry.link_name()?.unwrap_or_default();
        return Ok(Found::Link(target.to_string_lossy().into_owned()));
    }
    if !kind.is_file() {
        return Ok(Found::Other);
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    Ok(Found::Bytes(bytes))
}

/// The context of a build, read while it is sent.
pub(super) struct Context {
    /// The directory that the paths are in.
    pub directory: PathBuf,
    /// Paths relative to it.
    pub files: Vec<PathBuf>,
    /// Where in the archive they are put; empty is its root.
    pub below: &'static str,
    /// Files that are not on disk, by path in the archive.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// The sending end; a blocking writer with bounded memory.
struct Pipe {
    chunks: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pipe {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.chunks
            .blocking_send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl Context {
    /// Starts reading the context and returns it as a stream, with the outcome of the reading.
    ///
    /// When reading fails the stream ends early; the request then fails too, and the cause is in the outcome.
    pub(super) fn send(
        self,
    ) -> (
        impl Stream<Item = Result<Vec<u8>, io::Error>>,
        JoinHandle<io::Result<()>>,
    ) {
        let (chunks, received) = mpsc::channel(WAITING);
        let reading = tokio::task::spawn_blocking(move || {
            let mut pipe = Pipe {
                chunks,
                buffer: Vec::with_capacity(CHUNK),
            };
            let outcome = self.write(&mut pipe);
            if outcome.is_err() {
                // An archive that just ended would be taken for a whole one.
                pipe.buffer = vec![0xff; 512];
            }
            outcome.and(pipe.send())
        });
        (
            unfold(received, |mut received| async {
                received.recv().await.map(|chunk| (Ok(chunk), received))
            }),
            reading,
        )
    }

    fn write(&self, pipe: &mut Pipe) -> io::Result<()> {
        let mut builder = tar::Builder::new(pipe);
        for (path, bytes) in &self.extra {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())?;
        }
        if !self.below.is_empty() {
            let path = format!("{}/", self.below);
            builder.append_data(&mut header(tar::EntryType::Directory, 0o755), path, io::empty())?;
        }
        for file in &self.files {
            append(
                &mut builder,
                &self.directory.join(file),
                &Path::new(self.below).join(file),
            )
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        }
        builder.finish()
    }
}

/// Appends what is at a path. Owner and time are left out, since images should not depend on who builds them.
#[expect(
    clippy::disallowed_methods,
    reason = "the context of a build is read here, while it is sent"
)]
fn append(builder: &mut tar::Builder<&mut Pipe>, path: &Path, name: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(path)?;
    let mode = mode(&metadata);
    if metadata.is_symlink() {
        let target = std::fs::read_link(path)?;
        return builder.append_link(&mut header(tar::EntryType::Symlink, 0o777), name, target);
    }
    if metadata.is_dir() {
        let mut name = name.as_os_str().to_owned();
        name.push("/");
        return builder.append_data(&mut header(tar::EntryType::Directory, mode), name, io::empty());
    }
    if !metadata.is_file() {
        // A socket or a pipe is nothing that an image could have.
        return Ok(());
    }
    let size = metadata.len();
    let mut header = header(tar::EntryType::Regular, mode);
    header.set_size(size);
    let mut content = Exactly {
        file: std::fs::File::open(path)?,
        left: size,
    };
    builder.append_data(&mut header, name, &mut content)
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions())
}

#[cfg(not(unix))]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    if metadata.is_dir() { 0o755 } else { 0o644 }
}

/// Reads as many bytes of a file as were announced: what is appended meanwhile is left out, what is cut off is an
/// error, since the archive would be garbage.
struct Exactly {
    file: std::fs::File,
    left: u64,
}

impl io::Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read(&mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file shrank while it was sent",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: Content) -> File {
        File {
            path: path.to_owned(),
            uid: 1000,
            gid: 1001,
            mode: 0o644,
            content,
        }
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        let files = [
            file("/d", Content::Directory),
            file("d/f", Content::Bytes(b"x".to_vec())),
        ];
        let packed = pack(&files).expect("an archive");
        assert_eq!(packed, pack(&files).expect("an archive"));
        assert!(is_directory(&packed));
        let mut archive = tar::Archive::new(packed.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                let path = entry.path().expect("a path").display().to_string();
                (
                    path,
                    header.uid().expect("a uid"),
                    header.gid().expect("a gid"),
                    header.mtime().expect("a time"),
                )
            })
            .collect();
        assert_eq!(
            entries,
            [
                ("d/".to_owned(), 1000, 1001, TIME),
                ("d/f".to_owned(), 1000, 1001, TIME)
            ]
        );
    }

    #[test]
    fn one_entry_is_unpacked_for_what_it_is() {
        let found = |content| unpack(&pack(&[file("x", content)]).expect("an archive")).expect("an entry");
        assert_eq!(
            found(Content::Bytes(b"hello".to_vec())),
            Found::Bytes(b"hello".to_vec())
        );
        assert_eq!(
            found(Content::Link("../y".to_owned())),
            Found::Link("../y".to_owned())
        );
        assert_eq!(found(Content::Directory), Found::Other);
        assert_eq!(unpack(&[0; 1024]).expect("nothing"), Found::Other);
        assert!(unpack(&[7; 700]).is_err());
    }

    #[test]
    fn links_lead_where_the_container_would_follow_them() {
        for (path, target, expected) in [
            ("/etc/os-release", "../usr/lib/os-release", "/usr/lib/os-release"),
            ("/a/b", "c", "/a/c"),
            ("/a/b", "/c/./d", "/c/d"),
            ("/a/b", "../../../../c", "/c"),
            ("/a", "b", "/b"),
        ] {
            assert_eq!(crate::call::follow(path, target), expected);
        }
    }

    #[tokio::test]
    async fn a_context_that_cannot_be_read_is_no_whole_archive() {
        let directory = tempfile::tempdir().expect("a directory");
        let context = Context {
            directory: directory.path().to_owned(),
            files: vec!["gone".into()],
            below: "",
            extra: Vec::new(),
        };
        let (stream, reading) = context.send();
        let sent: Vec<_> = futures_util::StreamExt::collect(stream).await;
        let sent: Vec<u8> = sent
            .into_iter()
            .flat_map(|chunk| chunk.expect("a chunk"))
            .collect();
        let error = reading.await.expect("it ends").expect_err("the file is gone");
        assert!(error.to_string().starts_with("gone: "), "{error}");
        let mut archive = tar::Archive::new(sent.as_slice());
        assert!(archive.entries().expect("a start").any(|entry| entry.is_err()));
    }
}
