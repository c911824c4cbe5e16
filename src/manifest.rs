//! The manifest: what a person wrote, field for field.
//!
//! Text becomes a tree that knows the place of every value ([`node`]), files become one tree ([`merge`]), the tree
//! is checked against the generated schema ([`check`]) and becomes these types. Defaults that depend on anything
//! but the manifest are filled where it is resolved, not here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::name::{ContainerName, HarnessName, ManifestName};

mod available;
pub mod builtin;
pub(crate) mod check;
pub mod container;
pub mod environment;
pub mod find;
mod form;
mod gather;
pub mod harness;
pub mod load;
mod locate;
pub mod member;
mod merge;
pub mod mount;
pub(crate) mod node;
mod normal;
pub mod phase;
pub mod phases;
pub mod place;
pub mod port;
mod process;
pub mod python;
pub mod resources;
mod schema;
pub mod security;
pub mod stage;
pub(crate) mod suggest;
pub(crate) mod typed;
mod verify;

use container::Container;
pub use schema::schema;

use form::{Absent, Form, formed, schema_of_fields};
use harness::Harness;
use stage::{Stage, StageName};

/// A manifest of aishell.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The version of this schema: `aishell/v1`.
    pub api_version: ApiVersion,
    /// What tells the objects of this manifest from others; default: the name of the project directory.
    pub name: Option<ManifestName>,
    /// What it is for, in the words of a person; part of no key.
    pub description: Option<String>,
    /// Earlier names and projects of this manifest, whose objects are still its own.
    #[serde(default)]
    pub formerly: Vec<Formerly>,
    /// The host directory the sandboxes work on; default: the repository root, else the manifest's directory.
    pub project: Option<PathBuf>,
    /// Manifests this one builds on, earlier ones first.
    #[serde(default)]
    pub extends: Vec<PathBuf>,
    /// The engine; default: as the docker command line would choose.
    #[serde(default)]
    pub engine: EngineChoice,
    /// Certificates for builds, jobs and containers: `none` (default), `host`, or a list of files.
    #[serde(default)]
    pub certificates: Certificates,
    /// The proxy for builds, jobs and containers: `none` (default), `inherit`, or a map.
    #[serde(default)]
    pub proxy: Proxy,
    /// Stage 1: the image everything starts from; default: the foundation that ships with aishell.
    pub foundation: Option<Stage>,
    /// Stage 2: the personal or team layer on top of the foundation.
    pub base: Option<Stage>,
    /// Stage 3: the project layer on top of the base.
    pub extension: Option<Stage>,
    /// The agent tools, by name: a version, or a map.
    #[serde(default)]
    pub harnesses: BTreeMap<HarnessName, Harness>,
    /// What every container starts from. Loading has merged it under each of `containers` already.
    #[serde(default)]
    pub defaults: Container,
    /// The sandboxes, by name.
    #[serde(default)]
    pub containers: BTreeMap<ContainerName, Container>,
    /// How sensitive files in the project are looked for.
    #[serde(default)]
    pub detection: Detection,
}

impl Manifest {
    /// Returns a stage as it is written.
    pub fn stage(&self, name: StageName) -> Option<&Stage> {
        match name {
            StageName::Foundation => self.foundation.as_ref(),
            StageName::Base => self.base.as_ref(),
            StageName::Extension => self.extension.as_ref(),
        }
    }
}

/// The version of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ApiVersion {
    /// The first one.
    #[serde(rename = "aishell/v1")]
    V1,
}

/// An earlier name and project of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Formerly {
    /// The name it had; default: the name it has.
    pub name: Option<ManifestName>,
    /// The project it had; default: the project it has.
    pub project: Option<PathBuf>,
}

/// The engine a manifest is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "EngineFields")]
pub struct EngineChoice {
    /// Which engine.
    pub address: EngineAddress,
    /// Whether a remote engine sees the files of this host at the same paths.
    pub shares_files: bool,
}

/// Which engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EngineAddress {
    /// The one the docker command line would choose (default).
    #[default]
    Current,
    /// That of a Docker context.
    Context(String),
    /// The one at an address, as in `unix:///run/docker.sock` or `ssh://me@box`.
    Host(String),
}

/// The engine: at most one of `context`, `host`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EngineFields {
    /// A Docker context, by name.
    context: Option<String>,
    /// An address, as in `unix:///run/docker.sock` or `ssh://me@box`.
    host: Option<String>,
    /// Whether a remote engine sees the files of this host at the same paths; default: false.
    #[serde(default)]
    shares_files: bool,
}

schema_of_fields!(EngineChoice, EngineFields);

impl TryFrom<EngineFields> for EngineChoice {
    type Error = String;

    fn try_from(fields: EngineFields) -> Result<Self, String> {
        let EngineFields {
            context,
            host,
            shares_files,
        } = fields;
        let address = match (context, host) {
            (None, None) => EngineAddress::Current,
            (Some(context), None) => EngineAddress::Context(context),
            (None, Some(host)) if host.contains("://") => EngineAddress::Host(host),
            (None, Some(host)) => {
                return Err(format!(
                    "`{host}` is not an engine address; write one as in unix:///run/docker.sock"
                ));
            }
            (Some(_), Some(_)) => return Err("an engine has at most one of `context`, `host`".into()),
        };
        Ok(Self {
            address,
            shares_files,
        })
    }
}

/// Certificates for builds, jobs and containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificates {
    /// None (default).
    #[default]
    None,
    /// The bundle of the host.
    Host,
    /// These files, absolute.
    Files(Vec<PathBuf>),
}

impl Form for Certificates {
    const EXPECTED: &'static str = "none, host, or a list of files";
    type Map = Absent;
    type Item = PathBuf;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            other => Err(format!("expected {}, found `{other}`", Self::EXPECTED)),
        }
    }

    fn from_list(files: Vec<PathBuf>) -> Result<Self, String> {
        Ok(if files.is_empty() {
            Self::None
        } else {
            Self::Files(files)
        })
    }
}

impl JsonSchema for Certificates {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Certificates".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            form::words(&["none", "host"]),
            generator.subschema_for::<Vec<PathBuf>>(),
        ];
        form::one_of(
            "`none` (default), `host` (the bundle of the host), or a list of files.",
            choices,
        )
    }
}

/// The proxy for builds, jobs and containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// None (default).
    #[default]
    None,
    /// As the environment of the host says.
    Inherit,
    /// As written.
    Explicit(ProxyFields),
}

/// A proxy as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyFields {
    /// The proxy for HTTP.
    pub http: Option<String>,
    /// The proxy for HTTPS.
    pub https: Option<String>,
    /// What is reached without a proxy, separated by commas.
    pub no: Option<String>,
}

impl Form for Proxy {
    const EXPECTED: &'static str = "none, inherit, or a map with `http`, `https`, `no`";
    type Map = ProxyFields;
    type Item = Absent;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "inherit" => Ok(Self::Inherit),
            other => Err(format!("expected {}, found `{other}`", Self::EXPECTED)),
        }
    }

    fn from_map(fields: ProxyFields) -> Result<Self, String> {
        if let Some(url) = [&fields.http, &fields.https]
            .into_iter()
            .flatten()
            .find(|url| !url.contains("://"))
        {
            return Err(format!(
                "`{url}` is not a proxy; write it as in http://proxy.example:3128"
            ));
        }
        Ok(Self::Explicit(fields))
    }
}

impl JsonSchema for Proxy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Proxy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let choices = vec![
            form::words(&["none", "inherit"]),
            generator.subschema_for::<ProxyFields>(),
        ];
        form::one_of(
            "`none` (default), `inherit` (from the host's environment), or a map.",
            choices,
        )
    }
}

formed!(Certificates, Proxy);

/// How sensitive files in the project are looked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Detection {
    /// Whether they are looked for; default: true.
    pub enabled: bool,
    /// Files that may stay.
    pub allow: Vec<AllowedFile>,
    /// What else is sensitive: patterns of file names, and how much.
    pub patterns: BTreeMap<String, Severity>,
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            enabled: true,
            allow: Vec::new(),
            patterns: BTreeMap::new(),
        }
    }
}

/// A sensitive file that may stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedFile {
    /// Its path in the project.
    pub path: String,
    /// Why it may stay.
    pub reason: String,
}

/// How sensitive a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Stops a first start until somebody decides.
    High,
}
