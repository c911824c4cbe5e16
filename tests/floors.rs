//! The order of the house, read from the sources: a module looks only at those above it.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "the sources are what is tested here"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the crate, from the words down to the voice.
const FLOORS: [(&str, &[&str]); 7] = [
    (
        "words",
        &[
            "written", "name", "units", "key", "label", "remote", "platform", "host", "shell", "secret",
            "spec", "grant", "progress",
        ],
    ),
    (
        "nouns",
        &[
            "observed",
            "call",
            "stock",
            "catalogue",
            "manifest",
            "builtin",
            "lock",
            "dockerfile",
            "context",
            "facts",
            "desired",
            "drift",
            "step",
            "report",
        ],
    ),
    ("judgement", &["plan", "saved", "status"]),
    ("hands", &["engine", "observe", "fetch", "protocol", "apply"]),
    (
        "rhythm",
        &[
            "claim",
            "reconcile",
            "readiness",
            "prepare",
            "pin",
            "prune",
            "controller",
        ],
    ),
    ("side doors", &["session", "detect", "import"]),
    ("voice", &["cli"]),
];

/// The most lines a file may have before its tests.
const LONGEST: usize = 500;

/// One source file.
struct Source {
    /// The path below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns the top module that the file belongs to; `None` for `lib` and `main`, which stand above the order.
    fn module(&self) -> Option<String> {
        let first = self.path.iter().next()?.to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(name, "lib" | "main")).then(|| name.to_owned())
    }

    /// Returns the lines before the tests, comments aside, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take(self.length()).enumerate();
        lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    /// Returns the number of lines before the tests.
    fn length(&self) -> usize {
        if self.path.ends_with("tests.rs") {
            return 0;
        }
        let lines = || self.text.lines();
        let tests = lines().zip(lines().skip(1)).position(|(attribute, module)| {
            attribute == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{')
        });
        tests.unwrap_or_else(|| lines().count())
    }
}

fn sources() -> Vec<Source> {
    fn gather(root: &Path, directory: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(directory).expect("readable directory") {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                gather(root, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("readable file");
                let path = path.strip_prefix(root).expect("below the root").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    gather(&root, &root, &mut found);
    found
}

fn heights() -> BTreeMap<&'static str, usize> {
    FLOORS
        .iter()
        .flat_map(|(_, modules)| *modules)
        .enumerate()
        .map(|(height, module)| (*module, height))
        .collect()
}

/// Returns the modules of the crate that code names, groups in braces included.
fn named(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let whole = !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let rest = &code[at + "crate::".len()..];
        if !whole {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut expecting = true;
            for (index, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => expecting = true,
                    character if expecting && (character.is_alphabetic() || character == '_') => {
                        found.push(word(&group[index..]));
                        expecting = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push(word(rest));
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

/// Returns where a source looks at modules below its own, or at unknown ones.
fn looks_down(source: &Source) -> Vec<String> {
    let heights = heights();
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let Some(own) = heights.get(module.as_str()) else {
        return vec![format!(
            "{}: module `{module}` is on no floor",
            source.path.display()
        )];
    };
    // Groups may span lines, so the code is read as one; line numbers are found again by searching.
    let code: String = source.code().flat_map(|(_, line)| [line, "\n"]).collect();
    let mut wrong = Vec::new();
    for name in named(&code) {
        match heights.get(name.as_str()) {
            Some(other) if other <= own => {}
            Some(_) => wrong.push(format!(
                "{}: `{module}` looks down at `{name}`",
                source.path.display()
            )),
            // A macro or an item that lib.rs re-exports.
            None => wrong.push(format!(
                "{}: `crate::{name}` is on no floor",
                source.path.display()
            )),
        }
    }
    let depth = source.path.iter().count();
    for (number, line) in source.code() {
        if line.matches("super::").count() >= depth && line.contains(&"super::".repeat(depth)) {
            wrong.push(format!(
                "{}:{number}: climbs out of its module",
                source.path.display()
            ));
        }
    }
    wrong
}

#[test]
fn every_module_looks_only_at_those_above_it() {
    let wrong: Vec<String> = sources().iter().flat_map(looks_down).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_one_floor() {
    let all: Vec<&str> = FLOORS.iter().flat_map(|(_, modules)| *modules).copied().collect();
    assert_eq!(heights().len(), all.len(), "a module is on two floors");
    let unknown: Vec<String> = sources()
        .iter()
        .filter_map(Source::module)
        .filter(|module| !all.contains(&module.as_str()))
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn only_the_docker_engine_names_bollard() {
    let inside = |source: &Source| {
        source.path.starts_with("engine/docker") || source.path.ends_with("engine/docker.rs")
    };
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !inside(source))
        .flat_map(|source| {
            let naming = source.code().filter(|(_, line)| line.contains("bollard"));
            naming
                .map(|(number, _)| format!("{}:{number}", source.path.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_is_long_before_its_tests() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| source.length() > LONGEST)
        .map(|source| format!("{}: {} lines", source.path.display(), source.length()))
        .collect();
    assert_eq!(wrong, Vec::<String>::new());
}

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.into(),
        text: text.to_owned(),
    }
}

#[test]
fn looking_down_is_noticed_however_it_is_written() {
    for text in [
        "use crate::cli::Args;",
        "use crate::{key::Key, cli::{Args, key}};",
        "use crate::{\n    key::Key,\n    cli,\n};",
        "fn f() { crate::cli::run() }",
        "pub(crate) fn f() -> crate::cli::Args { todo!() }",
        "use super::cli;",
        "use crate::utils::x;",
    ] {
        assert_eq!(looks_down(&source("plan.rs", text)).len(), 1, "{text}");
    }
    assert_eq!(
        looks_down(&source("utils/x.rs", "")).len(),
        1,
        "an unknown module"
    );
}

#[test]
fn looking_up_around_and_in_comments_or_tests_is_fine() {
    for (path, text) in [
        (
            "plan.rs",
            "use crate::key::Key;\nuse crate::plan::x;\n//! [`crate::cli`]\n",
        ),
        (
            "plan/image.rs",
            "use super::Draft;\nuse crate::{call::Call, step::{Plan, Step}};",
        ),
        (
            "plan.rs",
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::cli::x;\n    use super::*;\n}\n",
        ),
        ("plan/tests.rs", "use crate::engine::memory::World;"),
        ("main.rs", "use crate::cli;"),
    ] {
        assert_eq!(looks_down(&source(path, text)), Vec::<String>::new(), "{text}");
    }
}
