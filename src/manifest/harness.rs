//! Harnesses: the agent tools a manifest asks for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::form::{self, Form, Scalar, formed};
use super::python::{is_python_version, requirement};
use crate::name::VariableName;
use crate::remote::{DownloadUrl, Sha256};
use crate::units::Duration;
use crate::written::written_as_text;

/// A harness: a version, or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harness {
    /// Where it comes from.
    pub source: HarnessSource,
    /// The commands it brings; `None` is what the catalogue says, else the harness's name.
    pub bin: Option<Vec<String>>,
    /// Variables passed to sessions when the host has them; `None` is what the catalogue says, else none.
    pub env: Option<Vec<VariableName>>,
    /// Where it keeps its configuration, absolute; `None` is what the catalogue says, else nowhere.
    pub config: Option<Vec<PathBuf>>,
    /// Arguments it is always given; `None` is what the catalogue says, else none.
    pub args: Option<Vec<String>>,
    /// What runs it.
    pub runtime: Runtime,
    /// How long its installation may take.
    pub timeout: Duration,
}

/// How long the installation of a harness may take, unless it says otherwise.
pub const TIMEOUT: Duration = Duration::seconds(900);

/// Where a harness comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HarnessSource {
    /// From wherever the built-in catalogue says.
    Catalogue {
        /// The version.
        version: Requirement,
    },
    /// From npm.
    Npm {
        /// The package.
        package: String,
        /// Its version.
        version: Requirement,
    },
    /// From the Python package index.
    Pypi {
        /// The package.
        package: String,
        /// Its version.
        version: Requirement,
    },
    /// A download.
    Url {
        /// Where from.
        url: DownloadUrl,
        /// The version, for people.
        version: Option<Requirement>,
        /// The SHA-256 of the download.
        sha256: Sha256,
    },
}

impl HarnessSource {
    /// Returns the version that is asked for.
    pub fn requirement(&self) -> Option<&Requirement> {
        match self {
            Self::Catalogue { version } | Self::Npm { version, .. } | Self::Pypi { version, .. } => {
                Some(version)
            }
            Self::Url { version, .. } => version.as_ref(),
        }
    }
}

/// What runs a harness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The npm package `node`, installed into the harness set (default).
    #[default]
    Node,
    /// The runtime that the image brings.
    Image,
}

/// The version that is asked for: exact, a range, or the latest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// Exactly this version.
    Exact(String),
    /// Any version in this range, as package managers write it.
    Range(String),
    /// The newest version there is when it is pinned.
    Latest,
}

/// Why a text asks for no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version; write one as in 1.2.3, a range as in ^1.2, or latest")]
pub struct RequirementError(String);

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let text = text.trim();
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if is_exact(text) {
            return Ok(Self::Exact(text.to_owned()));
        }
        // What a range means is for the package manager to say; here only what cannot be one is refused.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-+^~<>=*| ,!".contains(&byte);
        let starts = |byte: u8| byte.is_ascii_digit() || b"^~<>=*!xX".contains(&byte);
        if text.len() <= 128 && text.bytes().next().is_some_and(starts) && text.bytes().all(allowed) {
            return Ok(Self::Range(text.to_owned()));
        }
        Err(RequirementError(text.to_owned()))
    }
}

/// Tells whether a version is complete: three numbers, perhaps a pre-release and a build.
fn is_exact(text: &str) -> bool {
    let (text, build) = text
        .split_once('+')
        .map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, prerelease) = text
        .split_once('-')
        .map_or((text, None), |(core, rest)| (core, Some(rest)));
    let numbers: Vec<_> = core.split('.').collect();
    let number = |text: &&str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'))
    };
    let identifiers = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    numbers.len() == 3
        && numbers.iter().all(number)
        && prerelease.is_none_or(identifiers)
        && build.is_none_or(identifiers)
        && text.len() <= 128
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) | Self::Range(text) => f.write_str(text),
            Self::Latest => f.write_str("latest"),
        }
    }
}

written_as_text!(Requirement, "Requirement", {
    "description": "A version as in `1.2.3`, a range as in `^1.2`, or `latest`; the last two are pinned in `aishell.lock`.",
    "type": ["string", "number"]
});

/// The fields of a harness.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HarnessFields {
    /// A version as in `1.2.3`, a range as in `^1.2`, or `latest` (default).
    version: Option<Requirement>,
    /// The npm package it comes from; default: what the built-in catalogue says.
    npm: Option<String>,
    /// The Python package it comes from.
    pypi: Option<String>,
    /// Where it is downloaded from; `{version}` stands for the version; needs `sha256`.
    url: Option<String>,
    /// The SHA-256 of the download, 64 hexadecimal digits.
    sha256: Option<Sha256>,
    /// The commands it brings; default: its name.
    bin: Option<Vec<String>>,
    /// Names of variables passed to sessions when the host has them.
    env: Option<Vec<VariableName>>,
    /// Where it keeps its configuration on the host and in containers.
    config: Option<Vec<PathBuf>>,
    /// Arguments it is always given.
    #[schemars(with = "Option<Vec<Scalar>>")]
    args: Option<Vec<String>>,
    /// What runs it: `node` (default; installed with it) or `image` (what the image brings).
    #[serde(default)]
    runtime: Runtime,
    /// How long its installation may take; default: 15m.
    timeout: Option<Duration>,
}

impl Form for Harness {
    const EXPECTED: &'static str = "a version or a map";
    type Map = HarnessFields;
    type Item = form::Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        let version = text
            .parse()
            .map_err(|error: RequirementError| error.to_string())?;
        let source = HarnessSource::Catalogue { version };
        Ok(Self {
            source,
            bin: None,
            env: None,
            config: None,
            args: None,
            runtime: Runtime::default(),
            timeout: TIMEOUT,
        })
    }

    fn from_map(fields: HarnessFields) -> Result<Self, String> {
        let HarnessFields {
            version,
            npm,
            pypi,
            url,
            sha256,
            bin,
            env,
            config,
            args,
            runtime,
            timeout,
        } = fields;
        if sha256.is_some() && url.is_none() {
            return Err("`sha256` goes with `url`".into());
        }
        let or_latest = |version: Option<Requirement>| version.unwrap_or(Requirement::Latest);
        let source = match (npm, pypi, url) {
            (None, None, None) => HarnessSource::Catalogue {
                version: or_latest(version),
            },
            (Some(package), None, None) if is_npm_package(&package) => HarnessSource::Npm {
                package,
                version: or_latest(version),
            },
            (Some(package), None, None) => {
                return Err(format!("`{package}` is not the name of an npm package"));
            }
            (None, Some(package), None) => HarnessSource::Pypi {
                version: requirement(&package, or_latest(version))?,
                package,
            },
            (None, None, Some(url)) => HarnessSource::Url {
                url: download(&url, version.as_ref())?,
                sha256: sha256.ok_or("`url` needs `sha256`")?,
                version,
            },
            (npm, pypi, url) => {
                let given = [
                    ("`npm`", npm.is_some()),
                    ("`pypi`", pypi.is_some()),
                    ("`url`", url.is_some()),
                ];
                let given: Vec<_> = given
                    .into_iter()
                    .filter(|(_, given)| *given)
                    .map(|(key, _)| key)
                    .collect();
                return Err(format!(
                    "a harness comes from one place; here are {}",
                    given.join(" and ")
                ));
            }
        };
        if let Some(name) = bin
            .iter()
            .flatten()
            .find(|name| name.is_empty() || name.contains(['/', '\0']))
        {
            return Err(format!("`{name}` in `bin` is not the name of a command"));
        }
        Ok(Self {
            source,
            bin,
            env,
            config,
            args,
            runtime,
            timeout: timeout.unwrap_or(TIMEOUT),
        })
    }
}

/// Returns the address of a download with the version in it.
fn download(url: &str, version: Option<&Requirement>) -> Result<DownloadUrl, String> {
    match version {
        Some(Requirement::Exact(version)) => url.replace("{version}", version).parse(),
        // Two numbers are a version, too, where nobody chooses.
        Some(Requirement::Range(version)) if is_python_version(version) => {
            url.replace("{version}", version).parse()
        }
        Some(other) => Err(format!(
            "a download has one version, and `{other}` could be several"
        )),
        None if url.contains("{version}") => {
            Err("`{version}` stands for `version`, which is missing".to_owned())
        }
        None => url.parse(),
    }
}

/// Tells whether npm takes this as a package name, `@scope/name` or `name`, and nothing else (no path, no URL).
pub(crate) fn is_npm_package(text: &str) -> bool {
    let part = |text: &str| {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        text.bytes().next().is_some_and(first) && text.bytes().all(rest)
    };
    text.len() <= 214
        && match text.strip_prefix('@') {
            Some(scoped) => scoped
                .split_once('/')
                .is_some_and(|(scope, name)| part(scope) && part(name)),
            None => part(text),
        }
}

formed!(Harness);

impl JsonSchema for Harness {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Harness".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            generator.subschema_for::<Requirement>(),
            generator.subschema_for::<HarnessFields>(),
        ];
        form::one_of("A harness: a version, or a map.", choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_exact_ranges_or_latest() {
        for exact in [
            "1.2.3",
            "0.0.0",
            "2.0.22-beta.1",
            "1.2.3+build.5",
            "10.20.30-rc-1",
        ] {
            assert_eq!(exact.parse(), Ok(Requirement::Exact(exact.into())));
        }
        for range in [
            "^2.0",
            "~1.2.3",
            "1",
            "1.2",
            ">=1 <2",
            "1.x",
            "*",
            "01.2.3",
            "1.2.3 || 2",
        ] {
            assert_eq!(range.parse(), Ok(Requirement::Range(range.into())));
        }
        assert_eq!("latest".parse(), Ok(Requirement::Latest));
        for bad in [
            "",
            "newest",
            "file:../x",
            "https://x",
            "$(x)",
            "v1.2.3",
            "1.2.3;rm",
        ] {
            assert!(bad.parse::<Requirement>().is_err(), "{bad}");
        }
    }

    #[test]
    fn packages_are_names_and_nothing_else() {
        assert!(is_npm_package("@anthropic-ai/claude-code") && is_npm_package("opencode-ai"));
        for bad in [
            "",
            "../x",
            "a/b",
            "@a",
            "@a/b/c",
            "-g",
            "a b",
            "git+ssh://x",
            "x@1",
        ] {
            assert!(!is_npm_package(bad), "{bad}");
        }
    }
}
