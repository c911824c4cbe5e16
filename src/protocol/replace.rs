//! A new container in the place of an old one.
//!
//! The old one is looked at again, the new one created beside it under `<name>.next`. Where both can run at once, the
//! new one is started there and has to prove itself before the old one is touched. Else the old one is stopped first,
//! renamed to `<name>.prev`, and the new one renamed and started. Either way the old one is removed last, when the new
//! one has run for a while and can be used; where that does not come about, the old one goes on, under its name, and
//! the new one is kept for its log, stopped, under `<name>.failed`.
//!
//! Every state in between is told from names and labels, and the plan made from it finishes or takes back.

use std::time::Duration;

use jiff::Timestamp;

use self::beside::can_run_beside;
use self::exhibit::Exhibit;
use super::probe::{Probe, Probing};
use super::settle::{AGAIN, SETTLE};
use super::{Next, Protocol, call, failure, is_still, need, unexpected};
use crate::call::{Answer, Call, ContainerReply, Create};
use crate::engine::EngineError;
use crate::label::{self, Mark, OwnedId};
use crate::observed::{ImageReply, RunState};
use crate::report::Failure;
use crate::step::{CreateWork, ResourceKind};

mod beside;
mod exhibit;
#[cfg(test)]
mod tests;
mod verdict;

/// How long the engine gives a container to stop unless it is told, in seconds.
const STOP: u32 = 10;
/// How long everything else of a replacement takes before the new one is started, in seconds.
const MARGIN: u32 = 2;
/// How long to wait between two looks at whoever has the name of the new one, in milliseconds.
const LOOK_MILLIS: u32 = 200;

/// Replaces a container.
pub(super) struct Replace {
    old: OwnedId,
    work: CreateWork,
    name: String,
    /// How the old one was found when it was looked at again.
    found: RunState,
    /// What has been done to the old one.
    done: Touched,
    new: String,
    /// Whether somebody works in the old one; asked right before it is stopped.
    probe: Option<Probe>,
    /// What somebody was found to do there.
    busy: Option<String>,
    /// Whether part of taking back failed.
    stuck: bool,
    /// Whether the new one is started while the old one still runs.
    beside: bool,
    /// When the new one was started.
    started: Option<Timestamp>,
    /// What becomes of the new one if it does not work.
    exhibit: Exhibit,
    /// How often whoever has the name of the new one was looked at.
    looks: u32,
    at: At,
}

enum At {
    Look,
    Begun,
    Home,
    Create,
    Taken,
    Judge(Box<ContainerReply>),
    Wait,
    Clear(OwnedId),
    Shell,
    Connect(usize),
    Ask,
    Unpause,
    Stop,
    Aside,
    Promote,
    Start,
    Settle,
    Unready,
    Settled,
    Kill(Failure),
    Quiet(Failure),
    Tell(Failure),
    Keep(Failure),
    Commit,
    Forget,
    RollBack(Back, Failure),
    Done,
    Busy(String),
    Failed(Failure),
}

/// What has been done to the old container, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    Nothing,
    Stopped,
    Aside,
}

/// How far a replacement is taken back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    RemoveNew,
    RenameOld,
    StartOld,
}

impl Replace {
    pub(super) fn new(old: OwnedId, work: CreateWork, failed: Option<OwnedId>) -> Self {
        let name = work.create.name.clone();
        let found = RunState::Created;
        Self {
            old,
            work,
            name,
            found,
            done: Touched::Nothing,
            new: String::new(),
            probe: None,
            busy: None,
            stuck: false,
            beside: false,
            started: None,
            exhibit: Exhibit::new(failed),
            looks: 0,
            at: At::Look,
        }
    }

    /// Goes on where one was cut: the old one is aside, and a new one has its name.
    pub(super) fn begun(mut self, new: Option<&OwnedId>) -> Self {
        if let Some(new) = new {
            new.id().clone_into(&mut self.new);
            self.found = RunState::Running;
            self.done = Touched::Aside;
            self.at = At::Begun;
        }
        self
    }

    /// Asks whether somebody works in the old one before it is stopped.
    pub(super) fn after(mut self, probe: Option<Probe>) -> Self {
        self.probe = probe;
        self
    }

    fn next_name(&self) -> String {
        format!("{}.next", self.name)
    }

    fn looked(&mut self, answer: &Answer) -> At {
        let Answer::Container(reply) = answer else {
            return At::Failed(unexpected("a container"));
        };
        if !is_still(&self.old, ResourceKind::Container, answer) {
            return At::Failed(Failure::new(
                "the container is not the one that was observed; nothing was touched",
            ));
        }
        // One that is aside was stopped by a replacement that was cut: it worked.
        self.found = match reply.state {
            RunState::Exited { .. } | RunState::Dead if reply.name != self.name => RunState::Running,
            state => state,
        };
        // What the old one wrote to volumes that its image declares goes along.
        let own = reply.spec.mounts.iter().filter(|(_, mount)| mount.is_anonymous());
        for (target, mount) in own {
            let mounts = &mut self.work.create.spec.mounts;
            mounts.entry(target.clone()).or_insert_with(|| mount.clone());
        }
        // Only now: what goes along is shared too, and a database bears no second one on its data.
        self.beside = reply.state == RunState::Running && can_run_beside(&reply.spec, &self.work.create.spec);
        // Left aside by a replacement that was cut: it is the container, so it has its name.
        if reply.name == self.name {
            At::Create
        } else {
            At::Home
        }
    }

    /// Decides how to go on with a new one that has the name already.
    fn taken_up(&mut self, reply: &ContainerReply, now: Timestamp) -> At {
        match reply.state {
            RunState::Running | RunState::Paused | RunState::Restarting => {
                self.started = Some(now);
                At::Settle
            }
            RunState::Exited { code: 0 } if self.work.completes => At::Commit,
            // Whether it was ever started or not: it has another chance.
            RunState::Created | RunState::Exited { .. } | RunState::Dead => At::Start,
            RunState::Removing => At::Failed(Failure::new("the engine is removing the new container")),
        }
    }

    fn connect(&self, index: usize) -> At {
        if index < self.work.connect.len() {
            At::Connect(index)
        } else {
            self.quiet()
        }
    }

    /// Returns what comes after the creation.
    fn quiet(&self) -> At {
        if self.beside {
            return At::Start;
        }
        self.make_way()
    }

    /// Returns what comes before the old one makes way: a last look at whether somebody works in it.
    fn make_way(&self) -> At {
        match &self.probe {
            Some(_) if self.found.is_alive() => At::Ask,
            Some(_) | None => self.take_over(),
        }
    }

    fn asked(&mut self, result: Result<Answer, EngineError>) -> At {
        let Some(probe) = &mut self.probe else {
            return self.take_over();
        };
        probe.heard(result);
        match probe.state() {
            Probing::Ask(_) => At::Ask,
            Probing::Idle => self.take_over(),
            Probing::Busy(detail) => {
                self.busy = Some(detail.to_owned());
                At::RollBack(Back::RemoveNew, Failure::default())
            }
            Probing::Failed(error) => At::RollBack(Back::RemoveNew, failure(error.clone())),
        }
    }

    /// Returns what comes first when the old one makes way.
    fn take_over(&self) -> At {
        match self.found {
            // A frozen process cannot be asked to end.
            RunState::Paused => At::Unpause,
            RunState::Running | RunState::Restarting => At::Stop,
            RunState::Created | RunState::Exited { .. } | RunState::Removing | RunState::Dead => At::Aside,
        }
    }
}

impl Replace {
    /// Returns the proof that whoever has the name of the new one was created for the same by another aishell, and
    /// not started. A copy of ours has the same labels, so those of its image decide.
    fn rival(&self, reply: &ContainerReply, image: &ImageReply) -> Option<OwnedId> {
        let mark = Mark::read_container(&reply.labels, &image.image.labels)?;
        let same = |label: &str| reply.labels.get(label) == self.work.create.labels.get(label);
        let ours = [label::MANIFEST, label::PROJECT, label::KIND, label::NAME]
            .into_iter()
            .all(same);
        let waits = reply.state == RunState::Created && mark.uid != self.old.uid();
        (ours && waits).then(|| OwnedId::new(&reply.id, &mark))
    }

    fn judge(&self, reply: &ContainerReply, image: &ImageReply) -> At {
        match self.rival(reply, image) {
            // Whoever is at work stops the old one first; whoever was killed never comes to the end of that.
            Some(rival) if self.looks > self.patience() => At::Clear(rival),
            Some(_) => At::Wait,
            None => self.taken(),
        }
    }

    fn patience(&self) -> u32 {
        let stop = self.work.create.spec.stop.timeout.unwrap_or(STOP);
        stop.saturating_add(MARGIN).saturating_mul(1000 / LOOK_MILLIS)
    }

    fn taken(&self) -> At {
        At::Failed(Failure::new(format!(
            "another container is called {}; it was left alone, and so was the old one",
            self.next_name()
        )))
    }
}

impl Protocol for Replace {
    fn next(&self) -> Next {
        let old = || self.old.clone();
        let new = || OwnedId::made(&self.new);
        match &self.at {
            At::Look => call(Call::InspectContainer {
                container: self.old.id().to_owned(),
            }),
            At::Home => call(Call::RenameContainer {
                container: old(),
                name: self.name.clone(),
            }),
            At::Create => {
                let create = Create {
                    name: self.next_name(),
                    ..self.work.create.clone()
                };
                call(Call::CreateContainer(Box::new(create)))
            }
            At::Taken => call(Call::InspectContainer {
                container: self.next_name(),
            }),
            At::Begun => call(Call::InspectContainer {
                container: self.new.clone(),
            }),
            At::Judge(reply) => call(Call::InspectImage {
                image: reply.image_id.clone(),
            }),
            At::Wait => Next::Wait(Duration::from_millis(u64::from(LOOK_MILLIS))),
            At::Clear(rival) => call(Call::RemoveContainer {
                container: rival.clone(),
                volumes: true,
            }),
            At::Shell => call(need::shell(&self.new)),
            At::Connect(index) => match self.work.connect.get(*index) {
                Some((network, endpoint)) => call(Call::ConnectNetwork {
                    network: network.clone(),
                    container: self.new.clone(),
                    endpoint: endpoint.clone(),
                }),
                None => Next::Done,
            },
            At::Ask => match self.probe.as_ref().map(Probe::state) {
                Some(Probing::Ask(ask)) => call(ask),
                Some(Probing::Idle | Probing::Busy(_) | Probing::Failed(_)) | None => Next::Done,
            },
            At::Unpause => call(Call::UnpauseContainer {
                container: self.old.id().to_owned(),
            }),
            At::Stop => call(Call::StopContainer { container: old() }),
            At::Aside => call(Call::RenameContainer {
                container: old(),
                name: format!("{}.prev", self.name),
            }),
            At::Promote => call(Call::RenameContainer {
                container: new(),
                name: self.name.clone(),
            }),
            At::Start => call(Call::StartContainer {
                container: self.new.clone(),
            }),
            At::Settle => Next::Wait(SETTLE),
            At::Unready => Next::Wait(AGAIN),
            At::Settled => call(Call::InspectContainer {
                container: self.new.clone(),
            }),
            At::Kill(_) => call(Call::KillContainer { container: new() }),
            At::Quiet(_) => call(Call::StopContainer { container: new() }),
            At::Tell(_) => call(Call::FollowLog {
                container: self.new.clone(),
            }),
            At::Commit => call(Call::RemoveContainer {
                container: old(),
                volumes: false,
            }),
            At::Keep(_) => self
                .exhibit
                .call(&self.new, &self.work.create)
                .map_or(Next::Done, call),
            At::Forget => self.exhibit.removal().map_or(Next::Done, call),
            At::RollBack(Back::RemoveNew, _) => call(Call::RemoveContainer {
                container: new(),
                volumes: true,
            }),
            At::RollBack(Back::RenameOld, _) => call(Call::RenameContainer {
                container: old(),
                name: self.name.clone(),
            }),
            At::RollBack(Back::StartOld, _) => call(Call::StartContainer {
                container: self.old.id().to_owned(),
            }),
            At::Done => Next::Done,
            At::Busy(detail) => Next::Busy(detail.clone()),
            At::Failed(failure) => Next::Failed(failure.clone()),
        }
    }

    fn waited(&mut self) {
        if matches!(self.at, At::Settle | At::Unready) {
            self.at = At::Settled;
        } else if matches!(self.at, At::Wait) {
            self.looks += 1;
            self.at = At::Create;
        }
    }

    fn heard(&mut self, result: Result<Answer, EngineError>, now: Timestamp) {
        let at = std::mem::replace(&mut self.at, At::Done);
        let gone = matches!(result, Err(EngineError::NotFound { .. }));
        self.at = match (at, result) {
            (At::Look, Ok(answer)) => self.looked(&answer),
            (At::Begun, Ok(Answer::Container(reply))) => self.taken_up(&reply, now),
            (At::Home, Ok(_)) => At::Create,
            (At::Unpause, Ok(_)) => At::Stop,
            (At::Create, Ok(Answer::Id(id))) => {
                self.new = id;
                if self.work.shells.is_empty() {
                    self.connect(0)
                } else {
                    At::Shell
                }
            }
            (At::Shell, Ok(_)) => self.connect(0),
            (At::Shell, Err(_)) if gone => At::RollBack(Back::RemoveNew, need::refused(&self.work.shells)),
            // What a cut replacement of ours left is removed before; this is a stranger's, or at work right now, or
            // the engine was still making it when whoever asked for it was killed.
            (At::Create, Err(EngineError::Conflict { .. })) => At::Taken,
            (At::Taken, Ok(Answer::Container(reply))) => At::Judge(reply),
            // Its name is reserved before it can be seen, and free again before it is gone.
            (At::Taken, Err(_)) if gone && self.looks <= self.patience() => At::Wait,
            (At::Taken, Err(_)) if gone => self.taken(),
            (At::Judge(reply), Ok(Answer::Image(image))) => self.judge(&reply, &image),
            (At::Clear(_), Ok(_) | Err(EngineError::NotFound { .. } | EngineError::Conflict { .. })) => {
                At::Create
            }
            (At::Connect(index), Ok(_)) => self.connect(index + 1),
            (At::Ask, result) => self.asked(result),
            (At::Stop, Ok(_)) => {
                self.done = Touched::Stopped;
                At::Aside
            }
            (At::Aside, Ok(_)) => {
                self.done = Touched::Aside;
                At::Promote
            }
            // It has proved itself beside the old one.
            (At::Promote, Ok(_)) if self.beside => At::Commit,
            (At::Promote, Ok(_)) => At::Start,
            (At::Start, Ok(_)) => {
                self.started = Some(now);
                At::Settle
            }
            (At::Settled, Ok(Answer::Container(reply))) => self.judged(&reply, now),
            (At::Kill(reason), Ok(_)) | (At::Quiet(reason), _) => At::Tell(reason),
            // It ended meanwhile, or is between two runs and would never come to an end.
            (At::Kill(reason), Err(_)) => At::Quiet(reason),
            (At::Tell(mut reason), result) => {
                if let Ok(Answer::Log(log)) = result {
                    reason.log = log;
                }
                At::Keep(reason)
            }
            (At::Keep(reason), result) => self.keep(reason, &result),
            (At::Commit, Ok(_)) => self.forget(),
            // Somebody else has removed it, or is about to.
            (At::Commit, Err(EngineError::NotFound { .. } | EngineError::Conflict { .. })) => self.forget(),
            // One that cannot be removed is seen by the next plan.
            (At::Forget, _) => At::Done,
            (At::RollBack(back, reason), result) => self.roll_back(back, reason, result.is_ok() || gone),
            // Before the old one was touched there is only the new one to take back.
            (At::Shell | At::Connect(_), Err(error)) => At::RollBack(Back::RemoveNew, failure(error)),
            // Where it is not known whether it runs, it is no exhibit.
            (At::Start, Err(error)) if !matches!(error, EngineError::Unreachable { .. }) => {
                At::Keep(failure(error))
            }
            (
                at @ (At::Unpause | At::Stop | At::Aside | At::Promote | At::Start | At::Settled),
                Err(error),
            ) => {
                // It may have been done all the same, and nobody heard.
                self.done = match at {
                    At::Stop => Touched::Stopped,
                    At::Aside => Touched::Aside,
                    _ => self.done,
                };
                At::RollBack(Back::RemoveNew, failure(error))
            }
            (At::Done, _) => At::Done,
            (At::Busy(detail), _) => At::Busy(detail),
            (At::Failed(failure), _) => At::Failed(failure),
            (_, Err(error)) => At::Failed(failure(error)),
            (_, Ok(_)) => At::Failed(unexpected("replacing asked for")),
        };
    }
}
