//! A container for one session, where there is no manifest: made for it, and gone with it, however it ends.

#![expect(
    clippy::disallowed_methods,
    reason = "what `latest` was at last is remembered on this host"
)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::apply::exit;
use super::exit::Exit;
use super::failure::Failure;
use super::inside::{self, Inside};
use super::invocation::Invocation;
use super::progress::Watcher;
use super::run::Options;
use super::signal::{Ended, watched};
use crate::apply::{Listener, Stop, apply};
use crate::call::Call;
use crate::catalogue;
use crate::claim::{Claims, Turn};
use crate::engine::docker::DockerEngine;
use crate::engine::{Engine as _, Kept, keep};
use crate::label::{self, Mark, OwnedId, Owner};
use crate::manifest::place::Problem;
use crate::name::ContainerName;
use crate::observe::ask;
use crate::observed::RunState;
use crate::pin::{Pinning, Pins, pin};
use crate::plan::{Consent, Widen};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::reconcile::{Intent as _, Look, Subject, append, look, report};
use crate::report::{Outcome, Report};
use crate::session::{SessionError, identifier};
use crate::step::{CreateWork, Resource, ResourceKind, Work};

/// What the manifest is called that nobody wrote.
const MANIFEST: &str = "ad-hoc";
/// Who holds such a container, as its label says.
const HOLDER: &str = "session";
/// How long what `latest` was is good enough.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// How often what the container is made from is planned. What is pulled in one round is known in the next.
const ROUNDS: usize = 4;

/// How long to wait before the next round where there is nothing to do and something is missing.
const MOMENT: Duration = Duration::from_millis(300);

/// Opens a harness in a container of its own.
///
/// # Errors
/// Nothing ran, or nobody knows how it ended. No container is left.
pub async fn open(
    invocation: &Invocation,
    (harness, name): (&str, Option<String>),
    options: Options,
    arguments: Vec<OsString>,
) -> Result<Exit, Failure> {
    let host = &invocation.host;
    let called = match name {
        Some(name) => name,
        None => format!("{harness}-{}", &identifier().map_err(SessionError::System)?[..8]),
    };
    let name = called
        .parse::<ContainerName>()
        .map_err(|error| Failure::usage(error.to_string(), "give another --name"))?;
    let text = manifest(harness, name.as_str(), host.certificate_bundle().is_some());
    let lock = remembered(invocation, harness)?;
    let prepared = invocation.prepare_text(&text, lock.clone()).map_err(unwritten)?;
    let wish = options.wish(invocation, &prepared, name.as_str(), arguments)?;
    let engine = invocation.engine_of(&prepared)?;
    prepared.make_sources(&Widen::Allowed)?;
    let watcher = Arc::new(Watcher::aside(invocation, &host.directory));
    let (ask_to_stop, stop) = Stop::new();
    let claims = Claims::of(host);
    let turn = Turn {
        claims: &claims,
        command: harness,
        patience: options.patience(),
    };
    let work = Box::pin(async {
        let told = (&watcher, &stop);
        let pinned = pinned(invocation, &engine, (&text, &lock, prepared), turn, told);
        let (prepared, stopped) = Box::pin(pinned).await?;
        let made = match stopped {
            Some(report) => Made::Nothing(report),
            None => make(&engine, &prepared, name.as_str(), told).await?,
        };
        Ok::<_, Failure>((prepared, made))
    });
    let (prepared, made) = match watched(work, &ask_to_stop, |signal| watcher.signalled(signal)).await? {
        Ended::Whole(made, None) => made?,
        Ended::Whole(_, Some(signal)) | Ended::Cut(signal) => {
            watcher.close();
            return Ok(signal.exit());
        }
    };
    watcher.close();
    let mut work = match made {
        Made::Ready(work) => work,
        Made::Nothing(report) => {
            watcher.talk(&watcher.style().outcome(&report, &format!("aishell {harness}")));
            let problem = Problem::new(format!("there is no container to open {harness} in"));
            return Err(Failure::new(exit(&report), problem));
        }
    };
    let owner = prepared.owner();
    work.create
        .labels
        .insert(label::HOLDER.to_owned(), HOLDER.to_owned());
    let kept = {
        let _locked = turn.here(&engine, owner).await?;
        sweep(&engine, owner).await?;
        keep(&engine, &work.create).await?
    };
    let Kept { id, .. } = &kept;
    let id = id.clone();
    let inside = Inside::of(&invocation.host, &prepared, engine, name.as_str()).await?;
    let ended = inside.open(invocation, wish).await;
    let gone = Call::RemoveContainer {
        container: OwnedId::made(&id),
        volumes: true,
    };
    // It goes with the connection in any case; this is only quicker.
    let _ = inside.engine.call(&gone, &Progress::default()).await;
    drop(kept);
    ended
}

/// Says what is wrong without the lines of a manifest that nobody has seen.
fn unwritten(mut failure: Failure) -> Failure {
    for problem in &mut failure.problems {
        problem.place = None;
        problem.hint =
            Some("change to the directory of a project, or write a manifest: `aishell init`".to_owned());
    }
    failure
}

/// Returns the manifest that a person would have written.
fn manifest(harness: &str, name: &str, certificates: bool) -> String {
    let certificates = if certificates { "host" } else { "none" };
    // Whoever types it is at work as themselves, and logged in.
    let config = catalogue::find(harness).map(|known| known.config.join(", "));
    let config = config.unwrap_or_default();
    // The engine's own network, so that nothing has to be removed when everything is killed.
    format!(
        "apiVersion: aishell/v1\nname: {MANIFEST}\nproject: .\ncertificates: {certificates}\nproxy: inherit\n\
         harnesses: {{ {harness}: latest }}\ncontainers:\n  {name}:\n    harness: {harness}\n    \
         command: [cat]\n    home: tmpfs\n    network: [bridge]\n    restart: no\n    mounts: [{config}]\n"
    )
}

/// Returns where it is remembered what a harness was at last.
fn remembered(invocation: &Invocation, harness: &str) -> Result<PathBuf, Failure> {
    let directory = invocation.host.state().join("ad-hoc");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(|error| {
            let problem = Problem::new(format!("{} cannot be made: {error}", directory.display()));
            Failure::new(
                Exit::NotRun,
                problem.hint("aishell remembers there what `latest` was"),
            )
        })?;
    Ok(directory.join(format!("{harness}.lock")))
}

/// Pins what is not pinned, and once a day everything anew; where that fails, what was the newest before will do.
async fn pinned(
    invocation: &Invocation,
    engine: &DockerEngine,
    (text, lock, mut prepared): (&str, &Path, Prepared),
    turn: Turn<'_>,
    told: (&Arc<Watcher>, &Stop),
) -> Result<(Prepared, Option<Box<Report>>), Failure> {
    let pinning = Pinning {
        host: &invocation.host,
        turn,
        locked: false,
    };
    let age = fs::metadata(lock).and_then(|lock| lock.modified());
    let age = age.ok().and_then(|since| since.elapsed().ok());
    if age.is_some_and(|age| age > FRESH) {
        let old = lock.with_extension("old");
        if fs::rename(lock, &old).is_ok() {
            let mut anew = invocation.prepare_text(text, lock.to_path_buf())?;
            if let Ok(Pins::Complete { .. }) = pin(engine, &mut anew, pinning, told).await {
                return Ok((anew, None));
            }
            told.0
                .talk("note: whether there is a newer version cannot be said now\n");
            // It is asked again the next time.
            let _ = fs::rename(&old, lock);
            prepared = invocation.prepare_text(text, lock.to_path_buf())?;
        }
    }
    let stopped = match pin(engine, &mut prepared, pinning, told).await? {
        Pins::Complete { .. } => None,
        Pins::Stopped(report) => Some(report),
    };
    Ok((prepared, stopped))
}

/// What came of making what a container is made from.
enum Made {
    /// It can be created.
    Ready(Box<CreateWork>),
    /// It cannot.
    Nothing(Box<Report>),
}

/// Makes what a container is made from: images and the harness volume, which others may use, too.
async fn make(
    engine: &DockerEngine,
    prepared: &Prepared,
    name: &str,
    (watcher, stop): (&Arc<Watcher>, &Stop),
) -> Result<Made, Failure> {
    let container = Resource {
        kind: ResourceKind::Container,
        name: name.to_owned(),
    };
    let subject = Subject {
        intent: prepared,
        consent: Consent {
            only: Some([container.clone()].into()),
            ..Consent::default()
        },
    };
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let Look { mut plan, .. } = Box::pin(look(engine, &subject)).await?;
        let container = plan.steps.iter().position(|step| step.resource == container);
        let last = container.map(|at| plan.steps.remove(at));
        let is_ready = plan.steps.is_empty() && plan.blocked.is_empty() && plan.unknown.is_empty();
        if let (true, Some(Work::Create(work))) = (is_ready, last.map(|step| step.work)) {
            return Ok(Made::Ready(work));
        }
        if stop.is_wished() || !plan.blocked.is_empty() {
            return Ok(Made::Nothing(Box::new(report(plan, done, stop, None))));
        }
        if plan.steps.is_empty() {
            // Somebody else is at what it is made from.
            sleep(MOMENT).await;
            continue;
        }
        watcher.planned(&plan);
        let outcomes = apply(&plan, engine, watcher, stop).await;
        let failed = outcomes.iter().any(|done| done.outcome != Outcome::Done);
        append(&mut done, outcomes);
        if failed {
            return Ok(Made::Nothing(Box::new(report(plan, done, stop, None))));
        }
    }
    let Look { mut plan, .. } = Box::pin(look(engine, &subject)).await?;
    let unknown = plan.unknown.iter();
    let unknown = unknown.map(|one| format!("{} {}: {}", one.kind.as_str(), one.name, one.reason));
    plan.notes.extend(unknown.collect::<Vec<_>>());
    Ok(Made::Nothing(Box::new(report(plan, done, stop, None))))
}

/// Removes containers that were created for sessions here and never started: whoever made them was killed right then.
async fn sweep(engine: &DockerEngine, owner: &Owner) -> Result<(), Failure> {
    let listed = |answer| match answer {
        crate::call::Answer::Containers(all) => Some(all),
        _ => None,
    };
    for one in ask(engine, Call::ListContainers, listed).await? {
        let has = |label: &str, value: &str| one.labels.get(label).is_some_and(|own| own == value);
        if one.running || !has(label::HOLDER, HOLDER) || !has(label::HOST, &owner.host) {
            continue;
        }
        // Whatever was made from a commit of such a container has its labels, and is somebody's.
        let Some(name) = one.labels.get(label::NAME) else {
            continue;
        };
        let Ok(Some(left)) = inside::look(engine, owner, name).await else {
            continue;
        };
        if left.state == RunState::Created
            && left.id == one.id
            && let Some(mark) = Mark::read(&left.labels)
        {
            let call = Call::RemoveContainer {
                container: OwnedId::new(&left.id, &mark),
                volumes: true,
            };
            let _ = engine.call(&call, &Progress::default()).await;
        }
    }
    Ok(())
}
