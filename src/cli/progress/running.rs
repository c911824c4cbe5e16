//! A step under way: what it has told, and what of that is said.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::time::Instant;

use super::super::output::clean;
use crate::progress::Event;
use crate::units::Memory;

/// What builds count.
const STEPS: &str = "steps";
/// How long work may be silent before a line says that it goes on.
const SILENCE: Duration = Duration::from_secs(15);

/// How much an event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// What was known already.
    Nothing,
    /// Something new.
    News,
    /// Something a person waits for.
    Milestone,
}

/// A step under way.
pub struct Running {
    pub title: String,
    pub bar: Option<ProgressBar>,
    pub amounts: BTreeMap<String, (u64, Option<u64>)>,
    pub begun: Instant,
    pub said: Instant,
}

impl Running {
    /// Takes in an event, and says how much it means.
    pub fn hear(&mut self, event: &Event) -> Heard {
        match event {
            Event::Line(text) => {
                if let Some(bar) = &self.bar {
                    bar.set_message(clean(text));
                }
                Heard::News
            }
            Event::Amount { of, done, total } => {
                let before = self.amounts.insert(of.clone(), (*done, *total));
                if before == Some((*done, *total)) {
                    return Heard::Nothing;
                }
                let steps = of == STEPS;
                if let Some(bar) = &self.bar {
                    if steps {
                        bar.set_prefix(format!("{} {}", self.title, self.stage()));
                    } else {
                        bar.set_message(self.transferred());
                    }
                }
                if steps && *done > before.map_or(0, |(done, _)| done) {
                    Heard::Milestone
                } else {
                    Heard::News
                }
            }
        }
    }

    /// Returns what is to be said now, if anything is.
    pub fn due(&mut self, heard: Heard) -> Option<String> {
        if heard != Heard::Milestone && self.said.elapsed() < SILENCE {
            return None;
        }
        self.said = Instant::now();
        let parts = [self.stage(), self.transferred()];
        let text = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
        if heard == Heard::Milestone {
            return Some(text);
        }
        let going_on = format!("under way for {} s", self.begun.elapsed().as_secs());
        Some(if text.is_empty() {
            going_on
        } else {
            format!("{text}, {going_on}")
        })
    }

    /// Returns how many steps of a build are done.
    fn stage(&self) -> String {
        match self.amounts.get(STEPS) {
            None | Some((0, _)) => String::new(),
            Some((done, Some(total))) => format!("step {done} of {total}"),
            Some((done, None)) => format!("step {done}"),
        }
    }

    /// Returns how many bytes came over.
    fn transferred(&self) -> String {
        let transfers = || {
            self.amounts
                .iter()
                .filter(|(of, _)| *of != STEPS)
                .map(|(_, amount)| amount)
        };
        let done: u64 = transfers().map(|(done, _)| done).sum();
        let total: u64 = transfers().map(|(done, total)| total.unwrap_or(*done)).sum();
        match (done, total) {
            (0, 0) => String::new(),
            (done, total) => format!("{} of {}", rounded(done), rounded(total)),
        }
    }
}

/// Returns an amount of bytes with as many digits as a person reads.
fn rounded(bytes: u64) -> String {
    let unit = match bytes {
        0..0x10_0000 => 1 << 10,
        0x10_0000..0x4000_0000 => 1 << 20,
        _ => 1 << 27,
    };
    Memory::bytes(bytes / unit * unit).to_string()
}
