//! What is wrong with a manifest although each of its values is right: names nothing answers to, things twice.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::check::Fault;
use super::container::{Container, ContainerImage};
use super::harness::HarnessSource;
use super::locate::locate;
use super::mount::{Mount, Target};
use super::node::Node;
use super::place::Mark;
use super::stage::{Stage, StageName};
use super::suggest;
use super::{Certificates, Manifest};
use crate::catalogue;
use crate::name::{ContainerName, HarnessName};
use crate::units::Duration;

/// Directories of a container nothing can be mounted over.
const TAKEN: [&str; 4] = ["/", "/proc", "/sys", "/dev"];

/// Something of the host that a manifest names and that has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The path, absolute.
    pub path: PathBuf,
    /// What it has to be.
    pub kind: NamedKind,
    /// The field that names it.
    pub field: String,
}

/// What a named path has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// Anything that is there.
    MountSource,
    /// A file.
    Dockerfile,
    /// A directory.
    Context,
    /// A file.
    Certificate,
    /// A file.
    Seccomp,
    /// A directory.
    Project,
}

/// Looks through a manifest and the tree it came from.
pub struct Verify<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The tree it was made of, without what was wrong.
    pub sound: &'a Node,
    /// The tree as it was written.
    pub written: &'a Node,
}

impl<'a> Verify<'a> {
    /// Returns where a field is written, or the nearest thing around it that is.
    pub fn mark(&self, path: &str) -> &'a Mark {
        locate(self.sound, path).unwrap_or(&self.sound.mark)
    }

    /// Tells whether something is written, be it wrong.
    fn has(&self, section: &str, name: &str) -> bool {
        self.written
            .get(section)
            .and_then(|section| section.get(name))
            .is_some()
    }

    /// Returns everything that is wrong.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (name, harness) in &self.manifest.harnesses {
            self.harness(name, &harness.source, &mut faults);
        }
        for name in [StageName::Base, StageName::Extension] {
            self.stage(name, &mut faults);
        }
        let mut published = BTreeMap::new();
        for (name, container) in &self.manifest.containers {
            self.container(name, container, &mut faults);
            for port in &container.ports {
                let taken = (port.address, port.host, port.protocol);
                if let Some(other) = published.insert(taken, name) {
                    let mark = self.mark(&format!("containers.{name}.ports.{}", port.host));
                    let message = format!("port {} of the host is published by `{other}` already", port.host);
                    faults.push(Fault::at(mark, message));
                }
            }
        }
        faults
    }

    fn harness(&self, name: &HarnessName, source: &HarnessSource, faults: &mut Vec<Fault>) {
        let HarnessSource::Catalogue { .. } = source else {
            return;
        };
        if catalogue::find(name.as_str()).is_some() {
            return;
        }
        let known = catalogue::entries().keys().map(HarnessName::as_str);
        let hint = match suggest::nearest(name.as_str(), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "say where it comes from: { npm: PACKAGE, version: VERSION }".to_owned(),
        };
        let mark = self.mark(&format!("harnesses.{name}"));
        faults.push(Fault::at(mark, format!("unknown harness `{name}`")).hint(hint));
    }

    fn container(&self, name: &ContainerName, container: &Container, faults: &mut Vec<Fault>) {
        let mark = |path: &str| self.mark(&format!("containers.{name}.{path}"));
        if let Some(harness) = &container.harness
            && !self.has("harnesses", harness.as_str())
        {
            let known = self.manifest.harnesses.keys().map(HarnessName::as_str);
            let hint = match suggest::nearest(harness.as_str(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it under `harnesses`, as in `{harness}: 1.2.3`"),
            };
            let message = format!("`{name}` asks for harness `{harness}`, which the manifest does not have");
            faults.push(Fault::at(mark("harness"), message).hint(hint));
        }
        let defaulted = locate(self.sound, "defaults.args");
        if !container.args.is_empty() && container.harness.is_none() && defaulted != Some(mark("args")) {
            let message = format!("`args` are for a harness, and `{name}` has none");
            faults
                .push(Fault::at(mark("args"), message).hint("arguments of a command belong into `command`"));
        }
        for (key, list) in [
            ("command", &container.command),
            ("entrypoint", &container.entrypoint),
        ] {
            if list
                .as_ref()
                .is_some_and(|list| list.first().is_some_and(String::is_empty))
            {
                faults.push(Fault::at(
                    mark(key),
                    format!("the first word of `{key}` is empty"),
                ));
            }
        }
        if container.command.as_ref().is_some_and(Vec::is_empty) {
            let hint = "leave it out: the container then waits for sessions";
            faults.push(Fault::at(mark("command"), "`command` is empty").hint(hint));
        }
        self.start(name, container, faults);
        if let Some(ContainerImage::Stage(stage)) = &container.image
            && self.written.get(stage.as_str()).is_none()
            && *stage != StageName::Foundation
        {
            let message = format!("`image: {stage}` means a stage that the manifest does not have");
            faults.push(Fault::at(mark("image"), message));
        }
        for (key, message) in container.resources.faults() {
            faults.push(Fault::at(mark(&format!("resources.{key}")), message));
        }
        for (index, mount) in container.mounts.iter().enumerate() {
            if let Target::Absolute(target) = mount.target()
                && TAKEN.iter().any(|taken| target == Path::new(taken))
            {
                let message = format!("nothing can be mounted over `{}`", target.display());
                faults.push(Fault::at(mark(&format!("mounts.{index}.target")), message));
            }
        }
        if let Some(label) = container
            .labels
            .keys()
            .find(|label| label.starts_with("aishell."))
        {
            let message = format!("label `{label}` is one of aishell's own");
            faults.push(Fault::at(mark(&format!("labels.{label}")), message));
        }
        for (key, message, hint) in container.security.faults() {
            let fault = Fault::at(mark(&format!("security.{key}")), message);
            faults.push(match hint {
                Some(hint) => fault.hint(hint),
                None => fault,
            });
        }
        for (host, address) in &container.extra_hosts {
            if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
                let message = format!("`{address}` is not the address of a host");
                let fault = Fault::at(mark(&format!("extraHosts.{host}")), message);
                faults.push(fault.hint("write an address such as 10.0.0.7, or host-gateway for this host"));
            }
        }
        for other in &container.depends_on {
            if !self.has("containers", other.as_str()) {
                let message = format!("`{name}` depends on `{other}`, which the manifest does not have");
                faults.push(Fault::at(mark("dependsOn"), message));
            }
        }
    }

    /// Looks through what runs first, and what tells that it is done.
    fn start(&self, name: &ContainerName, container: &Container, faults: &mut Vec<Fault>) {
        let mark = |path: &str| self.mark(&format!("containers.{name}.{path}"));
        let foreign = matches!(container.image, Some(ContainerImage::Reference(_)));
        if !container.pre_start.is_empty() {
            if foreign && container.command.is_none() && container.harness.is_none() {
                let message = "`preStart` needs a `command`: what the image would run is not known here";
                faults.push(Fault::at(mark("preStart"), message));
            }
            if container
                .entrypoint
                .as_ref()
                .is_some_and(|words| !words.is_empty())
            {
                let message = "`preStart` and `entrypoint` exclude each other: both say what runs first";
                faults.push(Fault::at(mark("entrypoint"), message));
            }
        }
        for (index, command) in container.pre_start.iter().enumerate() {
            if command.user.is_some() {
                let message = "commands of `preStart` run as the container's user, and as nobody else";
                faults.push(Fault::at(mark(&format!("preStart.{index}.user")), message));
            }
            if !command.env.0.is_empty() {
                let message = "commands of `preStart` have the environment of their container";
                faults.push(Fault::at(mark(&format!("preStart.{index}.env")), message));
            }
        }
        if let Some(ready) = &container.ready {
            if ready.exec.first().is_none_or(String::is_empty) {
                faults.push(Fault::at(mark("ready.exec"), "`ready.exec` has no command"));
            }
            for (key, duration) in [("interval", ready.interval), ("timeout", ready.timeout)] {
                if duration.is_some_and(|duration| duration == Duration::seconds(0)) {
                    faults.push(Fault::at(
                        mark(&format!("ready.{key}")),
                        format!("`ready.{key}` is 0"),
                    ));
                }
            }
        }
    }

    /// Looks through a stage that is made on another one.
    fn stage(&self, name: StageName, faults: &mut Vec<Fault>) {
        let key = match self.manifest.stage(name) {
            Some(Stage::Image { .. }) => "image",
            Some(Stage::Builtin(_)) => "builtin",
            Some(Stage::Dockerfile(_) | Stage::Phases(_)) | None => return,
        };
        let message = format!(
            "`{name}` is made on the stage before it, and `{key}` would put another image in its place"
        );
        let hint = format!(
            "write `{key}` as the foundation, or a `dockerfile` that begins with FROM aishell:foundation"
        );
        faults.push(Fault::at(self.mark(&format!("{name}.{key}")), message).hint(hint));
    }

    /// Returns everything of the host that has to be there.
    pub fn named(&self) -> Vec<Named> {
        let mut named = Vec::new();
        let mut add = |path: &Path, kind, field: &str| {
            named.push(Named {
                path: path.to_path_buf(),
                kind,
                field: field.to_owned(),
            });
        };
        if let Some(project) = &self.manifest.project {
            add(project, NamedKind::Project, "project");
        }
        if let Certificates::Files(files) = &self.manifest.certificates {
            for (index, file) in files.iter().enumerate() {
                add(file, NamedKind::Certificate, &format!("certificates.{index}"));
            }
        }
        for name in StageName::ALL {
            if let Some(Stage::Dockerfile(stage)) = self.manifest.stage(name) {
                add(
                    &stage.dockerfile,
                    NamedKind::Dockerfile,
                    &format!("{name}.dockerfile"),
                );
                if let Some(context) = &stage.context {
                    add(context, NamedKind::Context, &format!("{name}.context"));
                }
            }
        }
        for (name, container) in &self.manifest.containers {
            if let Some(profile) = container.security.profile_file() {
                add(
                    profile,
                    NamedKind::Seccomp,
                    &format!("containers.{name}.security.seccomp"),
                );
            }
            for (index, mount) in container.mounts.iter().enumerate() {
                if let Mount::Bind {
                    source, create: None, ..
                } = mount
                {
                    add(
                        source,
                        NamedKind::MountSource,
                        &format!("containers.{name}.mounts.{index}.source"),
                    );
                }
            }
        }
        named
    }
}
