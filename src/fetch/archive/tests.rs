use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::*;

/// Makes a tar archive of paths and contents; a path that ends with `@` is a link.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        let name = path.trim_end_matches('@');
        // As nobody but who means harm writes it.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if name == *path {
            header.set_size(text.len() as u64);
        } else {
            header.set_entry_type(tar::EntryType::Symlink);
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            header.set_size(0);
        }
        header.set_mode(0o755);
        header.set_cksum();
        let content = if name == *path { text.as_bytes() } else { b"" };
        builder.append(&header, content).expect("an entry");
    }
    builder.into_inner().expect("an archive")
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("few").to_le_bytes()
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("few").to_le_bytes()
}

fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (path, text) in files {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("bytes");
        let packed = encoder.finish().expect("bytes");
        let offset = archive.len();
        let common = |version: &[u8]| {
            let mut head = version.to_vec();
            head.extend([20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            head.extend(long(packed.len()));
            head.extend(long(text.len()));
            head.extend(short(path.len()));
            head.extend([0, 0]);
            head
        };
        archive.extend(common(b"PK\x03\x04"));
        archive.extend(path.as_bytes());
        archive.extend(&packed);
        directory.extend(common(b"PK\x01\x02\x14\x00"));
        directory.extend([0; 6]);
        directory.extend([0, 0, 0xed, 0x81]);
        directory.extend(long(offset));
        directory.extend(path.as_bytes());
    }
    let (size, offset) = (directory.len(), archive.len());
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([short(files.len()), short(files.len())].concat());
    archive.extend(long(size));
    archive.extend(long(offset));
    archive.extend([0, 0]);
    archive
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("bytes");
    encoder.finish().expect("bytes")
}

fn taken(bytes: &[u8], bin: &str) -> Result<String, String> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("bytes");
    let mut content = Vec::new();
    match take(file.path(), bin, &mut content) {
        Ok(()) => Ok(String::from_utf8(content).expect("text")),
        Err(ArchiveError::Unreadable(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

const FILES: &[(&str, &str)] = &[
    ("rg-1/doc/rg.1", "manual"),
    ("rg-1/rg", "program"),
    ("rg-1/complete/rg", "completions"),
    ("rg-1/link@", "rg"),
];

#[test]
fn one_file_is_taken_however_it_is_packed() {
    let links = &FILES[..3];
    for bytes in [tar(FILES), gz(&tar(FILES)), zipped(links)] {
        assert_eq!(taken(&bytes, "rg"), Ok("program".to_owned()));
        assert_eq!(taken(&bytes, "rg-1/rg"), Ok("program".to_owned()));
        assert_eq!(taken(&bytes, "complete/rg"), Ok("completions".to_owned()));
        let error = taken(&bytes, "fd").expect_err("nothing");
        assert!(
            error.starts_with("there is no file `fd` in it; it has rg-1/"),
            "{error}"
        );
    }
    assert_eq!(
        taken(&tar(FILES), "link"),
        Err("`rg-1/link` in it is a link".to_owned())
    );
    // What is no archive is the program itself, packed or not.
    assert_eq!(taken(b"#!/bin/sh\n", "any"), Ok("#!/bin/sh\n".to_owned()));
    assert_eq!(taken(&gz(b"#!/bin/sh\n"), "any"), Ok("#!/bin/sh\n".to_owned()));
    assert_eq!(taken(b"", "any"), Ok(String::new()));
}

#[test]
fn nothing_is_taken_from_outside_of_an_archive() {
    for path in ["../rg", "/usr/bin/rg", "a/../../rg", "/rg"] {
        for bytes in [
            tar(&[(path, "harm"), ("b/other", "x")]),
            zipped(&[(path, "harm"), ("b/other", "x")]),
        ] {
            assert_eq!(
                taken(&bytes, "rg"),
                Err("there is no file `rg` in it; it has b/other".to_owned()),
                "{path}"
            );
        }
    }
    let several = tar(&[("a/rg", "one"), ("b/rg", "other")]);
    assert_eq!(
        taken(&several, "rg"),
        Err("there are several files `rg` in it: b/rg, a/rg".to_owned())
    );
    assert_eq!(
        taken(&tar(&[("a/rg", "old"), ("a/rg", "new")]), "rg"),
        Ok("new".to_owned())
    );
}

#[test]
fn what_is_cut_off_is_no_archive() {
    for whole in [gz(&tar(FILES)), zipped(&FILES[..3]), tar(FILES)] {
        for length in [whole.len() / 2, whole.len() / 3] {
            assert!(
                taken(&whole[..length], "complete/rg").is_err(),
                "{length} of {}",
                whole.len()
            );
        }
    }
    for odd in [&b"PK\x03\x04"[..], b"\x1f\x8b\x08\0", b"\xfd7zXZ\0\0"] {
        assert!(taken(odd, "rg").is_err());
    }
}

/// Packs something with a program of this host, as those do who release it.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("bytes");
    let ended = Command::new(program).arg("-c").arg(file.path()).output();
    let ended =
        ended.unwrap_or_else(|error| panic!("{program}: {error}; apt-get install xz-utils zstd bzip2"));
    assert!(ended.status.success(), "{program}: {ended:?}");
    ended.stdout
}

#[test]
fn what_other_programs_packed_is_unpacked_by_them_and_halves_are_none() {
    for program in ["xz", "zstd", "bzip2"] {
        let archive = packed(program, &tar(FILES));
        assert_eq!(taken(&archive, "rg"), Ok("program".to_owned()), "{program}");
        let error = taken(&archive, "fd").expect_err("nothing");
        assert!(error.starts_with("there is no file `fd`"), "{program}: {error}");
        let single = packed(program, b"#!/bin/sh\n");
        assert_eq!(taken(&single, "rg"), Ok("#!/bin/sh\n".to_owned()), "{program}");
        let error = taken(&archive[..archive.len() / 2], "fd").expect_err("half");
        assert!(!error.contains("there is no file"), "{program}: {error}");
    }
}

/// Takes a file, and reads no more than so many bytes.
fn taken_within(limit: u64, bytes: &[u8], bin: &str) -> Result<usize, String> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("bytes");
    let mut content = Vec::new();
    match take_within(limit, file.path(), bin, &mut content) {
        Ok(()) => Ok(content.len()),
        Err(ArchiveError::Unreadable(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn what_becomes_too_large_is_not_unpacked() {
    let text = "0".repeat(4 << 20);
    let files = [("a/rg", text.as_str())];
    for bomb in [
        zipped(&files),
        gz(&tar(&files)),
        gz(text.as_bytes()),
        packed("xz", &tar(&files)),
        packed("zstd", text.as_bytes()),
    ] {
        assert!(bomb.len() < 1 << 17, "{}", bomb.len());
        let error = taken_within(2 << 20, &bomb, "rg").expect_err("a bomb");
        assert!(error.starts_with("it is larger than"), "{error}");
        assert_eq!(taken_within(8 << 20, &bomb, "rg"), Ok(4 << 20));
    }
    // Not a file is large, but a name, or what is said of the next one.
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::GNULongLink,
        tar::EntryType::XHeader,
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_cksum();
        builder.append(&header, text.as_bytes()).expect("an entry");
        let archive = [tar(&[("a", "x")]), builder.into_inner().expect("an archive")];
        // The first one has no end.
        let archive = [&archive[0][..1024], &archive[1], &tar(&[("rg", "x")])].concat();
        let error = taken(&gz(&archive), "rg").expect_err("a bomb");
        assert!(error.contains("longer names"), "{kind:?}: {error}");
    }
}

#[test]
fn devices_pipes_and_links_are_no_programs() {
    for (kind, told) in [
        (tar::EntryType::Char, "there is no file `rg` in it"),
        (tar::EntryType::Block, "there is no file `rg` in it"),
        (tar::EntryType::Fifo, "there is no file `rg` in it"),
        (tar::EntryType::Directory, "there is no file `rg` in it"),
        (tar::EntryType::Symlink, "`a/rg` in it is a link"),
        (tar::EntryType::Link, "`a/rg` in it is a link"),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_path("a/rg").expect("a path");
        header.set_link_name("/etc/passwd").expect("a path");
        header.set_cksum();
        builder.append(&header, &[][..]).expect("an entry");
        let error = taken(&builder.into_inner().expect("an archive"), "rg").expect_err("no file");
        assert!(error.starts_with(told), "{kind:?}: {error}");
    }
}

/// Writes a zip archive as those do that may become large: what it has is said in the long fields.
fn long_zip(path: &str, text: &str) -> Vec<u8> {
    let plain = zipped(&[(path, text)]);
    let at = |sign: &[u8]| plain.windows(4).position(|four| four == sign).expect("a part");
    let (directory, end) = (at(b"PK\x01\x02"), at(b"PK\x05\x06"));
    let field = |from: usize| u64::from(zip::four(&plain, from)).to_le_bytes();
    let mut archive = plain[..directory].to_vec();
    let mut entry = plain[directory..end].to_vec();
    let (packed, whole, offset) = (
        field(directory + 20),
        field(directory + 24),
        field(directory + 42),
    );
    entry[20..28].fill(0xff);
    entry[42..46].fill(0xff);
    // Something else that is said of it comes first.
    let more = [&[0x55, 0x54, 1, 0, 9, 1, 0, 24, 0][..], &whole, &packed, &offset].concat();
    entry[30..32].copy_from_slice(&short(more.len()));
    entry.extend(&more);
    archive.extend(&entry);
    let larger = archive.len() as u64;
    archive.extend(b"PK\x06\x06");
    archive.extend(44_u64.to_le_bytes());
    archive.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for number in [1, 1, entry.len() as u64, directory as u64] {
        archive.extend(number.to_le_bytes());
    }
    archive.extend(b"PK\x06\x07\0\0\0\0");
    archive.extend(larger.to_le_bytes());
    archive.extend([1, 0, 0, 0]);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([0xff; 12]);
    archive.extend([0, 0]);
    archive
}

#[test]
fn a_zip_archive_is_read_that_could_have_become_large_and_none_that_nobody_can_read() {
    let large = long_zip("a/rg", "program");
    assert_eq!(taken(&large, "rg"), Ok("program".to_owned()));
    // What is said twice is not said at all.
    let locator = large
        .windows(4)
        .position(|four| four == b"PK\x06\x07")
        .expect("it is there");
    for place in [locator, locator + 8] {
        let mut broken = large.clone();
        broken[place] ^= 0x7f;
        assert!(taken(&broken, "rg").is_err(), "{place}");
    }
    let plain = zipped(&[("a/rg", "program")]);
    let directory = plain
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .expect("it is there");
    let mut locked = plain.clone();
    locked[directory + 8] |= 1;
    assert_eq!(taken(&locked, "rg"), Err("`a/rg` in it is encrypted".to_owned()));
    let mut odd = plain;
    odd[directory + 10] = 93;
    assert_eq!(taken(&odd, "rg"), Err("`a/rg` is packed by method 93".to_owned()));
}
