//! One container: its account, volumes and every field, defaults filled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use crate::desired::AGENTS;

use super::chain::last;
use super::{PIDS, Resolver, SHM, TOOLS, start, uses_tools};
use crate::desired::{Container, HarnessSet, Identity, ImageChoice, Pin, Stage, Volume};
use crate::facts::{Account, Facts};
use crate::grant::{self, Grant};
use crate::key::{Key, KeyKind};
use crate::manifest;
use crate::manifest::container::{self, ContainerImage, Home, User, Workspace};
use crate::manifest::environment::EnvValue;
use crate::manifest::mount::{self, Target};
use crate::manifest::port::{PortSpec, Protocol};
use crate::manifest::resources::Limit;
use crate::name::{ContainerName, VariableName};
use crate::spec::{Binding, ContainerSpec, Endpoint, Mount, Resources, Restart, Stop, Ulimit};
use crate::units::{FileMode, Memory};

impl Resolver<'_> {
    /// Returns the data volumes of a container, by the engine's name.
    pub(super) fn volumes(
        &self,
        name: &ContainerName,
        written: &container::Container,
    ) -> Vec<(String, Volume)> {
        let volume = |volume: String, path: &str| {
            let key = Key::of(KeyKind::Volume, &json!({ "name": volume }));
            let place = self.loaded.source.place(&format!("containers.{name}.{path}"));
            (
                self.data_volume(&volume),
                Volume {
                    name: volume,
                    key,
                    place,
                },
            )
        };
        let mut volumes = Vec::new();
        if self.account(written).is_some() && written.home == Home::Volume {
            volumes.push(volume(format!("{name}-home"), "home"));
        }
        for mount in &written.mounts {
            if let mount::Mount::Volume { volume: data, .. } = mount {
                volumes.push(volume(data.as_str().to_owned(), "mounts"));
            }
        }
        volumes
    }

    /// Returns the engine's name of a data volume.
    fn data_volume(&self, name: &str) -> String {
        let known = self.pins.volumes.get(name).cloned();
        known.unwrap_or_else(|| self.facts.owner.object(name))
    }

    /// Returns who a container's processes are, unless its image says.
    fn account(&self, written: &container::Container) -> Option<Account> {
        let owner = &self.facts.account;
        match &written.user {
            User::Owner => Some(owner.clone()),
            User::Id { uid, gid } if *uid == owner.uid => Some(Account {
                gid: gid.unwrap_or(owner.gid),
                ..owner.clone()
            }),
            User::Id { uid, gid } => Some(Account {
                name: "agent".to_owned(),
                uid: *uid,
                gid: gid.unwrap_or(*uid),
                home: "/home/agent".to_owned(),
            }),
            User::Image | User::Named { .. } => None,
        }
    }

    pub(super) fn container(
        &self,
        name: &ContainerName,
        written: &container::Container,
        stages: &BTreeMap<String, Stage>,
        harness: Option<&Pin<HarnessSet>>,
        identities: &mut BTreeMap<String, Identity>,
    ) -> Container {
        let stage = match &written.image {
            Some(ContainerImage::Reference(image)) => image.to_string(),
            Some(ContainerImage::Stage(name)) => name.as_str().to_owned(),
            None => last(stages).to_owned(),
        };
        let (own, account) = (name.as_str(), self.account(written));
        let needs_shell = written.harness.is_some() || !written.pre_start.is_empty();
        let place = || self.loaded.source.place(&format!("containers.{own}"));
        let shells: BTreeMap<_, _> = needs_shell
            .then(|| (own.to_owned(), place()))
            .into_iter()
            .collect();
        let image = match &account {
            Some(account) => {
                // Users without an account on this host have one name and different numbers.
                let Account { name, uid, gid, .. } = account;
                let name = format!("{stage} as {name} ({uid}:{gid})");
                if !identities.contains_key(&name) {
                    let identity = self.identity(&stage, account, stages);
                    identities.insert(name.clone(), identity);
                }
                if let Some(identity) = identities.get_mut(&name) {
                    identity.shells.extend(shells.clone());
                }
                ImageChoice::Identity(name)
            }
            None => ImageChoice::Stage(stage),
        };
        let tools = harness.filter(|_| uses_tools(written));
        let spec = self.spec(name, written, account.as_ref(), tools.and_then(Pin::known));
        let session = self.session(name, written, tools.is_some());
        let grants = self.grants(&spec, written);
        let volumes = self
            .volumes(name, written)
            .into_iter()
            .map(|(volume, _)| volume)
            .collect();
        Container {
            engine_name: self.facts.owner.object(name.as_str()),
            image,
            spec,
            harness: tools.is_some(),
            opens: written
                .harness
                .as_ref()
                .map(|harness| harness.as_str().to_owned()),
            completes: written.command.is_some(),
            patience: start::patience(written).into(),
            shells,
            depends_on: written
                .depends_on
                .iter()
                .map(|other| other.as_str().to_owned())
                .collect(),
            volumes,
            busy: written.busy.as_ref().map(|busy| busy.exec.clone()),
            grants,
            lacks: self.exposed(name).1,
            session,
            on_change: written.on_change,
            on_drift: written.on_drift,
        }
    }

    fn spec(
        &self,
        name: &ContainerName,
        written: &container::Container,
        account: Option<&Account>,
        tools: Option<&HarnessSet>,
    ) -> ContainerSpec {
        let project = &self.facts.owner.project;
        let keeper = is_keeper(written);
        let command = match &written.command {
            Some(command) => Some(command.clone()),
            None if keeper => Some(vec!["sleep".to_owned(), "infinity".to_owned()]),
            None => None,
        };
        let command = command.map(|command| start::prepared(&written.pre_start, command));
        let entrypoint = match &written.entrypoint {
            Some(entrypoint) => Some(entrypoint.clone()),
            // A command of one's own is run as it is, not handed to whatever the image starts.
            None if command.is_some() => Some(Vec::new()),
            None => None,
        };
        let user = match (&written.user, account) {
            (_, Some(account)) => Some(format!("{}:{}", account.uid, account.gid)),
            (
                User::Named {
                    name,
                    group: Some(group),
                },
                None,
            ) => Some(format!("{name}:{group}")),
            (User::Named { name, group: None }, None) => Some(name.clone()),
            (User::Image | User::Owner | User::Id { .. }, None) => None,
        };
        let home = account.map(|account| account.home.clone());
        let workdir = match (&written.workdir, written.workspace) {
            (Some(target), _) => Some(inside(target, home.as_deref())),
            (None, Workspace::Project) => Some(project.clone()),
            (None, Workspace::None) => home.clone(),
        };
        let literal = |(variable, value): (&VariableName, &EnvValue)| match value {
            EnvValue::Literal(text) => Some((variable.as_str().to_owned(), text.clone())),
            EnvValue::FromEnv { .. } | EnvValue::FromFile { .. } | EnvValue::FromCommand { .. } => None,
        };
        let container::Stop { signal, timeout } = &written.stop;
        ContainerSpec {
            image: String::new(),
            command,
            entrypoint,
            env: written.env.0.iter().filter_map(literal).collect(),
            secrets: self.exposed(name).0,
            user,
            workdir,
            hostname: Some(
                written
                    .hostname
                    .as_ref()
                    .map_or_else(|| name.as_str().to_owned(), ToString::to_string),
            ),
            labels: written.labels.clone(),
            mounts: self.mounts(name, written, account, tools),
            ports: ports(&written.ports),
            security: self.security(&written.security),
            stop: Stop {
                signal: signal.as_ref().map(ToString::to_string),
                timeout: timeout.map(|timeout| u32::try_from(timeout.as_seconds()).unwrap_or(u32::MAX)),
            },
            init: true,
            shm: written.resources.shm.map_or(SHM, Memory::as_bytes),
            health: start::health(written, keeper),
            groups: {
                let mut groups = written.groups.clone();
                groups.sort();
                groups.dedup();
                groups
            },
            dns: written.dns.iter().map(ToString::to_string).collect(),
            extra_hosts: written.extra_hosts.clone(),
            runtime: written.runtime.clone(),
            ulimits: written
                .resources
                .ulimits
                .iter()
                .map(|(name, limit)| (name.clone(), ulimit(*limit)))
                .collect(),
            resources: resources(&written.resources),
            restart: restart(written),
            networks: self.networks(name, &written.network),
        }
    }

    fn mounts(
        &self,
        name: &ContainerName,
        written: &container::Container,
        account: Option<&Account>,
        tools: Option<&HarnessSet>,
    ) -> BTreeMap<String, Mount> {
        let mut mounts = BTreeMap::new();
        let tmpfs = |options: &str| Mount::Tmpfs {
            options: options.to_owned(),
        };
        // The root is read-only, and programs expect these to be writable. Compilers run what they write to /tmp.
        mounts.insert("/tmp".to_owned(), tmpfs("rw,exec,nosuid,nodev,mode=1777"));
        mounts.insert("/var/tmp".to_owned(), tmpfs("rw,exec,nosuid,nodev,mode=1777"));
        mounts.insert("/run".to_owned(), tmpfs("rw,nosuid,nodev,mode=1777"));
        if let Some(account) = account {
            let mount = match written.home {
                Home::Volume => Mount::Volume {
                    name: self.data_volume(&format!("{name}-home")),
                    read_only: false,
                },
                Home::Tmpfs => {
                    let Account { uid, gid, .. } = account;
                    tmpfs(&format!("rw,exec,nosuid,nodev,mode=0755,uid={uid},gid={gid}"))
                }
            };
            mounts.insert(account.home.clone(), mount);
        }
        if written.workspace == Workspace::Project {
            // A worktree is nothing without its repository, and finds it at its real path.
            for directory in [&self.facts.owner.project].into_iter().chain(&self.facts.common) {
                let bind = Mount::Bind {
                    source: directory.clone(),
                    read_only: false,
                };
                mounts.insert(directory.clone(), bind);
            }
        }
        if let Some(set) = tools {
            mounts.insert(
                TOOLS.to_owned(),
                Mount::Volume {
                    name: set.volume(),
                    read_only: true,
                },
            );
        }
        if written.ssh_agent {
            // Connecting is no writing, and nothing inside is to put a socket of its own there.
            let agents = Mount::Bind {
                source: self.facts.agents_of(name.as_str()),
                read_only: true,
            };
            mounts.insert(AGENTS.to_owned(), agents);
        }
        let home = account.map(|account| account.home.as_str());
        for mount in &written.mounts {
            let target = inside(mount.target(), home);
            let mount = match mount {
                mount::Mount::Bind {
                    source, read_only, ..
                } => Mount::Bind {
                    source: source.display().to_string(),
                    read_only: *read_only,
                },
                mount::Mount::Volume {
                    volume, read_only, ..
                } => Mount::Volume {
                    name: self.data_volume(volume.as_str()),
                    read_only: *read_only,
                },
                mount::Mount::Tmpfs { size, mode, .. } => {
                    let mode = mode.map_or(0o1777, FileMode::as_bits);
                    let size = size
                        .map(|size| format!(",size={}", size.as_bytes()))
                        .unwrap_or_default();
                    tmpfs(&format!("rw,exec,nosuid,nodev,mode={mode:04o}{size}"))
                }
            };
            mounts.insert(target, mount);
        }
        self.guard(&mut mounts);
        mounts
    }

    /// Makes the directories that say what sandboxes may do read-only, wherever a mount shows them.
    fn guard(&self, mounts: &mut BTreeMap<String, Mount>) {
        let Facts { guarded, sources, .. } = self.facts;
        let mut covers = Vec::new();
        for (target, mount) in &mut *mounts {
            let Mount::Bind { source, read_only } = mount else {
                continue;
            };
            let resolved = Path::new(sources.get(source).unwrap_or(source));
            for directory in guarded.iter().filter(|_| !*read_only) {
                if resolved.starts_with(directory) {
                    *read_only = true;
                    break;
                }
                if let Ok(below) = Path::new(directory).strip_prefix(resolved) {
                    let inside = Path::new(target).join(below);
                    covers.push((inside.display().to_string(), directory.clone()));
                }
            }
        }
        for (target, source) in covers {
            mounts.entry(target).or_insert(Mount::Bind {
                source,
                read_only: true,
            });
        }
    }

    /// Returns what a container is given beyond what every sandbox of the manifest has.
    fn grants(&self, spec: &ContainerSpec, written: &container::Container) -> BTreeSet<Grant> {
        let Account { uid, gid, .. } = &self.facts.account;
        let owner = &self.facts.owner;
        let ground = grant::Ground {
            project: Some(&self.facts.ground),
            user: Some(&format!("{uid}:{gid}")),
            network: Some(&owner.object(&owner.manifest)),
        };
        let sources = &self.facts.sources;
        let mut grants = grant::of(spec, &ground, |path| {
            sources.get(path).cloned().unwrap_or_else(|| path.to_owned())
        });
        for (variable, source) in self.sources(written) {
            grants.insert(Grant::Secret {
                variable,
                source: source.display(),
            });
        }
        grants
    }

    fn networks(&self, name: &ContainerName, network: &container::Network) -> BTreeMap<String, Endpoint> {
        let endpoint = |network: &str| Endpoint {
            // The engine's own default network has no names.
            aliases: if network == "bridge" {
                Vec::new()
            } else {
                vec![name.as_str().to_owned()]
            },
        };
        let owner = &self.facts.owner;
        match network {
            container::Network::None => BTreeMap::new(),
            container::Network::Default => {
                let private = owner.object(&owner.manifest);
                [(private.clone(), endpoint(&private))].into()
            }
            container::Network::Existing(names) => names
                .iter()
                .map(|network| (network.clone(), endpoint(network)))
                .collect(),
        }
    }
}

/// Says whether a container is one that people open sessions in.
fn is_keeper(written: &container::Container) -> bool {
    let foreign = matches!(written.image, Some(ContainerImage::Reference(_)));
    written.command.is_none() && (written.harness.is_some() || !foreign)
}

fn inside(target: &Target, home: Option<&str>) -> String {
    target
        .in_home(Path::new(home.unwrap_or("/")))
        .display()
        .to_string()
}

fn ports(written: &[PortSpec]) -> BTreeMap<String, Vec<Binding>> {
    let mut ports: BTreeMap<String, Vec<Binding>> = BTreeMap::new();
    for PortSpec {
        address,
        host,
        container,
        protocol,
    } in written
    {
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        let bindings = ports.entry(format!("{container}/{protocol}")).or_default();
        bindings.push(Binding {
            address: address.to_string(),
            port: *host,
        });
    }
    for bindings in ports.values_mut() {
        bindings.sort();
    }
    ports
}

fn resources(written: &manifest::resources::Resources) -> Resources {
    let memory = written.memory.map(Memory::as_bytes);
    let memory_swap = match (&written.memory_swap, memory) {
        (Some(Limit::Unlimited), _) => Some(-1),
        (Some(Limit::At(both)), _) => i64::try_from(both.as_bytes()).ok(),
        // What the engine makes of it when nothing is said; sent and compared as such.
        (None, Some(memory)) => i64::try_from(memory.saturating_mul(2)).ok(),
        (None, None) => None,
    };
    Resources {
        memory,
        memory_swap,
        reservation: written.reservation.map(Memory::as_bytes),
        cpus: written.cpus.map(crate::units::Cpus::as_nano),
        pids: match &written.pids {
            Some(Limit::Unlimited) => None,
            Some(Limit::At(count)) => Some(u64::from(count.get())),
            None => Some(PIDS),
        },
        shares: None,
        cpuset: None,
    }
}

fn ulimit(written: manifest::resources::Ulimit) -> Ulimit {
    let manifest::resources::Ulimit { soft, hard } = written;
    Ulimit { soft, hard }
}

fn restart(written: &container::Container) -> Restart {
    match &written.restart {
        Some(container::Restart::No) => Restart::No,
        Some(container::Restart::Always) => Restart::Always,
        Some(container::Restart::UnlessStopped) => Restart::UnlessStopped,
        Some(container::Restart::OnFailure { retries }) => Restart::OnFailure(retries.unwrap_or(0)),
        None if written.command.is_some() => Restart::No,
        None => Restart::UnlessStopped,
    }
}
