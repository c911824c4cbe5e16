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

fn zip(files: &[(&str, &str)]) -> Vec<u8> {
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
    for bytes in [tar(FILES), gz(&tar(FILES)), zip(links)] {
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
            zip(&[(path, "harm"), ("b/other", "x")]),
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
    for whole in [gz(&tar(FILES)), zip(&FILES[..3]), tar(FILES)] {
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
