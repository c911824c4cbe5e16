//! From what a person wrote to what is wanted: every default filled, every reference resolved, every key computed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::json;

use super::{
    Account, Container, Desired, HarnessSet, Identity, Member, MemberSource, Network, Pin, Stage, StageSource,
};
use crate::catalogue;
use crate::facts::Facts;
use crate::key::{Key, KeyKind};
use crate::label;
use crate::lock::PackageName;
use crate::manifest::container::{Container as WrittenContainer, ContainerImage, Network as WrittenNetwork};
use crate::manifest::load::Loaded;
use crate::manifest::place::Problem;
use crate::manifest::stage::{ImageReference, Pull, Stage as WrittenStage, StageName};
use crate::manifest::{Certificates, Manifest};
use crate::name::ContainerName;
use crate::platform::Machine;

mod built;
mod chain;
mod container;
mod isolation;
mod phases;
mod pins;
mod runtime;
mod session;
mod start;

pub(crate) use phases::BUILT;
use pins::Meaning;
pub use pins::{Pins, digest_of, exact, named_images, references, wishes};

/// The name of the stage everything starts from.
pub(crate) const FOUNDATION: &str = "foundation";
/// The number of processes a sandbox may have unless the manifest says otherwise.
const PIDS: u64 = 512;
/// The size of `/dev/shm` unless the manifest says otherwise.
const SHM: u64 = 64 << 20;
/// Where the harness set is mounted.
const TOOLS: &str = "/tools";
/// The version of what an identity image contains besides the account; part of its key.
const IDENTITY_VERSION: u32 = 2;
/// The schema of a harness volume's layout; part of its key.
const HARNESS_SCHEMA: u32 = 1;

/// Returns everything about a manifest that makes sense in each part and not as a whole.
pub fn check(loaded: &Loaded, facts: &Facts) -> Vec<Problem> {
    let desired = resolve(loaded, facts, &Pins::default());
    let at = |path: &str| loaded.source.place(path);
    let mut problems = Vec::new();
    for (name, container) in &desired.containers {
        for label in container
            .spec
            .labels
            .keys()
            .filter(|label| label.starts_with(label::PREFIX) || *label == label::DEVCONTAINER)
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
        let mut targets = BTreeSet::new();
        for mount in &container.mounts {
            let target = mount.target().in_home(std::path::Path::new(&facts.account.home));
            if !targets.insert(target.clone()) {
                let message = format!("two mounts of `{name}` have the target {}", target.display());
                let place = at(&format!("containers.{name}.mounts"));
                problems.push(Problem {
                    place,
                    ..Problem::new(message)
                });
            }
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
    problems.extend(circles(loaded));
    problems.extend(chain::problems(&loaded.manifest, facts));
    problems.extend(phases::problems(loaded, facts));
    let mut programs: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, member) in &facts.members {
        for program in &member.bin {
            if let Some(other) = programs.insert(program, name.as_str()) {
                let message = format!("harnesses `{other}` and `{name}` both bring the program `{program}`");
                let place = at(&format!("harnesses.{name}"));
                problems.push(Problem {
                    place,
                    ..Problem::new(message)
                });
            }
        }
    }
    problems
}

/// Returns a problem for every container that waits for itself.
fn circles(loaded: &Loaded) -> Vec<Problem> {
    let containers = &loaded.manifest.containers;
    let mut problems = Vec::new();
    let mut told: BTreeSet<&ContainerName> = BTreeSet::new();
    // Nearly always there is none, and then nobody has to look for the way.
    for name in stuck(loaded) {
        // The way from the container to itself, if there is one: breadth first, so that the shortest is told.
        let mut ways = VecDeque::from([vec![name]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            let last = way.last().and_then(|last| containers.get(*last));
            for next in last.into_iter().flat_map(|container| &container.depends_on) {
                if next == name {
                    if told.insert(name) && !way.iter().skip(1).any(|other| told.contains(other)) {
                        let way: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                        let message = format!("containers wait for each other: {} → {name}", way.join(" → "));
                        let place = loaded.source.place(&format!("containers.{name}.dependsOn"));
                        problems.push(Problem {
                            place,
                            ..Problem::new(message)
                        });
                    }
                    ways.clear();
                    break;
                }
                if seen.insert(next) {
                    ways.push_back([way.clone(), vec![next]].concat());
                }
            }
        }
    }
    problems
}

/// Returns the containers that could never begin: those that wait for themselves, and those that wait for them.
fn stuck(loaded: &Loaded) -> BTreeSet<&ContainerName> {
    let containers = &loaded.manifest.containers;
    let mut waiting: BTreeMap<&ContainerName, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&ContainerName, Vec<&ContainerName>> = BTreeMap::new();
    for (name, container) in containers {
        let others = container
            .depends_on
            .iter()
            .filter(|other| containers.contains_key(*other));
        waiting.insert(name, others.clone().count());
        for other in others {
            dependents.entry(other).or_default().push(name);
        }
    }
    let ready = waiting.iter().filter(|(_, others)| **others == 0);
    let mut ready: Vec<&ContainerName> = ready.map(|(name, _)| *name).collect();
    while let Some(name) = ready.pop() {
        waiting.remove(name);
        for dependent in dependents.remove(name).into_iter().flatten() {
            if let Some(others) = waiting.get_mut(dependent) {
                *others -= 1;
                if *others == 0 {
                    ready.push(dependent);
                }
            }
        }
    }
    waiting.into_keys().collect()
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
        let harness = self.harness(&stages);
        let set = harness.as_ref();
        let mut identities = BTreeMap::new();
        let mut volumes = BTreeMap::new();
        let mut containers = BTreeMap::new();
        let mut private = false;
        for (name, written) in &self.manifest.containers {
            private |= written.network == WrittenNetwork::Default;
            let container = self.container(name, written, &stages, set, &mut identities);
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
        let unpinned = self
            .pins
            .images
            .iter()
            .filter(|(_, pinned)| pinned.local)
            .map(|(reference, _)| format!("image {reference} is not pinned (local image)"));
        let weaker = containers
            .iter()
            .filter_map(|(name, container): (_, &Container)| {
                let mut weak = isolation::weakenings(&container.spec.security);
                let secrets: Vec<&str> = container.spec.secrets.names().collect();
                if !secrets.is_empty() {
                    weak.push(format!("secrets in its configuration: {}", secrets.join(" ")));
                }
                (!weak.is_empty())
                    .then(|| format!("container {name} is weaker than strict: {}", weak.join(", ")))
            });
        let given = containers
            .iter()
            .filter_map(|(name, container): (_, &Container)| {
                let secrets = &container.session.secrets;
                let given: Vec<String> = secrets
                    .iter()
                    .map(|(variable, origin)| format!("{variable} from {}", origin.source.display()))
                    .collect();
                (!given.is_empty()).then(|| format!("sessions in container {name} get {}", given.join(", ")))
            });
        let chained = chain::notes(self.manifest, self.facts);
        let notes = unpinned.chain(weaker).chain(given).chain(chained).collect();
        let key = Key::of(
            KeyKind::Manifest,
            &json!({
                "stages": stages.values().map(|stage| stage.key.known()).collect::<Vec<_>>(),
                "harness": set.and_then(Pin::known).map(|set| &set.key),
                "containers": containers.iter().map(|(name, one)| (name, &one.spec)).collect::<BTreeMap<_, _>>(),
            }),
        );
        Desired {
            owner,
            key,
            stages,
            identities,
            harness,
            fallback: self.fallback(),
            network,
            volumes,
            containers,
            grants: {
                let mut grants = isolation::outside(self.facts, self.manifest);
                grants.extend(isolation::built_with(&self.loaded.manifest, self.facts));
                grants
            },
            notes,
        }
    }

    fn stages(&self) -> BTreeMap<String, Stage> {
        let mut stages = BTreeMap::new();
        match &self.manifest.foundation {
            Some(WrittenStage::Image { image, pull }) => {
                let stage = self.image_stage(image, *pull, "foundation.image");
                stages.insert(FOUNDATION.to_owned(), stage);
            }
            Some(WrittenStage::Dockerfile(written)) => {
                if let Some(stage) = self.dockerfile_stage(StageName::Foundation, written, &stages) {
                    stages.insert(FOUNDATION.to_owned(), stage);
                }
            }
            Some(WrittenStage::Builtin(written)) => {
                stages.insert(FOUNDATION.to_owned(), self.builtin_stage(&written.packages));
            }
            // Who asks for nothing gets the built-in one, once something starts from it.
            None if needs_foundation(self.manifest) => {
                stages.insert(FOUNDATION.to_owned(), self.builtin_stage(&[]));
            }
            Some(WrittenStage::Phases(written)) => {
                if let Some(stage) = self.phases_stage(StageName::Foundation, written, &mut stages) {
                    stages.insert(FOUNDATION.to_owned(), stage);
                }
            }
            None => {}
        }
        for name in [StageName::Base, StageName::Extension] {
            let stage = match self.manifest.stage(name) {
                Some(WrittenStage::Dockerfile(written)) => self.dockerfile_stage(name, written, &stages),
                Some(WrittenStage::Phases(written)) => self.phases_stage(name, written, &mut stages),
                Some(WrittenStage::Image { .. } | WrittenStage::Builtin(_)) | None => None,
            };
            if let Some(stage) = stage {
                stages.insert(name.as_str().to_owned(), stage);
            }
        }
        for (name, container) in &self.manifest.containers {
            if let Some(ContainerImage::Reference(image)) = &container.image {
                let path = format!("containers.{name}.image");
                let stage = self.image_stage(image, Pull::Missing, &path);
                stages.entry(image.to_string()).or_insert(stage);
            }
        }
        stages
    }

    fn image_stage(&self, image: &ImageReference, pull: Pull, path: &str) -> Stage {
        let (name, digest) = pins::exact(image, &self.pins.lock);
        let found = self.pins.images.get(&name);
        let meaning = digest.or_else(|| found.map(|image| image.meaning.clone()));
        let key = match meaning {
            Some(meaning) => Pin::Known(Key::of(
                KeyKind::Stage,
                &json!({ "platform": self.pins.platform, "image": meaning }),
            )),
            None => Pin::Unknown(format!("{image} is not on the engine yet")),
        };
        Stage {
            source: StageSource::Image {
                written: image.to_string(),
                reference: name,
                pull: pull != Pull::Never,
                present: found.is_some(),
                unfit: found
                    .map(|image| image.platform.clone())
                    .filter(|platform| self.machine().refuses(platform)),
            },
            key,
            place: self.loaded.source.place(path),
        }
    }

    /// Returns the harness set, as far as it is known what the manifest means.
    fn harness(&self, stages: &BTreeMap<String, Stage>) -> Option<Pin<HarnessSet>> {
        let used = self.manifest.containers.values().any(uses_tools);
        let mut members = Vec::new();
        let mut unpinned = Vec::new();
        let mut waits = None;
        for (name, harness) in &self.facts.members {
            match self.pins.meaning(name, harness) {
                Meaning::Known {
                    name: package,
                    version,
                    integrity,
                    parts,
                } => members.push(Member {
                    name: name.as_str().to_owned(),
                    source: match package {
                        PackageName::Npm(npm) => MemberSource::Npm { npm: npm.to_string() },
                        // Its programs are linked to a Python that is in one image and no other.
                        PackageName::Pypi(pypi) => match python(stages) {
                            Pin::Known(python) => MemberSource::Pypi {
                                pypi: pypi.to_string(),
                                python,
                                parts,
                            },
                            Pin::Unknown(reason) => {
                                waits.get_or_insert(reason);
                                continue;
                            }
                        },
                    },
                    version,
                    integrity,
                    bin: harness.bin.clone(),
                    timeout: harness.timeout,
                }),
                Meaning::Download { url, sha256, version } => members.push(Member {
                    name: name.as_str().to_owned(),
                    version: version.unwrap_or_else(|| sha256.short().to_owned()),
                    source: MemberSource::Download { url, sha256 },
                    integrity: None,
                    bin: harness.bin.clone(),
                    timeout: harness.timeout,
                }),
                Meaning::Unpinned(ask) => unpinned.push(format!("{name} {}", ask.requirement)),
                Meaning::Unsupported => {}
            }
        }
        if !used || (members.is_empty() && unpinned.is_empty() && waits.is_none()) {
            return None;
        }
        if !unpinned.is_empty() {
            let reason = format!("{} not known until pinned: aishell apply", unpinned.join(", "));
            return Some(Pin::Unknown(reason));
        }
        if let Some(reason) = waits {
            return Some(Pin::Unknown(format!("the Python of the foundation: {reason}")));
        }
        let runtime = runtime::of(&self.facts.members, self.pins.lock.runtime.as_ref());
        let kind = if runtime.is_some() {
            catalogue::RUNTIME
        } else {
            "image"
        };
        members.extend(runtime);
        let key = Key::of(
            KeyKind::Harness,
            &json!({
                "schema": HARNESS_SCHEMA,
                "platform": self.pins.platform,
                "libc": "glibc",
                "runtime": kind,
                "members": members,
            }),
        );
        Some(Pin::Known(HarnessSet {
            key,
            members,
            stage: FOUNDATION.to_owned(),
            certificates: self.facts.certificates.clone(),
            proxies: self.facts.proxies.clone(),
            installer: self.facts.installer.clone(),
            store: std::sync::Arc::clone(&self.facts.store),
            place: self.loaded.source.place("harnesses"),
        }))
    }

    fn identity(&self, stage: &str, account: &Account, stages: &BTreeMap<String, Stage>) -> Identity {
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
                    // What the manifest says: what this host has is a fact of this host.
                    "certificates": self.manifest.certificates != Certificates::None,
                }),
            )
        });
        let manifest = &self.facts.owner.manifest;
        let tag = key
            .clone()
            .map(|key| format!("aishell-{manifest}:sandbox-{}", key.short()));
        Identity {
            stage: stage.to_owned(),
            key,
            tag,
            account: account.clone(),
            certificates: self.facts.certificates.clone(),
            machine: self.machine(),
            shells: BTreeMap::new(),
            place: self.loaded.source.place("containers"),
        }
    }

    /// Returns what programs have to run on.
    fn machine(&self) -> Machine {
        let Pins {
            address, platform, ..
        } = self.pins;
        self.facts.emulation.of_engine(address, platform)
    }
}

/// Returns the key of the image whose Python harnesses run on.
fn python(stages: &BTreeMap<String, Stage>) -> Pin<Key> {
    match stages.get(FOUNDATION) {
        Some(stage) => stage.key.clone(),
        None => Pin::Unknown("its stage is not known".to_owned()),
    }
}

/// Says whether a manifest has anything that starts from the foundation.
fn needs_foundation(manifest: &Manifest) -> bool {
    let others = [StageName::Base, StageName::Extension];
    others.into_iter().any(|name| manifest.stage(name).is_some())
        || manifest.containers.values().any(uses_foundation)
}

/// Says whether a container, or the harness set it has, needs the foundation.
fn uses_foundation(written: &WrittenContainer) -> bool {
    !matches!(written.image, Some(ContainerImage::Reference(_))) || written.harness.is_some()
}

/// Says whether a container has the harness set: sidecars have not.
fn uses_tools(written: &WrittenContainer) -> bool {
    let foreign = matches!(written.image, Some(ContainerImage::Reference(_)));
    written.harness.is_some() || !foreign
}
