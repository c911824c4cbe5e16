//! Whether somebody works in a container.
//!
//! A process with a terminal tells of a session, also of one inside tmux and of one whose client is gone, which the
//! engine's list of commands forgets. A command of that list that is neither ours nor the health check tells of work
//! without a terminal. Where nobody can say, somebody may.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::call::{Answer, Call, ContainerReply, Exec, ExecReply, Process};
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
/// How often a question is asked anew whose answer was lost.
const UNHEARD: u32 = 2;
/// How long a command inside may take, in seconds.
const PATIENCE: u32 = 5;
/// Prints a line for every process inside.
const LIST: &str =
    "for f in /proc/[0-9]*/stat; do IFS= read -r l <$f && printf '%s\\n' \"$l\"; done 2>/dev/null; :";
/// The word that every command of ours carries, since nothing else of it can be seen from outside.
pub const MARKER: &str = "aishell-probe";

/// Asks one container.
pub struct Probe {
    subject: Interrupted,
    container: Option<Box<ContainerReply>>,
    terminals: usize,
    commands: Vec<String>,
    /// How often the end of a command of ours was not heard.
    unheard: u32,
    at: At,
}

enum At {
    Look,
    Processes,
    /// Processes are listed from inside.
    MakeList,
    List(String),
    Exec(String),
    /// The container's own command is asked.
    MakeAsk,
    Ask(String),
    Asked(String),
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
            unheard: 0,
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
            At::MakeList => Probing::Ask(Call::CreateExec(Box::new(Exec {
                container: container(),
                words: ["sh", "-c", LIST, MARKER].map(str::to_owned).into(),
                ..Exec::default()
            }))),
            At::MakeAsk => Probing::Ask(Call::CreateExec(Box::new(Exec {
                container: container(),
                words: self.subject.busy.clone().unwrap_or_default(),
                ..Exec::default()
            }))),
            At::List(exec) | At::Ask(exec) => Probing::Ask(Call::StartExec {
                exec: exec.clone(),
                seconds: PATIENCE,
            }),
            At::Exec(exec) | At::Asked(exec) => Probing::Ask(Call::InspectExec { exec: exec.clone() }),
            At::Idle => Probing::Idle,
            At::Busy(detail) => Probing::Busy(detail),
            At::Failed(error) => Probing::Failed(error),
        }
    }

    /// Takes in an answer.
    pub fn heard(&mut self, result: Result<Answer, EngineError>) {
        let at = std::mem::replace(&mut self.at, At::Idle);
        self.at = match (at, result) {
            // What was not heard is asked anew: no command is run twice.
            (at @ (At::List(_) | At::Ask(_)), Err(EngineError::Unreachable { .. }))
                if self.unheard < UNHEARD =>
            {
                self.unheard += 1;
                if matches!(at, At::List(_)) {
                    At::MakeList
                } else {
                    At::MakeAsk
                }
            }
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
                let first = self.container.as_ref().and_then(|container| container.process);
                self.terminals = sessions(&processes, first);
                self.after(None)
            }
            (At::Processes, _) => At::MakeList,
            (At::MakeList, Ok(Answer::Id(exec))) => At::List(exec),
            (At::List(_), Ok(Answer::Output(Some(text)))) => match listed(&text) {
                Some(processes) => {
                    self.terminals = sessions(&processes, Some(1));
                    self.after(None)
                }
                None => At::Again,
            },
            (At::MakeList | At::List(_), _) => At::Again,
            (At::MakeAsk, Ok(Answer::Id(exec))) => At::Ask(exec),
            (At::Ask(exec), Ok(Answer::Output(Some(_)))) => At::Asked(exec),
            (At::Asked(_), Ok(Answer::Exec(reply))) => match reply.code {
                Some(0) => At::Busy("`busy.exec` says so".to_owned()),
                // What the shell and the engine say of a command that is not there.
                Some(code @ (126 | 127)) => At::Busy(format!("`busy.exec` cannot be run (code {code})")),
                Some(_) => At::Idle,
                None => At::Busy("`busy.exec` does not end".to_owned()),
            },
            (At::Ask(_), Ok(_)) => At::Busy("`busy.exec` does not end".to_owned()),
            // Somebody waits for a container that cannot be asked, such as a paused one.
            (At::MakeAsk | At::Ask(_) | At::Asked(_), _) => At::Again,
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

    /// Counts a command, unless it is ours or the health check.
    fn note(&mut self, exec: &ExecReply) {
        let check = self
            .container
            .as_ref()
            .and_then(|container| container.health_check.as_ref());
        let ours = exec.words.iter().any(|word| word == MARKER) || Some(&exec.words) == check;
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
        if !found.is_empty() {
            At::Busy(found.join("; "))
        } else if self.subject.busy.is_some() {
            At::MakeAsk
        } else {
            At::Idle
        }
    }
}

/// Returns the number of sessions with a terminal, that of the container's first process aside.
fn sessions(processes: &[Process], first: Option<i64>) -> usize {
    let own = processes.iter().find(|process| Some(process.id) == first);
    let own = own.map(|process| process.session);
    let sessions = processes.iter().filter(|process| process.terminal);
    let sessions = sessions.map(|process| process.session);
    let others: BTreeSet<i64> = sessions.filter(|session| Some(*session) != own).collect();
    others.len()
}

/// Reads lines of `/proc/*/stat`; `None` if the container's first process is not among them. Names of programs may have
/// any character, so that what follows the last parenthesis counts.
fn listed(text: &str) -> Option<Vec<Process>> {
    let line = |line: &str| {
        let id = line.split(' ').next()?.parse().ok()?;
        let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(3);
        let session = fields.next()?.parse().ok()?;
        let terminal: i64 = fields.nth(1)?.parse().ok()?;
        Some(Process {
            id,
            session,
            terminal: terminal > 0,
        })
    };
    let processes: Vec<Process> = text.lines().filter_map(line).collect();
    processes
        .iter()
        .any(|process| process.id == 1)
        .then_some(processes)
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

/// Counts the sessions with a terminal in containers, by the engine's id; those that cannot say are left out.
///
/// # Errors
/// The engine cannot be asked.
pub async fn terminals(
    engine: &impl Engine,
    containers: Vec<String>,
) -> Result<BTreeMap<String, u32>, EngineError> {
    let counts: Vec<Option<(String, u32)>> = stream::iter(containers)
        .map(|container| async move {
            let asked = |call| async move {
                match engine.call(&call, &Progress::default()).await {
                    Ok(answer) => Ok(Some(answer)),
                    Err(error @ EngineError::Unreachable { .. }) => Err(error),
                    Err(_) => Ok(None),
                }
            };
            let inspect = Call::InspectContainer {
                container: container.clone(),
            };
            let Some(Answer::Container(reply)) = asked(inspect).await? else {
                return Ok(None);
            };
            let list = Call::ListProcesses {
                container: container.clone(),
            };
            let Some(Answer::Processes(processes)) = asked(list).await? else {
                return Ok(None);
            };
            let count = sessions(&processes, reply.process);
            Ok(Some((container, u32::try_from(count).unwrap_or(u32::MAX))))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(counts.into_iter().flatten().collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read_whatever_their_programs_are_called() {
        let text =
            "1 (init) S 0 1 1 0 -1 4 9\n8 (sh) S 0 8 8 34816 8 4\n9 (a) S) S 8 8 8 34816 8 4\n12 (x\n13 (\n";
        let processes = listed(text).expect("processes");
        assert_eq!(processes.len(), 3);
        assert_eq!(sessions(&processes, Some(1)), 1);
        assert_eq!(listed("8 (sh) S 0 8 8 34816 8 4\n"), None);
    }
}
