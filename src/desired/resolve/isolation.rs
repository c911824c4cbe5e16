//! What separates a container from its host: the profile by name, what the manifest changes of it, and how far that
//! is from the strictest.

use std::collections::BTreeSet;

use super::Resolver;
use crate::facts::Facts;
use crate::grant::Grant;
use crate::manifest::security::{self, Device, Profile};
use crate::spec::Security;

/// What a development container gets besides: enough for `sudo`, package managers and debuggers.
const DEVELOPMENT: [&str; 8] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_PTRACE",
];

impl Resolver<'_> {
    /// Returns the isolation of a container, with its profile filled in.
    pub(super) fn security(&self, written: &security::Security) -> Security {
        let security::Security {
            profile,
            cap_add,
            cap_drop,
            no_new_privileges,
            read_only,
            seccomp: _,
            privileged,
            devices,
            allow: _,
        } = written;
        let (drops, adds, gains, writable) = match profile {
            Profile::Strict => (true, &[][..], false, false),
            Profile::Dev => (true, &DEVELOPMENT[..], true, true),
            Profile::Legacy => (false, &[][..], true, true),
        };
        let adds = adds.iter().map(|name| (*name).to_owned());
        Security {
            no_new_privileges: no_new_privileges.unwrap_or(!gains),
            cap_drop: capabilities(drops.then(|| "ALL".to_owned()).into_iter(), cap_drop),
            cap_add: capabilities(adds, cap_add),
            read_only: read_only.unwrap_or(!writable),
            privileged: privileged.unwrap_or(false),
            seccomp: self.seccomp(written),
            devices: {
                // Loading refuses what is none.
                let devices = devices.iter().filter_map(|device| device.parse::<Device>().ok());
                let mut devices: Vec<String> = devices.map(|device| device.to_string()).collect();
                devices.sort();
                devices.dedup();
                devices
            },
        }
    }

    fn seccomp(&self, written: &security::Security) -> Option<String> {
        if let Some(file) = written.profile_file() {
            return self.facts.profiles.get(file).cloned();
        }
        written.seccomp.clone().filter(|profile| profile != "default")
    }
}

fn capabilities(profile: impl Iterator<Item = String>, written: &[String]) -> Vec<String> {
    let written = written.iter().map(|name| security::Security::capability(name));
    let mut names: Vec<String> = profile.chain(written).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns what whoever makes the images is given.
pub(super) fn outside(facts: &Facts) -> BTreeSet<Grant> {
    facts.outside.iter().map(|path| Grant::file(path)).collect()
}

/// Returns in what a container is weaker than the strictest, in a person's words.
pub(super) fn weakenings(security: &Security) -> Vec<String> {
    let Security {
        no_new_privileges,
        cap_drop,
        cap_add,
        read_only,
        privileged,
        seccomp,
        devices,
    } = security;
    let mut weak = Vec::new();
    if *privileged {
        weak.push("privileged".to_owned());
    }
    if !no_new_privileges {
        weak.push("may gain privileges".to_owned());
    }
    if !cap_drop.iter().any(|name| name == "ALL") {
        weak.push("keeps the engine's capabilities".to_owned());
    }
    if !cap_add.is_empty() {
        weak.push(format!("capabilities {}", cap_add.join(" ")));
    }
    if !read_only {
        weak.push("writable root".to_owned());
    }
    match seccomp.as_deref() {
        Some("unconfined") => weak.push("any system call".to_owned()),
        Some(_) => weak.push("a seccomp profile of its own".to_owned()),
        None => {}
    }
    if !devices.is_empty() {
        weak.push(format!("devices {}", devices.join(" ")));
    }
    weak
}
