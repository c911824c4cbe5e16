//! Packages: what was asked of a package manager, and what that meant.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Integrity, LockedVersion, NpmPackage, Parts, PythonPackage, part};

/// A package, by the manager that has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageName {
    /// One of npm.
    Npm(NpmPackage),
    /// One of the Python package index.
    Pypi(PythonPackage),
}

/// What a requirement on a package meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Package {
    /// The package.
    #[serde(flatten)]
    pub name: PackageName,
    /// What the manifest asked for: `latest`, or a range.
    pub requirement: String,
    /// What that meant.
    pub version: LockedVersion,
    /// What the package manager says the package is made of, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// What it is installed with, if it is a Python package; empty in locks that were written before that was kept.
    #[serde(rename = "packages", skip_serializing_if = "Parts::is_empty")]
    pub parts: Parts,
}

/// A requirement on a package that only a package manager can say the meaning of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Ask {
    /// The package.
    #[serde(flatten)]
    pub name: PackageName,
    /// `latest`, or a range.
    pub requirement: String,
}

/// A package as it is written: of npm or of the Python package index.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LockedPackage")]
struct Fields {
    /// The npm package.
    npm: Option<NpmPackage>,
    /// The Python package.
    pypi: Option<PythonPackage>,
    /// What the manifest asked for: `latest`, or a range.
    requirement: String,
    /// What that meant.
    version: LockedVersion,
    /// What the package manager says the package is made of, where it says so.
    integrity: Option<Integrity>,
    /// What a Python package is installed with: itself and all that it needs.
    #[serde(default)]
    packages: Parts,
}

impl TryFrom<Fields> for Package {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let Fields {
            npm,
            pypi,
            requirement,
            version,
            integrity,
            packages,
        } = fields;
        let name = match (npm, pypi) {
            (Some(name), None) => PackageName::Npm(name),
            (None, Some(name)) => PackageName::Pypi(name),
            (_, _) => return Err("a package is one of `npm` or one of `pypi`".to_owned()),
        };
        if matches!(name, PackageName::Npm(_)) && !packages.is_empty() {
            return Err("`packages` is what a Python package is installed with".to_owned());
        }
        let own = part::of(&packages, name.as_str());
        if !packages.is_empty()
            && own.is_none_or(|part| part.version != version || part.integrity != integrity)
        {
            return Err(format!(
                "`packages` does not have `{name}` itself as it is here, at {version}: leave that out, or update it"
            ));
        }
        Ok(Self {
            name,
            requirement,
            version,
            integrity,
            parts: packages,
        })
    }
}

impl JsonSchema for Package {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Fields::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Fields::json_schema(generator)
    }
}

impl PackageName {
    /// Returns the name without who has it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Npm(name) => name.as_str(),
            Self::Pypi(name) => name.as_str(),
        }
    }

    /// Returns the program that is asked about it.
    pub fn manager(&self) -> &'static str {
        match self {
            Self::Npm(_) => "npm",
            Self::Pypi(_) => "pip",
        }
    }

    /// Returns the key that it is written under.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Npm(_) => "npm",
            Self::Pypi(_) => "pypi",
        }
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, requirement } = self;
        match (name, requirement.as_str()) {
            (PackageName::Npm(name), _) => write!(formatter, "{name}@{requirement}"),
            (PackageName::Pypi(name), "latest") => write!(formatter, "{name}"),
            (PackageName::Pypi(name), text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
                write!(formatter, "{name}=={text}")
            }
            (PackageName::Pypi(name), text) => write!(formatter, "{name}{text}"),
        }
    }
}

impl Package {
    /// Says whether this is what an ask meant.
    pub fn answers(&self, ask: &Ask) -> bool {
        self.name == ask.name && self.requirement == ask.requirement
    }
}
