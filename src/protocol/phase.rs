//! A phase: what it does, in a fresh container on what the phase before left, and a snapshot of that.
//!
//! 1. Look at the images it is made on.
//! 2. Create a container, without mounts; one that is there under its name was left by an apply that was killed, since
//!    whoever builds for an owner holds its claim. It is started only if commands are run.
//! 3. Do what is to be done, one act after the other.
//! 4. Commit it, give the image its names, remove the container. Only the last name makes it count.
//!
//! Where a command fails the container is stopped, which ends whatever the command has left running, and kept under
//! another name.

use jiff::Timestamp;

use super::naming::{Naming, removal};
use super::{Next, Protocol, call, failure, unexpected};
use crate::call::{Answer, Call, Content, Exec, File, FileStatus};
use crate::desired::phase::Act;
use crate::engine::EngineError;
use crate::label::OwnedId;
use crate::observed::ImageConfig;
use crate::report::Failure;
use crate::step::PhaseWork;

mod origin;
mod place;
mod request;
mod users;

use origin::mine;
use place::Places;
use users::Users;

/// Where the CA bundle lies while commands run.
const CERTIFICATES: &str = "/.aishell-certificates.pem";
/// How often a phase is begun anew when nobody knows what became of a command in it.
const AGAIN: u32 = 2;

/// Does one phase.
pub(super) struct DoPhase {
    work: PhaseWork,
    at: At,
    config: ImageConfig,
    container: Option<OwnedId>,
    started: bool,
    /// The act at hand.
    act: usize,
    users: Option<Users>,
    places: Places,
    /// How often it was begun anew.
    again: u32,
}

enum At {
    /// An image of a stage before, by its place in the work.
    Look(usize),
    From,
    Create,
    Leftover,
    Clear(OwnedId),
    Start,
    Certify,
    Table(Table, Users),
    Stat(String),
    Upload(Vec<File>),
    Prepare(Exec),
    Follow(String),
    Code(String, Vec<String>),
    TidyPrepare,
    TidyFollow(String),
    TidyCode(String),
    Forget,
    Commit,
    Name(Naming),
    Remove(Option<Failure>),
    Kill(Failure),
    Kept(Failure),
    ClearKept(OwnedId, Failure),
    Keep(Failure),
    Done,
    Failed(Failure),
}

/// A table of users or groups.
#[derive(Clone, Copy)]
enum Table {
    Passwd,
    Group,
    Shadow,
}

impl Table {
    fn path(self) -> &'static str {
        match self {
            Self::Passwd => "/etc/passwd",
            Self::Group => "/etc/group",
            Self::Shadow => "/etc/shadow",
        }
    }
}

impl DoPhase {
    pub(super) fn new(work: PhaseWork) -> Self {
        let mut phase = Self {
            work,
            at: At::From,
            config: ImageConfig::default(),
            container: None,
            started: false,
            act: 0,
            users: None,
            places: Places::default(),
            again: 0,
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

    /// Returns what comes next of the act at hand.
    fn go_on(&mut self) -> At {
        match self.step() {
            Ok(at) => at,
            Err(failure) => self.fail(failure),
        }
    }

    fn step(&mut self) -> Result<At, Failure> {
        loop {
            let Some(act) = self.work.acts.get(self.act) else {
                return Ok(if self.started && self.work.certificates.is_some() {
                    At::TidyPrepare
                } else {
                    self.finish()
                });
            };
            if let Act::Run(command) = act {
                return Ok(At::Prepare(self.exec(command)));
            }
            let Some(users) = &self.users else {
                return Ok(At::Table(Table::Passwd, Users::default()));
            };
            if let Some(path) = self.places.unknown(act, users)? {
                return Ok(At::Stat(path));
            }
            if let Act::Verify(expected) = act {
                self.places.verify(expected, users)?;
                self.act += 1;
                continue;
            }
            let (files, users) = self.places.files(act, users)?;
            self.users = Some(users);
            self.act += 1;
            if !files.is_empty() {
                return Ok(At::Upload(files));
            }
        }
    }

    fn finish(&self) -> At {
        if self.work.names.is_empty() {
            At::Remove(None)
        } else {
            At::Forget
        }
    }

    /// Begins anew in a fresh container: what a command did that was not heard to its end cannot be told.
    fn afresh(&mut self) -> Option<At> {
        if self.again >= AGAIN {
            return None;
        }
        let container = self.container.take()?;
        self.again += 1;
        self.started = false;
        self.act = 0;
        self.users = None;
        self.places = Places::default();
        Some(At::Clear(container))
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
            At::Create => call(Call::CreateContainer(Box::new(self.create()))),
            At::Leftover => inspect(&self.work.job_name),
            At::Clear(container) | At::ClearKept(container, _) => remove(container.clone()),
            At::Start => call(Call::StartContainer { container: self.id() }),
            At::Certify => call(Call::Upload {
                container: self.id(),
                files: vec![File {
                    path: CERTIFICATES.trim_start_matches('/').to_owned(),
                    uid: 0,
                    gid: 0,
                    mode: 0o644,
                    content: Content::Bytes(self.work.certificates.clone().unwrap_or_default()),
                }],
            }),
            At::Table(table, _) => call(Call::ReadFile {
                container: self.id(),
                path: table.path().to_owned(),
            }),
            At::Stat(path) => call(Call::StatFile {
                container: self.id(),
                path: path.clone(),
            }),
            At::Upload(files) => call(Call::Upload {
                container: self.id(),
                files: files.clone(),
            }),
            At::Prepare(exec) => call(Call::CreateExec(Box::new(exec.clone()))),
            At::Follow(exec) => call(Call::FollowExec {
                exec: exec.clone(),
                seconds: match self.work.acts.get(self.act) {
                    Some(Act::Run(command)) => command.seconds,
                    _ => None,
                },
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
            }),
            At::Forget => call(removal(&self.work.making)),
            At::Commit => call(Call::CommitContainer(Box::new(self.commit()))),
            At::Name(naming) => match naming.call() {
                Some(next) => call(next.clone()),
                None => Next::Failed(unexpected("a name")),
            },
            At::Remove(_) => self.owned(remove),
            At::Kill(_) => self.owned(|container| call(Call::KillContainer { container })),
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
            (At::Upload(files), Ok(_)) => {
                self.places.made(&files);
                self.go_on()
            }
            (At::Prepare(_), Ok(Answer::Id(exec))) => At::Follow(exec),
            (At::Follow(exec), Ok(Answer::Ran(log, true))) => At::Code(exec, log),
            (At::Follow(_), Ok(Answer::Ran(log, false))) => {
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
                code => {
                    let code = code.map_or_else(|| "nobody knows what".to_owned(), |code| code.to_string());
                    let failure = self.failed(log, &format!("ended with {code}"));
                    self.fail(failure)
                }
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
            (At::Commit, Ok(Answer::Id(image))) => {
                let names: Vec<&str> = self.work.names.iter().map(String::as_str).collect();
                At::Name(Naming::of(&image, &names).made_as(&self.work.making))
            }
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
            (At::Kill(failure), _) => At::Kept(failure),
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

impl DoPhase {
    fn table(&mut self, table: Table, mut users: Users, text: Option<String>) -> At {
        match table {
            Table::Passwd => {
                users.passwd = text.unwrap_or_default();
                At::Table(Table::Group, users)
            }
            Table::Group => {
                users.group = text.unwrap_or_default();
                At::Table(Table::Shadow, users)
            }
            Table::Shadow => {
                users.shadow = text;
                self.users = Some(users);
                self.go_on()
            }
        }
    }

    fn stat(&mut self, path: String, status: Option<FileStatus>) -> At {
        self.places.saw(path, status);
        self.go_on()
    }
}
