//! Whose commits these are: name and email address, as git on this host would say.
//!
//! git itself is never run for that: a repository that a sandbox can write to could make it run anything. The files
//! are read as text, and nothing but names and addresses is taken from them.
#![expect(
    clippy::disallowed_methods,
    reason = "git's configuration on this host is read here"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

use crate::host::Host;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// How deep files may include each other.
const DEEPEST: usize = 5;

/// The variables that tell git who somebody is, with the keys that say so, the first that is there first.
const IDENTITY: [(&str, [&str; 2]); 4] = [
    ("GIT_AUTHOR_EMAIL", ["author.email", "user.email"]),
    ("GIT_AUTHOR_NAME", ["author.name", "user.name"]),
    ("GIT_COMMITTER_EMAIL", ["committer.email", "user.email"]),
    ("GIT_COMMITTER_NAME", ["committer.name", "user.name"]),
];

/// Returns the variables that tell git in a container who works there, given the project, and what it shares with its
/// repository if it is a worktree.
pub(super) fn identity(
    host: &Host,
    project: Option<&Path>,
    common: Option<&Path>,
) -> BTreeMap<String, String> {
    let repository = common
        .map(Path::to_path_buf)
        .or_else(|| project.and_then(repository));
    let mut reading = Reading {
        host,
        directory: repository.clone(),
        values: BTreeMap::new(),
    };
    for file in files(host) {
        reading.file(&file, 0);
    }
    // A repository says what holds for it alone. What it includes is not read: sandboxes can write it.
    if let Some(repository) = &repository
        && let Some(text) = own(&repository.join("config"))
    {
        for (key, value) in entries(&text) {
            if let Key::Plain(key) = key {
                reading.values.insert(key, value);
            }
        }
    }
    let values = &reading.values;
    let said = |name: &str, keys: [&str; 2]| {
        let configured = || keys.into_iter().find_map(|key| values.get(key)).cloned();
        host.variable(name).map(str::to_owned).or_else(configured)
    };
    IDENTITY
        .into_iter()
        .filter_map(|(name, keys)| {
            let value = said(name, keys)?;
            let is_text = !value.is_empty() && !value.contains(['\0', '\n']);
            is_text.then(|| (name.to_owned(), value))
        })
        .collect()
}

/// Returns the files that hold for every repository, those that win last.
fn files(host: &Host) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if host.variable("GIT_CONFIG_NOSYSTEM").is_none() {
        files.push(PathBuf::from("/etc/gitconfig"));
    }
    if let Some(global) = host.environment.get("GIT_CONFIG_GLOBAL") {
        files.push(PathBuf::from(global));
        return files;
    }
    let config = host
        .variable("XDG_CONFIG_HOME")
        .map_or_else(|| host.home.join(".config"), PathBuf::from);
    files.push(config.join("git/config"));
    files.push(host.home.join(".gitconfig"));
    files
}

/// Returns the directory of the repository that a directory is in.
fn repository(directory: &Path) -> Option<PathBuf> {
    let found = directory.ancestors().map(|above| above.join(".git"));
    let mut found = found.filter(|path| path.symlink_metadata().is_ok());
    let path = found.next()?;
    path.symlink_metadata()
        .is_ok_and(|found| found.is_dir())
        .then_some(path)
}

/// Returns the text of a file, if it is one and not too large.
fn text(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    let is_small = found.is_file() && found.len() <= LARGEST;
    is_small.then(|| fs::read_to_string(path).ok())?
}

/// Returns the text of a file, unless it is a link that could lead anywhere.
fn own(path: &Path) -> Option<String> {
    let found = fs::symlink_metadata(path).ok()?;
    found.is_file().then(|| text(path))?
}

struct Reading<'a> {
    host: &'a Host,
    /// The directory of the repository, for what holds for some of them only.
    directory: Option<PathBuf>,
    /// What was said last, by `section.key`.
    values: BTreeMap<String, String>,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, depth: usize) {
        let Some(text) = text(path) else { return };
        for (key, value) in entries(&text) {
            let holds = match &key {
                Key::Plain(key) => {
                    self.values.insert(key.clone(), value);
                    continue;
                }
                Key::Include => true,
                Key::IncludeIf(condition) => self.holds(condition, path),
            };
            if holds && depth < DEEPEST {
                let included = self.path(&value, path);
                self.file(&included, depth + 1);
            }
        }
    }

    /// Returns a path that is written in a file.
    fn path(&self, written: &str, file: &Path) -> PathBuf {
        match written.strip_prefix("~/") {
            Some(rest) => self.host.home.join(rest),
            None => file.parent().unwrap_or(Path::new("/")).join(written),
        }
    }

    /// Says whether what is included on a condition holds here. Only conditions on directories are known.
    fn holds(&self, condition: &str, file: &Path) -> bool {
        let (pattern, folded) = match condition.split_once(':') {
            Some(("gitdir", pattern)) => (pattern, false),
            Some(("gitdir/i", pattern)) => (pattern, true),
            Some(_) | None => return false,
        };
        let Some(directory) = &self.directory else {
            return false;
        };
        let mut pattern = if pattern.starts_with("~/") || pattern.starts_with("./") {
            let written = pattern.strip_prefix("./").unwrap_or(pattern);
            let whole = self.path(written, file).display().to_string();
            // Joining drops nothing but this.
            if pattern.ends_with('/') && !whole.ends_with('/') {
                whole + "/"
            } else {
                whole
            }
        } else if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("**/{pattern}")
        };
        if pattern.ends_with('/') {
            pattern.push_str("**");
        }
        let glob = GlobBuilder::new(&pattern)
            .literal_separator(true)
            .case_insensitive(folded)
            .build();
        glob.is_ok_and(|glob| glob.compile_matcher().is_match(directory))
    }
}

/// What a line of git's configuration sets.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// `section.key`, in lower case.
    Plain(String),
    /// Another file.
    Include,
    /// Another file, on a condition.
    IncludeIf(String),
}

/// Reads git's configuration: every line that says who somebody is or names another file, in order.
fn entries(text: &str) -> Vec<(Key, String)> {
    let mut found = Vec::new();
    let mut section = (String::new(), None);
    let mut rest = text;
    while !rest.is_empty() {
        let line = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']);
        if line.starts_with(['#', ';']) {
            rest = line.split_once('\n').map_or("", |(_, rest)| rest);
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let Some((header, after)) = heading(header) else {
                return found;
            };
            section = header;
            rest = after;
            continue;
        }
        let end = line.find(['=', '\n']).unwrap_or(line.len());
        let key = line[..end].trim().to_lowercase();
        if !line[end..].starts_with('=') {
            rest = line.get(end + 1..).unwrap_or_default();
            continue;
        }
        let (value, after) = value(&line[end + 1..]);
        rest = after;
        let key = match (section.0.as_str(), &section.1, key.as_str()) {
            ("user" | "author" | "committer", None, "name" | "email") => {
                Key::Plain(format!("{}.{key}", section.0))
            }
            ("include", None, "path") => Key::Include,
            ("includeif", Some(condition), "path") => Key::IncludeIf(condition.clone()),
            _ => continue,
        };
        found.push((key, value));
    }
    found
}

type Section = (String, Option<String>);

/// Reads the heading of a section after its bracket: its name, and what is quoted after it.
fn heading(text: &str) -> Option<(Section, &str)> {
    let end = text.find(['"', ']', '\n'])?;
    let name = text[..end].trim().to_lowercase();
    match text[end..].chars().next()? {
        ']' => Some(((name, None), &text[end + 1..])),
        '"' => {
            let mut quoted = String::new();
            let mut characters = text[end + 1..].char_indices();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        let after = text[end + 1 + at + 1..].trim_start_matches([' ', '\t']);
                        return Some(((name, Some(quoted)), after.strip_prefix(']')?));
                    }
                    '\\' => quoted.push(characters.next()?.1),
                    '\n' => return None,
                    other => quoted.push(other),
                }
            }
            None
        }
        _ => None,
    }
}

/// Reads a value up to the end of its last line.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    // Where the last character is that counts although it is a space.
    let mut kept = 0;
    let mut quoted = false;
    let mut comment = false;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\n' => return (finish(value, kept), &text[at + 1..]),
            _ if comment => {}
            '"' => {
                quoted = !quoted;
                kept = value.len();
            }
            '\\' => {
                match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, '\n')) | None => continue,
                    Some((_, other)) => value.push(other),
                }
                kept = value.len();
            }
            '#' | ';' if !quoted => comment = true,
            ' ' | '\t' | '\r' if !quoted => {
                if !value.is_empty() {
                    value.push(character);
                }
            }
            other => {
                value.push(other);
                kept = value.len();
            }
        }
    }
    (finish(value, kept), "")
}

fn finish(mut value: String, kept: usize) -> String {
    value.truncate(kept);
    value
}

#[cfg(test)]
mod tests;
