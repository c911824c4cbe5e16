//! [`Facts`]: what this host says about what a manifest names. Gathered once, at the edge; what follows is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::context::{Context, ContextError, Digests, Tree, canonical, certificates, profile};
use crate::dockerfile::{had_done, triggers};
use crate::host::Host;
use crate::label::Owner;
use crate::manifest::container::Workspace;
use crate::manifest::environment::EnvValue;
use crate::manifest::load::Loaded;
use crate::manifest::member::{Member, member};
use crate::manifest::mount::Mount;
use crate::manifest::place::Problem;
use crate::manifest::stage::{Stage, StageName};
use crate::manifest::{Certificates, Proxy};
use crate::name::HarnessName;
use crate::platform::Emulation;
use crate::remote::Store;
use crate::secret::{Secret, Source};

mod former;
mod installer;
mod secrets;
mod trees;
mod worktree;

pub use installer::NPMRC;

/// What this host says about what a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose objects these are.
    pub owner: Owner,
    /// The project's owner, as an account of this host.
    pub account: Account,
    /// The contexts of the stages that are built from a Dockerfile.
    pub contexts: BTreeMap<StageName, Context>,
    /// The files and directories that phases put into images, by the path that is written.
    pub trees: BTreeMap<PathBuf, Arc<Tree>>,
    /// The CA bundle for builds, jobs and containers.
    pub certificates: Option<Vec<u8>>,
    /// Proxy variables for builds and jobs.
    pub proxies: BTreeMap<String, String>,
    /// The harnesses, with what the catalogue and this host say about them.
    pub members: BTreeMap<HarnessName, Member>,
    /// Package manager settings for jobs.
    pub installer: BTreeMap<String, String>,
    /// Which other machines' programs this host runs.
    pub emulation: Emulation,
    /// Where what phases fetch is kept, and how this host fetches.
    pub store: Arc<Store>,
    /// Seccomp profiles by file, as canonical JSON.
    pub profiles: BTreeMap<PathBuf, String>,
    /// Where what is bound or read for a secret really lies, links resolved, by the path that is written.
    pub sources: BTreeMap<String, String>,
    /// Secrets for containers themselves, by container, and for commands of phases, by field; by variable, or why they
    /// cannot be had; none where one is missing and may be.
    pub exposed: BTreeMap<String, BTreeMap<String, Result<Option<Secret>, String>>>,
    /// Whose content goes into images and manifests, and lies outside the project; links resolved.
    pub outside: BTreeSet<String>,
    /// The directory that the project shares with its repository, if it is a worktree of one elsewhere.
    pub common: Option<String>,
    /// Where the sockets of ssh agents are put while a session is open.
    pub agents: String,
    /// The directory that a sandbox of this manifest works on unless the manifest says otherwise, links resolved.
    pub ground: String,
    /// Directories that say what sandboxes may do and that these must not write to, absolute; no links.
    pub guarded: BTreeSet<String>,
}

/// Who a sandbox's processes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Home directory, absolute.
    pub home: String,
}

/// The variables that say which proxy to use; tools differ in which case they read.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// Gathers what the host says.
///
/// # Errors
/// Every file that is named and cannot be read.
pub fn gather(loaded: &Loaded, host: &Host) -> Result<Facts, Vec<Problem>> {
    let manifest = &loaded.manifest;
    let source = &loaded.source;
    let mut problems = Vec::new();
    let mut note = |path: &str, error: &ContextError| {
        problems.push(Problem {
            place: source.place(path),
            ..problem(error)
        });
    };
    let project = canonical(source.project()).unwrap_or_else(|error| {
        note("project", &error);
        source.project().to_path_buf()
    });
    let own: BTreeSet<PathBuf> = source
        .texts()
        .iter()
        .flat_map(|(file, _)| [file.to_path_buf(), crate::lock::beside(file)])
        .collect();
    let digests = Digests::of(source.path(), host, Timestamp::now());
    let mut contexts = BTreeMap::new();
    // What the image of the stage before has the next build do.
    let mut before = String::new();
    for name in StageName::ALL {
        let Some(written) = manifest.stage(name) else {
            continue;
        };
        // An image that is committed says nothing of the kind.
        let mut says = String::new();
        if let Some((stage, field)) = written.built() {
            // What others have it do, the engine says.
            let had_done = |text: &str| {
                let build = (text, &stage.args, stage.target.as_deref());
                had_done(build, &before, |_| String::new())
            };
            let dockerfile = (stage.dockerfile.as_path(), had_done);
            match Context::read_with(stage.context(name, &project), dockerfile, &own, &digests) {
                Ok(context) => {
                    if let Stage::Dockerfile(_) = written {
                        says = triggers(&context.dockerfile, stage.target.as_deref());
                    }
                    contexts.insert(name, context);
                }
                Err(error) => note(&format!("{name}.{field}"), &error),
            }
        }
        before = says;
    }
    let trees = trees::read(manifest, &digests, &mut note);
    let files: Vec<PathBuf> = match &manifest.certificates {
        Certificates::None => Vec::new(),
        Certificates::Host => host.certificate_bundle().into_iter().collect(),
        Certificates::Files(files) => files.clone(),
    };
    let bundle = certificates(&files).unwrap_or_else(|error| {
        note("certificates", &error);
        Vec::new()
    });
    // Whatever could not be read may be read the next time, and so is not forgotten.
    digests.keep(problems.is_empty());
    let (profiles, wrong) = profiles(loaded);
    problems.extend(wrong);
    problems.extend(former::wrong(loaded, host));
    problems.extend(sensitive_binds(loaded, host, &project));
    problems.extend(writable_commands(loaded, &project));
    if project.to_str().is_none() {
        problems.push(Problem {
            place: source.place("project"),
            ..Problem::new(format!(
                "the path of the project, {}, is not UTF-8; labels and mounts cannot name it",
                project.display()
            ))
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let name = manifest.name.clone().unwrap_or_else(|| source.default_name());
    let ground = canonical(source.default_project()).unwrap_or_else(|_| project.clone());
    let mut facts = Facts {
        sources: sources(loaded),
        exposed: BTreeMap::new(),
        common: worktree::common(&project)
            .filter(|common| sensitive(common, &host.home).is_none())
            .and_then(|common| Some(common.to_str()?.to_owned())),
        outside: trees::outside(loaded, &project, &ground),
        agents: host.state().join("agent").display().to_string(),
        ground: ground.display().to_string(),
        guarded: guarded(&project, source.directory()),
        account: account(host, &project),
        owner: Owner {
            project: project.display().to_string(),
            manifest: name.as_str().to_owned(),
            host: host.machine.clone(),
            file: source.path().display().to_string(),
            formerly: former::formerly(manifest, &project, name.as_str()),
        },
        contexts,
        trees,
        emulation: host.emulation(),
        store: Arc::new(host.store()),
        profiles,
        certificates: (!bundle.is_empty()).then_some(bundle),
        proxies: proxies(&manifest.proxy, host),
        members: manifest
            .harnesses
            .iter()
            .filter_map(|(name, harness)| Some((name.clone(), member(name, harness, host)?)))
            .collect(),
        installer: installer::settings(host),
    };
    facts.exposed = secrets::read(loaded, &facts, host);
    Ok(facts)
}

impl Facts {
    /// Returns where the sockets of ssh agents are put while a session is open in a container.
    pub fn agents_of(&self, container: &str) -> String {
        format!("{}/{}-{container}", self.agents, self.owner.project8())
    }

    /// Returns a file as people know it: as seen from the project, where it lies in that.
    pub fn display<'a>(&self, file: &'a Path) -> std::path::Display<'a> {
        file.strip_prefix(&self.ground).unwrap_or(file).display()
    }

    /// Returns where a value comes from; `None` for one that is no secret.
    pub fn source(&self, value: &EnvValue) -> Option<Source> {
        match value {
            EnvValue::Literal(_) => None,
            EnvValue::FromEnv { name, optional, .. } => Some(Source::Variable {
                name: name.as_str().to_owned(),
                optional: *optional,
            }),
            EnvValue::FromFile { path, .. } => {
                // A link that a sandbox can write leads where the sandbox wants.
                let real = self.sources.get(&path.display().to_string());
                let leads = real.filter(|_| path.starts_with(&self.ground));
                Some(Source::File {
                    path: path.clone(),
                    leads: leads.map(PathBuf::from),
                })
            }
            EnvValue::FromCommand { command, .. } => Some(Source::Command {
                words: command.clone(),
            }),
        }
    }
}

/// Reads the seccomp profiles that are files.
fn profiles(loaded: &Loaded) -> (BTreeMap<PathBuf, String>, Vec<Problem>) {
    let mut profiles = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, container) in &loaded.manifest.containers {
        let Some(file) = container.security.profile_file() else {
            continue;
        };
        match profile(file) {
            Ok(text) => {
                profiles.insert(file.to_path_buf(), text);
            }
            Err(error) => problems.push(Problem {
                place: loaded
                    .source
                    .place(&format!("containers.{name}.security.seccomp")),
                ..problem(&error)
            }),
        }
    }
    (profiles, problems)
}

/// Directories of a project that say what its sandboxes may do.
const GUARDED: [&str; 2] = [".aishell", ".sandbox"];

/// Returns the directories that a sandbox must not write to: those of the project, and the manifest's own if it is such
/// a one. A link could lead anywhere, so it is none.
fn guarded(project: &Path, manifest: &Path) -> BTreeSet<String> {
    let named = |path: &Path| GUARDED.iter().any(|name| path.ends_with(name));
    let own = Some(manifest.to_path_buf()).filter(|path| named(path));
    let own = own.and_then(|path| Some(canonical(path.parent()?).ok()?.join(path.file_name()?)));
    let all = GUARDED.iter().map(|name| project.join(name)).chain(own);
    let real = all.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir()));
    real.filter_map(|path| Some(path.to_str()?.to_owned())).collect()
}

/// Returns where everything that is bound, or read for a secret, really lies.
fn sources(loaded: &Loaded) -> BTreeMap<String, String> {
    let containers = loaded.manifest.containers.values();
    let mounts = containers.clone().flat_map(|container| &container.mounts);
    let sources = mounts.filter_map(|mount| match mount {
        Mount::Bind { source, .. } => Some(source),
        Mount::Volume { .. } | Mount::Tmpfs { .. } => None,
    });
    let phases = StageName::ALL.into_iter();
    let phases = phases.filter_map(|name| match loaded.manifest.stage(name) {
        Some(Stage::Phases(phases)) => Some(phases),
        Some(Stage::Image { .. } | Stage::Dockerfile(_) | Stage::Builtin(_)) | None => None,
    });
    let commands = phases.flat_map(|phases| phases.commands());
    let commands = commands.flat_map(|(_, command)| command.env.0.values());
    let values = containers.flat_map(|container| container.env.0.values());
    let values = values.chain(commands);
    let files = values.filter_map(|value| match value {
        EnvValue::FromFile { path, .. } => Some(path),
        EnvValue::Literal(_) | EnvValue::FromEnv { .. } | EnvValue::FromCommand { .. } => None,
    });
    sources
        .chain(files)
        .map(|source| {
            (
                source.display().to_string(),
                whereabouts(source).display().to_string(),
            )
        })
        .collect()
}

/// Returns where a path leads, also where its end does not exist yet.
pub fn whereabouts(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut known = path;
    loop {
        if let Ok(found) = canonical(known) {
            return rest.iter().rev().fold(found, |path, name| path.join(name));
        }
        match (known.parent(), known.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                known = parent;
            }
            (Some(_) | None, _) => return path.to_path_buf(),
        }
    }
}

/// Returns a problem for every command that is run on this host although sandboxes could change what it does.
fn writable_commands(loaded: &Loaded, project: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let read_only = guarded(project, loaded.source.directory());
    for (name, container) in &loaded.manifest.containers {
        for (variable, value) in &container.env.0 {
            let EnvValue::FromCommand { command, .. } = value else {
                continue;
            };
            let real = |word: &String| whereabouts(Path::new(word));
            let is_writable = |word: &&String| {
                let real = real(word);
                word.starts_with('/')
                    && (real.starts_with(project) || Path::new(word).starts_with(project))
                    && !read_only.iter().any(|directory| real.starts_with(directory))
            };
            if let Some(word) = command.iter().find(is_writable) {
                let message = format!("`{word}` lies in the project, where sandboxes can write to it");
                let place = loaded.source.place(&format!("containers.{name}.env.{variable}"));
                problems.push(Problem {
                    place,
                    ..Problem::new(message).hint(
                        "what `fromCommand` names is put into `.aishell/`, which they see read-only, or elsewhere",
                    )
                });
            }
        }
    }
    problems
}

/// Directories of a home that hold credentials.
const CREDENTIALS: [&str; 7] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".config/gcloud",
];

/// Returns a problem for every bind that would hand a sandbox the host, links resolved.
fn sensitive_binds(loaded: &Loaded, host: &Host, project: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, container) in &loaded.manifest.containers {
        let workspace = (container.workspace == Workspace::Project).then_some(project);
        let sources = container.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind { source, .. } => Some(source.as_path()),
            Mount::Volume { .. } | Mount::Tmpfs { .. } => None,
        });
        for source in workspace.into_iter().chain(sources) {
            let resolved = canonical(source).unwrap_or_else(|_| source.to_path_buf());
            let Some((danger, what)) = sensitive(&resolved, &host.home) else {
                continue;
            };
            if container.security.allow.iter().any(|allowed| allowed == danger) {
                continue;
            }
            let message = format!(
                "container `{name}` would get {}, which is {what}",
                source.display()
            );
            let place = loaded
                .source
                .place(&format!("containers.{name}.mounts.{}", source.display()));
            problems.push(Problem {
                place,
                ..Problem::new(message).hint(format!(
                    "mount a directory below it, or consent with `security: {{ allow: [{danger}] }}`"
                ))
            });
        }
    }
    problems
}

/// Says what makes a path too much for a sandbox: the name that consent needs, and for people.
fn sensitive(path: &Path, home: &Path) -> Option<(&'static str, &'static str)> {
    let socket = ["docker.sock", "podman.sock", "containerd.sock"];
    if path == Path::new("/") {
        return Some(("host", "the whole host"));
    }
    if path
        .file_name()
        .is_some_and(|name| socket.iter().any(|socket| name == *socket))
    {
        return Some(("engine-socket", "the engine's socket"));
    }
    if [
        "/etc",
        "/proc",
        "/sys",
        "/dev",
        "/boot",
        "/run",
        "/var/run",
        "/var/lib/docker",
    ]
    .iter()
    .any(|system| path == Path::new(system))
    {
        return Some(("system", "a system directory"));
    }
    if home.starts_with(path) {
        return Some(("home", "the home directory, or holds it"));
    }
    CREDENTIALS
        .iter()
        .any(|name| path.starts_with(home.join(name)))
        .then_some(("credentials", "a place of credentials"))
}

fn problem(error: &ContextError) -> Problem {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    Problem::new(message)
}

/// Returns who owns the project: sandboxes work as that user, so that files made inside belong to it outside.
fn account(host: &Host, project: &Path) -> Account {
    let (uid, gid) = host.owner_of(project).unwrap_or((host.uid, host.gid));
    let known = host.account(uid);
    let name = known.map_or_else(|| "agent".to_owned(), |account| account.name.clone());
    let home = known
        .map(|account| account.home.display().to_string())
        // Accounts of services have homes that are nobody's.
        .filter(|home| home.starts_with("/home/") || home == "/root")
        .unwrap_or_else(|| format!("/home/{name}"));
    Account { name, uid, gid, home }
}

fn proxies(proxy: &Proxy, host: &Host) -> BTreeMap<String, String> {
    let values: Vec<(&str, Option<String>)> = match proxy {
        Proxy::None => Vec::new(),
        Proxy::Inherit => PROXIES
            .iter()
            .map(|name| {
                let value = host
                    .variable(name)
                    .or_else(|| host.variable(&name.to_lowercase()));
                (*name, value.map(str::to_owned))
            })
            .collect(),
        Proxy::Explicit(fields) => {
            let values = [fields.http.clone(), fields.https.clone(), fields.no.clone()];
            PROXIES.into_iter().zip(values).collect()
        }
    };
    values
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_lowercase(), value)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_hand_over_the_host_is_noticed() {
        let home = Path::new("/home/me");
        for path in [
            "/",
            "/run/docker.sock",
            "/etc",
            "/home/me",
            "/home",
            "/home/me/.ssh",
            "/home/me/.aws/credentials",
        ] {
            assert!(sensitive(Path::new(path), home).is_some(), "{path}");
        }
        for path in [
            "/home/me/work",
            "/srv/demo",
            "/etc/myapp",
            "/home/me/.claude",
            "/tmp",
        ] {
            assert_eq!(sensitive(Path::new(path), home), None, "{path}");
        }
    }
}
