//! Asking a package manager what requirements mean.
//!
//! A job asks for all of them at once, where harnesses would be installed: the registries, proxies and certificates
//! that count there count here. Its name is the mutex. It ends by itself, also when whoever started it is gone, and
//! is removed once its answers are read.

use jiff::Timestamp;
use serde_json::json;

use super::job::{Acquire, Acquired};
use super::workplace::{self, Workplace};
use super::workshop::{self, Fallback};
use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Build, Call, Create, File};
use crate::engine::EngineError;
use crate::key::{Key, KeyKind};
use crate::label::{Kind, OwnedId, Owner};
use crate::lock::{self, Ask};
use crate::observed::RunState;
use crate::report::Failure;

mod answer;
mod pip;
mod script;

pub use answer::{Found, Refusal};

/// Where the job leaves its answers.
const ANSWERS: &str = "answers";
/// How often the job may be gone before its answers are read: whoever cleans up may take it for a leftover.
const LOSSES: u32 = 3;

/// What is asked, and where.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// What is asked, in order.
    pub asks: Vec<Ask>,
    /// The image that is tried first.
    pub image: String,
    /// The build of the image that is used if that one has no package manager; only where any image will do.
    pub fallback: Option<Box<Build>>,
    /// Whose inquiry it is.
    pub owner: Owner,
    /// The CA bundle the package manager trusts.
    pub certificates: Option<Vec<u8>>,
    /// Environment of the package manager: proxies and settings of this host.
    pub env: std::collections::BTreeMap<String, String>,
}

/// Asks a package manager.
pub struct Resolve {
    inquiry: Inquiry,
    /// The image to fall back on, until it is needed.
    fallback: Option<Box<Build>>,
    key: Key,
    at: At,
    losses: u32,
    answers: Vec<Result<Found, Refusal>>,
}

enum At {
    Acquire(Box<Acquire>),
    FollowTheirs(String),
    Upload(OwnedId),
    Start(OwnedId),
    Follow(OwnedId),
    Ended(OwnedId, Vec<String>),
    Read(OwnedId),
    /// The image cannot do it: the job goes before the next one takes its name.
    Discard(OwnedId),
    FallBack(Box<Fallback>),
    Sweep(OwnedId, Option<Failure>),
    Done,
    Failed(Failure),
}

impl Resolve {
    /// Begins.
    pub fn new(inquiry: Inquiry) -> Self {
        let Inquiry { asks, owner, .. } = &inquiry;
        let question = json!({ "project": owner.project, "manifest": owner.manifest, "asks": asks });
        let key = Key::of(KeyKind::Inquiry, &question);
        let mut resolve = Self {
            fallback: inquiry.fallback.clone(),
            inquiry,
            key,
            at: At::Done,
            losses: 0,
            answers: Vec::new(),
        };
        resolve.at = resolve.begin();
        resolve
    }

    /// Returns the answers in the order of the asks, once it is done.
    pub fn answers(self) -> Vec<Result<Found, Refusal>> {
        self.answers
    }

    fn begin(&self) -> At {
        let Inquiry {
            asks: _,
            image,
            fallback: _,
            owner,
            certificates,
            env,
        } = &self.inquiry;
        let create = Create {
            name: format!("aishell-job-resolve-{}", self.key.short()),
            labels: owner.labels(Kind::Job, lock::JOB, &self.key),
            spec: Workplace {
                image,
                script: script::NAME,
                env,
                certified: certificates.is_some(),
            }
            .spec(),
        };
        At::Acquire(Box::new(Acquire::new(create)))
    }

    fn files(&self) -> Vec<File> {
        let script = script::resolve(&self.inquiry.asks, ANSWERS);
        workplace::home(
            script::NAME,
            &script,
            &self.inquiry.env,
            self.inquiry.certificates.as_deref(),
        )
    }

    fn acquired(&self, acquire: Box<Acquire>) -> At {
        match acquire.state() {
            Acquired::Mine(job) => At::Upload(job.clone()),
            Acquired::Theirs(job) => At::FollowTheirs(job.to_owned()),
            Acquired::Gone => self.begin(),
            Acquired::Go(Next::Failed(failure)) => At::Failed(failure),
            Acquired::Go(_) => At::Acquire(acquire),
        }
    }

    fn fallen_back(&mut self, fallback: Box<Fallback>) -> At {
        let Some(image) = fallback.ready() else {
            return At::FallBack(fallback);
        };
        image.clone_into(&mut self.inquiry.image);
        self.begin()
    }

    /// Somebody has removed the job: once more.
    fn lost(&mut self) -> At {
        self.losses += 1;
        if self.losses >= LOSSES {
            return At::Failed(Failure::new(
                "the job that asks the package manager is removed again and again",
            ));
        }
        self.begin()
    }

    fn read(&mut self, bytes: &[u8]) -> Option<Failure> {
        match answer::read(bytes, &self.inquiry.asks) {
            Ok(answers) => {
                self.answers = answers;
                None
            }
            Err(failure) => Some(failure),
        }
    }
}

impl Protocol for Resolve {
    fn next(&self) -> Next {
        match &self.at {
            At::Acquire(acquire) => match acquire.state() {
                Acquired::Go(next) => next,
                Acquired::Mine(_) | Acquired::Theirs(_) | Acquired::Gone => Next::Done,
            },
            At::FollowTheirs(job) => call(Call::FollowLog {
                container: job.clone(),
            }),
            At::Upload(job) => call(Call::Upload {
                container: job.id().to_owned(),
                files: self.files().into(),
            }),
            At::Start(job) => call(Call::StartContainer {
                container: job.id().to_owned(),
            }),
            At::Follow(job) => call(Call::FollowLog {
                container: job.id().to_owned(),
            }),
            At::Ended(job, _) => call(Call::InspectContainer {
                container: job.id().to_owned(),
            }),
            At::Read(job) => call(Call::ReadFile {
                container: job.id().to_owned(),
                path: Workplace::path(ANSWERS),
            }),
            At::FallBack(fallback) => fallback.next(),
            At::Discard(job) | At::Sweep(job, _) => call(Call::RemoveContainer {
                container: job.clone(),
                volumes: true,
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        let gone = matches!(result, Err(EngineError::NotFound { .. }));
        self.at = match (at, result) {
            (At::Acquire(mut acquire), result) => {
                acquire.heard(result, now);
                self.acquired(acquire)
            }
            // What they were told is theirs: it may be another host's registry that answered.
            (At::FollowTheirs(_), Ok(_)) => self.begin(),
            (At::FollowTheirs(_), Err(_)) if gone => self.begin(),
            (At::Upload(_) | At::Start(_) | At::Follow(_) | At::Ended(..) | At::Read(_), Err(_)) if gone => {
                self.lost()
            }
            (At::Upload(job), Ok(_)) => At::Start(job),
            (At::Start(job), Ok(_)) => At::Follow(job),
            (At::Follow(job), Ok(Answer::Log(log))) => At::Ended(job, log),
            (At::Ended(job, log), Ok(Answer::Container(reply))) => match reply.state {
                RunState::Exited { code: 0 } => At::Read(job),
                RunState::Exited { code } if workshop::lacks_something(code) && self.fallback.is_some() => {
                    At::Discard(job)
                }
                RunState::Exited { code } => {
                    let message = script::explain(code, &log);
                    At::Sweep(job, Some(Failure::new(message).log(log)))
                }
                // The log ended early; it is still at work.
                RunState::Running => At::Follow(job),
                other => {
                    let message = format!("the job that asks the package manager is {}", other.display());
                    At::Sweep(job, Some(Failure::new(message).log(log)))
                }
            },
            (At::Read(job), Ok(Answer::Bytes(bytes))) => {
                let failed = self.read(&bytes);
                At::Sweep(job, failed)
            }
            // Whoever removed it did what was to be done.
            (At::Discard(_), Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. })) => {
                match self.fallback.take() {
                    Some(build) => At::FallBack(Box::new(Fallback::new(*build))),
                    None => self.begin(),
                }
            }
            (At::FallBack(mut fallback), result) => {
                fallback.heard(result);
                self.fallen_back(fallback)
            }
            // Somebody else has removed it, or is about to.
            (
                At::Sweep(_, failed),
                Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }),
            ) => failed.map_or(At::Done, At::Failed),
            // The reason of the failure is worth more than why its job could not be removed.
            (At::Sweep(_, Some(failed)), Err(_)) => At::Failed(failed),
            (At::Upload(job) | At::Start(job) | At::Follow(job) | At::Read(job), Err(error)) => {
                At::Sweep(job, Some(failure(error)))
            }
            (At::Done, _) => At::Done,
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("resolving asked for")),
        };
    }

    fn waited(&mut self) {
        if let At::Acquire(acquire) = &mut self.at {
            acquire.waited();
        }
    }
}
