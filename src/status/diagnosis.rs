//! What is wrong or weak, and what would help.

use crate::desired::{Desired, Pin};
use crate::grant::Grant;
use crate::manifest::place::Problem;
use crate::observed::{EngineInfo, Observed};
use crate::plan::Depth;
use crate::step::{Because, Plan, ResourceKind};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub check: Check,
    /// How it was found.
    pub level: Level,
    /// What is the matter, or what is well; with its place in the manifest and what would help.
    pub problem: Problem,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The manifest and its lock.
    Manifest,
    /// The engine.
    Engine,
    /// What containers are given beyond what every sandbox has.
    Security,
    /// The harness set.
    Harnesses,
    /// Whether the engine is as the manifest wants it.
    Converged,
}

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Well.
    Good,
    /// It works, and a person should know.
    Warning,
    /// It does not work.
    Bad,
}

impl Check {
    /// Returns the word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Engine => "engine",
            Self::Security => "security",
            Self::Harnesses => "harnesses",
            Self::Converged => "converged",
        }
    }
}

impl Finding {
    /// Makes a finding.
    pub fn new(check: Check, level: Level, problem: Problem) -> Self {
        Self {
            check,
            level,
            problem,
        }
    }

    fn said(check: Check, level: Level, message: impl Into<String>) -> Self {
        Self::new(check, level, Problem::new(message))
    }

    fn helped(check: Check, level: Level, message: impl Into<String>, fix: &str) -> Self {
        Self::new(check, level, Problem::new(message).hint(fix))
    }
}

/// Returns what an engine and a manifest that could be read show. Pure; the plan is the one made from the same values.
pub fn diagnose(desired: &Desired, observed: &Observed, plan: &Plan, depth: &Depth) -> Vec<Finding> {
    let EngineInfo {
        host,
        version,
        api_version,
        platform,
    } = &observed.engine;
    let engine = format!("Docker {version}, API {api_version}, {platform}, at {host}");
    let mut findings = vec![Finding::said(Check::Engine, Level::Good, engine)];
    findings.extend(security(desired));
    findings.extend(harnesses(desired, observed, plan, depth));
    findings.push(converged(plan));
    findings
}

/// Says which containers are given what an agent should not have.
fn security(desired: &Desired) -> Vec<Finding> {
    let weak = desired.containers.iter().filter_map(|(name, container)| {
        let given = container.grants.iter().filter(|grant| weakens(grant));
        let given: Vec<String> = given.map(Grant::display).collect();
        (!given.is_empty()).then(|| {
            let message = format!("container {name} has {}", given.join(", "));
            let fix = "take it from the container in the manifest, unless it needs it";
            Finding::helped(Check::Security, Level::Warning, message, fix)
        })
    });
    let weak: Vec<Finding> = weak.collect();
    if weak.is_empty() {
        let message = "no container has more of the host than a sandbox should";
        return vec![Finding::said(Check::Security, Level::Good, message)];
    }
    weak
}

/// Says whether what somebody has makes the walls around it thinner.
fn weakens(grant: &Grant) -> bool {
    match grant {
        Grant::Privileged
        | Grant::Device { .. }
        | Grant::Capability { .. }
        | Grant::Capabilities
        | Grant::NewPrivileges
        | Grant::SystemCalls { .. }
        | Grant::Port { .. } => true,
        Grant::Path { path, .. } => {
            let whole = ["/", "/etc", "/home", "/proc", "/root", "/sys", "/usr", "/var"];
            whole.contains(&path.as_str()) || path.ends_with("docker.sock") || path.ends_with("podman.sock")
        }
        Grant::WritableRoot
        | Grant::Runtime { .. }
        | Grant::User { .. }
        | Grant::Group { .. }
        | Grant::Network { .. }
        | Grant::Networked
        | Grant::Secret { .. }
        | Grant::File { .. }
        | Grant::Fetched { .. }
        | Grant::Engine { .. } => false,
    }
}

/// Says how the harness set is.
fn harnesses(desired: &Desired, observed: &Observed, plan: &Plan, depth: &Depth) -> Option<Finding> {
    let set = match desired.harness.as_ref()? {
        Pin::Known(set) => set,
        Pin::Unknown(reason) => {
            return Some(Finding::helped(
                Check::Harnesses,
                Level::Warning,
                format!("it is not known which versions are wanted: {reason}"),
                "aishell update",
            ));
        }
    };
    let name = set.volume();
    let is_it = |kind: ResourceKind, other: &str| kind == ResourceKind::Volume && other == name;
    let found = |level, what: &str, because: &[Because], fix: Option<&str>| {
        let fields: Vec<&str> = because
            .iter()
            .filter_map(|one| one.field.as_deref())
            .take(3)
            .collect();
        let more = if fields.is_empty() {
            String::new()
        } else {
            format!(": {}", fields.join(", "))
        };
        let message = format!("volume {name} ({}) {what}{more}", set.display());
        match fix {
            Some(fix) => Finding::helped(Check::Harnesses, level, message, fix),
            None => Finding::said(Check::Harnesses, level, message),
        }
    };
    let apply = if *depth == Depth::Listing {
        "aishell apply"
    } else {
        "aishell apply --deep"
    };
    let mut steps = plan.steps.iter();
    if let Some(step) = steps.find(|step| is_it(step.resource.kind, &step.resource.name)) {
        let missing = !observed.volumes.contains_key(&name);
        let (level, what) = if missing {
            (Level::Warning, "is not there yet")
        } else {
            (Level::Bad, "is not as it was installed")
        };
        return Some(found(level, what, &step.because, Some(apply)));
    }
    let mut blocked = plan.blocked.iter();
    if let Some(blocked) = blocked.find(|one| is_it(one.resource.kind, &one.resource.name)) {
        let what = format!("cannot be made right ({})", blocked.detail);
        return Some(found(
            Level::Bad,
            &what,
            &blocked.because,
            blocked.unblock.as_deref(),
        ));
    }
    // What became of its files shows in no listing.
    let (read, deeper) = if *depth == Depth::Listing {
        let deeper = "`aishell doctor --deep` reads what is in it, too";
        ("is there, and somebody vouches for it", Some(deeper))
    } else {
        ("has what was installed", None)
    };
    Some(found(Level::Good, read, &[], deeper))
}

/// Says whether something is left to do.
fn converged(plan: &Plan) -> Finding {
    let (steps, blocked) = (plan.steps.len() + plan.unknown.len(), plan.blocked.len());
    if plan.is_empty() {
        return Finding::said(
            Check::Converged,
            Level::Good,
            "everything is as the manifest wants it",
        );
    }
    let message = format!("{steps} to do, {blocked} blocked");
    Finding::helped(
        Check::Converged,
        Level::Warning,
        message,
        "`aishell diff` says what and why",
    )
}
