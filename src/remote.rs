//! What this host fetches from elsewhere, as text that is checked once: repositories, downloads, and where they are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::written::written_as_text;

/// The schemes that git fetches with. Others read this host, or run what an address says.
const REPOSITORY_SCHEMES: [&str; 4] = ["https", "ssh", "git", "http"];
/// The schemes of downloads.
const DOWNLOAD_SCHEMES: [&str; 2] = ["https", "http"];
/// What stands before a tag in a [`RepositoryReference`].
const TAGS: &str = "refs/tags/";

/// The address of a repository: `https://`, `ssh://`, `git://`, `http://` or `user@host:path`, without a password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryUrl(String);

/// The address of a download: `https://` or `http://`, without who asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DownloadUrl(String);

/// The name of a branch or tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

/// A commit: 40 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Commit(String);

/// A SHA-256: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(String);

/// What is wanted of a repository whose commit nobody has written down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// The branch that the repository itself names.
    Default,
    /// A branch.
    Branch(RefName),
    /// A tag.
    Tag(RefName),
}

/// A repository and what is wanted of it: `URL`, `URL#main`, `URL#refs/tags/v1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryReference {
    /// The repository.
    pub url: RepositoryUrl,
    /// What is wanted of it.
    pub wanted: Wanted,
}

/// Something to fetch, of which every byte is known by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A commit of a repository, as a clone.
    Repository {
        /// The repository.
        url: RepositoryUrl,
        /// The commit.
        commit: Commit,
        /// The branch that is checked out; `None` is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        branch: Option<RefName>,
        /// The tag that it has there.
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<RefName>,
        /// How many commits of history; `None` is all.
        #[serde(skip_serializing_if = "Option::is_none")]
        depth: Option<u32>,
    },
    /// A program: a download, or a file in it.
    Tool {
        /// Where it is downloaded from; who has the bytes does not matter.
        #[serde(skip)]
        url: DownloadUrl,
        /// The digest of the download.
        sha256: Sha256,
        /// The file in it, if it is an archive.
        bin: String,
    },
}

/// Where what is fetched is kept, and how this host fetches: facts of the host, in no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Store {
    /// The directory of the cache.
    pub directory: PathBuf,
    /// The environment of who runs aishell: proxies, and whatever git is told by it.
    pub environment: BTreeMap<String, String>,
    /// The bundle of certificates that this host trusts.
    pub certificates: Option<PathBuf>,
    /// How long nothing may come from elsewhere before it is given up.
    pub patience: Duration,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            environment: BTreeMap::new(),
            certificates: None,
            patience: Duration::from_secs(120),
        }
    }
}

impl fmt::Debug for Store {
    /// Leaves out the environment, which has secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl RepositoryUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address as it is written into a clone: whoever uses that logs in as somebody else.
    pub fn public(&self) -> String {
        match split(&self.0) {
            Some((scheme @ ("https" | "http"), user, rest)) if user.is_some() => format!("{scheme}://{rest}"),
            _ => self.0.clone(),
        }
    }
}

impl DownloadUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the scheme and the host, with the port where one is written.
    pub fn origin(&self) -> &str {
        let start = self.0.find("://").map_or(0, |at| at + 3);
        let end = self.0[start..]
            .find(['/', '?'])
            .map_or(self.0.len(), |at| start + at);
        &self.0[..end]
    }
}

/// Splits an address into scheme, user information and the rest.
fn split(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.find(['/', '?']).map_or(rest, |end| &rest[..end]);
    Some(match authority.rsplit_once('@') {
        Some((user, _)) => (scheme, Some(user), &rest[user.len() + 1..]),
        None => (scheme, None, rest),
    })
}

/// Says whether a text could be mistaken for something else by what it is given to.
fn is_odd(text: &str) -> bool {
    let odd = |letter: char| letter.is_control() || letter.is_whitespace() || "\"'\\#;<>`".contains(letter);
    text.is_empty() || text.starts_with('-') || text.contains(odd)
}

/// Returns a text for a message: a secret in it must not be seen.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(120).collect();
    match split(&text) {
        Some((scheme, Some(_), rest)) => format!("{scheme}://…@{rest}"),
        _ => text,
    }
}

impl FromStr for RepositoryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            Err(format!(
                "`{}` is no address that git may fetch from: https://, ssh://, git://, http:// or user@host:path",
                shown(text)
            ))
        };
        if is_odd(text) {
            return wrong();
        }
        let known = |scheme: &str| REPOSITORY_SCHEMES.contains(&scheme);
        match split(text) {
            Some((_, Some(user), _)) if user.contains(':') => Err(format!(
                "`{}` has a password in it: leave it out, git asks its credential helpers",
                shown(text)
            )),
            Some((scheme, _, rest)) if known(scheme) && !rest.starts_with(['/', '-', '?']) => {
                Ok(Self(text.to_owned()))
            }
            Some(_) => wrong(),
            None => match text.split_once(':') {
                Some((host, path))
                    if !host.is_empty()
                        && !host.contains('/')
                        && !path.is_empty()
                        && !path.starts_with([':', '-']) =>
                {
                    Ok(Self(text.to_owned()))
                }
                Some(_) | None => wrong(),
            },
        }
    }
}

impl FromStr for DownloadUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split(text) {
            Some((_, Some(_), _)) => Err(format!(
                "`{}` says who asks for it, and downloads are asked for by nobody",
                shown(text)
            )),
            Some((scheme, None, rest))
                if DOWNLOAD_SCHEMES.contains(&scheme)
                    && !rest.starts_with(['/', '?', ':'])
                    && !is_odd(text)
                    && !text.contains(['{', '}']) =>
            {
                Ok(Self(text.to_owned()))
            }
            Some(_) | None => Err(format!(
                "`{}` is no address of a download: https:// or http://",
                shown(text)
            )),
        }
    }
}

impl RefName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let is_locked = std::path::Path::new(part)
                .extension()
                .is_some_and(|end| end == "lock");
            !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !is_locked
        };
        let odd = text.contains(['~', '^', ':', '?', '*', '[']) || text.contains("..") || text.contains("@{");
        if is_odd(text) || odd || text == "@" || text.len() > 200 || !text.split('/').all(part) {
            return Err(format!("`{}` is no name of a branch or tag", shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads so many hexadecimal digits, in lower case.
fn digits(text: &str, length: usize) -> Option<String> {
    let valid = text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| text.to_ascii_lowercase())
}

impl Commit {
    /// Returns all digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns as many digits as people compare.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for Commit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no commit: 40 hexadecimal digits", shown(text));
        digits(text, 40).map(Self).ok_or_else(wrong)
    }
}

impl Sha256 {
    /// Returns all digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns as many digits as people compare.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl Sha256 {
    /// Returns it as package managers write what something is made of.
    pub fn integrity(&self) -> String {
        let digit = |at: usize| u8::from_str_radix(&self.0[at..at + 2], 16).unwrap_or_default();
        let bytes: Vec<u8> = (0..self.0.len()).step_by(2).map(digit).collect();
        format!("sha256-{}", STANDARD.encode(bytes))
    }

    /// Reads those that are in what package managers write.
    pub fn of_integrity(text: &str) -> Vec<Self> {
        let read = |one: &str| {
            let bytes = STANDARD.decode(one.strip_prefix("sha256-")?).ok()?;
            let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
            digits.collect::<String>().parse().ok()
        };
        text.split(' ').filter_map(read).collect()
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is no SHA-256: 64 hexadecimal digits", shown(text));
        digits(text, 64).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for RepositoryReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (url, wanted) = match text.split_once('#') {
            None => (text, Wanted::Default),
            Some((url, name)) => match name.strip_prefix(TAGS) {
                Some(tag) => (url, Wanted::Tag(tag.parse()?)),
                None => (url, Wanted::Branch(name.parse()?)),
            },
        };
        Ok(Self {
            url: url.parse()?,
            wanted,
        })
    }
}

impl fmt::Display for RepositoryReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, wanted } = self;
        match wanted {
            Wanted::Default => write!(formatter, "{url}"),
            Wanted::Branch(name) => write!(formatter, "{url}#{name}"),
            Wanted::Tag(name) => write!(formatter, "{url}#{TAGS}{name}"),
        }
    }
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        })*
    };
}

shown_as_text!(RepositoryUrl, DownloadUrl, RefName, Commit, Sha256);

written_as_text!(RepositoryUrl, "RepositoryUrl", { "type": "string" });
written_as_text!(DownloadUrl, "DownloadUrl", { "type": "string", "pattern": "^https?://" });
written_as_text!(RefName, "RefName", { "type": "string" });
written_as_text!(Commit, "Commit", { "type": "string", "pattern": "^[0-9a-fA-F]{40}$" });
written_as_text!(Sha256, "Sha256", { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" });
written_as_text!(RepositoryReference, "RepositoryReference", { "type": "string" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_back_from_what_package_managers_write() {
        let digests: Vec<Sha256> = ["0e".repeat(32), "f1".repeat(32)]
            .iter()
            .map(|digits| digits.parse().unwrap())
            .collect();
        let written: Vec<String> = digests.iter().map(Sha256::integrity).collect();
        let text = format!("{} sha512-AAAA {}", written[0], written[1]);
        assert_eq!(Sha256::of_integrity(&text), digests);
        assert_eq!(Sha256::of_integrity("sha256-?"), []);
    }

    #[test]
    fn an_address_is_one_that_neither_reads_this_host_nor_runs_anything_nor_has_a_password() {
        for good in [
            "https://example.org/a.git",
            "http://127.0.0.1:8080/a",
            "https://me@example.org/a",
            "ssh://git@example.org:22/a",
            "git@example.org:a/b.git",
            "git://example.org/a",
        ] {
            assert_eq!(
                good.parse::<RepositoryUrl>().map(|url| url.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "/srv/a.git",
            "../a",
            "file:///srv/a.git",
            "ext::sh -c true",
            "ext::true",
            "fd::3",
            "-oProxyCommand=true:a",
            "ssh://-oProxyCommand=true/a",
            "https:///a",
            "https://me:secret@example.org/a",
            "https://example.org/a#main",
            "https://example.org/a b",
            "a.git",
        ] {
            let error = bad.parse::<RepositoryUrl>().expect_err(bad);
            assert!(!error.contains("secret"), "{error}");
        }
        let public = |text: &str| text.parse::<RepositoryUrl>().map(|url| url.public());
        assert_eq!(
            public("https://me@example.org/a@b"),
            Ok("https://example.org/a@b".to_owned())
        );
        assert_eq!(
            public("ssh://git@example.org/a"),
            Ok("ssh://git@example.org/a".to_owned())
        );
    }

    #[test]
    fn a_download_is_asked_for_by_nobody() {
        let url: DownloadUrl = "https://example.org:8443/a?b=/".parse().expect("an address");
        assert_eq!(url.origin(), "https://example.org:8443");
        for bad in [
            "ftp://x/a",
            "https://me:secret@x/a",
            "https:///a",
            "x",
            "https://x/{version}",
        ] {
            let error = bad.parse::<DownloadUrl>().expect_err(bad);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_is_wanted_of_a_repository_is_written_in_one_word() {
        for text in [
            "https://x.org/a",
            "https://x.org/a#feature/b",
            "git@x.org:a#refs/tags/v1.0",
        ] {
            let reference: RepositoryReference = text.parse().expect("a reference");
            assert_eq!(reference.to_string(), text);
        }
        for bad in [
            "https://x.org/a#",
            "https://x.org/a#a..b",
            "https://x.org/a#-x",
            "https://x.org/a#refs/tags/",
        ] {
            assert!(bad.parse::<RepositoryReference>().is_err(), "{bad}");
        }
    }
}
