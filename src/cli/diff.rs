//! `aishell diff`: what `apply` would do, and why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::named::among;
use super::planned;
use crate::manifest::Manifest;
use crate::manifest::phase::PhaseName;
use crate::manifest::stage::{Stage, StageName};
use crate::name::ContainerName;
use crate::plan::{Consent, Depth, Fresh, Rebuilt, Requested, Target, Widen};
use crate::reconcile::{Subject, identity, look};
use crate::step::{Plan, Resource, ResourceKind};

/// Show what differs from the manifest, and why
///
/// Asks the engine and nobody else; writes, pulls and builds nothing. Ends with 1 if there are differences.
#[derive(Debug, Args)]
pub struct Diff {
    /// The manifest, if it is not to be searched for
    #[arg(value_name = "MANIFEST", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,
    /// Save the plan to this file, for `apply --plan`
    #[arg(long, value_name = "PLAN", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    #[command(flatten)]
    options: PlanOptions,
}

/// Options that shape a plan that a person looks at or carries out once.
#[derive(Clone, Debug, Args)]
pub struct PlanOptions {
    /// Replace this container though nothing differs; can be given several times
    #[arg(long, value_name = "NAME")]
    replace: Vec<String>,
    /// Build this stage anew, without what earlier builds left, and what is made on it; without a name, every stage
    /// that is built. Of a stage built in phases a phase can be named, such as `repos` or `base/setup`: it and what
    /// follows is done anew. Can be repeated
    #[arg(long, value_name = "[STAGE/]PHASE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    rebuild: Vec<String>,
    /// Touch only this, such as container/reviewer, and what it needs; nothing is removed then. Can be repeated
    #[arg(long, value_name = "KIND/NAME", value_parser = resource)]
    only: Vec<Resource>,
    /// Also read what is in the harness volume, and compare it with what was installed
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    standing: StandingOptions,
}

/// Options that shape a plan, the same wherever one is made.
#[derive(Clone, Debug, Args)]
pub struct StandingOptions {
    /// Keep what the manifest does not want any more
    #[arg(long)]
    no_prune: bool,
    /// Allow what is blocked otherwise; several are separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    allow: Vec<Allowed>,
}

/// What is blocked unless a person allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allowed {
    /// Interrupt containers that somebody works in
    Interrupt,
    /// Remove data volumes with their content
    DataLoss,
    /// Make data volumes although the project seems to have been moved and its data is elsewhere
    EmptyVolumes,
    /// Give sandboxes what they had not; typing `apply` is that consent already
    Widen,
}

impl PlanOptions {
    /// Returns what the person allows and asks for of a manifest.
    ///
    /// # Errors
    /// The manifest has no container of a name that was given.
    pub fn consent(&self, manifest: &Manifest) -> Result<Consent, Failure> {
        let known = manifest.containers.keys().map(ContainerName::as_str);
        let containers = self.only.iter().filter(|one| one.kind == ResourceKind::Container);
        for name in self.replace.iter().chain(containers.map(|one| &one.name)) {
            among(known.clone(), name)?;
        }
        let mut rebuild = BTreeSet::new();
        for name in &self.rebuild {
            rebuild.extend(targets(manifest, name)?);
        }
        Ok(Consent {
            rebuild: Rebuilt::of(rebuild),
            replace: Requested::Named(self.replace.iter().cloned().collect()),
            depth: Depth::of(self.deep),
            only: (!self.only.is_empty()).then(|| self.only.iter().cloned().collect()),
            ..self.standing.consent()
        })
    }
}

/// Returns what a name means: a stage, one of its phases, or a phase of the only stage that has any; no name means every
/// stage.
fn targets(manifest: &Manifest, name: &str) -> Result<Vec<Target>, Failure> {
    let there = |stage: &StageName| *stage == StageName::Foundation || manifest.stage(*stage).is_some();
    let known = StageName::ALL.into_iter().filter(there);
    let whole = |stage| Target { stage, phase: None };
    if name.is_empty() {
        return Ok(known.map(whole).collect());
    }
    if let Some(found) = known.clone().find(|stage| stage.as_str() == name) {
        return Ok(vec![whole(found)]);
    }
    let phased = |stage: &StageName| matches!(manifest.stage(*stage), Some(Stage::Phases(_)));
    let phased: Vec<StageName> = known.clone().filter(phased).collect();
    let (stages, phase) = match name.split_once('/') {
        Some((stage, phase)) => {
            let named = phased.iter().filter(|known| known.as_str() == stage);
            (named.copied().collect(), phase)
        }
        None => (phased.clone(), name),
    };
    match (PhaseName::parse(phase), &stages[..]) {
        (Some(phase), [stage]) => {
            return Ok(vec![Target {
                stage: *stage,
                phase: Some(phase),
            }]);
        }
        (Some(phase), [_, _, ..]) => {
            let each: Vec<String> = stages
                .iter()
                .map(|stage| format!("{stage}/{}", phase.as_str()))
                .collect();
            let message = format!("`{name}` is a phase of several stages");
            return Err(Failure::usage(
                message,
                &format!("say which: {}", each.join(", ")),
            ));
        }
        (Some(_) | None, _) => {}
    }
    let mut there: Vec<String> = known.map(|stage| stage.to_string()).collect();
    for stage in phased {
        let phases = PhaseName::ALL.into_iter().skip(1);
        there.extend(phases.map(|phase| format!("{stage}/{}", phase.as_str())));
    }
    let hint = format!("there are: {}", there.join(", "));
    Err(Failure::usage(
        format!("there is no stage or phase `{name}`"),
        &hint,
    ))
}

/// Reads `KIND/NAME`.
fn resource(text: &str) -> Result<Resource, String> {
    let kinds = [
        ResourceKind::Container,
        ResourceKind::Volume,
        ResourceKind::Network,
        ResourceKind::Image,
    ];
    let (kind, name) = text
        .split_once('/')
        .ok_or("write KIND/NAME, such as container/reviewer")?;
    let found = kinds.into_iter().find(|known| known.as_str() == kind);
    let kind = found.ok_or("a kind is container, volume, network or image")?;
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    Ok(Resource {
        kind,
        name: name.to_owned(),
    })
}

impl StandingOptions {
    /// Returns what the person allows.
    ///
    /// Typing a command is the consent to what the manifest says by then.
    fn consent(&self) -> Consent {
        Consent {
            prune: !self.no_prune,
            interrupt: self.allow.contains(&Allowed::Interrupt),
            data_loss: self.allow.contains(&Allowed::DataLoss),
            fresh: Fresh::of(self.allow.contains(&Allowed::EmptyVolumes)),
            ..Consent::default()
        }
    }

    /// Returns what a person allows who goes away after that: nothing that sandboxes did not have before, unless it is
    /// said.
    pub fn consent_so_far(&self) -> Consent {
        let widen = if self.allow.contains(&Allowed::Widen) {
            Widen::Allowed
        } else {
            Widen::UpTo(Arc::default())
        };
        Consent {
            widen,
            ..self.consent()
        }
    }
}

impl Diff {
    /// Makes the same with other options.
    pub fn new(manifest: Option<PathBuf>, options: PlanOptions) -> Self {
        Self {
            manifest,
            out: None,
            options,
        }
    }

    /// Shows the plan.
    ///
    /// # Errors
    /// The manifest is invalid, or the engine cannot be asked.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let prepared = invocation.prepare(self.manifest.as_deref())?;
        let consent = self.options.consent(&prepared.loaded.manifest)?;
        let engine = invocation.engine_of(&prepared)?;
        let subject = Subject {
            intent: &prepared,
            consent,
        };
        let look = Box::pin(look(&engine, &subject)).await?;
        if let Some(out) = &self.out {
            let id = identity(&engine).await?;
            planned::save(out, (&prepared, &look, &id), &subject.consent)?;
        }
        let exit = show(invocation, prepared.loaded.source.directory(), &look.plan);
        if let Some(out) = self.out.filter(|_| !invocation.is_json()) {
            let stdin = prepared.lock().path().is_none();
            let how = planned::how(invocation, &out, stdin);
            invocation
                .output
                .answer(&format!("\nsaved; carry out exactly this with: {how}\n"));
        }
        Ok(exit)
    }
}

/// Shows a plan, and returns how the program ends that only looked.
pub fn show(invocation: &Invocation, base: &Path, plan: &Plan) -> Exit {
    let style = invocation.style(base);
    if invocation.is_json() {
        invocation.output.document(&json::Plan::of(plan, style.viewpoint));
    } else {
        invocation
            .output
            .answer(&style.plan(plan, invocation.global.verbose > 0));
    }
    if plan.is_empty() {
        Exit::Done
    } else {
        Exit::Differs
    }
}
