//! Protocols: several calls that belong together and can be cut between any two.
//!
//! A [`Protocol`] is a value. [`Protocol::next`] looks at what has been heard so far and names the next call; it
//! never talks to an engine. One small [`drive`] does the talking, so that the same protocol runs on the real and on
//! the in-memory engine, and every request is a place where a law can cut.
//!
//! A protocol may be cut anywhere and started again by another process: what it needs to know it reads from names
//! and labels, and what it finds half done it finishes or takes back.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::call::{Answer, Call};
use crate::engine::{Engine, EngineError};
use crate::fetch::{FetchError, Fetched, Order, fetch};
use crate::label::{Mark, OwnedId};
use crate::progress::Progress;
use crate::report::Failure;
use crate::step::{ResourceKind, Step, Work};

mod clear;
mod content;
mod create;
mod identity;
mod image;
mod job;
mod naming;
mod need;
mod network;
mod phase;
mod populate;
mod probe;
mod python;
mod replace;
pub mod resolve;
mod sequence;
mod settle;
mod workplace;
mod workshop;

pub use content::contents;
pub use phase::Learned;
pub use populate::{RECEIPT_PATH, Receipt};
pub use probe::{MARKER, Probe, activity, terminals};

/// What a protocol wants to happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// One call.
    Call(Box<Call>),
    /// Something from elsewhere, which this host fetches.
    Fetch(Box<Order>),
    /// Nothing for a while: somebody else is at work.
    Wait(Duration),
    /// It is complete.
    Done,
    /// It failed and has undone what it could.
    Failed(Failure),
    /// Somebody works in what would be interrupted; whatever was begun is undone.
    Busy(String),
    /// Somebody uses what would be removed; it is left.
    Used(String),
}

/// Why a step was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It failed.
    Failed(Failure),
    /// Somebody works in what would be interrupted.
    Busy(String),
    /// Somebody uses what would be removed.
    Used(String),
}

/// Several calls that belong together.
pub trait Protocol: Send {
    /// Returns what should happen next. Pure: asking twice gives the same.
    fn next(&self) -> Next;

    /// Takes in what a call answered, and when.
    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp);

    /// Takes in what was fetched.
    fn fetched(&mut self, _result: Result<Fetched, FetchError>) {}

    /// Takes in that the wait is over.
    fn waited(&mut self) {}

    /// Returns the call that ends whatever runs for it, where it is given up before its end.
    fn given_up(&self) -> Option<Call> {
        None
    }
}

/// Carries a protocol out.
///
/// # Cancel safety
/// Dropping the future between calls leaves a state that the next pass finishes or takes back.
///
/// # Errors
/// What the protocol failed with.
pub async fn drive(
    protocol: &mut (dyn Protocol + Send),
    engine: &impl Engine,
    progress: &Progress,
) -> Result<(), Undone> {
    // A clock that is set meanwhile makes nothing late.
    let (begun, since) = (Timestamp::now(), Instant::now());
    loop {
        match protocol.next() {
            Next::Call(call) => {
                tracing::debug!(?call, "call");
                let result = engine.call(&call, progress).await;
                if let Err(error) = &result {
                    tracing::debug!(%error, "answer");
                }
                let now = begun.checked_add(since.elapsed()).unwrap_or(begun);
                protocol.heard(result, now);
            }
            Next::Fetch(order) => {
                let fetched = Box::pin(fetch(&order, progress)).await;
                protocol.fetched(fetched);
            }
            Next::Wait(time) => {
                tokio::time::sleep(time).await;
                protocol.waited();
            }
            Next::Done => return Ok(()),
            Next::Failed(failure) => return Err(Undone::Failed(failure)),
            Next::Busy(detail) => return Err(Undone::Busy(detail)),
            Next::Used(detail) => return Err(Undone::Used(detail)),
        }
    }
}

/// Carries a protocol out, or gives it up as soon as it is to end: a command that runs is not waited for, nor what is
/// fetched; any other call is. Nothing is returned then.
pub async fn drive_until(
    protocol: &mut (dyn Protocol + Send),
    engine: &impl Engine,
    progress: &Progress,
    end: impl Future<Output = ()>,
) -> Option<Result<(), Undone>> {
    let mut end = std::pin::pin!(end);
    loop {
        let call = match protocol.next() {
            Next::Call(call) => call,
            Next::Fetch(order) => {
                let fetched = tokio::select! {
                    biased;
                    fetched = Box::pin(fetch(&order, progress)) => fetched,
                    () = &mut end => return None,
                };
                protocol.fetched(fetched);
                continue;
            }
            Next::Wait(_) | Next::Done | Next::Failed(_) | Next::Busy(_) | Next::Used(_) => {
                return Some(drive(protocol, engine, progress).await);
            }
        };
        let result = tokio::select! {
            biased;
            result = engine.call(&call, progress) => Some(result),
            () = &mut end, if matches!(*call, Call::FollowExec { .. }) => None,
        };
        let Some(result) = result else {
            if let Some(call) = protocol.given_up() {
                // What is left is removed by the next apply.
                let _ = engine.call(&call, progress).await;
            }
            return None;
        };
        protocol.heard(result, Timestamp::now());
    }
}

/// Returns the protocol that carries out the work of a step, with what those of the same pass have learned.
pub fn of(step: &Step, learned: &Learned) -> Box<dyn Protocol> {
    let probes = || step.interrupts.iter().cloned().map(Probe::new);
    match &step.work {
        Work::Calls(calls) => Box::new(sequence::Sequence::new(calls.clone()).after(probes())),
        Work::Guarded { object, kind, calls } => {
            let sequence = sequence::Sequence::guarded(object.clone(), *kind, calls.clone());
            Box::new(sequence.after(probes()))
        }
        Work::Build {
            build,
            alias,
            making,
            on,
            made,
            bases,
            bare,
        } => {
            let (build, alias, making) = ((**build).clone(), alias.clone(), making.clone());
            let make = image::MakeImage::new(build, alias, making, on.clone());
            Box::new(make.unless(made.as_deref()).after(bases).without_triggers(bare))
        }
        Work::Network { name, labels } => Box::new(network::MakeNetwork::new(name.clone(), labels.clone())),
        Work::Clear(work) => Box::new(clear::Clear::new((**work).clone())),
        Work::Phase(work) => Box::new(phase::DoPhase::new((**work).clone(), learned.clone())),
        Work::Identity(work) => Box::new(identity::Identity::new((**work).clone())),
        Work::Populate(work) => Box::new(populate::Populate::new((**work).clone()).after(probes())),
        Work::Create(work) => Box::new(create::CreateAndStart::new((**work).clone())),
        Work::Start { container, work } => {
            let start = create::CreateAndStart::new((**work).clone());
            Box::new(start.made(container.clone()))
        }
        Work::Replace {
            old,
            new,
            begun,
            failed,
        } => {
            let replace = replace::Replace::new(old.clone(), (**new).clone(), failed.clone());
            Box::new(replace.begun(begun.as_ref()).after(probes().next()))
        }
    }
}

fn call(call: Call) -> Next {
    Next::Call(Box::new(call))
}

/// Returns what an engine's error means for a step.
fn failure(error: EngineError) -> Failure {
    match error {
        EngineError::Refused { message } => hinted(Failure::new(message)),
        EngineError::Work { message, log, .. } => hinted(Failure::new(message).log(log)),
        EngineError::Absent { ref image, .. } => match hinted(Failure::new(error.to_string())) {
            failure if failure.hint.is_some() => failure,
            failure => failure.hint(format!(
                "`docker pull {image}` where a registry can be reached; elsewhere bring it with `docker save` and `docker load`"
            )),
        },
        other => hinted(Failure::new(other.to_string())),
    }
}

/// What tools print, in one form or another, when they meet a certificate of somebody they do not trust.
const UNTRUSTED: [&str; 5] = [
    "SELF_SIGNED_CERT",
    "UNABLE_TO_GET_ISSUER_CERT",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    "self-signed certificate",
    "certificate verify failed",
];

/// Adds what helps against a cause that is plain from the output.
fn hinted(failure: Failure) -> Failure {
    let untrusted = |line: &String| UNTRUSTED.iter().any(|sign| line.contains(sign));
    if failure.log.iter().any(untrusted) {
        return failure.hint("`certificates: host` makes builds and jobs trust whom this machine trusts, `certificates: [FILE]` whom a file vouches for");
    }
    let told = |words: &str| failure.log.iter().any(|line| line.contains(words));
    if let Some((_, hint)) = LOGGED.iter().find(|(words, _)| told(words)) {
        return failure.hint(*hint);
    }
    let hint = SAID.iter().find(|(words, _)| failure.message.contains(words));
    match hint {
        Some((_, hint)) => failure.hint(*hint),
        None => failure,
    }
}

/// What package managers print, and what helps.
const LOGGED: [(&str, &str); 3] = [
    ("E401", NPM_LOGIN),
    ("E403", NPM_LOGIN),
    (
        "(from versions: none)",
        "the index that pip is configured for has no such package, or does not know who asks: PIP_INDEX_URL, `pip.conf`",
    ),
];

const NPM_LOGIN: &str =
    "the registry does not know who asks, or does not let him have it: `npm whoami`, `.npmrc`";

/// What engines and builders say, and what helps.
const SAID: [(&str, &str); 14] = [
    (
        "has active endpoints",
        "`docker network inspect` names whose containers are in it; if there is none, the engine has lost count, and a restart of it helps",
    ),
    ("no basic auth credentials", LOGIN),
    ("unauthorized", LOGIN),
    ("authorization failed", LOGIN),
    ("access denied", LOGIN),
    ("denied: requested access", LOGIN),
    (
        "no matching manifest for",
        "its registry has it for other platforms only: choose one that is made for the engine's",
    ),
    ("manifest unknown", "check the name and the tag"),
    ("no space left on device", ROOM),
    ("the disk of the engine is full", ROOM),
    (
        "knows no here-documents",
        "begin the Dockerfile with `# syntax=docker/dockerfile:1`, a newer builder that is fetched from a registry, or write \
         the lines as one with `&& \\`",
    ),
    ("no active sessions", SECRETS),
    ("no active session", SECRETS),
    ("could not find session", SECRETS),
];

const ROOM: &str = "`docker system df` shows what takes the room, `aishell prune` what nobody uses any more";
const LOGIN: &str = "`docker login` to that registry; its logins and credential helpers are used";
const SECRETS: &str = "builds get no secrets and no ssh agent: fetch what needs one before, and COPY it";

/// Returns the failure of an answer that does not fit its call.
fn unexpected(what: &str) -> Failure {
    Failure::new(format!("the engine answered something else than {what}"))
}

/// Says whether an object is still the one that was observed.
fn is_still(object: &OwnedId, kind: ResourceKind, answer: &Answer) -> bool {
    let labels = match (kind, answer) {
        (ResourceKind::Container, Answer::Container(reply)) => &reply.labels,
        (ResourceKind::Network, Answer::Network(reply)) => &reply.labels,
        (ResourceKind::Volume, Answer::Volume(reply)) => &reply.labels,
        _ => return false,
    };
    Mark::read(labels).is_some_and(|mark| mark.uid == object.uid())
}
