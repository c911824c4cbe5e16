//! A manifest and the files it extends, read and merged into one tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{self, Fault};
use super::load::{self, LARGEST, LoadError};
use super::merge::merge;
use super::node::{Node, Value};
use super::normal::{self, Base};
use super::place::{Mark, Texts};
use crate::host::Host;

/// How deep files may extend each other.
const DEEPEST: usize = 8;
/// How many files a manifest may be made of.
const MOST_FILES: usize = 64;
/// What says which manifest this is, and so cannot come from a file it extends.
const IDENTITY: [&str; 3] = ["name", "project", "engine"];

/// The files of a manifest, as they are gathered.
pub struct Gathering<'a> {
    /// The host.
    pub host: &'a Host,
    /// The text of every file so far.
    pub texts: Texts,
    /// What is wrong so far.
    pub faults: Vec<Fault>,
    /// Every file so far: one is merged once, where it is named first.
    pub seen: BTreeSet<PathBuf>,
    /// The files that led here, each extended by the one before it.
    pub chain: Vec<PathBuf>,
}

impl<'a> Gathering<'a> {
    /// Starts with nothing.
    pub fn new(host: &'a Host) -> Self {
        let (texts, faults, seen, chain) = Default::default();
        Self {
            host,
            texts,
            faults,
            seen,
            chain,
        }
    }

    /// Reads the manifest itself, and what it extends.
    pub fn root(&mut self, bytes: Vec<u8>, file: &Path, directory: &Path) -> Option<Node> {
        let identity = real(file);
        self.seen.insert(identity.clone());
        self.chain.push(identity);
        self.file(bytes, file, directory)
    }

    /// Makes one tree of a file and what it extends; `None` when it is no tree at all.
    fn file(&mut self, bytes: Vec<u8>, file: &Path, directory: &Path) -> Option<Node> {
        let name: Arc<Path> = Arc::from(file);
        let root = self.chain.len() == 1;
        let mut tree = self.tree(bytes, &name)?;
        normal::rename(&mut tree);
        let faults = check::written(&tree);
        let version = tree.get("apiVersion").map(|node| &node.mark);
        if let Some(other) = faults.iter().find(|fault| root && Some(&fault.mark) == version) {
            // What another version of the schema means by the rest is not known.
            self.faults.push(other.clone());
            return None;
        }
        self.faults.extend(faults);
        let Value::Map(_) = tree.value else { return None };
        if !root {
            for entry in tree
                .entries()
                .iter()
                .filter(|entry| IDENTITY.contains(&entry.key.as_str()))
            {
                let message = format!(
                    "`{}` belongs into the manifest itself, not into a file it extends",
                    entry.key
                );
                self.faults.push(Fault::at(&entry.mark, message));
            }
        }
        self.faults.extend(normal::normalise(
            &mut tree,
            Base {
                directory,
                host: self.host,
            },
        ));
        let mut under: Option<Node> = None;
        let extended = tree
            .get("extends")
            .map(|node| node.items().to_vec())
            .unwrap_or_default();
        for item in extended {
            let Some(path) = item.text().map(PathBuf::from) else {
                continue;
            };
            let Some(layer) = self.extended(&path, &item.mark) else {
                continue;
            };
            under = Some(match under {
                Some(under) => merge(under, layer, &self.host.home),
                None => layer,
            });
        }
        if !root && let Value::Map(entries) = &mut tree.value {
            entries.retain(|entry| entry.key != "extends" && !IDENTITY.contains(&entry.key.as_str()));
        }
        self.removals(&tree, under.as_ref());
        Some(match under {
            Some(under) => merge(under, tree, &self.host.home),
            None => tree,
        })
    }

    fn tree(&mut self, bytes: Vec<u8>, name: &Arc<Path>) -> Option<Node> {
        let at = |line, column| Mark {
            file: Arc::clone(name),
            line,
            column,
            length: 1,
        };
        if bytes.len() as u64 > LARGEST {
            self.texts.insert(name.to_path_buf(), String::new());
            self.faults.push(Fault::at(
                &at(1, 1),
                "the file is larger than 1 MiB, the most a manifest may have",
            ));
            return None;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let before = text.get(..good).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                self.texts.insert(name.to_path_buf(), text);
                let fault = Fault::at(&at(small(line), small(column)), "this is not UTF-8 text");
                self.faults.push(fault.hint("save the file as UTF-8"));
                return None;
            }
        };
        let parsed = Node::parse(&text, name);
        self.texts.insert(name.to_path_buf(), text);
        match parsed {
            Ok(tree) if tree.is_null() => {
                if self.chain.len() > 1 {
                    return None;
                }
                let fault = Fault::at(&at(1, 1), "the manifest is empty");
                self.faults
                    .push(fault.hint("begin with `apiVersion: aishell/v1`"));
                None
            }
            Ok(tree) => Some(tree),
            Err(problem) => {
                self.faults.push(Fault {
                    problem,
                    mark: at(1, 1),
                });
                None
            }
        }
    }

    /// Reads a file that another one extends.
    fn extended(&mut self, path: &Path, mark: &Mark) -> Option<Node> {
        let mut wrong = |message: String| {
            self.faults.push(Fault::at(mark, message));
            None
        };
        let identity = real(path);
        if let Some(first) = self.chain.iter().position(|file| *file == identity) {
            let names = self.chain[first..].iter().chain([&identity]);
            let names: Vec<_> = names
                .map(|file| file.file_name().unwrap_or_default().to_string_lossy())
                .collect();
            return wrong(format!(
                "files extend each other in a circle: {}",
                names.join(" → ")
            ));
        }
        if self.chain.len() > DEEPEST {
            return wrong(format!("files extend each other more than {DEEPEST} deep"));
        }
        if self.seen.len() >= MOST_FILES {
            return wrong(format!("a manifest is made of at most {MOST_FILES} files"));
        }
        if !self.seen.insert(identity.clone()) {
            return None;
        }
        let bytes = match load::read(path) {
            Ok(bytes) => bytes,
            Err(LoadError::Unreadable { path, cause }) => {
                return wrong(format!("{}: {cause}", path.display()));
            }
            Err(other) => return wrong(other.to_string()),
        };
        self.chain.push(identity);
        let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let tree = self.file(bytes, path, &directory);
        self.chain.pop();
        tree
    }

    /// Finds containers and harnesses that are nothing and remove nothing: an empty map was meant.
    fn removals(&mut self, tree: &Node, under: Option<&Node>) {
        for section in ["containers", "harnesses"] {
            let below = under.and_then(|under| under.get(section));
            for entry in tree.get(section).map(Node::entries).unwrap_or_default() {
                if entry.value.is_null() && below.and_then(|below| below.get(&entry.key)).is_none() {
                    let fault = Fault::at(
                        &entry.mark,
                        format!("`{}` is empty, and there is none to remove", entry.key),
                    );
                    self.faults.push(match section {
                        "containers" => fault.hint(format!("`{}: {{}}` has every default", entry.key)),
                        _ => fault.hint(format!("give it a version: `{}: 1.2.3`", entry.key)),
                    });
                }
            }
        }
    }
}

/// Returns what tells a file from others, however it is named.
#[expect(
    clippy::disallowed_methods,
    reason = "two names of one file are one file; only the file system knows"
)]
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}
