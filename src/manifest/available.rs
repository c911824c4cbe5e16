//! What the schema has and aishell cannot do yet. It is refused, never ignored.
//!
//! One table, to be shortened as things come to work; when it is empty this file goes.

use super::check::Fault;
use super::node::{Node, Value};

/// Something that does not work yet: where it is written, when it counts, and what it is.
struct Refusal {
    /// The path; `*` is any key or item.
    path: &'static str,
    /// Whether what is written there asks for it.
    asks: fn(&Node) -> bool,
    /// What it is, with its verb.
    what: &'static str,
}

const fn refusal(path: &'static str, asks: fn(&Node) -> bool, what: &'static str) -> Refusal {
    Refusal { path, asks, what }
}

const MANIFEST: &[Refusal] = &[refusal("detection", written, "looking for sensitive files is")];

fn written(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => !items.is_empty(),
        Value::Map(entries) => !entries.is_empty(),
        Value::Null => false,
        Value::Bool(..) | Value::Number(..) | Value::Text(_) => true,
    }
}

/// Returns everything a merged tree, without what is wrong in it, asks for that does not work yet.
pub fn refused(sound: &Node) -> Vec<Fault> {
    let mut faults = Vec::new();
    for Refusal { path, asks, what } in MANIFEST {
        let path: Vec<_> = path.split('.').collect();
        each(sound, &path, None, &mut |node, mark| {
            if asks(node) {
                faults.push(Fault::at(mark, format!("{what} not available yet")));
            }
        });
    }
    faults
}

/// Calls a function with every value a path leads to, and the mark to show: the key's for maps and lists.
fn each<'a>(
    node: &'a Node,
    path: &[&str],
    key: Option<&'a super::place::Mark>,
    call: &mut impl FnMut(&Node, &super::place::Mark),
) {
    let Some((first, rest)) = path.split_first() else {
        let mark = if node.text().is_some() {
            &node.mark
        } else {
            key.unwrap_or(&node.mark)
        };
        return call(node, mark);
    };
    let entries = node
        .entries()
        .iter()
        .filter(|entry| *first == "*" || entry.key == *first);
    for entry in entries {
        each(&entry.value, rest, Some(&entry.mark), call);
    }
}
