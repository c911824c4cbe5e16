//! Filling a harness volume.
//!
//! 1. Create the volume. That is idempotent and its labels are immutable, so it proves nothing about content.
//! 2. Look whether a receipt container vouches for it by now.
//! 3. Create the job; its name is the mutex. Where somebody else's job runs, follow it and look again. With the name
//!    in hand, look for the receipt once more: whoever had the name before may have made it.
//! 4. The job removes an old receipt first, keeps members that are there and whole, copies those that an older set has,
//!    installs the others in place, a few at a time, probes every program, records what each member is made of, swaps the
//!    farm of links, and writes the receipt file last.
//! 5. Create the receipt container with the digest of the receipt file and the volume's creation time, which is read
//!    after the last write. Remove the job.
//!
//! Where the image brings no npm the job ends at once, and another one runs on the built-in foundation.
//!
//! Of a set that was found broken, the container that vouches for it goes first.
//!
//! Cut anywhere, there is no receipt container, so no sandbox mounts the volume, and the next run begins again with
//! what is intact.

use super::job::{self, Acquire, Acquired};
use super::probe::{Probe, Probing};
use super::workplace::{self, Workplace};
use super::workshop::{self, Fallback};
use super::{Next, Protocol, call, failure, hinted, unexpected};
use crate::call::{Answer, Build, Call, Create};
use crate::engine::EngineError;
use crate::fetch::{FetchError, Fetched};
use crate::key::digest;
use crate::label::{self, Kind, Mark, OwnedId};
use crate::observed::RunState;
use crate::report::Failure;
use crate::spec::{ContainerSpec, Mount};
use crate::step::PopulateWork;
use jiff::Timestamp;

mod download;
mod receipt;
mod script;
mod text;
mod vacate;

pub use receipt::Receipt;
pub(super) use script::directory;

/// Where the receipt lies in a harness volume that is mounted at `/tools`.
pub const RECEIPT_PATH: &str = "/tools/.aishell/receipt.json";
/// The directories that every harness volume has, its root among them.
pub(super) const PLACES: [&str; 5] = ["", ".aishell", ".aishell/members", "bin", "m"];
/// Where older sets are in the job, by number.
const OLDER: &str = "/older";
/// How often way is made for a volume at most.
const VACATED: u32 = 20;
/// The name of the script in the home of the job.
const SCRIPT: &str = "populate.sh";

/// Fills a harness volume.
pub(super) struct Populate {
    work: PopulateWork,
    at: At,
    /// Containers in which nobody may work by now, the next one last.
    probes: Vec<Probe>,
    /// How often way was made for the volume.
    vacated: u32,
    /// The image that the job runs on, and the one to fall back on until it is needed.
    image: String,
    fallback: Option<Box<Build>>,
    volume_created: String,
    receipt_digest: String,
    /// What was fetched, in the order of [`Populate::downloads`], as long as it is needed.
    fetched: Vec<Fetched>,
}

enum At {
    Fetch,
    Probe,
    Busy(String),
    Volume,
    Vacate(Box<vacate::Vacate>),
    Check,
    Refute(OwnedId),
    Leftover,
    Acquire(Box<Acquire>),
    FollowTheirs(String),
    Restamp(OwnedId),
    Recheck(OwnedId),
    Upload(OwnedId),
    Start(OwnedId),
    Follow(OwnedId),
    Ended(OwnedId, Vec<String>),
    /// The image cannot do it: the job goes before the next one takes its name.
    Discard(OwnedId, Box<Build>),
    FallBack(Box<Fallback>),
    Read(OwnedId),
    Stamp(OwnedId),
    Vouch(OwnedId),
    VouchTaken(OwnedId),
    Unvouch(OwnedId, OwnedId),
    Sweep(OwnedId),
    Exhibit(OwnedId, Failure),
    RemoveExhibit(OwnedId, OwnedId, Failure),
    KeepExhibit(OwnedId, Failure),
    Done,
    Failed(Failure),
}

impl Populate {
    pub(super) fn new(work: PopulateWork) -> Self {
        Self {
            image: work.image.clone(),
            fallback: work.fallback.clone(),
            work,
            at: At::Volume,
            probes: Vec::new(),
            vacated: 0,
            volume_created: String::new(),
            receipt_digest: String::new(),
            fetched: Vec::new(),
        }
    }

    /// Asks before anything else whether somebody works where it would be noticed.
    pub(super) fn after(mut self, probes: impl Iterator<Item = Probe>) -> Self {
        self.probes = probes.collect();
        if !self.probes.is_empty() {
            self.at = At::Probe;
        }
        self
    }

    fn probed(&mut self, result: Result<Answer, EngineError>) -> At {
        let Some(probe) = self.probes.last_mut() else {
            return At::Volume;
        };
        probe.heard(result);
        match probe.state() {
            Probing::Ask(_) => At::Probe,
            Probing::Busy(detail) => At::Busy(detail.to_owned()),
            Probing::Failed(error) => At::Failed(failure(error.clone())),
            Probing::Idle => {
                self.probes.pop();
                if self.probes.is_empty() {
                    At::Volume
                } else {
                    At::Probe
                }
            }
        }
    }

    fn job(&self) -> Create {
        let workplace = Workplace {
            image: &self.image,
            script: SCRIPT,
            env: &self.work.env,
            certified: self.work.certificates.is_some(),
        };
        Create {
            name: self.work.job_name.clone(),
            labels: self.work.job.clone(),
            spec: ContainerSpec {
                mounts: self.mounts(),
                ..workplace.spec()
            },
        }
    }

    /// Returns what the job is given: the volume, and older sets to copy from.
    fn mounts(&self) -> std::collections::BTreeMap<String, Mount> {
        let older = self.work.older.iter().enumerate().map(|(index, volume)| {
            let mount = Mount::Volume {
                name: volume.clone(),
                read_only: true,
            };
            (format!("{OLDER}/{index}"), mount)
        });
        older.chain([("/tools".to_owned(), self.mount(false))]).collect()
    }

    fn mount(&self, read_only: bool) -> Mount {
        Mount::Volume {
            name: self.work.volume.clone(),
            read_only,
        }
    }

    fn receipt(&self) -> Create {
        let mut labels = self.work.receipt.clone();
        labels.insert(label::RECEIPT.to_owned(), self.receipt_digest.clone());
        labels.insert(label::RECEIPT_VOLUME.to_owned(), self.volume_created.clone());
        Create {
            name: self.work.receipt_name.clone(),
            labels,
            spec: ContainerSpec {
                image: self.work.image.clone(),
                // Never run; a container must have a command to be created.
                command: Some(vec!["true".to_owned()]),
                entrypoint: Some(Vec::new()),
                mounts: [("/tools".to_owned(), self.mount(true))].into(),
                security: workplace::security(),
                shm: 64 << 20,
                ..ContainerSpec::default()
            },
        }
    }

    /// Says whether a receipt container vouches for the volume as it is now.
    fn vouches(&self, reply: &crate::call::ContainerReply) -> bool {
        let mark = Mark::read(&reply.labels);
        mark.is_some_and(|mark| mark.kind == Kind::Receipt && mark.key == self.work.key)
            && reply.labels.get(label::RECEIPT_VOLUME) == Some(&self.volume_created)
            && reply.spec.mounts.get("/tools") == Some(&self.mount(true))
    }

    /// Reads the receipt file and says whether it is of this set.
    fn read(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let receipt: Receipt = serde_json::from_slice(bytes).map_err(|error| {
            Failure::new(format!(
                "the receipt of the harness volume cannot be read: {error}"
            ))
        })?;
        if receipt.key != self.work.key.as_str() || receipt.members.len() != self.work.members.len() {
            return Err(Failure::new(
                "the receipt of the harness volume is of another set",
            ));
        }
        self.receipt_digest = digest(bytes);
        Ok(())
    }

    fn acquired(acquire: Box<Acquire>) -> At {
        match acquire.state() {
            // Whoever had the name before may have finished since we looked: a receipt is made before a job goes.
            Acquired::Mine(job) => At::Restamp(job.clone()),
            Acquired::Theirs(job) => At::FollowTheirs(job.to_owned()),
            Acquired::Gone => At::Volume,
            Acquired::Go(Next::Failed(failure)) => At::Failed(failure),
            Acquired::Go(_) => At::Acquire(acquire),
        }
    }

    fn fallen_back(&mut self, fallback: Box<Fallback>) -> At {
        let Some(image) = fallback.ready() else {
            return At::FallBack(fallback);
        };
        image.clone_into(&mut self.image);
        // Somebody else may have filled the volume meanwhile.
        At::Volume
    }

    fn begin(&self) -> At {
        if self.fetched.len() < self.downloads().count() {
            return At::Fetch;
        }
        At::Acquire(Box::new(Acquire::new(self.job())))
    }

    fn judge_volume(&mut self, reply: &crate::call::VolumeReply) -> At {
        let mark = Mark::read(&reply.labels);
        if mark.is_some_and(|mark| mark.kind == Kind::Harness && mark.key == self.work.key) {
            self.volume_created.clone_from(&reply.created);
            At::Check
        } else if self.work.vacant && self.vacated < VACATED {
            // Whoever else makes way for the same set may stand in the way of that for a moment.
            self.vacated += 1;
            At::Vacate(Box::new(vacate::Vacate::new(&self.work.volume, self.job())))
        } else {
            At::Failed(Failure::new(format!(
                "a volume that aishell did not make is called {}; it was left alone",
                self.work.volume
            )))
        }
    }
}

impl Protocol for Populate {
    fn next(&self) -> Next {
        let inspect = |name: &str| {
            call(Call::InspectContainer {
                container: name.to_owned(),
            })
        };
        let remove = |container: &OwnedId| {
            call(Call::RemoveContainer {
                container: container.clone(),
                volumes: true,
            })
        };
        match &self.at {
            At::Probe => match self.probes.last().map(Probe::state) {
                Some(Probing::Ask(ask)) => call(ask),
                Some(Probing::Idle | Probing::Busy(_) | Probing::Failed(_)) | None => Next::Done,
            },
            At::Busy(detail) => Next::Busy(detail.clone()),
            At::Vacate(vacate) => vacate.next(),
            At::Refute(receipt) => remove(receipt),
            At::Fetch => match self.downloads().nth(self.fetched.len()) {
                Some((_, order)) => Next::Fetch(Box::new(order)),
                None => Next::Failed(unexpected("something to fetch")),
            },
            At::Volume => call(Call::CreateVolume {
                name: self.work.volume.clone(),
                labels: self.work.labels.clone(),
            }),
            At::Check | At::Recheck(_) | At::VouchTaken(_) => inspect(&self.work.receipt_name),
            At::Leftover => inspect(&self.work.job_name),
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
            At::Ended(job, _) => inspect(job.id()),
            At::Discard(job, _) => remove(job),
            At::FallBack(fallback) => fallback.next(),
            At::Read(job) => call(Call::ReadFile {
                container: job.id().to_owned(),
                path: RECEIPT_PATH.to_owned(),
            }),
            At::Restamp(_) | At::Stamp(_) => call(Call::InspectVolume {
                volume: self.work.volume.clone(),
            }),
            At::Vouch(_) => call(Call::CreateContainer(Box::new(self.receipt()))),
            At::Unvouch(_, old) | At::RemoveExhibit(_, old, _) => remove(old),
            At::Sweep(job) => remove(job),
            At::Exhibit(..) => inspect(&self.work.failed_name),
            At::KeepExhibit(job, _) => call(Call::RenameContainer {
                container: job.clone(),
                name: self.work.failed_name.clone(),
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        let gone = matches!(result, Err(EngineError::NotFound { .. }));
        self.at = match (at, result) {
            (At::Volume, Ok(Answer::Volume(reply))) => self.judge_volume(&reply),
            (At::Probe, result) => self.probed(result),
            (At::Vacate(mut vacate), result) => {
                vacate.heard(result, now);
                if vacate.is_done() {
                    At::Volume
                } else {
                    At::Vacate(vacate)
                }
            }
            (At::Check, Ok(Answer::Container(reply))) if self.vouches(&reply) => match &self.work.refuted {
                Some(refuted) if refuted.id() == reply.id => At::Refute(refuted.clone()),
                Some(_) | None => At::Leftover,
            },
            (At::Refute(_), Ok(_)) => self.begin(),
            (At::Refute(_), Err(_)) if gone => self.begin(),
            (At::Leftover, Ok(Answer::Container(reply))) => {
                job::leftover(&reply, &self.work.job).map_or(At::Done, At::Sweep)
            }
            (At::Leftover, Err(_)) if gone => At::Done,
            (At::Check, Ok(Answer::Container(_))) => self.begin(),
            (At::Check, Err(_)) if gone => self.begin(),
            (At::Acquire(mut acquire), result) => {
                acquire.heard(result, now);
                Self::acquired(acquire)
            }
            // However their job ended: look again from the start.
            (At::FollowTheirs(_), Ok(_)) => At::Volume,
            (At::FollowTheirs(_), Err(_)) if gone => At::Volume,
            (At::Restamp(job), Ok(Answer::Volume(reply))) => {
                self.volume_created = reply.created;
                At::Recheck(job)
            }
            (At::Recheck(job), Ok(Answer::Container(reply))) if self.vouches(&reply) => At::Sweep(job),
            (At::Recheck(job), Ok(Answer::Container(_))) => At::Upload(job),
            (At::Recheck(job), Err(_)) if gone => At::Upload(job),
            (At::Upload(job), Ok(_)) => At::Start(job),
            (At::Start(job), Ok(_)) => At::Follow(job),
            (At::Follow(job), Ok(Answer::Log(log))) => At::Ended(job, log),
            (At::Ended(job, log), Ok(Answer::Container(reply))) => match reply.state {
                RunState::Exited { code: 0 } => At::Read(job),
                RunState::Exited { code } => match self.fallback.take() {
                    Some(build) if workshop::lacks_something(code) => At::Discard(job, build),
                    Some(_) | None => {
                        At::Exhibit(job, hinted(Failure::new(script::explain(code, &log)).log(log)))
                    }
                },
                // The log ended early; it is still at work.
                RunState::Running => At::Follow(job),
                other => At::Exhibit(
                    job,
                    Failure::new(format!("the installer is {}", other.display())).log(log),
                ),
            },
            // Whoever removed it did what was to be done.
            (
                At::Discard(_, build),
                Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }),
            ) => At::FallBack(Box::new(Fallback::new(*build))),
            (At::FallBack(mut fallback), result) => {
                fallback.heard(result);
                self.fallen_back(fallback)
            }
            (At::Read(job), Ok(Answer::Bytes(bytes))) => match self.read(&bytes) {
                Ok(()) => At::Stamp(job),
                Err(failure) => At::Exhibit(job, failure),
            },
            (At::Stamp(job), Ok(Answer::Volume(reply))) => {
                self.volume_created = reply.created;
                At::Vouch(job)
            }
            (At::Vouch(job), Ok(Answer::Id(_))) => At::Sweep(job),
            (At::Vouch(job), Err(EngineError::Conflict { .. })) => At::VouchTaken(job),
            (At::VouchTaken(job), Ok(Answer::Container(reply))) => {
                let labels = &reply.labels;
                let mark = Mark::read(labels).filter(|mark| mark.kind == Kind::Receipt);
                match mark {
                    Some(_)
                        if self.vouches(&reply)
                            && labels.get(label::RECEIPT) == Some(&self.receipt_digest) =>
                    {
                        At::Sweep(job)
                    }
                    Some(mark) => At::Unvouch(job, OwnedId::new(&reply.id, &mark)),
                    None => At::Failed(Failure::new(format!(
                        "a container that aishell did not make is called {}; it was left alone",
                        self.work.receipt_name
                    ))),
                }
            }
            (At::VouchTaken(job), Err(_)) if gone => At::Vouch(job),
            (At::Unvouch(job, _), Ok(_)) => At::Vouch(job),
            (At::Unvouch(job, _), Err(_)) if gone => At::Vouch(job),
            (At::Sweep(_), Ok(_)) => At::Done,
            // Somebody else has removed it, or is about to.
            (At::Sweep(_), Err(EngineError::NotFound { .. } | EngineError::Conflict { .. })) => At::Done,
            (At::Exhibit(job, failure), Ok(Answer::Container(reply))) => {
                match Mark::read(&reply.labels).filter(|mark| mark.kind == Kind::Job) {
                    Some(mark) => At::RemoveExhibit(job, OwnedId::new(&reply.id, &mark), failure),
                    None => At::Failed(failure),
                }
            }
            (At::Exhibit(job, failure), Err(_)) if gone => At::KeepExhibit(job, failure),
            (At::RemoveExhibit(job, _, failure), Ok(_)) => At::KeepExhibit(job, failure),
            (At::RemoveExhibit(job, _, failure), Err(_)) if gone => At::KeepExhibit(job, failure),
            // The reason of the failure is worth more than why its exhibit could not be kept.
            (At::KeepExhibit(_, failure) | At::Exhibit(_, failure) | At::RemoveExhibit(_, _, failure), _) => {
                At::Failed(failure)
            }
            (At::Upload(job) | At::Start(job) | At::Read(job), Err(error)) => {
                At::Exhibit(job, failure(error))
            }
            (At::Done, _) => At::Done,
            (At::Busy(detail), _) => At::Busy(detail),
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("populating asked for")),
        };
    }

    fn fetched(&mut self, result: Result<Fetched, FetchError>) {
        self.at = match result {
            Ok(fetched) => {
                self.fetched.push(fetched);
                self.begin()
            }
            Err(error) => At::Failed(error.failure()),
        };
    }

    fn waited(&mut self) {
        if let At::Acquire(acquire) = &mut self.at {
            acquire.waited();
        }
        if let At::Vacate(vacate) = &mut self.at {
            vacate.waited();
        }
    }
}
