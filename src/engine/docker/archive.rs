//! Tar archives: what is uploaded, what is downloaded, and the context of a build as a stream.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::mpsc;

use crate::call::{Content, File, FileStatus};
use crate::context::{Special, Sum};
use crate::key::Hasher;

/// The time of every entry: archives of the same files are the same bytes. It is the first day that the formats
/// with the narrowest idea of time can express in every time zone: 2 January 1980.
const TIME: u64 = 315_619_200;
/// Bytes in which the whole head of an entry is.
const LONGEST_HEAD: usize = 16 * 1024;

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

/// Writes an archive of files, in their order, and returns what it was written to.
pub(super) fn pack<W: Write>(files: &[File], archive: W) -> io::Result<W> {
    let mut builder = tar::Builder::new(archive);
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

/// What comes in pieces, read as one.
pub(super) struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    left: Bytes,
}

impl Pieces {
    /// Reads what is sent.
    pub(super) fn of(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            receiver,
            left: Bytes::new(),
        }
    }
}

impl io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            let Some(piece) = self.receiver.blocking_recv() else {
                return Ok(0);
            };
            self.left = piece;
        }
        let length = buffer.len().min(self.left.len());
        buffer[..length].copy_from_slice(&self.left.split_to(length));
        Ok(length)
    }
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

/// Reads the archive of a directory: what is in it, by path in it. What is neither file, directory nor link is left out.
pub(super) fn tree(archive: &[u8]) -> io::Result<Vec<File>> {
    let mut archive = tar::Archive::new(archive);
    let mut files: Vec<File> = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        // The first of its names is that of the directory itself.
        let within = |path: &Path| path.components().skip(1).collect::<PathBuf>();
        let path = within(&entry.path()?).to_string_lossy().into_owned();
        if path.is_empty() {
            continue;
        }
        let link = entry.link_name()?.map(std::borrow::Cow::into_owned);
        let content = match entry.header().entry_type() {
            tar::EntryType::Directory => Content::Directory,
            tar::EntryType::Symlink => Content::Link(link.unwrap_or_default().to_string_lossy().into_owned()),
            tar::EntryType::Link => {
                let same = within(&link.unwrap_or_default()).to_string_lossy().into_owned();
                match files.iter().find(|file| file.path == same) {
                    Some(file) => file.content.clone(),
                    None => continue,
                }
            }
            kind if kind.is_file() => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                Content::Bytes(bytes)
            }
            _ => continue,
        };
        let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let header = entry.header();
        files.push(File {
            path,
            uid: number(header.uid()?),
            gid: number(header.gid()?),
            mode: header.mode()? & 0o7777,
            content,
        });
    }
    Ok(files)
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
    pub files: Arc<[PathBuf]>,
    /// Where in the archive they are put; empty is its root.
    pub below: &'static str,
    /// Files that are not on disk, by path in the archive.
    pub extra: Vec<(String, Vec<u8>)>,
    /// The digest that it must have, and the Dockerfile and the triggers that say what counts.
    pub expected: Option<(String, [String; 2])>,
}

impl Context {
    /// Writes its archive.
    ///
    /// # Errors
    /// The first file that cannot be read, by its path in the context.
    pub(super) fn write(&self, archive: impl Write) -> io::Result<()> {
        let mut builder = tar::Builder::new(archive);
        for (path, bytes) in &self.extra {
            let mut header = header(tar::EntryType::Regular, 0o644);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())?;
        }
        if !self.below.is_empty() {
            let path = format!("{}/", self.below);
            builder.append_data(&mut header(tar::EntryType::Directory, 0o755), path, io::empty())?;
        }
        let mut sum = self
            .expected
            .as_ref()
            .map(|(_, [dockerfile, triggers])| Sum::of(dockerfile, triggers));
        for file in &*self.files {
            self.append(&mut builder, file, sum.as_mut())
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        }
        if let (Some(sum), Some((expected, _))) = (sum, &self.expected)
            && sum.finish() != *expected
        {
            return Err(io::Error::other(
                "it was changed meanwhile; nothing was made of it",
            ));
        }
        builder.finish()
    }

    /// Appends what is at a path. Owner and time are left out, since images should not depend on who builds them.
    #[expect(
        clippy::disallowed_methods,
        reason = "the context of a build is read here, while it is sent"
    )]
    fn append(
        &self,
        builder: &mut tar::Builder<impl Write>,
        file: &Path,
        sum: Option<&mut Sum>,
    ) -> io::Result<()> {
        let (path, name) = (self.directory.join(file), Path::new(self.below).join(file));
        let metadata = std::fs::symlink_metadata(&path)?;
        let mode = mode(&metadata);
        if metadata.is_symlink() {
            let target = std::fs::read_link(&path)?;
            if let Some(sum) = sum {
                sum.link(file, &target);
            }
            return builder.append_link(&mut header(tar::EntryType::Symlink, 0o777), name, target);
        }
        if metadata.is_dir() {
            if let Some(sum) = sum {
                sum.directory(file, mode);
            }
            let mut name = name.into_os_string();
            name.push("/");
            return builder.append_data(&mut header(tar::EntryType::Directory, mode), name, io::empty());
        }
        if let Some(special) = Special::of(&metadata) {
            if let Some(sum) = sum {
                sum.special(file, mode, special);
            }
            let (kind, major, minor) = match special {
                Special::Pipe => (tar::EntryType::Fifo, 0, 0),
                Special::Characters(major, minor) => (tar::EntryType::Char, major, minor),
                Special::Blocks(major, minor) => (tar::EntryType::Block, major, minor),
            };
            let mut header = header(kind, mode);
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
            return builder.append_data(&mut header, name, io::empty());
        }
        if !metadata.is_file() {
            // Somebody has put a socket in its place.
            return Err(io::Error::other(
                "it was changed meanwhile; nothing was made of it",
            ));
        }
        let size = metadata.len();
        let mut header = header(tar::EntryType::Regular, mode);
        header.set_size(size);
        let mut content = Exactly {
            file: std::fs::File::open(path)?,
            left: size,
            hasher: sum.as_ref().map(|_| Hasher::new()),
        };
        builder.append_data(&mut header, name, &mut content)?;
        if let (Some(sum), Some(hasher)) = (sum, content.hasher) {
            sum.file(file, mode, &hasher.finish());
        }
        Ok(())
    }
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
    hasher: Option<Hasher>,
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
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outgoing;
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
    fn a_directory_is_read_back_with_paths_in_it() {
        let files = [
            file("skel", Content::Directory),
            file("skel/.config", Content::Directory),
            file("skel/.config/one", Content::Bytes(b"x".to_vec())),
            file("skel/link", Content::Link(".config/one".to_owned())),
        ];
        let mut archive = tar::Builder::new(pack(&files, Vec::new()).expect("an archive"));
        // A second name of a file, as engines write it, and something that is no file.
        archive.get_mut().truncate(5 * 512);
        let mut second = header(tar::EntryType::Link, 0o600);
        archive
            .append_link(&mut second, "skel/again", "skel/.config/one")
            .expect("an entry");
        let mut pipe = header(tar::EntryType::Fifo, 0o600);
        archive
            .append_data(&mut pipe, "skel/pipe", io::empty())
            .expect("an entry");
        let archive = archive.into_inner().expect("an archive");
        let within = |name: &str, content| File {
            path: name.to_owned(),
            ..file("", content)
        };
        let again = File {
            path: "again".to_owned(),
            uid: 0,
            gid: 0,
            mode: 0o600,
            content: Content::Bytes(b"x".to_vec()),
        };
        let expected = [
            within(".config", Content::Directory),
            within(".config/one", Content::Bytes(b"x".to_vec())),
            within("link", Content::Link(".config/one".to_owned())),
            again,
        ];
        assert_eq!(tree(&archive).expect("an archive"), expected);
        let single = pack(&[file("skel", Content::Bytes(b"x".to_vec()))], Vec::new()).expect("an archive");
        assert_eq!(tree(&single).expect("an archive"), []);
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        let files = [
            file("/d", Content::Directory),
            file("d/f", Content::Bytes(b"x".to_vec())),
        ];
        let packed = pack(&files, Vec::new()).expect("an archive");
        assert_eq!(packed, pack(&files, Vec::new()).expect("an archive"));
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
        let found = |content| {
            unpack(&pack(&[file("x", content)], Vec::new()).expect("an archive")).expect("an entry")
        };
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

    #[test]
    fn a_context_that_was_changed_since_it_was_looked_at_is_not_sent_to_its_end() {
        use crate::context::{Context as Read, Digests};
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let write = |name: &str, text: &str| {
            let mut file = std::fs::File::create(root.join(name)).expect("a file");
            file.write_all(text.as_bytes()).expect("a file");
        };
        std::fs::create_dir(root.join("app")).expect("a directory");
        let dockerfile = "FROM scratch\nCOPY app /app\n";
        write("Dockerfile", dockerfile);
        write("app/file", "one");
        write("beside", "one");
        std::os::unix::fs::symlink("file", root.join("app/link")).expect("a link");
        let own = std::collections::BTreeSet::new();
        let read = Read::read(root, &root.join("Dockerfile"), &own, &Digests::default()).expect("a context");
        let context = Context {
            directory: root.to_owned(),
            files: read.files,
            below: "context",
            extra: Vec::new(),
            expected: Some((read.digest, [dockerfile.to_owned(), String::new()])),
        };
        assert!(context.write(io::sink()).is_ok());
        write("beside", "two");
        assert!(context.write(io::sink()).is_ok(), "nobody copies it");
        write("app/file", "two");
        let error = context.write(io::sink()).expect_err("a change");
        assert!(error.to_string().contains("changed meanwhile"), "{error}");
    }

    #[tokio::test]
    async fn a_context_that_cannot_be_read_is_no_whole_archive() {
        let directory = tempfile::tempdir().expect("a directory");
        let context = Context {
            directory: directory.path().to_owned(),
            files: ["gone".into()].into(),
            below: "",
            extra: Vec::new(),
            expected: None,
        };
        let (stream, writing) = outgoing::stream(move |pipe| context.write(pipe));
        let sent: Vec<_> = futures_util::StreamExt::collect(stream).await;
        let sent: Vec<u8> = sent
            .into_iter()
            .flat_map(|chunk| chunk.expect("a chunk"))
            .collect();
        let error = writing.trouble(true).await.expect("the file is gone");
        assert!(error.to_string().starts_with("gone: "), "{error}");
        let mut archive = tar::Archive::new(sent.as_slice());
        assert!(archive.entries().expect("a start").any(|entry| entry.is_err()));
    }

    #[test]
    fn devices_are_sent_with_their_numbers() {
        let context = Context {
            directory: "/dev".into(),
            files: ["null".into(), "zero".into()].into(),
            below: "",
            extra: Vec::new(),
            expected: None,
        };
        let mut sent = Vec::new();
        context.write(&mut sent).expect("an archive");
        let mut archive = tar::Archive::new(sent.as_slice());
        let entries = archive.entries().expect("entries").map(|entry| {
            let header = entry.expect("an entry").header().clone();
            let numbers = (header.device_major(), header.device_minor());
            let numbers = (numbers.0.expect("a number"), numbers.1.expect("a number"));
            (header.entry_type(), numbers)
        });
        let device = |minor| (tar::EntryType::Char, (Some(1), Some(minor)));
        assert_eq!(entries.collect::<Vec<_>>(), [device(3), device(5)]);
    }
}
