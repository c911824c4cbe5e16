//! From what a person wrote to what is wanted: every default filled, every reference resolved, every key computed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{
    Account, Container, Desired, HarnessSet, Identity, ImageChoice, Member, Network, Pin, Stage, StageSource,
    Volume,
};
use crate::call::Build;
use crate::catalogue;
use crate::facts::Facts;
use crate::key::{Key, KeyKind};
use crate::label::{self, Kind};
use crate::manifest::container::{self, ContainerImage, Home, User, Workspace};
use crate::manifest::environment::EnvValue;
use crate::manifest::harness::{Harness, HarnessSource, Requirement};
use crate::manifest::load::Loaded;
use crate::manifest::mount::{self, Target};
use crate::manifest::place::Problem;
use crate::manifest::port::{PortSpec, Protocol};
use crate::manifest::resources::Limit;
use crate::manifest::stage::{Pull, Stage as WrittenStage, StageName};
use crate::manifest::{self, Manifest};
use crate::name::ContainerName;
use crate::observed::{ImageReply, Observed};
use crate::spec::{Binding, ContainerSpec, Endpoint, Mount, Resources, Restart, Security, Stop};

/// The name of the stage everything starts from.
const FOUNDATION: &str = "foundation";
/// The number of processes a sandbox may have unless the manifest says otherwise.
const PIDS: u64 = 512;
/// The size of `/dev/shm` unless the manifest says otherwise.
const SHM: u64 = 64 << 20;
/// Where the harness set is mounted.
const TOOLS: &str = "/tools";
/// The version of what an identity image contains besides the account; part of its key.
const IDENTITY_VERSION: u32 = 1;
/// The schema of a harness volume's layout; part of its key.
const HARNESS_SCHEMA: u32 = 1;

/// What is known about things whose meaning is decided elsewhere: images by reference, and the engine's platform.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    platform: String,
    images: BTreeMap<String, Pinned>,
}

#[derive(Clone, Debug)]
struct Pinned {
    /// The digest, or the id of a local image.
    meaning: String,
    local: bool,
}

impl Pins {
    /// Takes what the engine knows.
    pub fn of(observed: &Observed) -> Self {
        let pinned = |image: &ImageReply| {
            let digest = image.image.digests.first();
            Pinned {
                meaning: digest.unwrap_or(&image.image.id).clone(),
                local: digest.is_none(),
            }
        };
        Self {
            platform: observed.engine.platform.clone(),
            images: observed
                .references
                .iter()
                .map(|(name, image)| (name.clone(), pinned(image)))
                .collect(),
        }
    }
}

/// Returns the references of images that the manifest names and aishell does not make.
pub fn references(manifest: &Manifest) -> BTreeSet<String> {
    let mut references = BTreeSet::new();
    if let Some(WrittenStage::Image { image, .. }) = &manifest.foundation {
        references.insert(image.to_string());
    }
    for container in manifest.containers.values() {
        if let Some(ContainerImage::Reference(image)) = &container.image {
            references.insert(image.to_string());
        }
    }
    references
}

/// Returns everything about a manifest that makes sense in each part and not as a whole.
pub fn check(loaded: &Loaded, facts: &Facts) -> Vec<Problem> {
    let desired = resolve(loaded, facts, &Pins::default());
    let at = |path: &str| loaded.source.place(path);
    let mut problems = Vec::new();
    let mut published: BTreeMap<Binding, &str> = BTreeMap::new();
    for (name, container) in &desired.containers {
        for (port, bindings) in &container.spec.ports {
            for binding in bindings.iter().filter(|binding| binding.port != 0) {
                if let Some(other) = published.insert(binding.clone(), name) {
                    let message = format!(
                        "containers `{other}` and `{name}` publish the same port {} of {}",
                        binding.port, binding.address
                    );
                    let place = at(&format!("containers.{name}.ports.{port}"));
                    problems.push(Problem {
                        place,
                        ..Problem::new(message)
                    });
                }
            }
        }
        for label in container
            .spec
            .labels
            .keys()
            .filter(|label| label.starts_with(label::PREFIX))
        {
            let message = format!("label `{label}` is aishell's own");
            let place = at(&format!("containers.{name}.labels.{label}"));
            problems.push(Problem {
                place,
                ..Problem::new(message)
            });
        }
    }
    for (name, container) in &loaded.manifest.containers {
        for mount in &container.mounts {
            let target = mount.target().in_home(std::path::Path::new(&facts.account.home));
            if target == std::path::Path::new(TOOLS) || target.starts_with(TOOLS) {
                let message = format!("{} is where the harness set is mounted", target.display());
                let place = at(&format!("containers.{name}.mounts"));
                problems.push(Problem {
                    place,
                    ..Problem::new(message)
                });
            }
        }
    }
    problems
}

/// Resolves a manifest. Pure: same inputs, same bytes.
pub fn resolve(loaded: &Loaded, facts: &Facts, pins: &Pins) -> Desired {
    Resolver {
        loaded,
        manifest: &loaded.manifest,
        facts,
        pins,
    }
    .desired()
}

struct Resolver<'a> {
    loaded: &'a Loaded,
    manifest: &'a Manifest,
    facts: &'a Facts,
    pins: &'a Pins,
}

impl Resolver<'_> {
    fn desired(&self) -> Desired {
        let stages = self.stages();
        let harness = self.harness();
        let mut identities = BTreeMap::new();
        let mut volumes = BTreeMap::new();
        let mut containers = BTreeMap::new();
        let mut private = false;
        for (name, written) in &self.manifest.containers {
            private |= written.network == container::Network::Default;
            let container = self.container(name, written, &stages, harness.as_ref(), &mut identities);
            for (engine_name, volume) in self.volumes(name, written) {
                volumes.insert(engine_name, volume);
            }
            containers.insert(name.as_str().to_owned(), container);
        }
        let owner = self.facts.owner.clone();
        let network = private.then(|| Network {
            name: owner.object(&owner.manifest),
            key: Key::of(KeyKind::Network, &json!({})),
        });
        let notes = self
            .pins
            .images
            .iter()
            .filter(|(_, pinned)| pinned.local)
            .map(|(reference, _)| format!("image {reference} is not pinned (local image)"))
            .collect();
        let key = Key::of(
            KeyKind::Manifest,
            &json!({
                "stages": stages.values().map(|stage| stage.key.known()).collect::<Vec<_>>(),
                "harness": harness.as_ref().map(|set| &set.key),
                "containers": containers.iter().map(|(name, one)| (name, &one.spec)).collect::<BTreeMap<_, _>>(),
            }),
        );
        Desired {
            owner,
            key,
            stages,
            identities,
            harness,
            network,
            volumes,
            containers,
            notes,
        }
    }

    fn stages(&self) -> BTreeMap<String, Stage> {
        let mut stages = BTreeMap::new();
        match &self.manifest.foundation {
            Some(WrittenStage::Image { image, pull }) => {
                let stage = self.image_stage(&image.to_string(), *pull, "foundation.image");
                stages.insert(FOUNDATION.to_owned(), stage);
            }
            Some(WrittenStage::Dockerfile(written)) => {
                if let Some(stage) = self.dockerfile_stage(written) {
                    stages.insert(FOUNDATION.to_owned(), stage);
                }
            }
            // Loading refuses these for now.
            Some(WrittenStage::Phases(_) | WrittenStage::Builtin(_)) | None => {}
        }
        for (name, container) in &self.manifest.containers {
            if let Some(ContainerImage::Reference(image)) = &container.image {
                let reference = image.to_string();
                let path = format!("containers.{name}.image");
                let stage = self.image_stage(&reference, Pull::Missing, &path);
                stages.entry(reference).or_insert(stage);
            }
        }
        stages
    }

    fn image_stage(&self, reference: &str, pull: Pull, path: &str) -> Stage {
        let pinned = self.pins.images.get(reference);
        let key = match pinned {
            Some(pinned) => Pin::Known(Key::of(
                KeyKind::Stage,
                &json!({ "platform": self.pins.platform, "image": pinned.meaning }),
            )),
            None => Pin::Unknown(format!("{reference} is not on the engine yet")),
        };
        Stage {
            source: StageSource::Image {
                reference: reference.to_owned(),
                pull: pull != Pull::Never,
                present: pinned.is_some(),
            },
            key,
            place: self.loaded.source.place(path),
        }
    }

    fn dockerfile_stage(&self, written: &manifest::stage::DockerfileStage) -> Option<Stage> {
        let context = self.facts.foundation.as_ref()?;
        let key = Key::of(
            KeyKind::Stage,
            &json!({
                "platform": self.pins.platform,
                "dockerfile": context.dockerfile,
                "context": context.digest,
                "args": written.args,
                "target": written.target,
            }),
        );
        let manifest = &self.facts.owner.manifest;
        let mut labels = label::shared(manifest, Kind::Foundation, FOUNDATION, &key);
        labels.insert(label::FOUNDATION_HASH.to_owned(), key.as_str().to_owned());
        let mut args = self.facts.proxies.clone();
        args.extend(written.args.clone());
        let build = Build {
            tag: format!("aishell-{manifest}:{FOUNDATION}-{}", key.short()),
            labels,
            dockerfile: context.dockerfile.clone(),
            context: context.directory.clone(),
            files: context.files.clone(),
            args,
            target: written.target.clone(),
            certificates: self.facts.certificates.clone(),
        };
        Some(Stage {
            source: StageSource::Dockerfile {
                build: Box::new(build),
                alias: format!("aishell-{manifest}:{FOUNDATION}"),
            },
            key: Pin::Known(key),
            place: self.loaded.source.place("foundation.dockerfile"),
        })
    }

    fn harness(&self) -> Option<HarnessSet> {
        let members: Vec<Member> = self
            .manifest
            .harnesses
            .iter()
            .filter_map(|(name, harness)| member(name.as_str(), harness))
            .collect();
        let used = self.manifest.containers.values().any(uses_tools);
        if members.is_empty() || !used {
            return None;
        }
        let key = Key::of(
            KeyKind::Harness,
            &json!({
                "schema": HARNESS_SCHEMA,
                "platform": self.pins.platform,
                "libc": "glibc",
                "runtime": "image",
                "members": members,
            }),
        );
        Some(HarnessSet {
            key,
            members,
            stage: FOUNDATION.to_owned(),
            certificates: self.facts.certificates.clone(),
            proxies: self.facts.proxies.clone(),
            installer: self.facts.installer.clone(),
            place: self.loaded.source.place("harnesses"),
        })
    }

    /// Returns the data volumes of a container, by the engine's name.
    fn volumes(&self, name: &ContainerName, written: &container::Container) -> Vec<(String, Volume)> {
        let volume = |volume: String, path: &str| {
            let key = Key::of(KeyKind::Volume, &json!({ "name": volume }));
            let place = self.loaded.source.place(&format!("containers.{name}.{path}"));
            (
                self.facts.owner.object(&volume),
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

    fn container(
        &self,
        name: &ContainerName,
        written: &container::Container,
        stages: &BTreeMap<String, Stage>,
        harness: Option<&HarnessSet>,
        identities: &mut BTreeMap<String, Identity>,
    ) -> Container {
        let stage = match &written.image {
            Some(ContainerImage::Reference(image)) => image.to_string(),
            Some(ContainerImage::Stage(StageName::Foundation | StageName::Base | StageName::Extension))
            | None => FOUNDATION.to_owned(),
        };
        let account = self.account(written);
        let image = match &account {
            Some(account) => {
                let (name, identity) = self.identity(&stage, account, stages);
                identities.insert(name.clone(), identity);
                ImageChoice::Identity(name)
            }
            None => ImageChoice::Stage(stage),
        };
        let tools = harness.filter(|_| uses_tools(written));
        let spec = self.spec(name, written, account.as_ref(), tools);
        let volumes = self
            .volumes(name, written)
            .into_iter()
            .map(|(volume, _)| volume)
            .collect();
        Container {
            engine_name: self.facts.owner.object(name.as_str()),
            image,
            key: Pin::Known(Key::of(KeyKind::Container, &spec)),
            spec,
            harness: tools.is_some(),
            opens: written
                .harness
                .as_ref()
                .map(|harness| harness.as_str().to_owned()),
            completes: written.command.is_some(),
            volumes,
        }
    }

    fn identity(
        &self,
        stage: &str,
        account: &Account,
        stages: &BTreeMap<String, Stage>,
    ) -> (String, Identity) {
        let name = format!("{stage} as {}", account.name);
        let parent = match stages.get(stage) {
            Some(stage) => stage.key.clone(),
            None => Pin::Unknown("its stage is not known".to_owned()),
        };
        let key = parent.map(|parent| {
            Key::of(
                KeyKind::Identity,
                &json!({
                    "version": IDENTITY_VERSION,
                    "stage": parent,
                    "account": account,
                    "certificates": self.facts.certificates.is_some(),
                }),
            )
        });
        let manifest = &self.facts.owner.manifest;
        let tag = key
            .clone()
            .map(|key| format!("aishell-{manifest}:sandbox-{}", key.short()));
        let identity = Identity {
            stage: stage.to_owned(),
            key,
            tag,
            account: account.clone(),
            certificates: self.facts.certificates.clone(),
            place: self.loaded.source.place("containers"),
        };
        (name, identity)
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
        let mut env = BTreeMap::new();
        for (variable, value) in &written.env.0 {
            // Secrets belong to sessions; loading refuses them for now.
            if let EnvValue::Literal(text) = value {
                env.insert(variable.as_str().to_owned(), text.clone());
            }
        }
        let container::Stop { signal, timeout } = &written.stop;
        ContainerSpec {
            image: String::new(),
            command,
            entrypoint,
            env,
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
            security: Security {
                no_new_privileges: true,
                cap_drop: vec!["ALL".to_owned()],
                cap_add: Vec::new(),
                read_only: true,
                privileged: false,
            },
            stop: Stop {
                signal: signal.as_ref().map(ToString::to_string),
                timeout: timeout.map(|timeout| u32::try_from(timeout.as_seconds()).unwrap_or(u32::MAX)),
            },
            init: true,
            shm: written.resources.shm.map_or(SHM, crate::units::Memory::as_bytes),
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
                    name: self.facts.owner.object(&format!("{name}-home")),
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
            let project = self.facts.owner.project.clone();
            mounts.insert(
                project.clone(),
                Mount::Bind {
                    source: project,
                    read_only: false,
                },
            );
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
                    name: self.facts.owner.object(volume.as_str()),
                    read_only: *read_only,
                },
                mount::Mount::Tmpfs { size, mode, .. } => {
                    let mode = mode.map_or(0o1777, crate::units::FileMode::as_bits);
                    let size = size
                        .map(|size| format!(",size={}", size.as_bytes()))
                        .unwrap_or_default();
                    tmpfs(&format!("rw,exec,nosuid,nodev,mode={mode:04o}{size}"))
                }
            };
            mounts.insert(target, mount);
        }
        mounts
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

/// Says whether a container has the harness set: sidecars have not.
fn uses_tools(written: &container::Container) -> bool {
    let foreign = matches!(written.image, Some(ContainerImage::Reference(_)));
    written.harness.is_some() || !foreign
}

fn member(name: &str, harness: &Harness) -> Option<Member> {
    let known = catalogue::find(name);
    let (npm, version) = match &harness.source {
        HarnessSource::Catalogue { version } => (known?.npm.clone(), version),
        HarnessSource::Npm { package, version } => (package.clone(), version),
        // Loading refuses these for now.
        HarnessSource::Pypi { .. } | HarnessSource::Url { .. } => return None,
    };
    let Requirement::Exact(version) = version else {
        return None;
    };
    let bin = match (&harness.bin, &harness.source, known) {
        (Some(bin), _, _) => bin.clone(),
        (None, HarnessSource::Catalogue { .. }, Some(known)) => known.bin.clone(),
        (None, _, _) => vec![name.to_owned()],
    };
    Some(Member {
        name: name.to_owned(),
        npm,
        version: version.clone(),
        bin,
    })
}

fn inside(target: &Target, home: Option<&str>) -> String {
    target
        .in_home(std::path::Path::new(home.unwrap_or("/")))
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
    let memory = written.memory.map(crate::units::Memory::as_bytes);
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
        reservation: written.reservation.map(crate::units::Memory::as_bytes),
        cpus: written.cpus.map(crate::units::Cpus::as_nano),
        pids: match &written.pids {
            Some(Limit::Unlimited) => None,
            Some(Limit::At(count)) => Some(u64::from(count.get())),
            None => Some(PIDS),
        },
    }
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
