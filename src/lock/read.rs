//! From text to a lock: everything that is wrong with it, at its place.

use std::path::Path;
use std::sync::Arc;

use super::{Lock, VERSION};
use crate::builtin;
use crate::manifest::check::Fault;
use crate::manifest::harness::Requirement;
use crate::manifest::node::{Node, Value};
use crate::manifest::place::{Mark, Problem};
use crate::manifest::typed::typed;

/// What helps with every lock that cannot be read.
const ANEW: &str = "repair it, or remove the file and run `aishell apply`, which pins everything anew";

pub(super) fn parse(text: &str, file: &Path) -> Result<Lock, Vec<Problem>> {
    let file: Arc<Path> = Arc::from(file);
    let anew = |problem: Problem| {
        let hint = problem.hint.clone().unwrap_or_else(|| ANEW.to_owned());
        problem.hint(hint)
    };
    if let Some(problem) = conflict(text, &file) {
        return Err(vec![problem]);
    }
    let tree = Node::parse(text, &file).map_err(|problem| vec![anew(problem)])?;
    if !matches!(tree.value, Value::Map(_)) {
        let fault = Fault::at(&tree.mark, format!("a lock is a map, not {}", tree.kind()));
        return Err(vec![anew(fault.problem)]);
    }
    // What another version means by the rest is not known.
    if let Some(problem) = version(&tree) {
        return Err(vec![problem]);
    }
    let builtin = tree
        .get("builtin")
        .map_or_else(|| tree.mark.clone(), |node| node.mark.clone());
    let incomplete = incomplete(&tree);
    let typed = typed::<Lock>(tree, &[]);
    match typed.value {
        Some(lock) if typed.faults.is_empty() => {
            let mut problems: Vec<Problem> = incomplete.into_iter().map(anew).collect();
            problems.extend(unknown_builtin(&lock, &builtin));
            if problems.is_empty() {
                Ok(lock)
            } else {
                Err(problems)
            }
        }
        Some(_) | None => {
            let mut problems: Vec<Problem> = typed
                .faults
                .into_iter()
                .map(|fault| anew(fault.problem))
                .collect();
            problems.sort();
            problems.dedup();
            Err(problems)
        }
    }
}

/// Says that a merge was not finished: what YAML says about its marks helps nobody.
fn conflict(text: &str, file: &Arc<Path>) -> Option<Problem> {
    let (number, _) = text
        .lines()
        .zip(1..)
        .map(|(line, number)| (number, line))
        .find(|(_, line)| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> "))?;
    let mark = Mark {
        file: Arc::clone(file),
        line: number,
        column: 1,
        length: 7,
    };
    let problem = Problem::new("a merge of two locks was not finished here").at(&mark);
    Some(problem.hint("keep one side; whatever is missing afterwards is pinned by `aishell apply`"))
}

/// Says which versions of npm packages are not complete: those of Python may have any number of parts.
fn incomplete(tree: &Node) -> Vec<Problem> {
    let harnesses = tree.get("harnesses").into_iter().flat_map(Node::entries);
    let packages = harnesses.map(|entry| &entry.value).chain(tree.get("runtime"));
    packages
        .filter(|package| package.get("npm").is_some())
        .filter_map(|package| package.entries().iter().find(|entry| entry.key == "version"))
        .filter_map(|entry| {
            let text = entry.value.text()?;
            let complete = matches!(text.parse(), Ok(Requirement::Exact(_)));
            let message = format!("`{text}` is not a complete version as in 1.2.3");
            (!complete).then(|| Fault::at(&entry.mark, message).problem)
        })
        .collect()
}

/// Says that a lock names a foundation that this aishell does not have.
fn unknown_builtin(lock: &Lock, mark: &Mark) -> Option<Problem> {
    let number = lock
        .builtin
        .filter(|number| builtin::version(*number).is_none())?;
    let newest = builtin::newest().number;
    let message = format!(
        "version {number} of the built-in foundation is not known to this aishell, which has {newest}"
    );
    let hint = if number > newest {
        "update aishell, or run `aishell update builtin`"
    } else {
        ANEW
    };
    Some(Problem::new(message).at(mark).hint(hint))
}

fn version(tree: &Node) -> Option<Problem> {
    let Some(node) = tree.get("version") else {
        let fault = Fault::at(&tree.mark, "`version` is missing");
        return Some(fault.hint(ANEW).problem);
    };
    let text = node.text().unwrap_or_default();
    if text == VERSION.to_string() {
        return None;
    }
    let fault = match text.parse::<u32>() {
        Ok(newer) if newer > VERSION => {
            let message =
                format!("version {newer} of the lock is newer than this aishell, which knows {VERSION}");
            Fault::at(&node.mark, message).hint("update aishell")
        }
        Ok(_) | Err(_) => Fault::at(&node.mark, format!("`version` is {VERSION}")).hint(ANEW),
    };
    Some(fault.problem)
}
