//! What a harness of a manifest is, once the catalogue was asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::harness::{Harness, HarnessSource, Requirement, Runtime};
use crate::catalogue;
use crate::host::Host;
use crate::name::{HarnessName, VariableName};
use crate::remote::{DownloadUrl, Sha256};

/// A harness of a manifest with everything the catalogue knows about it filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What people call it.
    pub title: String,
    /// Where it comes from.
    pub package: Package,
    /// The commands it brings; the first is the harness.
    pub bin: Vec<String>,
    /// Where it keeps its configuration, absolute.
    pub config: Vec<PathBuf>,
    /// Files it cannot work with while they are empty, absolute, and what makes it work. Those that are
    /// configuration themselves are files, all others directories.
    pub seed: BTreeMap<PathBuf, String>,
    /// Variables passed to its sessions when the host has them.
    pub env: Vec<VariableName>,
    /// Arguments it is always given.
    pub args: Vec<String>,
    /// Variables set for its sessions.
    pub set: BTreeMap<VariableName, String>,
    /// What runs it.
    pub runtime: Runtime,
    /// How long its installation may take.
    pub timeout: Duration,
}

/// Where a harness comes from, once the catalogue was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Package {
    /// An npm package.
    Npm {
        /// Its name.
        name: String,
        /// The version that is asked for.
        version: Requirement,
    },
    /// A Python package.
    Pypi {
        /// Its name.
        name: String,
        /// The version that is asked for.
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

/// Fills in what the catalogue knows about a harness of a manifest; `None` when it is to come from the catalogue,
/// and the catalogue does not have it. Loading has refused that already.
pub fn member(name: &HarnessName, harness: &Harness, host: &Host) -> Option<Member> {
    let Harness {
        source,
        bin,
        env,
        config,
        args,
        runtime,
        timeout,
    } = harness;
    let known = catalogue::find(name.as_str()).filter(|_| matches!(source, HarnessSource::Catalogue { .. }));
    let package = match source {
        HarnessSource::Catalogue { version } => Package::Npm {
            name: known?.npm.clone(),
            version: version.clone(),
        },
        HarnessSource::Npm { package, version } => Package::Npm {
            name: package.clone(),
            version: version.clone(),
        },
        HarnessSource::Pypi { package, version } => Package::Pypi {
            name: package.clone(),
            version: version.clone(),
        },
        HarnessSource::Url { url, version, sha256 } => Package::Url {
            url: url.clone(),
            version: version.clone(),
            sha256: sha256.clone(),
        },
    };
    let own = || vec![name.to_string()];
    let known_seed = known.into_iter().flat_map(|known| &known.seed);
    let written = config
        .iter()
        .flatten()
        .filter_map(|path| Some((path.clone(), content(path)?)));
    let in_home = |path: &String| host.home.join(path.strip_prefix("~/").unwrap_or(path));
    Some(Member {
        title: known.map_or_else(|| name.to_string(), |known| known.title.clone()),
        package,
        bin: bin
            .clone()
            .or(known.map(|known| known.bin.clone()))
            .unwrap_or_else(own),
        config: config
            .clone()
            .or(known.map(|known| known.config.iter().map(in_home).collect()))
            .unwrap_or_default(),
        seed: written
            .map(|(path, text)| (path, text.to_owned()))
            .chain(known_seed.map(|(path, text)| (in_home(path), text.clone())))
            .collect(),
        env: env
            .clone()
            .or(known.map(|known| known.env.clone()))
            .unwrap_or_default(),
        args: args
            .clone()
            .or(known.map(|known| known.args.clone()))
            .unwrap_or_default(),
        set: known.map(|known| known.set.clone()).unwrap_or_default(),
        runtime: *runtime,
        timeout: timeout.as_std(),
    })
}

/// Returns what a configuration file that a manifest names holds at first; `None` for a directory. A file has an ending.
fn content(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?;
    Some(if ending == "json" { "{}\n" } else { "" })
}
