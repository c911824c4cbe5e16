//! Who works in containers: terminals and commands besides a container's own.

use super::nature::{Fate, Lister};
use super::world::{Container, World};
use super::{MemoryEngine, conflict, failed, not_found};
use crate::call::{Answer, ExecReply, Process};
use crate::engine::EngineError;
use crate::observed::RunState;
use crate::progress::Progress;

/// The number of every container's first process.
pub(super) const FIRST: i64 = 100;

impl MemoryEngine {
    /// `docker exec -t`: a terminal is opened in a running container; returns the id of the command.
    ///
    /// # Errors
    /// The container does not run.
    pub fn open_terminal(&self, container: &str, words: &[&str]) -> Result<String, EngineError> {
        self.by_hand(|world| world.run_inside(container, words, true))
    }

    /// `docker exec -d`: a command is run in a running container; returns its id.
    ///
    /// # Errors
    /// The container does not run.
    pub fn run_inside(&self, container: &str, words: &[&str]) -> Result<String, EngineError> {
        self.by_hand(|world| world.run_inside(container, words, false))
    }

    /// A command that was run in a container ends.
    pub fn end_inside(&self, exec: &str) {
        self.by_hand(|world| {
            for container in world.containers.values_mut() {
                container.execs.remove(exec);
            }
        });
    }

    /// Changes how many terminals are open in a container that no command of the engine's list belongs to, such as
    /// those inside tmux.
    ///
    /// # Errors
    /// There is no such container.
    pub fn abandon_terminals(&self, container: &str, count: u32) -> Result<(), EngineError> {
        self.by_hand(|world| {
            let id = world.container_id(container)?;
            world.at_mut(&id)?.abandoned = count;
            Ok(())
        })
    }
}

impl World {
    /// Opens a terminal in a running container, as [`MemoryEngine::open_terminal`].
    ///
    /// # Errors
    /// The container does not run.
    pub fn open(&mut self, container: &str) -> Result<String, EngineError> {
        self.run_inside(container, &["sh"], true)
    }

    fn run_inside(&mut self, container: &str, words: &[&str], terminal: bool) -> Result<String, EngineError> {
        let id = self.container_id(container)?;
        if self.at(&id)?.state() != RunState::Running {
            return Err(conflict(format!("Container {id} is not running")));
        }
        let exec = self.id();
        let reply = ExecReply {
            running: true,
            terminal,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            code: None,
        };
        self.at_mut(&id)?.execs.insert(exec.clone(), reply);
        Ok(exec)
    }

    pub(super) fn exec(&self, exec: &str) -> Result<ExecReply, EngineError> {
        let found = self
            .containers
            .values()
            .find_map(|container| container.execs.get(exec));
        found
            .cloned()
            .ok_or_else(|| not_found(format!("No such exec instance: {exec}")))
    }

    /// The container's own command and its init share a session; everything else has one of its own.
    pub(super) fn processes(&self, container: &str) -> Result<Vec<Process>, EngineError> {
        let id = self.container_id(container)?;
        let subject = self.at(&id)?;
        match subject.state() {
            RunState::Running | RunState::Paused => {}
            RunState::Restarting => {
                return Err(conflict(format!(
                    "Container {id} is restarting, wait until the container is running"
                )));
            }
            RunState::Created | RunState::Exited { .. } | RunState::Removing | RunState::Dead => {
                return Err(failed(format!("Container {id} is not running")));
            }
        }
        if self.nature.lister != Lister::Machine {
            return Err(failed("ps: exec: \"ps\": executable file not found in $PATH"));
        }
        Ok(subject.processes())
    }
}

impl World {
    pub(super) fn prepare_exec(&mut self, container: &str, words: &[String]) -> Result<String, EngineError> {
        let id = self.container_id(container)?;
        match self.at(&id)?.state() {
            RunState::Running => {}
            RunState::Paused => {
                return Err(conflict(format!(
                    "Container {id} is paused, unpause the container before exec"
                )));
            }
            other => return Err(conflict(format!("Container {id} is {}", other.display()))),
        }
        let exec = self.id();
        let reply = ExecReply {
            words: words.to_vec(),
            ..ExecReply::default()
        };
        self.at_mut(&id)?.execs.insert(exec.clone(), reply);
        Ok(exec)
    }

    /// A list of processes is printed for whoever brings a script that prints one; for everything else the fate of its
    /// words decides, and what has none never ends.
    pub(super) fn start_exec(&mut self, exec: &str) -> Result<Option<String>, EngineError> {
        let ExecReply { words, .. } = self.exec(exec)?;
        let lists = words.iter().any(|word| word.contains("/proc/"));
        let code = match self.nature.fate(words.iter()) {
            _ if lists && self.nature.lister == Lister::Nobody => Some(127),
            _ if lists => Some(0),
            Some(Fate::Ends(code)) => Some(code),
            Some(Fate::Missing) => Some(127),
            Some(Fate::Obeys) | None => None,
        };
        let found = self
            .containers
            .values_mut()
            .find(|container| container.execs.contains_key(exec));
        let Some(container) = found else {
            return Err(not_found(format!("No such exec instance: {exec}")));
        };
        let printed = if lists && code == Some(0) {
            container.printed_processes()
        } else {
            String::new()
        };
        if let Some(reply) = container.execs.get_mut(exec) {
            reply.running = code.is_none();
            reply.code = code;
        }
        Ok(code.map(|_| printed))
    }
}

impl World {
    /// Whatever has no fate of its own succeeds at once.
    pub(super) fn follow_exec(&mut self, exec: &str, progress: &Progress) -> Result<Answer, EngineError> {
        let ExecReply { words, .. } = self.exec(exec)?;
        let code = match self.nature.fate(words.iter()) {
            None => 0,
            Some(Fate::Ends(code)) => code,
            Some(Fate::Missing) => 127,
            Some(Fate::Obeys) => {
                self.end_exec(exec, None);
                return Ok(Answer::Ran(Vec::new(), false));
            }
        };
        self.end_exec(exec, Some(code));
        let line = format!("{} ended with {code}", words.last().map_or("", String::as_str));
        progress.line(line.clone());
        Ok(Answer::Ran(vec![line], true))
    }

    fn end_exec(&mut self, exec: &str, code: Option<i64>) {
        let mut containers = self.containers.values_mut();
        if let Some(reply) = containers.find_map(|container| container.execs.get_mut(exec)) {
            reply.running = code.is_none();
            reply.code = code;
        }
    }
}

impl Container {
    /// Prints the processes as `/proc/*/stat` shows them inside, where the first one has the number 1.
    fn printed_processes(&self) -> String {
        let line = |process: Process| {
            let Process {
                id,
                session,
                terminal,
            } = process;
            let (id, session) = (id - FIRST + 1, session - FIRST + 1);
            let terminal = if terminal { session } else { -1 };
            format!("{id} (a (b) c) S 0 {id} {session} 0 {terminal} 0\n")
        };
        self.processes().into_iter().map(line).collect()
    }

    fn processes(&self) -> Vec<Process> {
        let own = [FIRST, FIRST + 1].map(|id| Process {
            id,
            session: FIRST,
            terminal: false,
        });
        let running = self
            .execs
            .values()
            .filter(|exec| exec.running)
            .map(|exec| exec.terminal);
        let others = running.chain((0..self.abandoned).map(|_| true));
        let others = (FIRST + 2..).zip(others).map(|(id, terminal)| Process {
            id,
            session: id,
            terminal,
        });
        own.into_iter().chain(others).collect()
    }
}
