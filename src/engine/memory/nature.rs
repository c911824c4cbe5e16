//! [`Nature`]: how commands, jobs and the host behave, since nothing really runs here.

use std::collections::{BTreeMap, BTreeSet};

/// How the things around the engine behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nature {
    /// What becomes of commands, by a text that one of their words contains; all others run until stopped.
    pub fates: BTreeMap<String, Fate>,
    /// What jobs do, by a text that their name or their image contains; all others do `job`.
    pub jobs: BTreeMap<String, Job>,
    /// What every other job does.
    pub job: Job,
    /// Whether jobs end only when somebody follows their log, as if they took their time.
    pub slow_jobs: bool,
    /// Whether listings come in the other order; the engine promises none.
    pub backwards: bool,
    /// Paths that the host lacks, so that they cannot be mounted.
    pub absent_paths: BTreeSet<String>,
    /// Ports on which processes of the host listen, with their protocol: `3000/tcp`.
    pub taken_ports: BTreeSet<String>,
    /// Who can list the processes of a container.
    pub lister: Lister,
    /// Processors of the machine, in billionths.
    pub cpus: u64,
}

/// Who can list the processes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lister {
    /// The machine of the engine, and a shell inside.
    Machine,
    /// A shell inside.
    Shell,
    /// Nobody.
    Nobody,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ends at once with a code.
    Ends(i64),
    /// There is no such command.
    Missing,
    /// It runs until it is asked to stop and then ends with 0.
    Obeys,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// It installs what the label of the volume at `/tools` promises, writes the receipt last, and ends with 0.
    Installs,
    /// It writes files, by their path in the container, and ends with 0.
    Writes(BTreeMap<String, Vec<u8>>),
    /// It prints lines and ends with a code; the receipt that was there is gone.
    Fails {
        /// The code.
        code: i64,
        /// The lines.
        log: Vec<String>,
    },
    /// It runs until somebody stops it; the receipt that was there is gone.
    Hangs,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            fates: BTreeMap::new(),
            jobs: BTreeMap::new(),
            job: Job::Installs,
            slow_jobs: false,
            backwards: false,
            absent_paths: BTreeSet::new(),
            taken_ports: BTreeSet::new(),
            lister: Lister::Machine,
            cpus: 2_000_000_000,
        }
    }
}

impl Nature {
    /// Returns what becomes of a command, if it is anything but running.
    pub(super) fn fate<'a>(&self, mut words: impl Iterator<Item = &'a String>) -> Option<Fate> {
        // The common case decides nothing and must not cost anything among many containers.
        if self.fates.is_empty() {
            return None;
        }
        words.find_map(|word| {
            self.fates
                .iter()
                .find(|(text, _)| word.contains(*text))
                .map(|(_, fate)| *fate)
        })
    }

    /// Returns what a job does.
    pub(super) fn job(&self, name: &str, image: &str) -> &Job {
        self.jobs
            .iter()
            .find(|(text, _)| name.contains(*text) || image.contains(*text))
            .map_or(&self.job, |(_, job)| job)
    }
}
