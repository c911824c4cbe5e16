//! What pip answered: which version of a Python package a requirement means, or why it means none.

use serde::Deserialize;

use std::collections::BTreeMap;

use super::answer::{Found, Refusal, first_line};
use crate::lock::{Ask, Integrity, Part, Parts};
use crate::remote::Sha256;

/// What the script tells of the report of pip.
#[derive(Debug, Deserialize)]
struct Told {
    #[serde(flatten)]
    own: Made,
    #[serde(default)]
    packages: BTreeMap<String, Made>,
}

/// What it tells of one package.
#[derive(Debug, Deserialize)]
struct Made {
    version: String,
    sha256: Option<String>,
    file: Option<String>,
}

impl Made {
    fn integrity(&self) -> Result<Option<Integrity>, String> {
        let digest = self.sha256.as_deref();
        let integrity = digest.map(|digest| digest.parse::<Sha256>()?.integrity().parse());
        integrity.transpose()
    }

    fn part(&self) -> Result<Part, String> {
        Ok(Part {
            version: self.version.parse()?,
            file: self.file.as_deref().map(str::parse).transpose()?,
            integrity: self.integrity()?,
        })
    }
}

/// Understands one answer.
pub(super) fn understand(ask: &Ask, code: i64, out: &[u8], error: &[u8]) -> Result<Found, Refusal> {
    let no_answer = |message: String| Refusal::NoAnswer {
        manager: ask.name.manager(),
        package: ask.name.to_string(),
        message: first_line(message),
    };
    if code != 0 {
        return Err(refusal(ask, code, &String::from_utf8_lossy(error)));
    }
    let told: Told = serde_json::from_slice(out)
        .map_err(|_| no_answer("pip told something else than a report".to_owned()))?;
    let parts = told.packages.iter();
    let parts = parts.map(|(name, made)| Ok((name.parse()?, made.part()?)));
    Ok(Found {
        version: told.own.version.parse().map_err(no_answer)?,
        integrity: told.own.integrity().map_err(no_answer)?,
        parts: parts.collect::<Result<Parts, String>>().map_err(no_answer)?,
    })
}

fn refusal(ask: &Ask, code: i64, said: &str) -> Refusal {
    let package = || ask.name.to_string();
    let requirement = || ask.requirement.clone();
    let found = |words: &[&str]| words.iter().any(|words| said.contains(words));
    let unreached = [
        "connection broken by",
        "Could not fetch URL",
        "SSLError",
        "CERTIFICATE_VERIFY_FAILED",
        "HTTP error",
    ];
    let is_own = |line: &str| {
        let own = ask.name.as_str();
        let rest = line.split_once("No matching distribution found for ");
        let (name, rest) = rest
            .and_then(|(_, asked)| asked.split_at_checked(own.len()))
            .unwrap_or_default();
        let goes_on = |next: char| next.is_ascii_alphanumeric() || "._-".contains(next);
        name.eq_ignore_ascii_case(own) && !rest.starts_with(goes_on)
    };
    // Else it is something that it needs.
    if said.lines().any(is_own) && !found(&unreached) {
        if found(&["(from versions: none)"]) && found(&["require a different python"]) {
            return Refusal::WrongPython {
                package: package(),
                requirement: requirement(),
            };
        }
        if found(&["(from versions: none)"]) {
            return Refusal::UnknownPackage {
                manager: ask.name.manager(),
                package: package(),
            };
        }
        return Refusal::NoMatch {
            package: package(),
            requirement: requirement(),
        };
    }
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    // Why it was tried again says more than that it was given up.
    let reason = lines().find(|line| unreached.iter().any(|words| line.contains(words)));
    let error = lines().find(|line| line.starts_with("ERROR: "));
    let line = reason.or(error).or_else(|| lines().next_back());
    let line = line.map_or_else(|| format!("pip ended with code {code}"), str::to_owned);
    let line = line.trim_start_matches("WARNING: ").trim_start_matches("ERROR: ");
    Refusal::NoAnswer {
        manager: ask.name.manager(),
        package: package(),
        message: first_line(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::PackageName;

    fn answered(code: i64, out: &str, error: &str) -> Result<Found, Refusal> {
        let ask = Ask {
            name: PackageName::Pypi("tool".parse().unwrap()),
            requirement: "~=1.0".to_owned(),
        };
        understand(&ask, code, out.as_bytes(), error.as_bytes())
    }

    #[test]
    fn the_version_and_what_it_is_made_of_are_those_of_the_report() {
        let told = format!(r#"{{"version":"1.2","sha256":"{}"}}"#, "00".repeat(32));
        let found = answered(0, &told, "").unwrap();
        assert_eq!(found.version.as_str(), "1.2");
        let integrity = found.integrity.unwrap();
        assert_eq!(
            integrity.as_str(),
            "sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        );
        let found = answered(0, r#"{"version":"1.2","sha256":null}"#, "").unwrap();
        assert_eq!((found.integrity, found.parts), (None, Parts::new()));
        let need = r#"{"version":"3","sha256":null,"file":null}"#;
        let told = format!(r#"{{"version":"1.2","sha256":null,"packages":{{"need":{need}}}}}"#);
        let parts = answered(0, &told, "").unwrap().parts;
        let (name, part) = parts.first_key_value().unwrap();
        assert_eq!((name.as_str(), part.version.as_str()), ("need", "3"));
        for nonsense in [
            r#"{"version":"1","packages":{"no name!":{"version":"1"}}}"#,
            r#"{"version":"1","packages":{"need":{"version":"1","file":"a b"}}}"#,
            "",
            "[]",
            r#"{"version":"one two"}"#,
            r#"{"version":"1","sha256":"xx"}"#,
        ] {
            assert!(answered(0, nonsense, "").is_err(), "{nonsense}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let none = |versions: &str| {
            format!(
                "ERROR: Could not find a version that satisfies the requirement tool~=1.0 (from versions: {versions})\n\
                 ERROR: No matching distribution found for tool~=1.0\n"
            )
        };
        let said = |error: &str| answered(1, "", error).unwrap_err();
        assert!(matches!(said(&none("0.1, 0.2")), Refusal::NoMatch { .. }));
        assert!(matches!(said(&none("none")), Refusal::UnknownPackage { .. }));
        let python = "ERROR: Ignored the following versions that require a different python version: 1.0 Requires-Python >=9\n";
        assert!(matches!(
            said(&format!("{python}{}", none("none"))),
            Refusal::WrongPython { .. }
        ));
        let broken =
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'refused': /simple/tool/\n";
        let unreached = said(&format!("{broken}{}", none("none")));
        assert!(
            unreached.to_string().contains("connection broken by 'refused'"),
            "{unreached}"
        );
        assert!(said("").to_string().ends_with("pip ended with code 1"));
        // What it needs is not there: that says nothing about the package itself.
        for needs in ["need>=9 (from tool)", "tool-more", "tool.x==1"] {
            let error = format!("ERROR: No matching distribution found for {needs}\n");
            assert!(said(&error).to_string().ends_with(needs), "{needs}");
        }
    }
}
