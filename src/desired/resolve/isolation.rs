//! What separates a container from its host: the profile by name, what the manifest changes of it, and how far that
//! is from the strictest.

use std::collections::BTreeSet;

use super::{Resolver, pins};
use crate::facts::Facts;
use crate::grant::Grant;
use crate::manifest::Manifest;
use crate::manifest::member::Package;
use crate::manifest::security::{self, Device, Profile};
use crate::manifest::stage::{Stage, StageName};
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
pub(super) fn outside(facts: &Facts, manifest: &Manifest) -> BTreeSet<Grant> {
    let files = facts.outside.iter().map(|path| Grant::file(path));
    let repos = pins::phases(manifest).flat_map(|phases| &phases.repos);
    let repos = repos.map(|repo| repo.url.to_string());
    let tools = pins::phases(manifest).flat_map(|phases| &phases.tools);
    let tools = tools.filter_map(|tool| Some(tool.download().ok()?.origin().to_owned()));
    let harnesses = facts.members.values().filter_map(|member| match &member.package {
        Package::Url { url, .. } => Some(url.origin().to_owned()),
        Package::Npm { .. } | Package::Pypi { .. } => None,
    });
    let fetched = repos.chain(tools).chain(harnesses);
    let fetched = fetched.map(|from| Grant::Fetched { from });
    files.chain(fetched).collect()
}

/// Returns the secrets that commands of phases are given: whoever can change the commands can have them.
pub(super) fn built_with(manifest: &Manifest, facts: &Facts) -> BTreeSet<Grant> {
    let stages = StageName::ALL.into_iter();
    let phases = stages.filter_map(|name| match manifest.stage(name) {
        Some(Stage::Phases(phases)) => Some((name, phases)),
        Some(Stage::Image { .. } | Stage::Dockerfile(_) | Stage::Builtin(_)) | None => None,
    });
    let commands =
        phases.flat_map(|(name, phases)| phases.commands().map(move |(_, command)| (name, command)));
    let secrets = commands.flat_map(|(name, command)| {
        let values = command.env.0.iter();
        values.filter_map(move |(variable, value)| {
            Some(Grant::Secret {
                variable: format!("{} of {name}.phases", variable.as_str()),
                source: facts.source(value)?.display(),
            })
        })
    });
    secrets.collect()
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
