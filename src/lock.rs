//! `aishell.lock`: what the references of a manifest meant when they were pinned.
//!
//! Pure: text to [`Lock`] and back, and which entries a manifest still has a use for. Reading and writing the file
//! is [`crate::prepare`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::lock::part::differing;
use crate::manifest::place::Problem;
use crate::manifest::stage::ImageReference;
use crate::name::HarnessName;
use crate::remote::{Commit, DownloadUrl, RefName, RepositoryReference, Sha256};

mod package;
mod part;
mod read;
mod render;
mod value;

pub use package::{Ask, Package, PackageName};
pub use part::{Part, Parts};
pub use value::{FileName, ImageDigest, Integrity, LockedVersion, NpmPackage, PythonPackage};

/// The name of the job that asks what a lock lacks, as a resource.
pub const JOB: &str = "resolve";

/// The name of the file beside a manifest of one of the usual names.
const FILE: &str = "aishell.lock";

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// What the references of a manifest mean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Lock")]
pub struct Lock {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    version: Format,
    /// The version of the foundation that ships with aishell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<u32>,
    /// The runtime of the harnesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Package>,
    /// Harnesses, by their name in the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub harnesses: BTreeMap<HarnessName, Package>,
    /// Images by the reference in the manifest: the digest of the index, so that it is the same for every platform.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ImageReference, ImageDigest>,
    /// Repositories with what is wanted of them: `URL`, `URL#branch`, `URL#refs/tags/TAG`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repos: BTreeMap<RepositoryReference, Revision>,
    /// Downloads by their address: the digest of what is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<DownloadUrl, Sha256>,
}

/// What a branch or tag of a repository meant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LockedRevision")]
pub struct Revision {
    /// The commit.
    pub commit: Commit,
    /// The branch that the repository names, where the manifest names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<RefName>,
}

/// The version of the format; only the present one is a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
struct Format;

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        if version == VERSION {
            Ok(Self)
        } else {
            Err(format!("version {version} is not known to this aishell"))
        }
    }
}

impl From<Format> for u32 {
    fn from(_: Format) -> Self {
        VERSION
    }
}

/// Everything of a manifest that a lock can have an entry for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Whether the foundation that ships with aishell is used.
    pub builtin: bool,
    /// What is asked of the runtime of the harnesses, if any needs one.
    pub runtime: Option<Ask>,
    /// What is asked of harnesses.
    pub harnesses: BTreeMap<HarnessName, Ask>,
    /// References of images without a digest.
    pub images: BTreeSet<ImageReference>,
    /// Repositories with what is wanted of them.
    pub repos: BTreeSet<RepositoryReference>,
    /// Downloads whose digest nobody has written down.
    pub tools: BTreeSet<DownloadUrl>,
}

/// Returns where the lock of a manifest is: beside it. Manifests that have names of their own have locks of their
/// own too, for several of them may be in one directory, and neither knows what the other has a use for.
pub fn beside(manifest: &Path) -> PathBuf {
    let usual = |name: &str| ["aishell.yaml", "manifest.yaml"].contains(&name);
    match (
        manifest.file_name().and_then(|name| name.to_str()),
        manifest.file_stem(),
    ) {
        (Some(name), Some(stem)) if !usual(name) => {
            let mut name = stem.to_owned();
            name.push(".");
            name.push(FILE);
            manifest.with_file_name(name)
        }
        (_, _) => manifest.with_file_name(FILE),
    }
}

/// A kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "LockEntry")]
pub enum Entry {
    /// The foundation that ships with aishell.
    Builtin,
    /// The runtime of the harnesses.
    Runtime,
    /// A harness.
    Harness,
    /// An image.
    Image,
    /// A repository.
    Repo,
    /// A download.
    Tool,
}

impl Entry {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Runtime => "runtime",
            Self::Harness => "harness",
            Self::Image => "image",
            Self::Repo => "repo",
            Self::Tool => "tool",
        }
    }
}

/// An entry that means something else than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "LockChange")]
pub struct Change {
    /// What it is about.
    pub kind: Entry,
    /// Its name: of a harness, a reference of an image, an address, `runtime` or `builtin`.
    pub name: String,
    /// What it meant; `null` where it was not pinned.
    pub from: Option<String>,
    /// What it means: a version, a digest or a commit.
    pub to: String,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { commit, branch } = self;
        match branch {
            Some(branch) => write!(formatter, "{commit} ({branch})"),
            None => write!(formatter, "{commit}"),
        }
    }
}

impl Wishes {
    /// Says whether nothing is wished for.
    pub fn is_empty(&self) -> bool {
        let Self {
            builtin,
            runtime,
            harnesses,
            images,
            repos,
            tools,
        } = self;
        let named = harnesses.is_empty() && images.is_empty();
        !builtin && runtime.is_none() && named && repos.is_empty() && tools.is_empty()
    }
}

impl Lock {
    /// Reads the text of a lock; `file` is its name in places.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<Problem>> {
        read::parse(text, file)
    }

    /// Returns the text of the lock: the same lock is the same bytes.
    pub fn render(&self) -> String {
        render::render(self)
    }

    /// Returns the JSON Schema of the file.
    pub fn schema() -> Schema {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_deserialize();
        let mut schema = settings.into_generator().into_root_schema_for::<Self>();
        schema.insert("title".to_owned(), "aishell.lock".into());
        schema
    }

    /// Returns what a harness's requirement meant, unless the manifest asks for something else by now.
    pub fn harness(&self, name: &HarnessName, ask: &Ask) -> Option<&Package> {
        self.harnesses.get(name).filter(|package| package.answers(ask))
    }

    /// Returns what the runtime's requirement meant, unless the manifest asks for something else by now.
    pub fn runtime(&self, ask: &Ask) -> Option<&Package> {
        self.runtime.as_ref().filter(|package| package.answers(ask))
    }

    /// Returns the wishes that have no entry, or one for something else.
    pub fn missing(&self, wishes: &Wishes) -> Wishes {
        Wishes {
            builtin: wishes.builtin && self.builtin.is_none(),
            runtime: wishes.runtime.clone().filter(|ask| self.runtime(ask).is_none()),
            harnesses: wishes
                .harnesses
                .iter()
                .filter(|(name, ask)| self.harness(name, ask).is_none())
                .map(|(name, ask)| (name.clone(), ask.clone()))
                .collect(),
            images: wishes
                .images
                .iter()
                .filter(|reference| !self.images.contains_key(*reference))
                .cloned()
                .collect(),
            repos: wishes
                .repos
                .iter()
                .filter(|reference| !self.repos.contains_key(*reference))
                .cloned()
                .collect(),
            tools: wishes
                .tools
                .iter()
                .filter(|url| !self.tools.contains_key(*url))
                .cloned()
                .collect(),
        }
    }

    /// Returns the lock without what nothing wishes for.
    #[must_use]
    pub fn without_unused(&self, wishes: &Wishes) -> Self {
        let Self {
            version,
            builtin,
            runtime,
            harnesses,
            images,
            repos,
            tools,
        } = self.clone();
        let answered = |name: &HarnessName, package: &Package| {
            wishes.harnesses.get(name).is_some_and(|ask| package.answers(ask))
        };
        Self {
            version,
            builtin: builtin.filter(|_| wishes.builtin),
            runtime: runtime
                .filter(|package| wishes.runtime.as_ref().is_some_and(|ask| package.answers(ask))),
            harnesses: harnesses
                .into_iter()
                .filter(|(name, package)| answered(name, package))
                .collect(),
            images: images
                .into_iter()
                .filter(|(reference, _)| wishes.images.contains(reference))
                .collect(),
            repos: repos
                .into_iter()
                .filter(|(reference, _)| wishes.repos.contains(reference))
                .collect(),
            tools: tools
                .into_iter()
                .filter(|(url, _)| wishes.tools.contains(url))
                .collect(),
        }
    }

    /// Returns what differs from an earlier lock and is there now.
    pub fn changes(&self, before: &Self) -> Vec<Change> {
        let change = |kind, name: &str, from: Option<String>, to: Option<String>| {
            let to = to?;
            (from.as_ref() != Some(&to)).then(|| Change {
                kind,
                name: name.to_owned(),
                from,
                to,
            })
        };
        let moved = |kind, name: &str, from: Option<&Package>, to: &Package| {
            // The same version with other versions of what it needs.
            if let Some(from) = from.filter(|from| {
                from.version == to.version && from.integrity == to.integrity && from.parts != to.parts
            }) {
                let shown = |one: &Package, other: &Package| {
                    Some(format!("{} {}", one.version, differing(&one.parts, &other.parts)))
                };
                return change(kind, name, shown(from, to), shown(to, from));
            }
            let from = from.map(|package| (package.version.to_string(), package.integrity.clone()));
            let (version, integrity) = (to.version.to_string(), to.integrity.clone());
            match from {
                // The same version of something else.
                Some((from, old)) if from == version && old != integrity => {
                    let shown = |integrity: Option<Integrity>| {
                        let text = integrity.map(|text| text.to_string()).unwrap_or_default();
                        format!("{version} ({})", text.get(..20).unwrap_or("no integrity"))
                    };
                    change(kind, name, Some(shown(old)), Some(shown(integrity)))
                }
                from => change(kind, name, from.map(|(version, _)| version), Some(version)),
            }
        };
        let number = |version: Option<u32>| version.map(|version| version.to_string());
        let mut changes: Vec<Change> = Vec::new();
        changes.extend(change(
            Entry::Builtin,
            "builtin",
            number(before.builtin),
            number(self.builtin),
        ));
        changes.extend(
            self.runtime
                .iter()
                .filter_map(|package| moved(Entry::Runtime, "runtime", before.runtime.as_ref(), package)),
        );
        changes.extend(self.harnesses.iter().filter_map(|(name, package)| {
            moved(Entry::Harness, name.as_str(), before.harnesses.get(name), package)
        }));
        changes.extend(self.images.iter().filter_map(|(reference, digest)| {
            let from = before.images.get(reference).map(ToString::to_string);
            change(Entry::Image, reference.as_str(), from, Some(digest.to_string()))
        }));
        changes.extend(self.repos.iter().filter_map(|(reference, revision)| {
            let from = before.repos.get(reference).map(Revision::to_string);
            change(
                Entry::Repo,
                &reference.to_string(),
                from,
                Some(revision.to_string()),
            )
        }));
        changes.extend(self.tools.iter().filter_map(|(url, digest)| {
            let from = before.tools.get(url).map(|digest| format!("sha256:{digest}"));
            change(Entry::Tool, url.as_str(), from, Some(format!("sha256:{digest}")))
        }));
        changes
    }

    /// Returns the lock with the entries of another one put over its own.
    #[must_use]
    pub fn with(mut self, newer: Self) -> Self {
        let Self {
            version: Format,
            builtin,
            runtime,
            harnesses,
            images,
            repos,
            tools,
        } = newer;
        self.builtin = builtin.or(self.builtin);
        self.runtime = runtime.or(self.runtime);
        self.harnesses.extend(harnesses);
        self.images.extend(images);
        self.repos.extend(repos);
        self.tools.extend(tools);
        self
    }
}

#[cfg(test)]
mod tests;
