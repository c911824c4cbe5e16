//! What the commands of a phase have printed, all of it, for whoever looks at why one failed.

use super::{DoPhase, text};
use crate::call::File;
use crate::desired::phase::Act;
use crate::step::PHASE_LOG;

/// How many of the last lines are told at once.
const TOLD: usize = 200;
/// How much is kept: the end, where there is more.
const ROOM: usize = 15 << 20;

/// What was printed so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    text: String,
}

impl Record {
    /// Adds a command and what it printed.
    fn add(&mut self, title: &str, lines: &[String]) {
        self.text.push_str(title);
        self.text.push('\n');
        for line in lines {
            self.text.push_str(line);
            self.text.push('\n');
        }
        if self.text.len() > ROOM {
            let rest = &self.text.as_bytes()[self.text.len() - ROOM..];
            let line = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            let rest = String::from_utf8_lossy(&rest[line..]).into_owned();
            self.text = format!("… what came before is left out\n{rest}");
        }
    }
}

impl DoPhase {
    /// Takes in what a command has printed, and returns its last lines.
    pub(super) fn recorded(&mut self, mut lines: Vec<String>) -> Vec<String> {
        if let Some(Act::Run(command)) = self.work.acts.get(self.act) {
            let title = format!("# {} ({}): {}", command.field, command.user, command.run.trim());
            self.record.add(&title, &lines);
        }
        let first = lines.len().saturating_sub(TOLD);
        lines.split_off(first)
    }

    /// Returns the file that keeps it in a container that failed.
    pub(super) fn log(&self) -> File {
        text(
            PHASE_LOG.trim_start_matches('/'),
            0o644,
            &self.hidden(&self.record.text),
        )
    }
}
