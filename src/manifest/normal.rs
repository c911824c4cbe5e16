//! Short forms made long and paths made absolute, in one file's tree, before it meets others.
//!
//! After this every value means the same wherever it is merged: lists of variables are maps, mounts have a target,
//! and a path says nothing about the file it was written in.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::check::Fault;
use super::mount::{Short, Target};
use super::node::{Entry, Node, Value};
use super::port::PortRange;
use super::security::Security;
use crate::host::Host;

/// Where paths of the host are written. `*` is any key or item; a text where a list is expected is none.
const PATHS: &[&str] = &[
    "project",
    "extends.*",
    "formerly.*.project",
    "certificates.*",
    "harnesses.*.config.*",
    "foundation.dockerfile",
    "foundation.context",
    "base.dockerfile",
    "base.context",
    "extension.dockerfile",
    "extension.context",
    "*.phases.dockerfile.path",
    "*.phases.dockerfile.context",
    "*.phases.habitat.layers.*",
    "*.phases.files.*.source",
    "*.phases.test.*.file",
    "containers.*.env.*.fromFile",
    "defaults.env.*.fromFile",
    "*.phases.setup.root.*.env.*.fromFile",
    "*.phases.setup.user.*.env.*.fromFile",
    "*.phases.test.*.env.*.fromFile",
    "*.phases.hooks.*.before.*.env.*.fromFile",
    "*.phases.hooks.*.after.*.env.*.fromFile",
];

/// Where commands of this host are written. Their program is a path once it has a slash.
const COMMANDS: &[&str] = &["containers.*.env.*.fromCommand.0", "defaults.env.*.fromCommand.0"];

/// The directory paths of a file are relative to, and the host they are on.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// The host.
    pub host: &'a Host,
}

/// Gives keys that have two names the one the schema knows.
pub fn rename(tree: &mut Node) {
    for stage in ["foundation", "base", "extension"] {
        each(tree, &[stage, "phases"], &mut rename_repositories);
    }
}

/// Brings the tree of one file into its long form.
pub fn normalise(tree: &mut Node, base: Base<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    each(tree, &["harnesses", "*"], &mut harness);
    for command in [
        &["setup", "root"][..],
        &["setup", "user"],
        &["test"],
        &["hooks", "*", "before"],
        &["hooks", "*", "after"],
    ] {
        let env = [&["*", "phases"], command, &["*", "env"]].concat();
        each(tree, &env, &mut |node| environment(node, &mut faults));
    }
    for container in [&["containers", "*"][..], &["defaults"]] {
        let below = |key| [container, &[key]].concat();
        each(tree, &below("env"), &mut |node| environment(node, &mut faults));
        each(tree, &below("mounts"), &mut |node| {
            mounts(node, base, &mut faults);
        });
        each(tree, &below("ports"), &mut |node| ports(node, &mut faults));
        each(
            tree,
            &below("security")
                .iter()
                .copied()
                .chain(["seccomp"])
                .collect::<Vec<_>>(),
            &mut |node| {
                if !node.text().is_some_and(Security::is_named) {
                    path(node, base, &mut faults);
                }
            },
        );
    }
    for pattern in PATHS {
        let pattern: Vec<_> = pattern.split('.').collect();
        each(tree, &pattern, &mut |node| path(node, base, &mut faults));
    }
    for pattern in COMMANDS {
        let pattern: Vec<_> = pattern.split('.').collect();
        each(tree, &pattern, &mut |node| {
            if node.text().is_some_and(|text| text.contains('/')) {
                path(node, base, &mut faults);
            }
        });
    }
    faults
}

/// Calls a function with every value a pattern leads to.
fn each(node: &mut Node, pattern: &[&str], call: &mut impl FnMut(&mut Node)) {
    let Some((first, rest)) = pattern.split_first() else {
        return call(node);
    };
    match &mut node.value {
        Value::Map(entries) => {
            let fitting = entries
                .iter_mut()
                .filter(|entry| *first == "*" || entry.key == *first);
            fitting.for_each(|entry| each(&mut entry.value, rest, call));
        }
        Value::List(items) if *first == "*" => items.iter_mut().for_each(|item| each(item, rest, call)),
        Value::List(items) if *first == "0" => {
            items.iter_mut().take(1).for_each(|item| each(item, rest, call));
        }
        Value::List(_) | Value::Null | Value::Bool(..) | Value::Number(..) | Value::Text(_) => {}
    }
}

fn rename_repositories(phases: &mut Node) {
    if phases.get("repos").is_none()
        && let Value::Map(entries) = &mut phases.value
    {
        let old = entries.iter_mut().filter(|entry| entry.key == "repositories");
        old.for_each(|entry| "repos".clone_into(&mut entry.key));
    }
}

/// Makes `claude: 1.2.3` a map.
fn harness(node: &mut Node) {
    if node.text().is_some() {
        *node = Node::map(vec![("version", node.clone())], &node.mark);
    }
}

/// Makes a list of `NAME=value` and `NAME` a map.
fn environment(node: &mut Node, faults: &mut Vec<Fault>) {
    let Value::List(items) = &node.value else { return };
    let mut entries: Vec<Entry> = Vec::new();
    let mut names = BTreeSet::new();
    for item in items {
        let Some(text) = item.text() else { continue };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Node::written(value, &item.mark)),
            None => (
                text,
                Node::map(vec![("fromEnv", Node::written(text, &item.mark))], &item.mark),
            ),
        };
        if !names.insert(key) {
            faults.push(Fault::at(
                &item.mark,
                format!("variable `{key}` is written twice"),
            ));
            continue;
        }
        entries.push(Entry {
            key: key.to_owned(),
            mark: item.mark.clone(),
            value,
        });
    }
    node.value = Value::Map(entries);
}

/// Makes every mount a map with a target.
fn mounts(node: &mut Node, base: Base<'_>, faults: &mut Vec<Fault>) {
    let Value::List(items) = &mut node.value else {
        return;
    };
    let mut targets = BTreeSet::new();
    for item in items {
        let made = match item.text().map(str::to_owned) {
            Some(text) => short_mount(item, &text, base),
            None => long_mount(item, base),
        };
        if let Err(message) = made {
            faults.push(Fault::at(&item.mark, message));
            continue;
        }
        if let Some(target) = mount_target(item, &base.host.home)
            && !targets.insert(target.clone())
        {
            let message = format!("`{}` is mounted twice", target.display());
            faults.push(Fault::at(&item.mark, message));
        }
    }
}

fn short_mount(item: &mut Node, text: &str, base: Base<'_>) -> Result<(), String> {
    let Short {
        source,
        target,
        read_only,
    } = Short::parse(text)?;
    let target = match target {
        Some(target) => variables(target, base.host)?,
        None => same_path(source, base)?,
    };
    let source = expand(source, base)?;
    let mark = item.mark.clone();
    let mut entries = vec![
        ("source", Node::written(source.to_string_lossy(), &mark)),
        ("target", Node::written(target, &mark)),
    ];
    if read_only {
        entries.push((
            "readOnly",
            Node {
                value: Value::Bool(true, "true".to_owned()),
                mark: mark.clone(),
            },
        ));
    }
    *item = Node::map(entries, &mark);
    Ok(())
}

fn long_mount(item: &mut Node, base: Base<'_>) -> Result<(), String> {
    for key in ["target", "tmpfs"] {
        if let Some(node) = item.get_mut(key)
            && let Some(text) = node.text().map(str::to_owned)
        {
            *node = Node::written(variables(&text, base.host)?, &node.mark);
        }
    }
    let target = item.get("target").is_none();
    let Some(source) = item.get_mut("source") else {
        return Ok(());
    };
    let Some(text) = source.text().map(str::to_owned) else {
        return Ok(());
    };
    let mark = source.mark.clone();
    *source = Node::written(expand(&text, base)?.to_string_lossy(), &mark);
    if target && let Value::Map(entries) = &mut item.value {
        let value = Node::written(same_path(&text, base)?, &mark);
        entries.push(Entry {
            key: "target".to_owned(),
            mark,
            value,
        });
    }
    Ok(())
}

/// Returns the same path inside: below the home it stays below the home, whoever's that is.
fn same_path(source: &str, base: Base<'_>) -> Result<String, String> {
    if source == "~" || source.starts_with("~/") {
        return variables(source, base.host);
    }
    Ok(expand(source, base)?.to_string_lossy().into_owned())
}

/// Returns where a mount appears in a container whose user lives in `home`.
pub fn mount_target(item: &Node, home: &Path) -> Option<PathBuf> {
    let target: Target = item.get("target").or(item.get("tmpfs"))?.text()?.parse().ok()?;
    Some(target.in_home(home))
}

fn ports(node: &mut Node, faults: &mut Vec<Fault>) {
    let mut published = BTreeSet::new();
    for item in node.items() {
        let Some(range) = item.text().and_then(|text| text.parse::<PortRange>().ok()) else {
            continue;
        };
        if !published.insert(range.published()) {
            faults.push(Fault::at(&item.mark, "this port of the host is published twice"));
        }
    }
}

fn path(node: &mut Node, base: Base<'_>, faults: &mut Vec<Fault>) {
    let Value::Text(text) = &node.value else { return };
    match expand(text, base) {
        Ok(path) => node.value = Value::Text(path.to_string_lossy().into_owned()),
        Err(message) => faults.push(Fault::at(&node.mark, message)),
    }
}

/// Makes a path absolute: variables, then `~`, then the directory of the file it is written in.
pub fn expand(text: &str, base: Base<'_>) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("a path cannot hold a NUL character".to_owned());
    }
    let Base { directory, host } = base;
    let text = variables(text, host)?;
    let path = match text.strip_prefix('~') {
        None => directory.join(&text),
        Some(rest) => {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let home = if name.is_empty() {
                Some(&host.home)
            } else {
                host.accounts
                    .iter()
                    .find(|account| account.name == name)
                    .map(|account| &account.home)
            };
            home.ok_or_else(|| format!("`~{name}`: this host has no user `{name}`"))?
                .join(rest)
        }
    };
    Ok(clean(&path))
}

/// Removes `.` and `..` from an absolute path.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(component),
        }
    }
    clean
}

/// Replaces `$NAME`, `${NAME}` and `${NAME:-otherwise}` by the host's variables, and `$$` by `$`.
fn variables(text: &str, host: &Host) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, otherwise, tail) = if let Some(inner) = after.strip_prefix('{') {
            let (inner, tail) = inner
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: `${{` without `}}`"))?;
            let (name, otherwise) = inner
                .split_once(":-")
                .map_or((inner, None), |(name, rest)| (name, Some(rest)));
            (name, otherwise, tail)
        } else {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !word(c)).unwrap_or(after.len());
            (&after[..end], None, &after[end..])
        };
        if name.is_empty() {
            return Err(format!(
                "`{text}`: `$` without a name; write `$$` for the character"
            ));
        }
        match host.variable(name).or(otherwise) {
            Some(value) => out.push_str(value),
            None => return Err(format!("variable `{name}` is not set")),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}
