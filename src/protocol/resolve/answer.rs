//! What a package manager answered: which version a requirement means, or why it means none.

use std::cmp::Ordering;

use serde::Deserialize;

use super::pip;
use super::script::LONGEST;
use crate::lock::{Ask, Integrity, LockedVersion, PackageName, Parts};
use crate::report::Failure;

/// What a requirement means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version.
    pub version: LockedVersion,
    /// What the package is made of, where the registry says so.
    pub integrity: Option<Integrity>,
    /// What it is installed with, where that is asked for.
    pub parts: Parts,
}

/// Why a requirement means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such package.
    #[error("{manager} knows no package `{package}`")]
    UnknownPackage {
        /// Who was asked.
        manager: &'static str,
        /// The package.
        package: String,
    },
    /// The package has no such version.
    #[error("no version of `{package}` matches `{requirement}`")]
    NoMatch {
        /// The package.
        package: String,
        /// What was asked for.
        requirement: String,
    },
    /// No version that matches is for the Python that is there.
    #[error("no version of `{package}` that matches `{requirement}` is for the Python of the foundation")]
    WrongPython {
        /// The package.
        package: String,
        /// What was asked for.
        requirement: String,
    },
    /// The registry could not be asked, or refused.
    #[error("{manager} cannot say which version of `{package}` is meant: {message}")]
    NoAnswer {
        /// Who was asked.
        manager: &'static str,
        /// The package.
        package: String,
        /// What npm said.
        message: String,
    },
}

impl Refusal {
    /// Says whether the manifest is to blame, and not the way to the registry.
    pub fn is_of_the_manifest(&self) -> bool {
        match self {
            Self::UnknownPackage { .. } | Self::NoMatch { .. } | Self::WrongPython { .. } => true,
            Self::NoAnswer { .. } => false,
        }
    }
}

/// One version, as `npm view` tells it.
#[derive(Debug, Deserialize)]
struct Told {
    name: String,
    version: String,
    #[serde(rename = "dist.integrity")]
    integrity: Option<String>,
    #[serde(rename = "dist-tags.latest")]
    latest: Option<String>,
    deprecated: Option<serde_json::Value>,
}

/// What `npm view` writes: one version, several, or an error.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Document {
    Error { error: NpmError },
    One(Told),
    Several(Vec<Told>),
}

#[derive(Debug, Deserialize)]
struct NpmError {
    code: Option<String>,
    summary: Option<String>,
}

/// Reads the file of answers.
///
/// # Errors
/// It is not what the script writes.
pub(super) fn read(bytes: &[u8], asks: &[Ask]) -> Result<Vec<Result<Found, Refusal>>, Failure> {
    let mut rest = bytes;
    let mut answers = Vec::new();
    for ask in asks {
        let (code, out, error) =
            take(&mut rest).ok_or_else(|| Failure::new("the answers about versions cannot be read"))?;
        answers.push(match &ask.name {
            PackageName::Npm(_) => understand(ask, code, out, error),
            PackageName::Pypi(_) => pip::understand(ask, code, out, error),
        });
    }
    Ok(answers)
}

/// Takes one answer off the front: exit code, output, errors.
fn take<'b>(rest: &mut &'b [u8]) -> Option<(i64, &'b [u8], &'b [u8])> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&rest[..end]).ok()?;
    let mut numbers = head.split_whitespace();
    let code = numbers.next()?.parse().ok()?;
    let mut length = || numbers.next()?.parse::<usize>().ok();
    let (out, error) = (length()?, length()?);
    let body = &rest[end + 1..];
    let all = out.checked_add(error)?;
    if body.len() < all {
        return None;
    }
    *rest = &body[all..];
    Some((code, &body[..out], &body[out..all]))
}

fn understand(ask: &Ask, code: i64, out: &[u8], error: &[u8]) -> Result<Found, Refusal> {
    let no_answer = |message: String| Refusal::NoAnswer {
        manager: ask.name.manager(),
        package: ask.name.to_string(),
        message,
    };
    let no_match = || Refusal::NoMatch {
        package: ask.name.to_string(),
        requirement: ask.requirement.clone(),
    };
    if out.len() > LONGEST {
        return Err(no_answer(
            "the answer is larger than anybody's list of versions".to_owned(),
        ));
    }
    // Old versions of npm say nothing where nothing matches, and are content.
    if code == 0 && out.trim_ascii().is_empty() {
        return Err(no_match());
    }
    let told = match serde_json::from_slice(out) {
        Ok(Document::One(told)) => vec![told],
        Ok(Document::Several(told)) => told,
        Ok(Document::Error { error }) => {
            let summary = error.summary.unwrap_or_default();
            let code = error.code.unwrap_or_default();
            return Err(match code.as_str() {
                "E404" if summary.starts_with("No match found") => no_match(),
                "ETARGET" => no_match(),
                "E404" => Refusal::UnknownPackage {
                    manager: ask.name.manager(),
                    package: ask.name.to_string(),
                },
                _ if summary.is_empty() => no_answer(first_line(error_text(&code, error_lines(out)))),
                _ => no_answer(first_line(summary)),
            });
        }
        Err(_) => {
            let lines = if error.trim_ascii().is_empty() { out } else { error };
            let lines = error_lines(lines);
            return Err(no_answer(first_line(error_text(
                &format!("npm ended with code {code}"),
                lines,
            ))));
        }
    };
    choose(ask, told).ok_or_else(no_match)?.map_err(no_answer)
}

fn error_text(otherwise: &str, lines: String) -> String {
    if lines.trim().is_empty() {
        otherwise.to_owned()
    } else {
        lines
    }
}

/// Returns what npm says went wrong, without its prefixes and hints.
fn error_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| {
        let said = ["npm error", "npm ERR!"]
            .iter()
            .find_map(|prefix| line.strip_prefix(prefix));
        said.is_some_and(|said| !said.trim().is_empty() && !said.trim().starts_with("code "))
    });
    let line = line.or_else(|| text.lines().map(str::trim).find(|line| !line.is_empty()));
    let line = line.unwrap_or_default();
    let line = line
        .strip_prefix("npm error")
        .or(line.strip_prefix("npm ERR!"))
        .unwrap_or(line);
    line.trim().to_owned()
}

pub(super) fn first_line(text: String) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    line.chars()
        .filter(|letter| !letter.is_control())
        .take(300)
        .collect()
}

/// Chooses among the versions that match, as npm does when it installs: what `latest` names if it is among them, else
/// the highest; one that is deprecated only where there is no other.
fn choose(ask: &Ask, told: Vec<Told>) -> Option<Result<Found, String>> {
    let mut matching: Vec<Told> = told
        .into_iter()
        .filter(|told| told.name == ask.name.as_str() && told.version.parse::<LockedVersion>().is_ok())
        .collect();
    let is_deprecated = |told: &Told| match &told.deprecated {
        None | Some(serde_json::Value::Null | serde_json::Value::Bool(false)) => false,
        Some(serde_json::Value::String(why)) => !why.is_empty(),
        Some(_) => true,
    };
    let rank = |told: &Told| {
        let named = told.latest.as_ref() == Some(&told.version);
        (!is_deprecated(told), named)
    };
    matching.sort_by(|one, other| {
        rank(one)
            .cmp(&rank(other))
            .then_with(|| compare(&one.version, &other.version))
    });
    let chosen = matching.pop()?;
    let integrity = chosen.integrity.filter(|integrity| !integrity.is_empty());
    Some((|| {
        Ok(Found {
            version: chosen.version.parse()?,
            integrity: integrity.map(|integrity| integrity.parse()).transpose()?,
            parts: Parts::new(),
        })
    })())
}

/// Compares complete versions as semantic versioning says.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let parts = |version: &str| {
        let version = version.split('+').next().unwrap_or_default().to_owned();
        let (core, pre) = match version.split_once('-') {
            Some((core, pre)) => (core.to_owned(), Some(pre.to_owned())),
            None => (version, None),
        };
        (core, pre)
    };
    let ((core, pre), (other_core, other_pre)) = (parts(one), parts(other));
    identifiers(&core, &other_core).then_with(|| match (pre, other_pre) {
        (None, None) => Ordering::Equal,
        // What comes before a release is less than it.
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(pre), Some(other)) => identifiers(&pre, &other),
    })
}

/// Compares dotted identifiers: numbers by value and below words, words by letter, and fewer before more.
fn identifiers(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        let order = match (one.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(other)) => match (one.parse::<u64>(), other.parse::<u64>()) {
                (Ok(one), Ok(other)) => one.cmp(&other),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => one.cmp(other),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str =
        "sha512-8C4H1jdrgNusTQr3Yu4SCm+ZKsAlDFbpa0KS0Z3im8ueag+9pGOf3CrioruvmeaW/A5oqg9L0ar6qeftAh03jw==";

    fn ask() -> Ask {
        Ask {
            name: PackageName::Npm("cowsay".parse().unwrap()),
            requirement: "^1".to_owned(),
        }
    }

    fn answered(code: i64, out: &str, error: &str) -> Result<String, Refusal> {
        let file = format!("{code} {} {}\n{out}{error}", out.len(), error.len());
        let mut answers = read(file.as_bytes(), &[ask()]).unwrap();
        answers.remove(0).map(|found| found.version.to_string())
    }

    fn told(version: &str, latest: &str, deprecated: &str) -> String {
        format!(
            r#"{{"name":"cowsay","version":"{version}","dist.integrity":"{SHA}","dist-tags.latest":"{latest}"{deprecated}}}"#
        )
    }

    #[test]
    fn the_highest_version_is_chosen_as_npm_does() {
        let of = |all: &[String]| answered(0, &format!("[{}]", all.join(",")), "npm warn x\n").unwrap();
        assert_eq!(
            answered(0, &told("1.6.0", "2.0.0", ""), ""),
            Ok("1.6.0".to_owned())
        );
        let (two, ten) = (told("1.2.0", "2.0.0", ""), told("1.10.0", "2.0.0", ""));
        assert_eq!(of(&[ten.clone(), two.clone()]), "1.10.0");
        // What `latest` names is what people are to have.
        assert_eq!(
            of(&[told("1.10.0", "1.2.0", ""), told("1.2.0", "1.2.0", "")]),
            "1.2.0"
        );
        let bad = r#","deprecated":"broken""#;
        assert_eq!(of(&[told("1.11.0", "1.11.0", bad), ten, two]), "1.10.0");
        assert_eq!(of(&[told("1.11.0", "2.0.0", bad)]), "1.11.0");
    }

    #[test]
    fn versions_are_compared_by_their_parts() {
        let order = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.0.1",
            "1.2.0",
            "1.10.0",
            "2.0.0",
        ];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("1.0.0+a", "1.0.0+b"), Ordering::Equal);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let no_match = Refusal::NoMatch {
            package: "cowsay".to_owned(),
            requirement: "^1".to_owned(),
        };
        let unknown = Refusal::UnknownPackage {
            manager: "npm",
            package: "cowsay".to_owned(),
        };
        let error = |code: &str, summary: &str| {
            format!(r#"{{"error":{{"code":"{code}","summary":"{summary}","detail":"x"}}}}"#)
        };
        assert_eq!(answered(0, "", ""), Err(no_match.clone()));
        assert_eq!(
            answered(1, &error("E404", "No match found for version ^1"), ""),
            Err(no_match.clone())
        );
        assert_eq!(
            answered(1, &error("E404", "Not Found - GET https://x/cowsay"), ""),
            Err(unknown)
        );
        let said = |answer: Result<String, Refusal>| answer.unwrap_err().to_string();
        assert!(
            said(answered(
                1,
                &error("ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:9"),
                ""
            ))
            .contains("ECONNREFUSED")
        );
        let words = "npm error code E500\nnpm error 500 Internal Server Error\n";
        assert!(said(answered(1, "", words)).ends_with(": 500 Internal Server Error"));
        assert!(said(answered(0, "<html>", "")).ends_with(": <html>"));
        assert!(said(answered(137, "", "")).ends_with("npm ended with code 137"));
        // An answer about something else is none.
        let other = told("1.0.0", "1.0.0", "").replace("cowsay", "other");
        assert_eq!(answered(0, &other, ""), Err(no_match.clone()));
        assert_eq!(answered(0, &told("one", "one", ""), ""), Err(no_match));
        assert!(
            said(answered(
                0,
                &told("1.0.0", "1.0.0", "").replace("sha512", "md5"),
                ""
            ))
            .contains("integrity")
        );
    }

    #[test]
    fn answers_that_are_cut_short_are_no_answers() {
        for file in [
            "",
            "0",
            "0 5 0\nab",
            "x y z\n",
            "0 99999999999999999999 0\n",
            "0 18446744073709551615 2\n",
        ] {
            assert!(read(file.as_bytes(), &[ask()]).is_err(), "{file}");
        }
    }
}
