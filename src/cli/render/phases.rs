//! Phases as a table for each stage, and below it what is to be said of those that failed.

use jiff::Timestamp;

use super::super::output::{Tone, clean};
use super::table::{Cell, table};
use super::{Style, value};
use crate::status::phase::{PhaseState, PhaseStatus, StageStatus};

impl Style<'_> {
    /// Returns the phases of every stage; `again` is the command that goes on with what failed.
    pub fn phases(self, stages: &[StageStatus], again: &str, now: Timestamp) -> String {
        if stages.is_empty() {
            return "no stage is built in phases\n".to_owned();
        }
        let stages = stages.iter().map(|stage| {
            let rows: Vec<Vec<Cell>> = stage.phases.iter().map(|phase| self.phase(phase, now)).collect();
            let header = ["#", "PHASE", "STATE", "AGE", "SIZE", "SNAPSHOT", "WHAT AND WHY"];
            let failed = stage.phases.iter().filter_map(|phase| match &phase.state {
                PhaseState::Failed { shell, .. } => Some(format!(
                    "{} failed: `{}` opens a shell in it; `{}` goes on from here\n",
                    phase.name,
                    clean(shell),
                    clean(again)
                )),
                _ => None,
            });
            let failed: String = failed.collect();
            format!("{}\n{}{failed}", stage.name, table(&header, &rows))
        });
        stages.collect::<Vec<_>>().join("\n")
    }

    fn phase(self, phase: &PhaseStatus, now: Timestamp) -> Vec<Cell> {
        let PhaseStatus {
            name,
            detail,
            state,
            snapshot,
            created,
            bytes,
        } = phase;
        let tone = match state {
            PhaseState::Empty => Tone::Faint,
            PhaseState::Cached => Tone::Good,
            PhaseState::Missing | PhaseState::Stale(_) | PhaseState::Unknown(_) => Tone::Change,
            PhaseState::Failed { .. } => Tone::Bad,
        };
        let what = if detail.is_empty() {
            name.description()
        } else {
            detail
        };
        let why = match state {
            PhaseState::Stale(because) => self.why(because),
            PhaseState::Unknown(reason) => reason.clone(),
            PhaseState::Empty | PhaseState::Cached | PhaseState::Missing | PhaseState::Failed { .. } => {
                String::new()
            }
        };
        let what = if why.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {why}")
        };
        let age = created.map(|created| value::ago(&created.to_string(), now));
        vec![
            Cell::plain(name.id().to_string()),
            Cell::new(name.as_str(), Tone::Name),
            Cell::new(state.as_str(), tone),
            Cell::plain(age.unwrap_or_default()),
            Cell::plain(bytes.map(value::bytes).unwrap_or_default()),
            Cell::plain(snapshot.as_deref().unwrap_or_default()),
            Cell::plain(what),
        ]
    }

    /// Returns reasons in one line.
    fn why(self, because: &[crate::step::Because]) -> String {
        let reasons = self.reasons(because).into_iter();
        let told = reasons.map(|reason| {
            let field = reason.field.map(|field| format!("{field} ")).unwrap_or_default();
            let note = reason.note.map(|note| format!(" ({note})")).unwrap_or_default();
            format!("{field}{}{note}", reason.text)
        });
        told.filter(|told| !told.is_empty())
            .collect::<Vec<_>>()
            .join(", ")
    }
}
