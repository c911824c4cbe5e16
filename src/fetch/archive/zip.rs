//! Zip archives: their directory, and one file of it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};

use flate2::read::DeflateDecoder;

use super::{ArchiveError, Member, choose, copy};

/// The end of an archive with the longest comment.
const LONGEST_END: u64 = 22 + 65535;
/// The largest directory, in bytes: that of as many files as are told apart.
const LARGEST_DIRECTORY: u64 = 64 << 20;

/// Copies one file of an archive.
pub(super) fn take(limit: u64, file: &mut File, bin: &str, to: &mut impl Write) -> Result<(), ArchiveError> {
    let entries = entries(file).map_err(ArchiveError::Unreadable)?;
    let members: Vec<Member> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| !entry.path.ends_with('/'))
        .map(|(index, entry)| Member {
            path: entry.path.clone(),
            is_link: entry.mode & 0o170_000 == 0o120_000,
            index,
        })
        .collect();
    let entry = &entries[choose(&members, bin)?.index];
    if entry.is_encrypted {
        let text = format!("`{}` in it is encrypted", entry.path);
        return Err(ArchiveError::Unreadable(io::Error::other(text)));
    }
    let content = |file: &mut File| -> io::Result<()> {
        file.seek(SeekFrom::Start(entry.offset))?;
        let mut head = [0; 30];
        file.read_exact(&mut head)?;
        let names = u64::from(two(&head, 26)) + u64::from(two(&head, 28));
        file.seek(SeekFrom::Start(entry.offset + 30 + names))?;
        Ok(())
    };
    content(file).map_err(ArchiveError::Unreadable)?;
    let packed = BufReader::new(Read::take(&mut *file, entry.size));
    match entry.method {
        0 => copy(limit, &mut { packed }, to),
        8 => copy(limit, &mut DeflateDecoder::new(packed), to),
        other => Err(ArchiveError::Unreadable(io::Error::other(format!(
            "`{}` is packed by method {other}",
            entry.path
        )))),
    }
}

/// What the directory of a zip archive says of one file.
struct Zipped {
    path: String,
    method: u16,
    is_encrypted: bool,
    size: u64,
    offset: u64,
    mode: u32,
}

fn two(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

fn eight(bytes: &[u8], at: usize) -> u64 {
    u64::from(four(bytes, at)) | u64::from(four(bytes, at + 4)) << 32
}

pub(super) fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from(two(bytes, at)) | u32::from(two(bytes, at + 2)) << 16
}

/// Reads the end of an archive that is too large for the one that every archive has, at this place: how many files there
/// are, and how large the directory is and where.
fn larger_end(file: &mut File, place: u64) -> io::Result<Option<(u64, u64, u64)>> {
    let Some(place) = place.checked_sub(20) else {
        return Ok(None);
    };
    let mut locator = [0; 20];
    file.seek(SeekFrom::Start(place))?;
    file.read_exact(&mut locator)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    let mut end = [0; 56];
    file.seek(SeekFrom::Start(eight(&locator, 8)))?;
    file.read_exact(&mut end)?;
    Ok(end
        .starts_with(b"PK\x06\x06")
        .then(|| (eight(&end, 32), eight(&end, 40), eight(&end, 48))))
}

/// Returns size and place of a file: what is too large for its field stands in what is said of it beside, in this order.
fn larger(beside: &[u8], (whole, packed, offset): (u32, u32, u32)) -> Option<(u64, u64)> {
    let mut rest = beside;
    let mut field: &[u8] = &[];
    while rest.len() >= 4 {
        let end = 4 + usize::from(two(rest, 2));
        if two(rest, 0) == 1 {
            field = rest.get(4..end)?;
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    let mut value = |short: u32| {
        if short != u32::MAX {
            return Some(u64::from(short));
        }
        let (value, others) = field.split_at_checked(8)?;
        field = others;
        Some(eight(value, 0))
    };
    value(whole)?;
    Some((value(packed)?, value(offset)?))
}

/// Reads the directory of a zip archive.
fn entries(file: &mut File) -> io::Result<Vec<Zipped>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min(LONGEST_END);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut end = Vec::new();
    Read::take(&mut *file, tail).read_to_end(&mut end)?;
    let at = (0..end.len().saturating_sub(21))
        .rev()
        .find(|at| end[*at..].starts_with(b"PK\x05\x06"));
    let at = at.ok_or_else(|| wrong("its end is missing"))?;
    let place = length - tail + at as u64;
    let end = &end[at..];
    let (mut count, mut size, mut offset) = (
        u64::from(two(end, 10)),
        u64::from(four(end, 12)),
        u64::from(four(end, 16)),
    );
    if two(end, 10) == u16::MAX || four(end, 12) == u32::MAX || four(end, 16) == u32::MAX {
        // What is too large for its field is said once more before, and where that is.
        if let Some(larger) = larger_end(file, place)? {
            (count, size, offset) = larger;
        }
    }
    if offset.checked_add(size).is_none_or(|end| end > length) {
        return Err(wrong("its directory is missing"));
    }
    if size > LARGEST_DIRECTORY {
        return Err(super::too_many());
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut directory = Vec::new();
    Read::take(&mut *file, size).read_to_end(&mut directory)?;
    let mut entries = Vec::new();
    let mut rest = directory.as_slice();
    for _ in 0..count {
        if rest.len() < 46 || !rest.starts_with(b"PK\x01\x02") {
            return Err(wrong("its directory is damaged"));
        }
        let (name, extra, comment) = (two(rest, 28), two(rest, 30), two(rest, 32));
        let end = 46 + usize::from(name);
        let path = rest
            .get(46..end)
            .ok_or_else(|| wrong("its directory is damaged"))?;
        let more = rest.get(end..end + usize::from(extra)).unwrap_or_default();
        let (size, offset) = larger(more, (four(rest, 24), four(rest, 20), four(rest, 42)))
            .ok_or_else(|| wrong("its directory is damaged"))?;
        entries.push(Zipped {
            path: String::from_utf8_lossy(path).into_owned(),
            method: two(rest, 10),
            is_encrypted: two(rest, 8) & 1 == 1,
            size,
            offset,
            mode: four(rest, 38) >> 16,
        });
        rest = rest
            .get(end + usize::from(extra) + usize::from(comment)..)
            .unwrap_or_default();
    }
    Ok(entries)
}
