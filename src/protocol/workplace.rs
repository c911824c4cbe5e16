//! Where package managers work: a container with nothing but what they need to reach their registries.

use std::collections::BTreeMap;

use crate::call::{Content, File};
use crate::facts::NPMRC;
use crate::shell::quote;
use crate::spec::{ContainerSpec, Endpoint, Security};

/// The user of jobs, no sandbox's.
pub(super) const USER: u32 = 64_044;
/// The home of a job, in its container layer.
const HOME: &str = ".aishell-job";

/// What every script begins with: npm reads the names of some settings from a file alone. What says who asks is in the
/// script and in that file, and a job that fails is kept: neither outlives the job.
const CONFIGURING: &str = r#"rm -f "$0"
[ -z "${AISHELL_NPMRC-}" ] || {
    (umask 077 && printf '%s\n' "$AISHELL_NPMRC" >"$HOME/.npmrc")
    unset AISHELL_NPMRC
    trap 'rm -f "$HOME/.npmrc"' EXIT
}
"#;

/// What is known about a workplace before it is made.
pub(super) struct Workplace<'a> {
    /// The image that has the package manager.
    pub image: &'a str,
    /// The name of the script to run.
    pub script: &'a str,
    /// Proxies and package manager settings of this host.
    pub env: &'a BTreeMap<String, String>,
    /// Whether a CA bundle is uploaded.
    pub certified: bool,
}

impl Workplace<'_> {
    /// Returns the path of a file in the home of a job.
    pub(super) fn path(name: &str) -> String {
        format!("/{HOME}/{name}")
    }

    /// Returns the container that runs the script.
    pub(super) fn spec(&self) -> ContainerSpec {
        let mut env: BTreeMap<String, String> = self
            .env
            .iter()
            .filter(|(name, value)| !is_secret(name, value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        env.insert("HOME".to_owned(), format!("/{HOME}"));
        if self.certified {
            for name in super::identity::CERTIFICATE_VARIABLES {
                env.insert(name.to_owned(), Self::path("ca.pem"));
            }
            env.insert("npm_config_cafile".to_owned(), Self::path("ca.pem"));
        }
        ContainerSpec {
            image: self.image.to_owned(),
            entrypoint: Some(Vec::new()),
            command: Some(vec!["/bin/sh".to_owned(), Self::path(self.script)]),
            env,
            user: Some(format!("{USER}:{USER}")),
            workdir: Some(format!("/{HOME}")),
            security: security(),
            init: true,
            shm: 64 << 20,
            networks: [("bridge".to_owned(), Endpoint::default())].into(),
            ..ContainerSpec::default()
        }
    }
}

/// Returns what jobs may do.
pub(super) fn security() -> Security {
    Security {
        no_new_privileges: true,
        cap_drop: vec!["ALL".to_owned()],
        ..Security::default()
    }
}

/// Returns a directory that belongs to the job.
pub(super) fn directory(path: &str) -> File {
    File {
        path: path.to_owned(),
        uid: USER,
        gid: USER,
        mode: 0o755,
        content: Content::Directory,
    }
}

/// Says whether a variable may say who asks: whoever sees the container must not see that.
fn is_secret(name: &str, value: &str) -> bool {
    let authority = |rest: &str| rest.split(['/', '?']).next().unwrap_or_default().contains('@');
    name == NPMRC || value.split("://").skip(1).any(authority)
}

/// Returns the home of a job: its script, and the CA bundle if there is one. What its container must not show of the
/// environment is in the script.
pub(super) fn home(
    name: &str,
    script: &str,
    env: &BTreeMap<String, String>,
    certificates: Option<&[u8]>,
) -> Vec<File> {
    let secret = env.iter().filter(|(name, value)| is_secret(name, value));
    let exports = secret.map(|(name, value)| format!("export {name}={}\n", quote(value)));
    let exports: Vec<String> = exports.collect();
    let script = format!("{}{CONFIGURING}{script}", exports.concat());
    let file = |name: &str, bytes: Vec<u8>| File {
        path: format!("{HOME}/{name}"),
        uid: USER,
        gid: USER,
        mode: 0o600,
        content: Content::Bytes(bytes),
    };
    let mut files = vec![directory(HOME), file(name, script.into_bytes())];
    if let Some(bundle) = certificates {
        files.push(file("ca.pem", bundle.to_vec()));
    }
    files
}
