//! A phase: what it does, in a fresh container on what the phase before left, and a snapshot of that.
//!
//! 1. Look at the images it is made on.
//! 2. Fetch what comes from elsewhere, and create a container, without mounts; one that is there under its name was left by an apply that was killed, since
//!    whoever builds for an owner holds its claim. It is started only if commands are run.
//! 3. Do what is to be done, one act after the other.
//! 4. Commit it, give the image its names, remove the container. Only the last name makes it count.
//!
//! Where a command fails the container is stopped, which ends whatever the command has left running, and kept under
//! another name.

use std::sync::Arc;

use jiff::Timestamp;

use super::naming::{Naming, removal};
use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Call, Content, Exec, File};
use crate::desired::phase::Act;
use crate::engine::EngineError;
use crate::fetch::{FetchError, Fetched};
use crate::label::OwnedId;
use crate::observed::ImageConfig;
use crate::report::Failure;
use crate::step::PhaseWork;

mod act;
mod anew;
mod fetched;
mod gate;
mod learned;
mod origin;
mod place;
mod record;
mod request;
mod table;
mod users;

use gate::Left;
pub use learned::Learned;
use origin::mine;
use place::{Places, text};
use record::Record;
use table::Table;
use users::Users;

/// What a home has from its beginning.
const SKELETON: &str = "/etc/skel";
/// Where the CA bundle lies while commands run.
const CERTIFICATES: &str = "/.aishell-certificates.pem";
/// Does one phase.
pub(super) struct DoPhase {
    work: PhaseWork,
    at: At,
    config: ImageConfig,
    /// The id of the image it is made on.
    from: String,
    container: Option<OwnedId>,
    started: bool,
    /// The act at hand.
    act: usize,
    users: Option<Users>,
    places: Places,
    /// What was fetched for it, which is there as long as this is.
    fetched: Vec<Fetched>,
    record: Record,
    /// How often it was begun anew.
    again: u32,
    /// What is made by acts that are done, and was not sent yet.
    unsent: Vec<File>,
    learned: Learned,
}

enum At {
    /// An image of a stage before, by its place in the work.
    Look(usize),
    From,
    /// Something is fetched, by its place among the acts.
    Fetch(usize),
    Create,
    Leftover,
    Clear(OwnedId),
    Start,
    Certify,
    Table(Table, Users),
    Stat(String),
    Skeleton,
    Upload(Arc<[File]>),
    Prepare(Exec),
    Follow(String),
    Code(String, Vec<String>),
    TidyPrepare,
    TidyFollow(String),
    TidyCode(String),
    /// Whatever was left running ends before what it has left is looked through.
    Still,
    Changes,
    Search(Left),
    Forget,
    Commit,
    Check(String),
    /// An image that must not be is removed.
    Discard(Failure),
    Name(Naming),
    Remove(Option<Failure>),
    Kill(Failure),
    Record(Failure),
    Kept(Failure),
    ClearKept(OwnedId, Failure),
    Keep(Failure),
    Done,
    Failed(Failure),
}

impl DoPhase {
    pub(super) fn new(work: PhaseWork, learned: Learned) -> Self {
        let mut phase = Self {
            work,
            at: At::From,
            config: ImageConfig::default(),
            from: String::new(),
            container: None,
            started: false,
            act: 0,
            users: None,
            places: Places::default(),
            fetched: Vec::new(),
            record: Record::default(),
            again: 0,
            unsent: Vec::new(),
            learned,
        };
        phase.at = phase.look(0);
        phase
    }

    fn look(&self, index: usize) -> At {
        if index < self.work.on.len() {
            At::Look(index)
        } else {
            At::From
        }
    }

    fn runs(&self) -> bool {
        self.work.acts.iter().any(|act| matches!(act, Act::Run(_)))
    }

    /// Returns the container, which is there from its creation on.
    fn id(&self) -> String {
        self.container
            .as_ref()
            .map(|one| one.id().to_owned())
            .unwrap_or_default()
    }

    fn owned(&self, then: impl FnOnce(OwnedId) -> Next) -> Next {
        match &self.container {
            Some(container) => then(container.clone()),
            None => Next::Failed(unexpected("a container")),
        }
    }

    /// Returns what comes after an image was made.
    fn committed(&mut self, image: String) -> At {
        self.pass_on(&image);
        if self.has_secrets() {
            At::Check(image)
        } else {
            self.named(&image)
        }
    }

    fn named(&self, image: &str) -> At {
        let names: Vec<&str> = self.work.names.iter().map(String::as_str).collect();
        At::Name(Naming::of(image, &names).made_as(&self.work.making))
    }

    /// Returns what comes after something went wrong.
    fn fail(&self, failure: Failure) -> At {
        let message = format!("phase {}: {}", self.work.name, failure.message);
        let failure = Failure { message, ..failure };
        match (&self.container, self.started) {
            (Some(_), true) => At::Kill(failure),
            (Some(_), false) => At::Remove(Some(failure)),
            (None, _) => At::Failed(failure),
        }
    }
}

impl Protocol for DoPhase {
    fn next(&self) -> Next {
        let inspect = |name: &str| {
            call(Call::InspectContainer {
                container: name.to_owned(),
            })
        };
        let remove = |container: OwnedId| {
            call(Call::RemoveContainer {
                container,
                volumes: true,
            })
        };
        match &self.at {
            At::Look(index) => match self.work.on.get(*index) {
                Some(ancestor) => call(Call::InspectImage {
                    image: ancestor.reference.clone(),
                }),
                None => Next::Failed(unexpected("an image")),
            },
            At::From => call(Call::InspectImage {
                image: self.work.from.clone(),
            }),
            At::Fetch(index) => self.order(*index),
            At::Create => call(Call::CreateContainer(Box::new(self.create()))),
            At::Leftover => inspect(&self.work.job_name),
            At::Clear(container) | At::ClearKept(container, _) => remove(container.clone()),
            At::Start => call(Call::StartContainer { container: self.id() }),
            At::Certify => call(Call::Upload {
                container: self.id(),
                files: [File {
                    path: CERTIFICATES.trim_start_matches('/').to_owned(),
                    uid: 0,
                    gid: 0,
                    mode: 0o644,
                    content: Content::Bytes(self.work.certificates.clone().unwrap_or_default()),
                }]
                .into(),
            }),
            At::Table(table, _) => call(Call::ReadFile {
                container: self.id(),
                path: table.path().to_owned(),
            }),
            At::Stat(path) => call(Call::StatFile {
                container: self.id(),
                path: path.clone(),
            }),
            At::Skeleton => call(Call::ReadTree {
                container: self.id(),
                path: SKELETON.to_owned(),
            }),
            At::Upload(files) => call(Call::Upload {
                container: self.id(),
                files: Arc::clone(files),
            }),
            At::Prepare(exec) => call(Call::CreateExec(Box::new(exec.clone()))),
            At::Follow(exec) => call(Call::FollowExec {
                exec: exec.clone(),
                seconds: match self.work.acts.get(self.act) {
                    Some(Act::Run(command)) => command.seconds,
                    _ => None,
                },
                secrets: self.secrets(),
            }),
            At::Code(exec, _) | At::TidyCode(exec) => call(Call::InspectExec { exec: exec.clone() }),
            At::TidyPrepare => call(Call::CreateExec(Box::new(Exec {
                container: self.id(),
                words: vec!["/bin/rm".to_owned(), "-f".to_owned(), CERTIFICATES.to_owned()],
                user: Some("0:0".to_owned()),
                workdir: Some("/".to_owned()),
                ..Exec::default()
            }))),
            At::TidyFollow(exec) => call(Call::FollowExec {
                exec: exec.clone(),
                seconds: None,
                secrets: Arc::default(),
            }),
            At::Still => self.owned(|container| call(Call::KillContainer { container })),
            At::Changes => call(Call::ListChanges { container: self.id() }),
            At::Search(left) => call(Call::SearchFiles {
                container: self.id(),
                path: left.paths.last().cloned().unwrap_or_default(),
                only: Arc::clone(&left.only),
                secrets: self.secrets(),
            }),
            At::Forget | At::Discard(_) => call(removal(&self.work.making)),
            At::Check(image) => call(Call::InspectImage { image: image.clone() }),
            At::Commit => call(Call::CommitContainer(Box::new(self.commit()))),
            At::Name(naming) => match naming.call() {
                Some(next) => call(next.clone()),
                None => Next::Failed(unexpected("a name")),
            },
            At::Remove(_) => self.owned(remove),
            At::Kill(_) => self.owned(|container| call(Call::KillContainer { container })),
            At::Record(_) => call(Call::Upload {
                container: self.id(),
                files: [self.log()].into(),
            }),
            At::Kept(_) => inspect(&self.work.failed_name),
            At::Keep(_) => self.owned(|container| {
                call(Call::RenameContainer {
                    container,
                    name: self.work.failed_name.clone(),
                })
            }),
            At::Done => Next::Done,
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn fetched(&mut self, result: Result<Fetched, FetchError>) {
        self.take_in(result);
    }

    fn given_up(&self) -> Option<Call> {
        let container = self.container.clone()?;
        Some(Call::RemoveContainer {
            container,
            volumes: true,
        })
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, _now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        let gone = matches!(result, Err(EngineError::NotFound { .. }));
        let commanding = matches!(
            at,
            At::Prepare(_)
                | At::Follow(_)
                | At::Code(..)
                | At::TidyPrepare
                | At::TidyFollow(_)
                | At::TidyCode(_)
        );
        // The engine was away, or was started anew, and the container does not run any more.
        let lost = matches!(
            result,
            Err(EngineError::Unreachable { .. } | EngineError::Conflict { .. })
        );
        if commanding
            && lost
            && let Some(at) = self.afresh()
        {
            self.at = at;
            return;
        }
        if commanding && matches!(result, Err(EngineError::Conflict { .. })) {
            let failure = self.lacking("sleep", Vec::new());
            self.at = self.fail(failure);
            return;
        }
        self.at = match (at, result) {
            (At::Look(index), Ok(answer)) => self.seen(index, answer),
            (At::From, Ok(answer)) => self.began(answer),
            (At::Create, Ok(Answer::Id(id))) => {
                self.container = Some(OwnedId::made(&id));
                if self.runs() { At::Start } else { self.go_on() }
            }
            (At::Create, Err(EngineError::Conflict { .. })) => At::Leftover,
            (At::Leftover, Ok(answer)) => self.leftover(answer),
            (At::Leftover | At::Clear(_), _) if gone => At::Create,
            // The name is free, or is found taken.
            (At::Clear(_), Ok(_) | Err(EngineError::Conflict { .. })) => At::Create,
            (At::Start, Ok(_)) => {
                self.started = true;
                if self.work.certificates.is_some() {
                    At::Certify
                } else {
                    self.go_on()
                }
            }
            (At::Certify, Ok(_)) => self.go_on(),
            (At::Table(table, users), Ok(Answer::Bytes(bytes))) => {
                self.table(table, users, Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            // An image without a table is no obstacle.
            (At::Table(table, users), Err(EngineError::NotFound { .. })) => self.table(table, users, None),
            (At::Stat(path), Ok(Answer::File(status))) => self.stat(path, Some(status)),
            (At::Stat(path), Err(EngineError::NotFound { .. })) => self.stat(path, None),
            (At::Skeleton, Ok(Answer::Files(files))) => self.skeleton(files),
            (At::Skeleton, Err(EngineError::NotFound { .. })) => self.skeleton(Vec::new()),
            (At::Upload(_), Ok(_)) => self.go_on(),
            (At::Prepare(_), Ok(Answer::Id(exec))) => At::Follow(exec),
            (At::Follow(exec), Ok(Answer::Ran(log, true))) => At::Code(exec, self.recorded(log)),
            (At::Follow(_), Ok(Answer::Ran(log, false))) => {
                let log = self.recorded(log);
                let failure = self.failed(log, "did not end in its time");
                self.fail(failure)
            }
            (At::Code(_, log), Ok(Answer::Exec(reply))) => match reply.code {
                Some(0) => {
                    // Whatever was known of the files and users may have changed.
                    self.users = None;
                    self.places = Places::default();
                    self.act += 1;
                    self.go_on()
                }
                code => self.ended(code, log),
            },
            (At::TidyPrepare, Ok(Answer::Id(exec))) => At::TidyFollow(exec),
            (At::TidyFollow(exec), Ok(_)) => At::TidyCode(exec),
            (At::TidyCode(_), Ok(Answer::Exec(reply))) if reply.code == Some(0) => self.finish(),
            (At::TidyCode(_), Ok(_)) => {
                let message = format!("{CERTIFICATES} cannot be removed again, and must be in no image");
                self.fail(Failure::new(message))
            }
            (At::Forget, Ok(_)) => At::Commit,
            (At::Forget, _) if gone => At::Commit,
            // One that has ended by itself cannot be killed.
            (At::Still, Ok(_) | Err(EngineError::Conflict { .. })) => At::Changes,
            (At::Changes, Ok(Answer::Changes(changes))) => self.changed(&changes),
            (At::Search(left), Ok(Answer::Found(found))) => self.searched(left, found),
            (At::Search(left), _) if gone => self.searched(left, None),
            (At::Commit, Ok(Answer::Id(image))) => self.committed(image),
            (At::Check(image), Ok(answer)) => self.checked(&image, answer),
            (At::Check(_), Err(error)) => At::Discard(failure(error)),
            (At::Discard(failure), _) => At::Remove(Some(failure)),
            (At::Name(naming), Ok(_)) => {
                let naming = naming.called();
                match naming.call() {
                    Some(_) => At::Name(naming),
                    None => At::Remove(None),
                }
            }
            (At::Remove(None), Ok(_) | Err(EngineError::Conflict { .. } | EngineError::NotFound { .. })) => {
                At::Done
            }
            (At::Remove(Some(failure)), _) => At::Failed(failure),
            // One that has ended by itself cannot be killed.
            (At::Kill(failure), _) => At::Record(failure),
            // That nothing can be written any more may be why it failed.
            (At::Record(failure), _) => At::Kept(failure),
            (At::Kept(failure), Ok(Answer::Container(reply))) => match mine(&reply, &self.work.job) {
                Some(owned) => At::ClearKept(owned, failure),
                None => At::Remove(Some(failure)),
            },
            (At::Kept(failure) | At::ClearKept(_, failure), _) if gone => At::Keep(failure),
            (At::ClearKept(_, failure), Ok(_)) => At::Keep(failure),
            (At::Kept(failure) | At::ClearKept(_, failure), _) => At::Remove(Some(failure)),
            (At::Keep(failure), Ok(_)) => At::Failed(failure),
            (At::Keep(failure), Err(_)) => At::Remove(Some(failure)),
            (At::Done, _) => At::Done,
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => self.fail(failure(error)),
            (_, Ok(_)) => self.fail(unexpected("this")),
        };
    }
}
