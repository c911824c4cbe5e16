//! From the path of a field to the place it is written at.

use std::collections::BTreeMap;

use super::node::{Node, Value};
use super::place::Mark;

/// The section that may have thousands of entries, each of which is asked for by name.
const CONTAINERS: &str = "containers";

/// A manifest as it was written, in which a container is found at once however many there are.
#[derive(Clone, Debug)]
pub struct Written {
    tree: Node,
    /// Where each container is among the others.
    containers: BTreeMap<String, usize>,
}

impl Written {
    /// Takes a whole manifest.
    pub fn of(tree: Node) -> Self {
        let entries = tree.get(CONTAINERS).map(Node::entries).unwrap_or_default();
        let names = entries.iter().enumerate();
        let containers = names.map(|(at, entry)| (entry.key.clone(), at)).collect();
        Self { tree, containers }
    }

    /// Returns where a field is written, as [`locate`] does.
    pub fn locate(&self, path: &str) -> Option<&Mark> {
        self.container(path).or_else(|| locate(&self.tree, path))
    }

    /// Returns where a field of a container is written.
    fn container(&self, path: &str) -> Option<&Mark> {
        let path = path.strip_prefix(CONTAINERS)?.strip_prefix('.')?;
        // The longest name that fits, as everywhere.
        let whole = std::iter::once(path.len());
        let ends = whole.chain(path.rmatch_indices('.').map(|(end, _)| end));
        let mut names = ends.map(|end| path.split_at(end));
        let (at, rest) = names.find_map(|(name, rest)| Some((*self.containers.get(name)?, rest)))?;
        let entry = self.tree.get(CONTAINERS)?.entries().get(at)?;
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        below((&entry.value, Some(&entry.mark)), rest)
    }
}

/// Returns where a field is written, or the nearest thing around it that is.
///
/// Names may contain dots, so at every map the longest key that fits is followed. Items of lists are found by their
/// index, and mounts and ports by what tells them from others: target and port of the host.
pub fn locate<'a>(root: &'a Node, path: &str) -> Option<&'a Mark> {
    below((root, None), path)
}

/// Follows what is left of a path from a place on the way.
fn below<'a>((mut node, mut mark): (&'a Node, Option<&'a Mark>), path: &str) -> Option<&'a Mark> {
    let mut rest = path;
    while !rest.is_empty() {
        let Some((next, at, tail)) = step(node, rest) else {
            break;
        };
        node = next;
        mark = Some(at);
        rest = tail;
    }
    // A value says more than its key, once the whole path was followed to something written on its own.
    if node.text().is_some() && rest.is_empty() {
        Some(&node.mark)
    } else {
        mark
    }
}

fn step<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(&'a Node, &'a Mark, &'p str)> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .filter_map(|entry| Some((entry, after(path, &entry.key)?)))
            .max_by_key(|(entry, _)| entry.key.len())
            .map(|(entry, tail)| (&entry.value, &entry.mark, tail)),
        Value::List(items) => items.iter().enumerate().find_map(|(index, item)| {
            let names = [Some(index.to_string()), identity(item)];
            let tail = names.iter().flatten().find_map(|name| after(path, name))?;
            Some((item, &item.mark, tail))
        }),
        Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) => None,
    }
}

/// Returns what follows a key at the start of a path.
fn after<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('.')
    }
}

/// Returns what tells an item of a list from others.
fn identity(item: &Node) -> Option<String> {
    if let Some(target) = item.get("target").or(item.get("tmpfs")).and_then(Node::text) {
        return Some(target.to_owned());
    }
    let port: super::port::PortRange = item.text()?.parse().ok()?;
    port.ports().next().map(|port| port.host.to_string())
}
