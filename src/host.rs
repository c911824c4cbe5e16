//! The host: home, user, accounts and environment, read once at the edge and passed in.
#![expect(
    clippy::disallowed_methods,
    reason = "the host is examined here, so that nothing else has to"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::key;
use crate::platform::Emulation;
use crate::remote::Store;

/// What aishell needs to know about the host it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The home directory of who runs aishell.
    pub home: PathBuf,
    /// The user id of who runs aishell.
    pub uid: u32,
    /// The group id of who runs aishell.
    pub gid: u32,
    /// The login name of who runs aishell; the number when it has none.
    pub user: String,
    /// The working directory.
    pub directory: PathBuf,
    /// The environment; variables that are not UTF-8 are left out.
    pub environment: BTreeMap<String, String>,
    /// What tells this machine from others: twelve hexadecimal digits that do not reveal its id.
    pub machine: String,
    /// What it is called, for people.
    pub hostname: String,
    /// The accounts of the machine.
    pub accounts: Vec<Account>,
}

/// An account of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The id of the first group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell.
    pub shell: String,
}

/// Why the host cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no working directory.
    #[error("the working directory cannot be read")]
    Directory(#[source] io::Error),
    /// Nothing tells where the home directory is.
    #[error("the home directory is not known: HOME is not set and user {uid} has no account")]
    Home {
        /// The user id.
        uid: u32,
    },
}

/// Where distributions keep the bundle of certificates they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where the kernel lists what runs the programs of other machines.
const BINARY_FORMATS: &str = "/proc/sys/fs/binfmt_misc";

impl Host {
    /// Reads the host.
    ///
    /// # Errors
    /// When there is no working directory or no home.
    pub fn detect() -> Result<Self, HostError> {
        let environment: BTreeMap<String, String> = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let directory = env::current_dir().map_err(HostError::Directory)?;
        let accounts = accounts(&fs::read_to_string("/etc/passwd").unwrap_or_default());
        let (uid, gid) = identity(&environment);
        let account = accounts.iter().find(|account| account.uid == uid);
        let home = match environment
            .get("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
        {
            Some(home) => home,
            None => account
                .map(|account| account.home.clone())
                .ok_or(HostError::Home { uid })?,
        };
        let user = account.map_or_else(|| uid.to_string(), |account| account.name.clone());
        Ok(Self {
            home,
            uid,
            gid,
            user,
            directory,
            environment,
            machine: machine(),
            hostname: fs::read_to_string("/proc/sys/kernel/hostname")
                .map(|name| name.trim().to_owned())
                .unwrap_or_default(),
            accounts,
        })
    }

    /// Returns a variable of the environment; an empty one is none.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns the directory for what aishell has to remember of this user.
    pub fn state(&self) -> PathBuf {
        let state = self.variable("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.filter(|directory| directory.is_absolute());
        state
            .unwrap_or_else(|| self.home.join(".local/state"))
            .join("aishell")
    }

    /// Returns the directory for what aishell can do without, and has at hand to be faster.
    pub fn cache(&self) -> PathBuf {
        let cache = self.variable("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.filter(|directory| directory.is_absolute());
        cache.unwrap_or_else(|| self.home.join(".cache")).join("aishell")
    }

    /// Returns where what is fetched from elsewhere is kept for this user, and how it is fetched.
    pub fn store(&self) -> Store {
        Store {
            directory: self.cache(),
            environment: self.environment.clone(),
            certificates: self.certificate_bundle(),
            ..Store::default()
        }
    }

    /// Returns which other machines' programs the kernel of this host runs. Where the kernel has such a list that cannot
    /// be seen from here, as in most containers, nothing is known.
    pub fn emulation(&self) -> Emulation {
        let list = Path::new(BINARY_FORMATS);
        let is_hidden = list.is_dir() && !list.join("status").is_file();
        if env::consts::OS != "linux" || is_hidden {
            return Emulation::default();
        }
        let entries = fs::read_dir(list).into_iter().flatten().flatten();
        let enabled = entries.filter(|entry| {
            fs::read_to_string(entry.path()).is_ok_and(|text| text.lines().next() == Some("enabled"))
        });
        let names: Vec<String> = enabled
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        Emulation::registered(names.iter().map(String::as_str))
    }

    /// Reads a file that a program of this host is configured with; nothing, where it has none.
    pub fn configuration(&self, path: &Path) -> Option<String> {
        let file = fs::metadata(path).ok()?;
        let small = file.is_file() && file.len() < 1 << 20;
        small.then(|| fs::read_to_string(path).ok())?
    }

    /// Returns the account with a user id.
    pub fn account(&self, uid: u32) -> Option<&Account> {
        self.accounts.iter().find(|account| account.uid == uid)
    }

    /// Returns the user and group id of whoever owns a path.
    ///
    /// # Errors
    /// When the path cannot be examined.
    pub fn owner_of(&self, path: &Path) -> io::Result<(u32, u32)> {
        fs::metadata(path).map(|metadata| (metadata.uid(), metadata.gid()))
    }

    /// Returns the time zone of who runs aishell, as programs are told it: `Europe/Berlin`.
    pub fn time_zone(&self) -> Option<String> {
        let linked = || {
            let link = fs::read_link("/etc/localtime").ok()?;
            let (_, zone) = link.to_str()?.split_once("zoneinfo/")?;
            Some(zone.to_owned())
        };
        let written = || fs::read_to_string("/etc/timezone").ok();
        let own = self
            .variable("TZ")
            .map(|zone| zone.trim_start_matches(':').to_owned());
        let zone = own.or_else(linked).or_else(written)?;
        let zone = zone.trim();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-:,.<>".contains(&byte);
        // A file of this host is nothing to a container.
        let is_zone = !zone.is_empty() && !zone.starts_with('/') && zone.bytes().all(known);
        is_zone.then(|| zone.to_owned())
    }

    /// Returns the bundle of certificates the host trusts: `SSL_CERT_FILE`, else where distributions keep it.
    pub fn certificate_bundle(&self) -> Option<PathBuf> {
        let named = self
            .variable("SSL_CERT_FILE")
            .map(|path| self.directory.join(path));
        let usual = BUNDLES.iter().map(PathBuf::from);
        named.into_iter().chain(usual).find(|path| path.is_file())
    }
}

/// Returns the effective user and group id.
fn identity(environment: &BTreeMap<String, String>) -> (u32, u32) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    if let (Some(uid), Some(gid)) = (effective("Uid:"), effective("Gid:")) {
        return (uid, gid);
    }
    // Without /proc, whoever owns the home is the best guess that needs no foreign function.
    let home = environment.get("HOME").and_then(|home| fs::metadata(home).ok());
    home.map_or((0, 0), |metadata| (metadata.uid(), metadata.gid()))
}

/// Returns what tells this machine from others, without telling its id.
fn machine() -> String {
    let files = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostname"];
    let id = files
        .into_iter()
        .find_map(|file| fs::read_to_string(file).ok().filter(|id| !id.trim().is_empty()));
    let named = format!("aishell machine {}", id.unwrap_or_default().trim());
    let mut digits = key::digest(named.as_bytes());
    digits.truncate(12);
    digits
}

/// Reads accounts as `/etc/passwd` lists them; lines that are not of that shape are left out.
fn accounts(text: &str) -> Vec<Account> {
    let account = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields.as_slice() else {
            return None;
        };
        Some(Account {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: (*home).into(),
            shell: (*shell).to_owned(),
        })
    };
    text.lines().filter_map(account).collect()
}

/// Says whether a file is certainly not there: one that cannot be looked at may be.
pub fn is_gone(file: &Path) -> bool {
    match fs::symlink_metadata(file) {
        Ok(_) => false,
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_line_by_line() {
        let text = "root:x:0:0:root:/root:/bin/bash\n# no account\nme:x:1000:100:Me,,,:/home/me:/bin/zsh\nbad:x:y:z:::\n";
        let accounts = accounts(text);
        assert_eq!(accounts.len(), 2);
        assert_eq!(
            (accounts[1].name.as_str(), accounts[1].uid, accounts[1].gid),
            ("me", 1000, 100)
        );
    }

    #[test]
    fn this_host_can_be_read() {
        let host = Host::detect().unwrap();
        assert_eq!(host.machine.len(), 12);
        assert!(host.home.is_absolute() && host.directory.is_absolute());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(host.owner_of(file.path()).unwrap(), (host.uid, host.gid));
    }

    #[test]
    fn a_file_is_gone_only_where_that_is_certain() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("aishell.yaml");
        assert!(is_gone(&file));
        assert!(is_gone(&place.path().join("no/such/aishell.yaml")));
        std::fs::write(&file, "").expect("a file");
        assert!(!is_gone(&file));
        assert!(is_gone(&file.join("below-a-file")));
        let link = place.path().join("link.yaml");
        std::os::unix::fs::symlink("/nowhere", &link).expect("a link");
        assert!(
            !is_gone(&link),
            "a link that leads nowhere may lead somewhere tomorrow"
        );
        assert!(
            !is_gone(&place.path().join("x".repeat(300))),
            "a name that cannot be looked for"
        );
    }
}
