//! What was found, as a table, each with what would help.

use super::super::output::Tone;
use super::Style;
use super::table::{Cell, table};
use crate::status::diagnosis::{Finding, Level};

impl Style<'_> {
    /// Returns everything that was looked at.
    pub fn diagnosis(self, findings: &[Finding]) -> String {
        let rows: Vec<Vec<Cell>> = findings.iter().map(|finding| self.finding(finding)).collect();
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (bad, warnings) = (count(Level::Bad), count(Level::Warning));
        let told = if bad > 0 {
            format!("{bad} bad, {warnings} to know about")
        } else if warnings > 0 {
            format!("everything works, {warnings} to know about")
        } else {
            "everything is well".to_owned()
        };
        format!(
            "{}\n{told}\n",
            table(&["CHECK", "LEVEL", "WHAT", "WHAT HELPS"], &rows)
        )
    }

    fn finding(self, finding: &Finding) -> Vec<Cell> {
        let Finding {
            check,
            level,
            problem,
        } = finding;
        let (word, tone) = match level {
            Level::Good => ("good", Tone::Good),
            Level::Warning => ("warning", Tone::Change),
            Level::Bad => ("bad", Tone::Bad),
        };
        let place = problem.place.as_ref().map(|place| {
            let seen = self.viewpoint.see(place);
            format!(" ({}:{})", seen.file.display(), seen.line)
        });
        vec![
            Cell::plain(check.as_str()),
            Cell::new(word, tone),
            Cell::plain(format!("{}{}", problem.message, place.unwrap_or_default())),
            Cell::plain(problem.hint.as_deref().unwrap_or_default()),
        ]
    }
}
