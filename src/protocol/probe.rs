//! Whether somebody works in a container.
//!
//! A process with a terminal tells of a session, also of one inside tmux and of one whose client is gone, which the
//! engine's list of commands forgets. A command of that list that is neither ours nor the health check tells of work
//! without a terminal. Where nobody can say, somebody may.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::call::{Answer, Call, ContainerReply, ExecReply, Process};
use crate::engine::{Engine, EngineError};
use crate::observed::{Activity, RunState};
use crate::progress::Progress;
use crate::step::Interrupted;

/// How many containers are asked at once.
const AT_ONCE: usize = 8;
/// How many commands are named.
const NAMED: usize = 3;
/// The longest command that is shown whole, in characters.
const SHOWN: usize = 60;
/// The word that every command of ours carries, since nothing else of it can be seen from outside.
pub const MARKER: &str = "aishell-probe";

/// Asks one container.
pub struct Probe {
    subject: Interrupted,
    container: Option<Box<ContainerReply>>,
    terminals: usize,
    commands: Vec<String>,
    at: At,
}

enum At {
    Look,
    Processes,
    Exec(String),
    /// Nothing could be listed: it may have ended meanwhile.
    Again,
    Idle,
    Busy(String),
    Failed(EngineError),
}

/// How asking stands.
pub enum Probing<'p> {
    /// This is to be asked next.
    Ask(Call),
    /// Nobody works there.
    Idle,
    /// Somebody does, or may.
    Busy(&'p str),
    /// The engine cannot be asked.
    Failed(&'p EngineError),
}

impl Probe {
    /// Makes the questions for a container.
    pub fn new(subject: Interrupted) -> Self {
        Self {
            subject,
            container: None,
            terminals: 0,
            commands: Vec::new(),
            at: At::Look,
        }
    }

    /// Returns how asking stands.
    pub fn state(&self) -> Probing<'_> {
        let container = || self.subject.container.clone();
        match &self.at {
            At::Look | At::Again => Probing::Ask(Call::InspectContainer {
                container: container(),
            }),
            At::Processes => Probing::Ask(Call::ListProcesses {
                container: container(),
            }),
            At::Exec(exec) => Probing::Ask(Call::InspectExec { exec: exec.clone() }),
            At::Idle => Probing::Idle,
            At::Busy(detail) => Probing::Busy(detail),
            At::Failed(error) => Probing::Failed(error),
        }
    }

    /// Takes in an answer.
    pub fn heard(&mut self, result: Result<Answer, EngineError>) {
        let at = std::mem::replace(&mut self.at, At::Idle);
        self.at = match (at, result) {
            (_, Err(error @ EngineError::Unreachable { .. })) => At::Failed(error),
            (At::Look, Ok(Answer::Container(reply))) => match reply.state {
                RunState::Running | RunState::Paused => {
                    self.container = Some(reply);
                    At::Processes
                }
                RunState::Created
                | RunState::Restarting
                | RunState::Exited { .. }
                | RunState::Removing
                | RunState::Dead => At::Idle,
            },
            (At::Again, Ok(Answer::Container(reply))) if reply.state.is_alive() => {
                At::Busy("it cannot be seen whether anybody works in it".to_owned())
            }
            (At::Again, Ok(Answer::Container(_))) => At::Idle,
            // It is gone, and so is whoever worked in it.
            (At::Look | At::Again, Err(EngineError::NotFound { .. })) => At::Idle,
            (At::Processes, Ok(Answer::Processes(processes))) => {
                self.terminals = self.sessions(&processes);
                self.after(None)
            }
            (At::Processes, _) => At::Again,
            (At::Exec(exec), Ok(Answer::Exec(reply))) => {
                self.note(&reply);
                self.after(Some(&exec))
            }
            // The engine forgets those that have ended.
            (At::Exec(exec), _) => self.after(Some(&exec)),
            (At::Look | At::Again, Err(error)) => At::Failed(error),
            (At::Look | At::Again, Ok(_)) => At::Failed(EngineError::Unexpected {
                call: "InspectContainer".to_owned(),
            }),
            (done @ (At::Idle | At::Busy(_) | At::Failed(_)), _) => done,
        };
    }

    /// Returns the number of sessions with a terminal, that of the container's own process aside.
    fn sessions(&self, processes: &[Process]) -> usize {
        let first = self.container.as_ref().and_then(|container| container.process);
        let own = processes.iter().find(|process| Some(process.id) == first);
        let own = own.map(|process| process.session);
        let sessions = processes.iter().filter(|process| process.terminal);
        let sessions = sessions
            .map(|process| process.session)
            .filter(|session| Some(*session) != own);
        sessions.collect::<BTreeSet<i64>>().len()
    }

    /// Counts a command, unless it is ours or the health check.
    fn note(&mut self, exec: &ExecReply) {
        let check = self
            .container
            .as_ref()
            .and_then(|container| container.health_check.as_ref());
        let ours = exec.words.iter().any(|word| word == MARKER)
            || Some(&exec.words) == check
            || Some(&exec.words) == self.subject.busy.as_ref();
        if !exec.running || ours {
            return;
        }
        if !exec.terminal {
            self.commands.push(shown(&exec.words));
        } else if self.terminals == 0 {
            // It has begun since the processes were listed.
            self.terminals = 1;
        }
    }

    /// Returns the command to ask about after another one, or the verdict.
    fn after(&self, exec: Option<&str>) -> At {
        let execs = self.container.iter().flat_map(|container| &container.execs);
        let mut left = execs.filter(|other| exec.is_none_or(|exec| other.as_str() > exec));
        match left.next() {
            Some(next) if self.commands.len() < NAMED => At::Exec(next.clone()),
            Some(_) | None => self.verdict(),
        }
    }

    fn verdict(&self) -> At {
        let mut found = Vec::new();
        match self.terminals {
            0 => {}
            1 => found.push("1 terminal session".to_owned()),
            many => found.push(format!("{many} terminal sessions")),
        }
        found.extend(self.commands.iter().map(|command| format!("exec `{command}`")));
        if found.is_empty() {
            At::Idle
        } else {
            At::Busy(found.join("; "))
        }
    }
}

/// Returns a command as a person would write it, its end left out where it is long.
fn shown(words: &[String]) -> String {
    let whole = words.join(" ");
    let short: String = whole.chars().take(SHOWN).collect();
    if short.len() < whole.len() {
        format!("{short}…")
    } else {
        short
    }
}

/// Asks containers whether somebody works in them, and returns what they say by the engine's id.
///
/// # Errors
/// The engine cannot be asked. That a container cannot say is no error: then somebody may work there.
pub async fn activity(
    engine: &impl Engine,
    containers: Vec<Interrupted>,
) -> Result<BTreeMap<String, Activity>, EngineError> {
    stream::iter(containers)
        .map(|subject| async move {
            let container = subject.container.clone();
            Ok((container, ask(engine, subject).await?))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn ask(engine: &impl Engine, subject: Interrupted) -> Result<Activity, EngineError> {
    let mut probe = Probe::new(subject);
    loop {
        let call = match probe.state() {
            Probing::Ask(call) => call,
            Probing::Idle => return Ok(Activity::Idle),
            Probing::Busy(detail) => return Ok(Activity::Busy(detail.to_owned())),
            Probing::Failed(error) => return Err(error.clone()),
        };
        let answer = engine.call(&call, &Progress::default()).await;
        probe.heard(answer);
    }
}
