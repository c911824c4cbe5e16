//! One tree under another: files that extend others, and defaults under containers.
//!
//! Scalars and argument lists replace; maps merge by key; mounts by target, ports by the port of the host,
//! variables by name; other lists append; nothing (`null`) removes. Trees are in long form and keep their places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::node::{Entry, Node, Value};
use super::normal::mount_target;
use super::port::PortRange;

/// Lists that are one value: an argument out of its list means nothing.
const ARGUMENTS: [&str; 7] = [
    "command",
    "args",
    "entrypoint",
    "preStart",
    "exec",
    "fromCommand",
    "network",
];

/// Keys of which a map has one: another one replaces the map.
const STAGE: [&str; 4] = ["image", "dockerfile", "phases", "builtin"];
const HARNESS: [&str; 3] = ["npm", "pypi", "url"];

/// Lays `over` on top of `under`. `home` is where `~` in the target of a mount is.
#[must_use]
pub fn merge(under: Node, over: Node, home: &Path) -> Node {
    Merge { home }.nodes(under, over, &mut Vec::new())
}

/// Lays every container on top of the defaults, which stay where they are.
pub fn apply_defaults(tree: &mut Node, home: &Path) {
    let Some(defaults) = tree.get("defaults").cloned() else {
        return;
    };
    let Some(Value::Map(containers)) = tree.get_mut("containers").map(|node| &mut node.value) else {
        return;
    };
    for container in containers {
        let mut path = vec!["containers".to_owned(), container.key.clone()];
        let Value::Map(_) = container.value.value else {
            continue;
        };
        let over = container.value.clone();
        let mark = over.mark.clone();
        container.value = Merge { home }.nodes(defaults.clone(), over, &mut path);
        container.value.mark = mark;
    }
}

struct Merge<'a> {
    home: &'a Path,
}

impl Merge<'_> {
    fn nodes(&self, under: Node, over: Node, path: &mut Vec<String>) -> Node {
        let (under, over) = same_form(under, over, path);
        let Node { value, mark } = over;
        let value = match (under.value, value) {
            (Value::Map(under), Value::Map(over)) if merges(&under, &over, path) => {
                Value::Map(self.entries(under, over, path))
            }
            (Value::List(under), Value::List(over)) => Value::List(self.lists(under, over, path)),
            (_, value) => value,
        };
        Node { value, mark }
    }

    fn entries(&self, under: Vec<Entry>, over: Vec<Entry>, path: &mut Vec<String>) -> Vec<Entry> {
        let mut entries = under;
        let index = |(index, entry): (usize, &Entry)| (entry.key.clone(), index);
        let known: BTreeMap<_, _> = entries.iter().enumerate().map(index).collect();
        for Entry { key, mark, mut value } in over {
            let Some(index) = known.get(&key).copied() else {
                entries.push(Entry { key, mark, value });
                continue;
            };
            path.push(key.clone());
            value = self.nodes(entries[index].value.clone(), value, path);
            path.pop();
            entries[index] = Entry { key, mark, value };
        }
        entries
    }

    fn lists(&self, under: Vec<Node>, over: Vec<Node>, path: &[String]) -> Vec<Node> {
        let mut items = match path.last().map(String::as_str) {
            Some("mounts") => without(under, &over, |item| mount_target(item, self.home)),
            Some("ports") => without(under, &over, |item| {
                Some(item.text()?.parse::<PortRange>().ok()?.published())
            }),
            Some(key) if ARGUMENTS.contains(&key) => Vec::new(),
            Some(_) | None => under,
        };
        items.extend(over);
        items
    }
}

/// Returns the items that have no successor of the same identity.
fn without<K: Ord>(under: Vec<Node>, over: &[Node], identity: impl Fn(&Node) -> Option<K>) -> Vec<Node> {
    let replaced: BTreeSet<_> = over.iter().filter_map(&identity).collect();
    under
        .into_iter()
        .filter(|item| identity(item).is_none_or(|identity| !replaced.contains(&identity)))
        .collect()
}

/// Writes `security: dev` as a map when the other is one.
fn same_form(under: Node, over: Node, path: &[String]) -> (Node, Node) {
    if path.last().map(String::as_str) != Some("security") {
        return (under, over);
    }
    let long = |node: Node| match node.text() {
        Some(_) => Node::map(vec![("profile", node.clone())], &node.mark),
        None => node,
    };
    match (&under.value, &over.value) {
        (Value::Text(_), Value::Map(_)) => (long(under), over),
        _ => (under, over),
    }
}

/// Tells whether two maps become one, or the later takes the place of the earlier.
fn merges(under: &[Entry], over: &[Entry], path: &[String]) -> bool {
    let path: Vec<_> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        // A variable has one value, wherever it comes from.
        ["containers", _, "env", _] | ["defaults", "env", _] => false,
        ["foundation" | "base" | "extension"] => agree(under, over, &STAGE),
        ["harnesses", _] => agree(under, over, &HARNESS),
        ["engine"] => agree(under, over, &["context", "host"]),
        _ => true,
    }
}

/// Tells whether the second map chooses nothing, or what the first chose.
fn agree(under: &[Entry], over: &[Entry], keys: &[&str]) -> bool {
    let chosen = |entries: &[Entry]| {
        let entry = entries
            .iter()
            .find(|entry| keys.contains(&entry.key.as_str()) && !entry.value.is_null());
        entry.map(|entry| entry.key.clone())
    };
    // A choice that is removed in the same breath does not count.
    let removed = |key: &String| {
        over.iter()
            .any(|entry| entry.key == *key && entry.value.is_null())
    };
    match (chosen(under), chosen(over)) {
        (Some(under), Some(over)) => under == over || removed(&under),
        (None, _) | (_, None) => true,
    }
}
