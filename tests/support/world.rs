//! Manifests and worlds for tests on the in-memory engine, said in adjectives.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aishell::apply::{Silent, Stop};
use aishell::desired::Desired;
use aishell::engine::memory::{Blueprint, Container, MemoryEngine, World};
use aishell::facts::Account;
use aishell::host::Host;
use aishell::label::{Kind, Mark};
use aishell::manifest::load::parse;
use aishell::manifest::stage::StageName;
use aishell::plan::Consent;
use aishell::prepare::Prepared;
use aishell::reconcile::{Look, Subject, look, reconcile};
use aishell::report::Report;
use aishell::step::Plan;
use serde_json::{Map, Value, json};

/// The image every foundation starts from.
pub const BASE: &str = "debian:bookworm-slim";
/// The image of sidecars.
pub const SIDECAR: &str = "postgres:17";
/// A network that was there before.
pub const LAN: &str = "lan";

/// A manifest in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The name of the manifest.
    pub name: String,
    /// The project.
    pub project: String,
    /// What everything starts from.
    pub foundation: Foundation,
    /// Harnesses with their versions.
    pub harnesses: BTreeMap<String, String>,
    /// Who it was earlier: a name and a project.
    pub formerly: Vec<(String, String)>,
    /// Containers as they are written.
    pub containers: BTreeMap<String, Map<String, Value>>,
}

/// What everything starts from.
#[derive(Clone, Debug, PartialEq)]
pub enum Foundation {
    /// An image.
    Image(String),
    /// A Dockerfile with these instructions after `FROM`.
    Dockerfile(String),
    /// The one that ships with aishell.
    Builtin,
    /// Phases.
    Phases(Value),
}

/// Returns the manifest `demo` of `/srv/demo`, without containers.
pub fn wish() -> Wish {
    Wish {
        name: "demo".to_owned(),
        project: "/srv/demo".to_owned(),
        foundation: Foundation::Image(BASE.to_owned()),
        harnesses: BTreeMap::new(),
        formerly: Vec::new(),
        containers: BTreeMap::new(),
    }
}

/// Returns a world in which the images of tests can be pulled and the sidecars' is there.
pub fn world() -> World {
    let sidecar = Blueprint::new().volume("/var/lib/data");
    World::new()
        .with_image_of(SIDECAR, &sidecar)
        .with_published(BASE)
        .with_published_of(SIDECAR, &sidecar)
        .stranger_network(LAN)
}

impl Wish {
    /// The manifest has another name.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The project is another one.
    pub fn of(mut self, project: &str) -> Self {
        project.clone_into(&mut self.project);
        self
    }

    /// It was called otherwise, or was elsewhere.
    pub fn formerly(mut self, name: &str, project: &str) -> Self {
        self.formerly.push((name.to_owned(), project.to_owned()));
        self
    }

    /// The foundation is built.
    pub fn built(mut self, instructions: &str) -> Self {
        self.foundation = Foundation::Dockerfile(instructions.to_owned());
        self
    }

    /// The foundation is the one that ships with aishell.
    pub fn builtin(mut self) -> Self {
        self.foundation = Foundation::Builtin;
        self
    }

    /// The foundation is built in phases.
    pub fn phased(mut self, phases: Value) -> Self {
        self.foundation = Foundation::Phases(phases);
        self
    }

    /// A harness can be used.
    pub fn harness(mut self, name: &str, version: &str) -> Self {
        self.harnesses.insert(name.to_owned(), version.to_owned());
        self
    }

    /// A container is wanted.
    pub fn container(mut self, name: &str, fields: Value) -> Self {
        let Value::Object(fields) = fields else {
            panic!("the fields of a container are a map")
        };
        self.containers.insert(name.to_owned(), fields);
        self
    }

    /// A container is not wanted any more.
    pub fn without(mut self, name: &str) -> Self {
        self.containers.remove(name);
        self
    }

    /// Returns the manifest's text.
    pub fn text(&self) -> String {
        let foundation = match &self.foundation {
            Foundation::Image(image) => json!({ "image": image }),
            Foundation::Dockerfile(_) => json!({ "dockerfile": "Dockerfile" }),
            Foundation::Builtin => Value::Null,
            Foundation::Phases(phases) => json!({ "phases": phases }),
        };
        let formerly = self.formerly.iter();
        let formerly: Vec<Value> = formerly
            .map(|(name, project)| json!({ "name": name, "project": project }))
            .collect();
        json!({
            "apiVersion": "aishell/v1",
            "name": self.name,
            "formerly": formerly,
            "project": self.directory(),
            "foundation": foundation,
            "harnesses": self.harnesses,
            "containers": self.containers,
        })
        .to_string()
    }

    /// Returns a real directory for the project, since loading looks whether what a manifest names exists.
    fn directory(&self) -> PathBuf {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.project.trim_start_matches('/'));
        std::fs::create_dir_all(&directory).expect("a directory");
        let dockerfile = directory.join("Dockerfile");
        if !dockerfile.exists() {
            std::fs::File::create(dockerfile).expect("a file");
        }
        directory
    }

    /// Returns what can be reconciled, as if the project were at its path. Laws ask for the same many times.
    pub fn prepared(&self) -> Arc<Prepared> {
        static KNOWN: Mutex<BTreeMap<String, Arc<Prepared>>> = Mutex::new(BTreeMap::new());
        let known = format!("{self:?}");
        let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() > 64 {
            all.clear();
        }
        Arc::clone(all.entry(known).or_insert_with(|| Arc::new(self.prepare())))
    }

    fn prepare(&self) -> Prepared {
        let project = &self.directory();
        let file = project.join("aishell.yaml");
        let host = Host {
            home: "/home/me".into(),
            uid: 1000,
            gid: 1000,
            user: "me".to_owned(),
            directory: project.clone(),
            environment: BTreeMap::new(),
            machine: "0123456789ab".to_owned(),
            hostname: "box".to_owned(),
            accounts: Vec::new(),
        };
        let wrong = |error: &dyn std::fmt::Debug| -> ! { panic!("{error:?} in {}", self.text()) };
        let loaded = parse(&self.text(), &file, &host).unwrap_or_else(|error| wrong(&error));
        let mut prepared = Prepared::of(loaded, &host).unwrap_or_else(|error| wrong(&error));
        let facts = &mut prepared.facts;
        facts.owner.project.clone_from(&self.project);
        facts.ground.clone_from(&self.project);
        // Whoever is elsewhere is still there; /srv/demo is nowhere, as if it had been moved.
        facts.owner.file = if self.project == "/srv/demo" {
            "/srv/demo/aishell.yaml".to_owned()
        } else {
            project.join("Dockerfile").display().to_string()
        };
        facts.account = Account {
            name: "me".to_owned(),
            uid: 1000,
            gid: 1000,
            home: "/home/me".to_owned(),
        };
        if let (Foundation::Dockerfile(instructions), Some(context)) =
            (&self.foundation, facts.contexts.get_mut(&StageName::Foundation))
        {
            context.dockerfile = format!("FROM {BASE}\n{instructions}\n");
        }
        prepared
    }

    /// Returns the engine's name of a container or volume.
    pub fn object(&self, name: &str) -> String {
        self.prepared().facts.owner.object(name)
    }
}

/// Runs something to its end on paused time: whoever waits waits no time.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Looks, and writes nothing.
pub fn looked(engine: &MemoryEngine, wish: &Wish) -> Look {
    looked_with(engine, wish, Consent::default())
}

/// Looks with a consent, and writes nothing.
pub fn looked_with(engine: &MemoryEngine, wish: &Wish, consent: Consent) -> Look {
    let prepared = wish.prepared();
    let subject = Subject {
        intent: &*prepared,
        consent,
    };
    run(look(engine, &subject)).expect("the engine answers")
}

/// Returns the plan.
pub fn planned(engine: &MemoryEngine, wish: &Wish) -> Plan {
    looked(engine, wish).plan
}

/// Makes one pass, on an engine that may be cut.
pub fn passed(engine: &MemoryEngine, wish: &Wish) -> Option<Report> {
    passed_with(engine, wish, Consent::default())
}

/// Makes one pass with a consent, on an engine that may be cut.
pub fn passed_with(engine: &MemoryEngine, wish: &Wish, consent: Consent) -> Option<Report> {
    let prepared = wish.prepared();
    let subject = Subject {
        intent: &*prepared,
        consent,
    };
    run(reconcile(engine, &subject, &Arc::new(Silent), &Stop::never())).ok()
}

/// Makes one pass, after which everything is as it should be; else says what is left.
pub fn converge(engine: &MemoryEngine, wish: &Wish) -> Result<Report, String> {
    let report = passed(engine, wish).ok_or("the engine does not answer")?;
    match left_to_do(engine, wish) {
        None => Ok(report),
        Some(left) => {
            let (done, text) = (told(&report), wish.text());
            Err(format!(
                "{left}\n--- the pass did ---\n{done}\n--- manifest ---\n{text}"
            ))
        }
    }
}

/// Makes one pass, after which everything is as it should be.
#[track_caller]
pub fn converged(engine: &MemoryEngine, wish: &Wish) -> Report {
    converge(engine, wish).unwrap_or_else(|left| panic!("{left}"))
}

/// Returns what is left to do, said for people; nothing in a satisfied world.
pub fn left_to_do(engine: &MemoryEngine, wish: &Wish) -> Option<String> {
    let plan = planned(engine, wish);
    let strays = strays(engine, wish);
    if plan.is_empty() && strays.is_empty() {
        return None;
    }
    let mut lines = explained(&plan);
    lines.extend(plan.blocked.iter().map(|blocked| {
        format!(
            "blocked: {} {}: {}",
            blocked.action.as_str(),
            blocked.resource.name,
            blocked.detail
        )
    }));
    lines.extend(
        plan.unknown
            .iter()
            .map(|unknown| format!("unknown: {}: {}", unknown.name, unknown.reason)),
    );
    lines.extend(strays.iter().map(|stray| format!("stray: {stray}")));
    Some(lines.join("\n"))
}

/// Returns the steps of a plan in a line each.
pub fn steps(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| {
            format!(
                "{} {} {}",
                step.action.as_str(),
                step.resource.kind.as_str(),
                step.resource.name
            )
        })
        .collect()
}

/// Returns the steps of a plan with their reasons.
pub fn explained(plan: &Plan) -> Vec<String> {
    let reason = |because: &aishell::step::Because| {
        let field = because.field.as_deref().unwrap_or("-");
        format!("{:?} {field}: {} -> {}", because.cause, because.from, because.to)
    };
    steps(plan)
        .into_iter()
        .zip(&plan.steps)
        .map(|(line, step)| {
            let reasons: Vec<String> = step.because.iter().map(reason).collect();
            format!("{line} ({})", reasons.join("; "))
        })
        .collect()
}

/// Returns what a pass did in a line each.
pub fn told(report: &Report) -> String {
    let line = |done: &aishell::report::Done| {
        let error = done
            .error
            .as_ref()
            .map(|error| format!(": {}", error.message))
            .unwrap_or_default();
        format!(
            "{} {} {}{error}",
            done.outcome.as_str(),
            done.step.action.as_str(),
            done.step.resource.name
        )
    };
    report.steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns what is ours by its labels and should not be there, whoever looks.
pub fn strays(engine: &MemoryEngine, wish: &Wish) -> Vec<String> {
    let world = engine.world();
    let look = looked(engine, wish);
    let Desired {
        owner,
        containers,
        network,
        harness,
        ..
    } = &look.desired;
    let names: BTreeSet<&str> = containers.values().map(|one| one.engine_name.as_str()).collect();
    let set = harness.as_ref().and_then(aishell::desired::Pin::known);
    let receipt = set.map(aishell::desired::HarnessSet::receipt);
    let mut found = Vec::new();
    for container in world.containers() {
        let Some(mark) = own_mark(&world, container) else {
            continue;
        };
        let wanted = match mark.kind {
            Kind::Container => !owner.owns(&mark) || names.contains(container.name()),
            Kind::Receipt => {
                receipt.as_deref() == Some(container.name())
                    || container.volumes().all(|volume| {
                        world
                            .volume(volume)
                            .is_some_and(|one| !one.reply.labels.is_empty())
                    })
            }
            Kind::Foundation
            | Kind::Base
            | Kind::Extension
            | Kind::Snapshot
            | Kind::Identity
            | Kind::Network
            | Kind::Volume
            | Kind::Harness
            | Kind::Job
            | Kind::Claim
            | Kind::Hold => false,
        };
        if !wanted {
            found.push(format!(
                "container {} ({})",
                container.name(),
                container.state().display()
            ));
        }
    }
    for volume in world.volumes() {
        let unlabelled = Mark::read(&volume.reply.labels).is_none();
        if unlabelled && volume.reply.name.starts_with("aishell-") {
            found.push(format!("volume {} without labels", volume.reply.name));
        }
    }
    let mut seen = BTreeSet::new();
    for one in world.networks() {
        let Some(mark) = Mark::read(&one.reply.labels).filter(|mark| owner.owns(mark)) else {
            continue;
        };
        let wanted = network
            .as_ref()
            .is_some_and(|network| network.name == one.reply.name);
        if !wanted || !seen.insert(mark.name.clone()) {
            found.push(format!("network {}", one.reply.name));
        }
    }
    for image in world.images() {
        let image = &image.reply.image;
        let ours = Mark::read(&image.labels).is_some_and(|mark| {
            matches!(
                mark.kind,
                Kind::Identity | Kind::Foundation | Kind::Base | Kind::Extension
            )
        });
        let used = world.containers().any(|one| one.reply.image_id == image.id)
            || world.images().any(|one| one.parent.as_ref() == Some(&image.id));
        if ours && image.tags.is_empty() && !used {
            found.push(format!("image {} without a name", image.id));
        }
    }
    found
}

/// Returns the volumes that images declare and no container uses any more.
pub fn forgotten(world: &World) -> Vec<String> {
    let used: BTreeSet<&str> = world.containers().flat_map(Container::volumes).collect();
    let names = world.volumes().map(|volume| volume.reply.name.as_str());
    names
        .filter(|name| is_anonymous(name) && !used.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Says whether a volume is one that an image declares.
pub fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64
}

/// Reads the labels of a container, unless they are its image's.
pub fn own_mark(world: &World, container: &Container) -> Option<Mark> {
    let image = world
        .image(&container.reply.image_id)
        .map(|image| image.reply.image.labels.clone());
    Mark::read_container(&container.reply.labels, &image.unwrap_or_default())
}

/// Returns everything that does not belong to a manifest, in full, for comparison.
pub fn not_of(world: &World, wish: &Wish) -> Vec<String> {
    let prepared = wish.prepared();
    let owner = &prepared.facts.owner;
    let ours = |mark: Option<Mark>| {
        mark.is_some_and(|mark| {
            owner.owns(&mark) || (mark.project.is_none() && mark.manifest == owner.manifest)
        })
    };
    let containers = world
        .containers()
        .filter(|one| !ours(own_mark(world, one)))
        .map(|one| format!("{one:?}"));
    let volumes = world
        .volumes()
        .filter(|one| !is_anonymous(&one.reply.name) && !ours(Mark::read(&one.reply.labels)))
        .map(|one| format!("{one:?}"));
    let networks = world
        .networks()
        .filter(|one| !ours(Mark::read(&one.reply.labels)))
        .map(|one| format!("{one:?}"));
    containers.chain(volumes).chain(networks).collect()
}

/// Returns a copy of the engine as it is now, without its history.
pub fn fork(engine: &MemoryEngine) -> MemoryEngine {
    MemoryEngine::new(engine.world())
}
