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

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::identity::CERTIFICATE_VARIABLES;
use super::naming::{Naming, removal};
use super::{Next, Protocol, call, failure, hinted, unexpected};
use crate::call::{Answer, Call, Commit, Content, Create, Exec, File, FileStatus};
use crate::desired::phase::{Act, Command};
use crate::engine::EngineError;
use crate::label::{self, Kind, Mark, OwnedId, PROVEN, SCHEMA};
use crate::observed::ImageConfig;
use crate::report::Failure;
use crate::spec::{ContainerSpec, Endpoint};
use crate::step::PhaseWork;

mod place;
mod users;

use place::Places;
use users::Users;

/// Where the CA bundle lies while commands run.
const CERTIFICATES: &str = "/.aishell-certificates.pem";
/// What a program finds when its image sets no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

    fn create(&self) -> Create {
        let words = ["sleep", "infinity"].map(str::to_owned);
        let network = ("bridge".to_owned(), Endpoint::default());
        Create {
            name: self.work.job_name.clone(),
            labels: self.work.job.clone(),
            spec: ContainerSpec {
                image: self.work.from.clone(),
                // An entrypoint of its own, and no command: a commit can clear the one, but not the other.
                entrypoint: Some(words.into()),
                command: Some(Vec::new()),
                init: true,
                shm: 64 << 20,
                networks: if self.runs() {
                    [network].into()
                } else {
                    BTreeMap::new()
                },
                ..ContainerSpec::default()
            },
        }
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

    fn path(&self) -> &str {
        self.config.env.get("PATH").map_or(DEFAULT_PATH, String::as_str)
    }

    fn commit(&self) -> Commit {
        let settings = &self.work.settings;
        let mut labels = self.work.labels.clone();
        labels.insert(SCHEMA.to_owned(), PROVEN.to_owned());
        let command = settings.command.clone();
        let entrypoint = settings.entrypoint.clone();
        Commit {
            container: self.id(),
            tag: self.work.making.clone(),
            labels,
            env: settings
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.with_path(self.path())))
                .collect(),
            command: command
                .or_else(|| self.config.command.clone())
                .or(Some(Vec::new())),
            entrypoint: entrypoint
                .or_else(|| self.config.entrypoint.clone())
                .or(Some(Vec::new())),
            user: settings.user.clone(),
            workdir: settings.workdir.clone(),
        }
    }

    fn exec(&self, command: &Command) -> Exec {
        let mut env = self.work.proxies.clone();
        if self.work.certificates.is_some() {
            let variables = CERTIFICATE_VARIABLES.iter().chain(&["npm_config_cafile"]);
            env.extend(variables.map(|name| ((*name).to_owned(), CERTIFICATES.to_owned())));
        }
        env.extend(command.env.clone());
        Exec {
            container: self.id(),
            words: vec![command.shell.clone(), "-ec".to_owned(), command.run.clone()],
            // An image need not have a table in which root has a name.
            user: Some(if command.user == "root" {
                "0:0".to_owned()
            } else {
                command.user.clone()
            }),
            workdir: command.workdir.clone(),
            env,
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

    /// Returns the failure of a command.
    fn failed(&self, log: Vec<String>, how: &str) -> Failure {
        let command = match self.work.acts.get(self.act) {
            Some(Act::Run(command)) => command.clone(),
            _ => return Failure::new("a command failed that was not to be run"),
        };
        let first = command.run.trim().lines().next().unwrap_or_default();
        let shown: String = first.chars().take(80).collect();
        let failure = Failure::new(format!("`{shown}` ({}) {how}", command.field)).log(log);
        let hinted = hinted(failure);
        let name = &self.work.failed_name;
        let shell = format!(
            "`docker start {name} && docker exec -it -u {} {name} {}` opens a shell in it; `aishell apply` goes on from here",
            if command.user == "root" {
                "0"
            } else {
                &command.user
            },
            command.shell
        );
        Failure {
            hint: Some(match hinted.hint {
                Some(hint) => format!("{hint}\n{shell}"),
                None => shell,
            }),
            ..hinted
        }
    }

    /// Takes in what an image is that this is made on.
    fn seen(&mut self, index: usize, answer: Answer) -> At {
        let (Some(ancestor), Answer::Image(image)) = (self.work.on.get(index), answer) else {
            return At::Failed(unexpected("an image"));
        };
        let mark = Mark::read(&image.image.labels);
        if let Some(key) = &ancestor.key
            && mark.is_none_or(|mark| mark.key != *key)
        {
            return self.fail(Failure::new(changed(&ancestor.reference)));
        }
        self.work.labels.insert(ancestor.label.to_owned(), image.image.id);
        self.look(index + 1)
    }

    /// Takes in what it is made on.
    fn began(&mut self, answer: Answer) -> At {
        let Answer::Image(image) = answer else {
            return At::Failed(unexpected("an image"));
        };
        let mark = Mark::read(&image.image.labels);
        // The last snapshot is known by the key of its stage, and by its own besides.
        let keys = image.image.labels.iter();
        let hashes = keys
            .filter(|(name, _)| label::is_phase_hash(name))
            .map(|(_, key)| key);
        let is_it = |key: &crate::key::Key| {
            mark.as_ref().is_some_and(|mark| mark.key == *key)
                || hashes.clone().any(|hash| hash == key.as_str())
        };
        if self.work.from_key.as_ref().is_some_and(|key| !is_it(key)) {
            return self.fail(Failure::new(changed(&self.work.from)));
        }
        self.config = image.config;
        At::Create
    }

    /// Says who has the name of the container.
    fn leftover(&self, answer: Answer) -> At {
        let Answer::Container(reply) = answer else {
            return At::Failed(unexpected("a container"));
        };
        match mine(&reply, &self.work.job) {
            Some(owned) => At::Clear(owned),
            None => self.fail(Failure::new(format!(
                "a container that is not of this manifest is called {}; it was left alone",
                self.work.job_name
            ))),
        }
    }
}

fn changed(image: &str) -> String {
    format!("{image} is not what was planned any more; nothing was built")
}

/// Returns the proof for a job of the same owner.
fn mine(reply: &crate::call::ContainerReply, job: &label::Labels) -> Option<OwnedId> {
    let mark = Mark::read(&reply.labels).filter(|mark| mark.kind == Kind::Job)?;
    let ours =
        Some(&mark.manifest) == job.get(label::MANIFEST) && mark.project.as_ref() == job.get(label::PROJECT);
    ours.then(|| OwnedId::new(&reply.id, &mark))
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
            At::Code(exec, _) => call(Call::InspectExec { exec: exec.clone() }),
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
            At::Prepare(_) | At::Follow(_) | At::Code(..) | At::TidyPrepare | At::TidyFollow(_)
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
            (At::TidyFollow(_), Ok(_)) => self.finish(),
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
