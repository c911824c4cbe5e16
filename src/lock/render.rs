//! From a lock to text: sections in a fixed order, entries sorted, one value a line, so that differences are small.

use std::fmt::Write as _;

use super::{Format, Lock, Package, Part, Revision, VERSION};

/// What a person who opens the file should know.
const HEADER: &str = "\
# What the references of the manifest beside this file mean. Written by aishell; commit it.
# `aishell apply` adds what is missing, `aishell update` moves the rest.
";

pub(super) fn render(lock: &Lock) -> String {
    let Lock {
        version: Format,
        builtin,
        runtime,
        harnesses,
        images,
        repos,
        tools,
    } = lock;
    let mut text = format!("{HEADER}version: {VERSION}\n");
    // Writing to a String cannot fail.
    if let Some(version) = builtin {
        let _ = writeln!(text, "builtin: {version}");
    }
    if let Some(runtime) = runtime {
        text.push_str("runtime:\n");
        package(&mut text, "  ", runtime);
    }
    if !harnesses.is_empty() {
        text.push_str("harnesses:\n");
    }
    for (name, harness) in harnesses {
        let _ = writeln!(text, "  {}:", scalar(name.as_str()));
        package(&mut text, "    ", harness);
    }
    if !images.is_empty() {
        text.push_str("images:\n");
    }
    for (reference, digest) in images {
        let _ = writeln!(text, "  {}: {digest}", scalar(reference.as_str()));
    }
    if !repos.is_empty() {
        text.push_str("repos:\n");
    }
    for (reference, Revision { commit, branch }) in repos {
        let _ = writeln!(text, "  {}:", scalar(&reference.to_string()));
        let _ = writeln!(text, "    commit: {}", scalar(commit.as_str()));
        if let Some(branch) = branch {
            let _ = writeln!(text, "    branch: {}", scalar(branch.as_str()));
        }
    }
    if !tools.is_empty() {
        text.push_str("tools:\n");
    }
    for (url, digest) in tools {
        let _ = writeln!(text, "  {}: {}", scalar(url.as_str()), scalar(digest.as_str()));
    }
    text
}

fn package(text: &mut String, indentation: &str, package: &Package) {
    let Package {
        name,
        requirement,
        version,
        integrity,
        parts,
    } = package;
    let _ = writeln!(text, "{indentation}{}: {}", name.key(), scalar(name.as_str()));
    let _ = writeln!(text, "{indentation}requirement: {}", scalar(requirement));
    let _ = writeln!(text, "{indentation}version: {}", scalar(version.as_str()));
    if let Some(integrity) = integrity {
        let _ = writeln!(text, "{indentation}integrity: {}", scalar(integrity.as_str()));
    }
    if !parts.is_empty() {
        let _ = writeln!(text, "{indentation}packages:");
    }
    for (name, part) in parts {
        let Part {
            version,
            file,
            integrity,
        } = part;
        let _ = writeln!(text, "{indentation}  {}:", scalar(name.as_str()));
        let _ = writeln!(text, "{indentation}    version: {}", scalar(version.as_str()));
        if let Some(file) = file {
            let _ = writeln!(text, "{indentation}    file: {}", scalar(file.as_str()));
        }
        if let Some(integrity) = integrity {
            let _ = writeln!(text, "{indentation}    integrity: {}", scalar(integrity.as_str()));
        }
    }
}

/// Returns text as YAML: plain where it can be nothing but text, else in quotes.
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/+=-".contains(&byte);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && !words.contains(&text.to_ascii_lowercase().as_str());
    // Three numbers and more are no number.
    let is_version =
        text.starts_with(|letter: char| letter.is_ascii_digit()) && text.matches('.').count() >= 2;
    if (is_word || is_version) && text.bytes().all(plain) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
