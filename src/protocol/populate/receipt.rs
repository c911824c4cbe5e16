//! The receipt file of a harness volume.

use serde::{Deserialize, Serialize};

/// What a job writes last: which members are in the volume, and what they are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The schema of this file.
    pub schema: u32,
    /// The key of the set.
    pub key: String,
    /// The members.
    pub members: Vec<ReceiptMember>,
    /// The number of files, this one's directory aside.
    pub files: u64,
    /// The digest over the digests and paths of all files, this one's directory aside.
    pub digest: String,
    /// The digest over the kinds, modes and paths of everything and where links lead, this one's directory aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
}

/// One member in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptMember {
    /// Its name.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// Its package, if it is one of npm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub npm: Option<String>,
    /// Its package, if it is one of the Python package index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pypi: Option<String>,
    /// Where it was downloaded from, if it is a download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the package manager says of its integrity, if anything.
    pub integrity: Option<String>,
}
