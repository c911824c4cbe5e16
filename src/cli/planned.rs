//! Plans in files: `diff --out` saves one, `apply --plan` carries it out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::apply::{awaited, finish};
use super::diff::show;
use super::exit::Exit;
use super::failure::Failure;
use super::invocation::Invocation;
use super::output::clean;
use super::progress::Watcher;
use super::render::value::value;
use super::signal::{Ended, watched};
use crate::apply::{Listener as _, Stop};
use crate::claim::{Claims, Turn};
use crate::manifest::load::STANDARD_INPUT;
use crate::manifest::place::Problem;
use crate::plan::{Consent, Widen};
use crate::prepare::Prepared;
use crate::reconcile::{Look, Planned, PlannedError, Subject, verify};
use crate::report::Report;
use crate::saved::{self, Change, FileError, Reason, Saved, SavedError, View};
use crate::session::consent::give;
use crate::step::{Cause, Resource};

/// The most changes that are told in one go.
const MOST: usize = 20;

/// How a saved plan is to be carried out.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The manifest that was named, if one was.
    pub manifest: Option<&'a Path>,
    /// How long to wait while somebody else writes.
    pub lock_timeout: Duration,
    /// How long to wait until every container is ready; `None`: not at all.
    pub wait: Option<Duration>,
    /// Whether the plan is only shown.
    pub dry_run: bool,
}

/// Saves a plan to a file.
///
/// # Errors
/// Something in it is unknown, or the file cannot be written.
pub fn save(
    out: &Path,
    (prepared, look, engine): (&Prepared, &Look, &str),
    consent: &Consent,
) -> Result<(), Failure> {
    if out == Path::new(STANDARD_INPUT) {
        let message = "a plan is saved to a file, not to standard output";
        return Err(Failure::usage(message, "write it like --out plan.json"));
    }
    let unknown = look.plan.unknown.iter();
    let mut problems: Vec<Problem> = unknown
        .map(|one| {
            let kind = one.kind.as_str();
            Problem::new(format!(
                "the plan cannot be saved: {kind} {} is unknown, {}",
                clean(&one.name),
                clean(&one.reason)
            ))
        })
        .collect();
    if let Some(last) = problems.pop() {
        let lacks = !prepared.missing().is_empty();
        let hint = if lacks {
            "`aishell update` asks what it means and writes that to the lock"
        } else {
            "`aishell apply` does what has to come first; save the plan of the rest then"
        };
        problems.push(last.hint(hint));
        return Err(Failure::invalid(problems, prepared.loaded.source.texts().clone()));
    }
    let view = View {
        desired: &look.desired,
        observed: &look.observed,
        plan: &look.plan,
        engine,
    };
    let path = prepared.loaded.source.path().display().to_string();
    let plan = Saved::of(view, consent, &path, Timestamp::now());
    Ok(saved::write(out, &plan)?)
}

/// Returns the command that carries out a plan that was saved.
pub fn how(invocation: &Invocation, out: &Path, standard_input: bool) -> String {
    let mut words = vec!["aishell apply --plan".to_owned(), out.display().to_string()];
    if let Some(context) = &invocation.global.context {
        words.push(format!("--context {context}"));
    }
    if let Some(host) = &invocation.global.host {
        words.push(format!("--host {host}"));
    }
    if standard_input {
        words.push("-f FILE".to_owned());
    }
    words.join(" ")
}

/// Returns the command that saves such a plan again.
fn again(invocation: &Invocation, file: &Path, plan: &Saved) -> String {
    let saved::Options {
        only,
        replace,
        rebuild,
        prune,
        deep,
        allow,
    } = &plan.options;
    let mut words = vec!["aishell diff".to_owned()];
    let only = only.iter().flatten();
    words.extend(only.map(|one| format!("--only {}/{}", one.kind.as_str(), one.name)));
    words.extend(replace.iter().map(|name| format!("--replace {name}")));
    words.extend(rebuild.iter().map(|stage| format!("--rebuild={stage}")));
    words.extend((!prune).then(|| "--no-prune".to_owned()));
    words.extend(deep.then(|| "--deep".to_owned()));
    let allowed: Vec<&str> = allow.iter().map(|one| one.as_str()).collect();
    words.extend((!allowed.is_empty()).then(|| format!("--allow {}", allowed.join(","))));
    let path = Path::new(&plan.manifest.path);
    let standard_input = path == Path::new(STANDARD_INPUT);
    if !standard_input && invocation.finds(path) {
        // It is the one that is found anyway.
    } else {
        words.push(format!("-f {}", invocation.seen(path).display()));
    }
    let file = if file == Path::new(STANDARD_INPUT) {
        Path::new("PLAN.json")
    } else {
        file
    };
    words.push(format!("--out {}", file.display()));
    words.join(" ")
}

/// Carries out a saved plan, or only shows it.
///
/// # Errors
/// There is no such plan, or it does not hold any more. Nothing was touched.
pub async fn run(invocation: &Invocation, file: &Path, order: Order<'_>) -> Result<Exit, Failure> {
    let plan = saved::read(file)?;
    let again = again(invocation, file, &plan);
    let prepared = load(invocation, &plan, (file, order.manifest))?;
    let engine = invocation.engine_of(&prepared)?;
    let subject = Subject {
        intent: &prepared,
        consent: plan.consent(),
    };
    let base = prepared.loaded.source.directory();
    if order.dry_run {
        let seen = Box::pin(verify(&engine, &subject, &plan)).await;
        let seen = seen.map_err(|error| refused(error, &again))?;
        return Ok(show(invocation, base, &seen.plan));
    }
    let watcher = Arc::new(Watcher::new(invocation, base));
    let (wish, stop) = Stop::new();
    let claims = Claims::of(&invocation.host);
    let turn = Turn {
        claims: &claims,
        command: "apply",
        patience: order.lock_timeout,
    };
    let work = Box::pin(async {
        let planned = Box::pin(Planned::begin(&engine, &subject, &plan, turn)).await;
        let planned = planned.map_err(|error| refused(error, &again))?;
        // Only now: a plan that does not hold writes nothing, here neither.
        if let Err(error) = prepared.make_sources(&Widen::Allowed) {
            Box::pin(planned.give_up(&engine)).await;
            return Err(error.into());
        }
        // Whoever types it consents, and what it consents to is as it was when the plan was saved.
        if let Err(error) = give(&invocation.host, planned.desired()) {
            watcher.said(&format!("what sessions may get cannot be written down: {error}"));
        }
        let report = Box::pin(planned.carry_out(&engine, &subject, (&watcher, &stop))).await;
        Ok::<Report, Failure>(awaited(report, &engine, subject.clone(), order.wait, &stop).await)
    });
    let ended = match watched(work, &wish, |signal| watcher.signalled(signal)).await? {
        Ended::Whole(report, signal) => Ended::Whole(report?, signal),
        Ended::Cut(signal) => Ended::Cut(signal),
    };
    Ok(finish(invocation, &watcher, ended, &again))
}

/// Loads the manifest that a plan was made for, or the one that is named.
fn load(
    invocation: &Invocation,
    plan: &Saved,
    (file, named): (&Path, Option<&Path>),
) -> Result<Prepared, Failure> {
    let is_named = named.is_some() || invocation.global.file.is_some();
    let input = Path::new(STANDARD_INPUT);
    let given = named.or(invocation.global.file.as_deref());
    if file == input && given == Some(input) {
        let message = "the plan and the manifest cannot both be read from standard input";
        return Err(Failure::usage(message, "put the plan into a file"));
    }
    if is_named {
        return invocation.prepare(named);
    }
    let path = PathBuf::from(&plan.manifest.path);
    if path == input {
        let message = "the plan was made for a manifest from standard input";
        return Err(Failure::usage(
            message,
            "say with --file where that is now; `-` is standard input",
        ));
    }
    invocation.prepare(Some(&path))
}

/// Returns the failure of a plan that was not carried out.
fn refused(error: PlannedError, again: &str) -> Failure {
    let changes = match error {
        PlannedError::Engine(error) => return error.into(),
        PlannedError::Claimed(error) => return error.into(),
        PlannedError::Stale(changes) => changes,
    };
    let mut told: Vec<String> = changes.iter().map(tell).collect();
    told.dedup();
    let more = told.len().saturating_sub(MOST);
    told.truncate(MOST);
    if more > 0 {
        told.push(format!("{more} more of this kind"));
    }
    let mut problems: Vec<Problem> = told
        .into_iter()
        .map(|what| Problem::new(format!("the saved plan does not hold any more: {what}")))
        .collect();
    let elsewhere = changes
        .iter()
        .any(|change| matches!(change, Change::Engine { .. }));
    if let Some(last) = problems.pop() {
        problems.push(last.hint(if elsewhere {
            "nothing was touched; name the engine it was made on with --host or --context".to_owned()
        } else {
            format!("nothing was touched; plan again with `{again}`")
        }));
    }
    Failure {
        problems,
        ..Failure::new(Exit::Stale, Problem::new(""))
    }
}

/// Returns what is no longer as a plan has it, in a person's words.
fn tell(change: &Change) -> String {
    let named = |resource: &Resource| format!("{} {}", resource.kind.as_str(), clean(&resource.name));
    match change {
        Change::Engine { saved, now } if saved == now => {
            format!("the engine at {} is another one than it was made on", clean(now))
        }
        Change::Engine { saved, now } => format!(
            "it was made on the engine at {}, and this is another one at {}",
            clean(saved),
            clean(now)
        ),
        Change::Owner { saved, now } => format!(
            "it was made for the manifest {} of {}, and this is {} of {}",
            clean(&saved.0),
            clean(&saved.1),
            clean(&now.0),
            clean(&now.1)
        ),
        Change::Needless { resource, action } => {
            format!(
                "{}: `{}` is not needed any more",
                named(resource),
                action.as_str()
            )
        }
        Change::Added {
            resource,
            action,
            because,
        } => {
            let why = because.iter().map(why).next().unwrap_or_default();
            format!(
                "{}: `{}` has come to be needed{why}",
                named(resource),
                action.as_str()
            )
        }
        Change::Blocked {
            resource,
            action,
            reason,
        } => format!(
            "{}: `{}` is blocked now ({})",
            named(resource),
            action.as_str(),
            reason.as_str()
        ),
        Change::Unblocked {
            resource,
            action,
            reason,
        } => format!(
            "{}: `{}` was blocked ({}) and is not any more",
            named(resource),
            action.as_str(),
            reason.as_str()
        ),
        Change::Because { resource, saved, now } => {
            format!("{}: {}", named(resource), differs(saved.as_ref(), now.as_ref()))
        }
        Change::Impact { resource, saved, now } => format!(
            "{}: it would cost {}, not {}",
            named(resource),
            now.as_str(),
            saved.as_str()
        ),
        Change::Discards { resource, saved, now } => format!(
            "{}: {now} files of the container layer would be discarded, not {saved}",
            named(resource)
        ),
        Change::Widens { resource, what } => {
            format!(
                "{}: it would also get {}",
                named(resource),
                clean(&what.join(", "))
            )
        }
        Change::Otherwise { resource, action } => format!(
            "{}: `{}` would be done with something else than was planned",
            named(resource),
            action.as_str()
        ),
        Change::Gone { resource } => format!("{} is gone", named(resource)),
        Change::Another { resource } => format!("{} is another one", named(resource)),
        Change::Given { container } => {
            format!(
                "sessions in container {} would get something else",
                clean(container)
            )
        }
        Change::Manifest => "the manifest, or its lock, wants something else".to_owned(),
    }
}

/// Returns why a step is needed, to be put after what it is.
fn why(reason: &Reason) -> String {
    match (&reason.field, reason.cause) {
        (Some(field), _) => format!(", for {} is {}", clean(field), value(field, &reason.from)),
        (None, Cause::Missing) => ", for it is missing".to_owned(),
        (None, Cause::Orphan) => ", for it is not in the manifest".to_owned(),
        (None, _) => String::new(),
    }
}

fn differs(saved: Option<&Reason>, now: Option<&Reason>) -> String {
    let field = |reason: &Reason| {
        reason
            .field
            .as_deref()
            .map_or_else(|| "why it is needed".to_owned(), clean)
    };
    match (saved, now) {
        (Some(saved), Some(now)) => {
            let name = saved.field.as_deref().unwrap_or_default();
            let (from, to) = (
                (value(name, &saved.from), value(name, &now.from)),
                (value(name, &saved.to), value(name, &now.to)),
            );
            if saved.from != now.from {
                format!("{} is {} now, and was {}", field(saved), from.1, from.0)
            } else if saved.to != now.to {
                format!("{} is to be {} now, not {}", field(saved), to.1, to.0)
            } else {
                format!("{} differs for another reason", field(saved))
            }
        }
        (Some(saved), None) => format!("{} does not differ any more", field(saved)),
        (None, Some(now)) => {
            let name = now.field.as_deref().unwrap_or_default();
            format!("{} differs now, it is {}", field(now), value(name, &now.from))
        }
        (None, None) => "something differs".to_owned(),
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let message = super::failure::chain(&error);
        let (exit, hint) = match &error {
            FileError::Unreadable { .. } => (Exit::Invalid, "check the path given with --plan"),
            FileError::NotAFile { .. } => (Exit::Invalid, "name the file that `aishell diff --out` wrote"),
            FileError::Unusable { cause, .. } => match cause {
                SavedError::Json(_) | SavedError::Other { .. } => {
                    (Exit::Invalid, "name the file that `aishell diff --out` wrote")
                }
                SavedError::Edited => (
                    Exit::Invalid,
                    "a plan is carried out as it was made or not at all; make another with `aishell diff --out`",
                ),
                SavedError::Version { .. } => (Exit::Stale, "plan again with `aishell diff --out`"),
            },
            FileError::Taken { .. } => (Exit::Usage, "name another file with --out"),
            FileError::Unwritable { .. } => (Exit::Failed, "check who may write to its directory"),
        };
        Self::new(exit, Problem::new(message).hint(hint))
    }
}
