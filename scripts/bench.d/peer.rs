//! Compose beside it: the same containers as the bench's manifest has.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::measure::Job;

/// A project of Compose.
pub struct Peer {
    program: PathBuf,
    directory: PathBuf,
    name: String,
}

impl Peer {
    /// Writes a project of `count` services in `directory`.
    pub fn new(program: &Path, directory: &Path, image: &str, count: usize) -> Self {
        let mut text = String::from("services:\n");
        for index in 0..count {
            // What aishell sets for a sandbox by itself.
            let _ = writeln!(
                text,
                "  c{index}:\n    image: {image}\n    command: [/sleeper]\n    init: true\n    read_only: true\n    \
                 cap_drop: [ALL]\n    security_opt: [no-new-privileges:true]\n    pids_limit: 512\n    \
                 restart: unless-stopped\n    mem_limit: 256m\n    environment: {{ MODE: bench }}\n    \
                 tmpfs: [/tmp, /run, /var/tmp]"
            );
        }
        fs::write(directory.join("compose.yaml"), text).expect("the directory can be written to");
        let name = directory.file_name().expect("a name").to_string_lossy();
        Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            name: format!("aibenchpeer{name}").to_lowercase(),
        }
    }

    fn job(&self, words: &[&str]) -> Job {
        let mut all = vec!["-p", &self.name];
        all.extend(words);
        Job::new(&self.program, &all, &self.directory)
    }

    pub fn up(&self) -> Job {
        self.job(&["up", "-d", "--quiet-pull"])
    }

    pub fn down(&self) -> Job {
        self.job(&["down", "-v", "-t", "1"])
    }
}
