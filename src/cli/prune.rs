//! `aishell prune`: takes away what nobody uses any more.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::json;
use super::output::Tone;
use super::progress::Watcher;
use super::render::table::{Cell, table};
use super::render::{count, notes, value};
use super::signal::{Ended, Signal, watched};
use crate::apply::{Listener as _, Stop, apply};
use crate::claim::{Claims, Turn, bury, told};
use crate::manifest::EngineAddress;
use crate::name::ManifestName;
use crate::plan::{Consent, Garbage};
use crate::prune::{Found, Wish, search};
use crate::report::{Done, Outcome};
use crate::units::Duration;

/// Remove what nobody uses any more, of every project on the engine
///
/// Lists images and harness volumes that no container uses, jobs that were left, and whatever belongs to manifests that
/// are gone; --yes removes it. The newest of each kind and manifest stays, so that going back one version needs no
/// network. Data volumes stay unless --allow data-loss.
#[derive(Debug, Args)]
pub struct Prune {
    /// Only what was made for manifests of these names
    #[arg(value_name = "NAME")]
    names: Vec<ManifestName>,
    /// Remove what is listed
    #[arg(short, long)]
    yes: bool,
    /// How many unused images and harness volumes stay, of each kind and manifest: the newest
    #[arg(long, value_name = "N", default_value = "1")]
    keep: usize,
    /// Only what was made longer ago than this, such as 7d
    #[arg(long, value_name = "DURATION")]
    older_than: Option<Duration>,
    /// Allow what is blocked otherwise; several are separated by commas
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    allow: Vec<Allowed>,
}

/// What is blocked unless a person allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Allowed {
    /// Interrupt containers of abandoned manifests that somebody works in
    Interrupt,
    /// Remove data volumes of abandoned manifests with their content
    DataLoss,
}

impl Prune {
    /// Lists garbage, and removes it if that is wanted.
    ///
    /// # Errors
    /// The engine cannot be asked. Nothing was touched.
    pub async fn run(self, invocation: &Invocation) -> Result<Exit, Failure> {
        let engine = invocation.engine(&EngineAddress::Current)?;
        let older_than = self.older_than.map(|age| {
            SignedDuration::try_from(std::time::Duration::from(age)).unwrap_or(SignedDuration::MAX)
        });
        let wish = Wish {
            keep: self.keep,
            names: self.names.iter().map(ToString::to_string).collect(),
            older_than,
            consent: Consent {
                interrupt: self.allow.contains(&Allowed::Interrupt),
                data_loss: self.allow.contains(&Allowed::DataLoss),
                ..Consent::default()
            },
            sizes: true,
        };
        let Found {
            mut garbage,
            abandoned,
            claims: volumes,
            now,
        } = Box::pin(search(&engine, &invocation.host, &wish)).await?;
        let volumes = if self.yes {
            bury(&engine, &volumes).await
        } else {
            volumes.iter().collect()
        };
        garbage.plan.notes.extend(volumes.into_iter().map(told));
        if !self.yes || garbage.plan.steps.is_empty() {
            return Ok(list(invocation, &garbage, (self.yes, now)));
        }
        let claims = Claims::of(&invocation.host);
        let mut held = Vec::new();
        for owner in &abandoned {
            let turn = Turn {
                claims: &claims,
                command: "prune",
                patience: std::time::Duration::ZERO,
            };
            // Whose manifest was on this host can be written to from this host only.
            held.push(turn.here(&engine, owner).await?);
        }
        let watcher = Arc::new(Watcher::new(invocation, &invocation.host.directory));
        watcher.planned(&garbage.plan);
        let (stop_wish, stop) = Stop::new();
        let work = Box::pin(apply(&garbage.plan, &engine, &watcher, &stop));
        match watched(work, &stop_wish, |signal| watcher.signalled(signal)).await? {
            Ended::Whole(done, signal) => {
                drop(held);
                watcher.close();
                conclude(invocation, &watcher, &garbage, &done, stop.is_wished());
                Ok(signal.map_or_else(|| exit(&garbage, &done), Signal::exit))
            }
            Ended::Cut(signal) => {
                watcher.close();
                watcher.talk("stopped at once; what is left is listed by: aishell prune\n");
                Ok(signal.exit())
            }
        }
    }
}

fn exit(garbage: &Garbage, done: &[Done]) -> Exit {
    let came = |outcome: Outcome| done.iter().any(|done| done.outcome == outcome);
    if came(Outcome::Failed) {
        Exit::Failed
    } else if came(Outcome::Blocked) || !garbage.plan.blocked.is_empty() {
        Exit::Blocked
    } else {
        // What somebody uses by now is no garbage any more.
        Exit::Done
    }
}

/// Shows what is garbage, and what would remove it.
fn list(invocation: &Invocation, garbage: &Garbage, (yes, now): (bool, Timestamp)) -> Exit {
    let style = invocation.style(&invocation.host.directory);
    if invocation.is_json() {
        invocation
            .output
            .document(&json::Garbage::of(garbage, None, false));
    } else {
        let mut text = String::new();
        if !garbage.plan.steps.is_empty() {
            text.push_str(&rows(garbage, now));
            text.push('\n');
        }
        text.push_str(&style.held_back(&garbage.plan.blocked));
        text.push_str(&total(garbage));
        text.push_str(&notes(&garbage.plan.notes));
        invocation.output.answer(&text);
    }
    match (garbage.plan.steps.is_empty(), garbage.plan.blocked.is_empty()) {
        (true, true) => Exit::Done,
        // Nothing of it goes without a person.
        (true, false) if yes => Exit::Blocked,
        _ => Exit::Differs,
    }
}

fn rows(garbage: &Garbage, now: Timestamp) -> String {
    let rows: Vec<Vec<Cell>> = garbage
        .plan
        .steps
        .iter()
        .map(|step| {
            let about = garbage.about.get(&step.resource).cloned().unwrap_or_default();
            let created = about.created.map(|created| value::ago(&created.to_string(), now));
            vec![
                Cell::plain(step.resource.kind.as_str()),
                Cell::new(&step.resource.name, Tone::Name),
                Cell::plain(&about.manifest),
                Cell::plain(about.bytes.map(value::bytes).unwrap_or_default()),
                Cell::plain(created.unwrap_or_default()),
                Cell::plain(step.detail.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    table(&["KIND", "NAME", "MANIFEST", "SIZE", "MADE", "WHY"], &rows)
}

/// Says how much it is, and what removes it.
fn total(garbage: &Garbage) -> String {
    let number = garbage.plan.steps.len();
    let kept = match garbage.kept {
        0 => String::new(),
        kept => format!(
            "{} kept as the newest of {} kind; `--keep 0` takes {} too\n",
            count(kept, "unused object"),
            if kept == 1 { "its" } else { "their" },
            if kept == 1 { "it" } else { "them" },
        ),
    };
    if number == 0 {
        return format!("nothing to remove\n{kept}");
    }
    let bytes = json::Garbage::bytes(garbage, |_| true);
    let objects = count(number, "object");
    format!(
        "{objects}, at least {}; `aishell prune --yes` removes {}\n{kept}",
        value::bytes(bytes),
        if number == 1 { "it" } else { "them" }
    )
}

/// Tells what became of it.
fn conclude(invocation: &Invocation, watcher: &Watcher, garbage: &Garbage, done: &[Done], interrupted: bool) {
    if invocation.is_json() {
        invocation
            .output
            .document(&json::Garbage::of(garbage, Some(done), interrupted));
        return;
    }
    let of = |outcome: Outcome| done.iter().filter(|done| done.outcome == outcome).count();
    let gone = |resource: &crate::step::Resource| {
        let mut all = done.iter();
        all.any(|done| done.outcome == Outcome::Done && done.step.resource == *resource)
    };
    let bytes = json::Garbage::bytes(garbage, gone);
    let mut text = watcher.style().held_back(&garbage.plan.blocked);
    let others = [(Outcome::Failed, "failed"), (Outcome::Skipped, "skipped")];
    let others = others.into_iter().filter(|(outcome, _)| of(*outcome) > 0);
    let others = others.map(|(outcome, word)| format!(", {} {word}", of(outcome)));
    text.extend([
        format!("\n{} removed", of(Outcome::Done)),
        others.collect(),
        format!("; at least {} free\n", value::bytes(bytes)),
    ]);
    text.push_str(&notes(&garbage.plan.notes));
    invocation.output.answer(&text);
}
