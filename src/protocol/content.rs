//! Comparing what is in a harness volume with what was installed.
//!
//! What vouches for a set says the digest of the receipt file; that says the digests over everything there was, and
//! beside it is recorded member by member what each is made of. Of the records that agree with the receipt any
//! difference is known by its path; where they do not, nobody knows which member to trust.
//!
//! Nothing here writes: a container that was never started is enough to read a volume through.

use std::collections::{BTreeMap, BTreeSet};

use super::populate::{PLACES, Receipt, directory};
use super::workplace;
use crate::call::{Answer, Call, FileRecord, Stock};
use crate::desired::{Desired, HarnessSet, Member};
use crate::engine::{Engine, EngineError};
use crate::key::{Hasher, digest};
use crate::observe::{ask, found};
use crate::observed::{Content, Damage, Observed};
use crate::plan::Depth;

/// Where a harness volume is mounted in whatever vouches for it.
const ROOT: &str = "/tools";
/// The directory of what aishell itself wrote there.
const OWN: &str = ".aishell";
/// The directory that some file systems have at their root.
const FOUND: &str = "lost+found";

/// Reads the harness volume that is wanted, where that is asked for and somebody vouches for it; what was read already
/// is not read again. Who vouched for it when that was listed, and is gone by now, vouches for nothing.
///
/// # Errors
/// The engine could not be asked.
pub async fn contents(
    engine: &impl Engine,
    desired: &Desired,
    observed: &mut Observed,
    depth: &Depth,
) -> Result<(), EngineError> {
    observed.contents.clear();
    let (Depth::Content(known), Some(set)) = (depth, desired.harness_set()) else {
        return Ok(());
    };
    let Some(receipt) = observed.receipts.get(&set.receipt()) else {
        return Ok(());
    };
    let id = receipt.id.id().to_owned();
    let content = if let Some(content) = known.get(&id) {
        Some(content.clone())
    } else {
        let call = Call::TakeStock {
            container: id.clone(),
            path: ROOT.to_owned(),
            whole: OWN.to_owned(),
        };
        let stock = found(
            ask(engine, call, |answer| match answer {
                Answer::Stock(stock) => Some(stock),
                _ => None,
            })
            .await,
        )?;
        stock.map(|stock| compare(set, &receipt.digest, &stock))
    };
    match content {
        Some(content) => {
            observed.contents.insert(id, content);
        }
        None => {
            observed.receipts.remove(&set.receipt());
        }
    }
    Ok(())
}

/// Compares what is in a harness volume with what was installed. Pure; `vouched` is the digest of the receipt file.
fn compare(set: &HarnessSet, vouched: &str, stock: &Stock) -> Content {
    let files = stock.values().filter(|record| record.digest.is_some());
    let mut content = Content {
        files: files.clone().count() as u64,
        bytes: files.map(|record| record.bytes).sum(),
        ..Content::default()
    };
    let receipt = receipt(vouched, stock, &mut content.damage);
    let records: Vec<Option<Vec<Line>>> = set.members.iter().map(|member| recorded(member, stock)).collect();
    let trusted = receipt.is_none_or(|receipt| agree(&receipt, set, stock));
    if !trusted {
        content.damage.push(Damage {
            member: None,
            path: format!("{OWN}/members"),
            from: Some("records that do not agree with the receipt".to_owned()),
            to: Some("what was recorded".to_owned()),
        });
    }
    for (member, record) in set.members.iter().zip(&records) {
        let directory = directory(member);
        let found = match record {
            Some(record) => differences(member, record, &lines(&directory, stock)),
            None => vec![Damage {
                member: Some(member.name.clone()),
                path: format!("{OWN}/members/{directory}"),
                from: None,
                to: Some("a record".to_owned()),
            }],
        };
        let mut strangers = owned_by_others(member, stock);
        // What should be another thing altogether need not be told twice.
        strangers.retain(|stranger| found.iter().all(|told| told.path != stranger.path));
        if !trusted || !found.is_empty() || !strangers.is_empty() {
            content.anew.insert(directory);
        }
        content.damage.extend(found);
        content.damage.extend(strangers);
    }
    content.damage.extend(programs(set, stock));
    content.damage.extend(strays(set, stock));
    let places = places(stock);
    content.reclaim = places.iter().map(|damage| damage.path.clone()).collect();
    content.reclaim.extend(unwritable(stock));
    content.damage.extend(places.into_iter().map(|damage| Damage {
        path: if damage.path.is_empty() {
            ".".to_owned()
        } else {
            damage.path
        },
        ..damage
    }));
    content
}

/// Returns the receipt that is vouched for, or says what is there instead.
fn receipt(vouched: &str, stock: &Stock, damage: &mut Vec<Damage>) -> Option<Receipt> {
    let path = format!("{OWN}/receipt.json");
    let bytes = stock.get(&path).and_then(|record| record.content.as_deref());
    let found = bytes.map(digest);
    if found.as_deref() == Some(vouched)
        && let Some(receipt) = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok())
    {
        return Some(receipt);
    }
    damage.push(Damage {
        member: None,
        path,
        from: found.map(sha),
        to: Some(sha(vouched.to_owned())),
    });
    None
}

/// One line of a record: what something is, and its path in the volume. Sorted as whole lines.
type Line = String;

/// Returns what is recorded of a member, as it was written.
fn record<'s>(member: &Member, stock: &'s Stock) -> Option<&'s [u8]> {
    let record = stock.get(&format!("{OWN}/members/{}", directory(member)))?;
    record.content.as_deref().filter(|bytes| !bytes.is_empty())
}

/// Returns the lines that are recorded of a member.
fn recorded(member: &Member, stock: &Stock) -> Option<Vec<Line>> {
    let text = String::from_utf8_lossy(record(member, stock)?);
    Some(text.split_terminator('\n').map(str::to_owned).collect())
}

/// Says whether records are those that a receipt was made of.
fn agree(receipt: &Receipt, set: &HarnessSet, stock: &Stock) -> bool {
    let mut lines = Vec::new();
    for member in &set.members {
        let Some(record) = record(member, stock) else {
            // A record that is missing is a difference of its own.
            return true;
        };
        lines.extend(record.split_inclusive(|byte| *byte == b'\n'));
    }
    lines.sort_unstable();
    let total = |of_files: bool| {
        let mut hasher = Hasher::new();
        for line in lines.iter().filter(|line| is_of_file(line) == of_files) {
            hasher.update(line);
        }
        hasher.finish()
    };
    total(true) == receipt.digest && receipt.shape.as_ref().is_none_or(|shape| total(false) == *shape)
}

/// Says whether a line tells the digest of a file: the others begin with a letter and a space.
fn is_of_file(line: &[u8]) -> bool {
    line.get(1) != Some(&b' ')
}

/// Returns the lines of a member as it is, with the path that each is about.
fn lines(directory: &str, stock: &Stock) -> BTreeMap<Line, String> {
    let root = format!("m/{directory}");
    let mut lines = BTreeMap::new();
    for (path, record) in within(&root, stock) {
        let FileRecord { status, digest, .. } = record;
        let inner = path.strip_prefix(&root).unwrap_or(path).trim_start_matches('/');
        let inner = if inner.is_empty() { "." } else { inner };
        let mut tell = |line: String| lines.insert(line, inner.to_owned());
        if let Some(digest) = digest {
            tell(format!("{digest}  {path}"));
        }
        match (status.kind, &status.target) {
            ("file", _) => tell(format!("f {:o} {path}", status.mode)),
            ("directory", _) => tell(format!("d {:o} {path}", status.mode)),
            ("link", Some(target)) => tell(format!("l {target} {path}")),
            // Installers leave nothing else, and records know nothing else.
            _ => tell(format!("? {} {path}", status.kind)),
        };
    }
    lines
}

/// Returns what is there of a path and below.
fn within<'s>(root: &'s str, stock: &'s Stock) -> impl Iterator<Item = (&'s String, &'s FileRecord)> {
    let range = stock.range(root.to_owned()..);
    range
        .take_while(move |(path, _)| path.starts_with(root))
        .filter(move |(path, _)| {
            let rest = &path[root.len()..];
            rest.is_empty() || rest.starts_with('/')
        })
}

/// Returns what differs between what is recorded of a member and what is there.
fn differences(member: &Member, record: &[Line], there: &BTreeMap<Line, String>) -> Vec<Damage> {
    let root = format!(" m/{}", directory(member));
    let known: BTreeSet<&Line> = record.iter().collect();
    // By path: what it was, what it is. What a file has in it comes before its mode.
    let mut found: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
    for line in record
        .iter()
        .filter(|line| !there.contains_key(*line) && !is_escaped(line, there))
    {
        let inner = line
            .rfind(&root)
            .map(|at| line[at + root.len()..].trim_start_matches('/'));
        let inner = inner.filter(|inner| !inner.is_empty()).unwrap_or(".");
        let (was, _) = found.entry(inner.to_owned()).or_default();
        if was.is_none() || is_of_file(line.as_bytes()) {
            *was = Some(told(line, &root));
        }
    }
    for (line, inner) in there.iter().filter(|(line, _)| !known.contains(*line)) {
        if is_recorded_escaped(line, &known) {
            continue;
        }
        let (_, is) = found.entry(inner.clone()).or_default();
        if is.is_none() || is_of_file(line.as_bytes()) {
            *is = Some(told(line, &root));
        }
    }
    let damage = found.into_iter().map(|(path, (to, from))| Damage {
        member: Some(member.name.clone()),
        path,
        from,
        to,
    });
    damage.collect()
}

/// Returns a line as a program that escapes what is odd in names writes it.
fn escaped(line: &str) -> Option<Line> {
    let odd = is_of_file(line.as_bytes()) && line.contains(['\\', '\r']);
    odd.then(|| format!("\\{}", line.replace('\\', "\\\\").replace('\r', "\\r")))
}

fn is_recorded_escaped(line: &str, known: &BTreeSet<&Line>) -> bool {
    escaped(line).is_some_and(|escaped| known.contains(&escaped))
}

fn is_escaped(line: &str, there: &BTreeMap<Line, String>) -> bool {
    line.starts_with('\\') && there.keys().any(|one| escaped(one).as_deref() == Some(line))
}

/// Returns what a line says of a path.
fn told(line: &str, root: &str) -> String {
    let (head, _) = line.rfind(root).map_or((line, ""), |at| line.split_at(at));
    match head.split_at_checked(2) {
        Some(("f ", mode)) => format!("mode {mode}"),
        Some(("d ", mode)) => format!("directory, mode {mode}"),
        Some(("l ", target)) => format!("link to {target}"),
        Some(("? ", kind)) => kind.to_owned(),
        Some(_) | None => sha(head.trim().to_owned()),
    }
}

fn sha(digest: String) -> String {
    format!("sha256:{digest}")
}

/// Returns what of a member belongs to others than who installs.
fn owned_by_others(member: &Member, stock: &Stock) -> Vec<Damage> {
    let root = format!("m/{}", directory(member));
    let foreign = |(path, record): (&String, &FileRecord)| {
        let inner = path.strip_prefix(&root).unwrap_or(path).trim_start_matches('/');
        (record.status.uid != workplace::USER).then(|| Damage {
            member: Some(member.name.clone()),
            path: if inner.is_empty() { "." } else { inner }.to_owned(),
            from: Some(format!("owner {}", record.status.uid)),
            to: Some(format!("owner {}", workplace::USER)),
        })
    };
    within(&root, stock).filter_map(foreign).collect()
}

/// Returns what differs in the directory of programs: it has a link to each.
fn programs(set: &HarnessSet, stock: &Stock) -> Vec<Damage> {
    let mut wanted = BTreeMap::new();
    for member in &set.members {
        for bin in &member.bin {
            let target = format!("../m/{}/bin/{bin}", directory(member));
            wanted.insert(format!("bin/{bin}"), format!("link to {target}"));
        }
    }
    let is = |record: &FileRecord| match &record.status.target {
        Some(target) => format!("link to {target}"),
        None => record.status.kind.to_owned(),
    };
    let there: BTreeMap<String, String> = within("bin", stock)
        .filter(|(path, _)| *path != "bin")
        .map(|(path, record)| (path.clone(), is(record)))
        .collect();
    let paths: BTreeSet<&String> = wanted.keys().chain(there.keys()).collect();
    let differs = paths
        .into_iter()
        .filter(|path| wanted.get(*path) != there.get(*path));
    let damage = differs.map(|path| Damage {
        member: None,
        path: path.clone(),
        from: there.get(path).cloned(),
        to: wanted.get(path).cloned(),
    });
    damage.collect()
}

/// Returns what is there and belongs to nothing.
fn strays(set: &HarnessSet, stock: &Stock) -> Vec<Damage> {
    let members: BTreeSet<String> = set
        .members
        .iter()
        .map(|member| format!("m/{}", directory(member)))
        .collect();
    let stray = |path: &&String| match path.split('/').collect::<Vec<_>>()[..] {
        [top] => top != FOUND && !PLACES.contains(&top),
        ["m", _] => !members.contains(*path),
        _ => false,
    };
    let damage = stock.keys().filter(stray).map(|path| Damage {
        member: None,
        path: path.clone(),
        from: stock.get(path).map(|record| record.status.kind.to_owned()),
        to: None,
    });
    damage.collect()
}

/// Returns which of the places that every set has nobody could look into, or who installs could not write to.
fn places(stock: &Stock) -> Vec<Damage> {
    let differs = |path: &&str| {
        let status = stock.get(*path).map(|record| &record.status);
        let from = status.map(|status| (status.kind, status.mode, status.uid));
        let right = ("directory", 0o755, workplace::USER);
        (from != Some(right)).then(|| {
            let told = |(kind, mode, uid): (&str, u32, u32)| format!("{kind}, mode {mode:o}, owner {uid}");
            Damage {
                member: None,
                path: (*path).to_owned(),
                from: from.map(told),
                to: Some(told(right)),
            }
        })
    };
    PLACES.iter().filter_map(differs).collect()
}

/// Returns the directories that belong to others than who installs: nothing in them could be removed.
fn unwritable(stock: &Stock) -> impl Iterator<Item = String> {
    stock.iter().filter_map(|(path, record)| {
        let others = record.status.kind == "directory" && record.status.uid != workplace::USER;
        (others && path.split('/').next() != Some(FOUND)).then(|| path.clone())
    })
}

#[cfg(test)]
mod tests;
