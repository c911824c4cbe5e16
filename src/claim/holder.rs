//! Who holds a claim, as far as that is told. Nothing is decided by it.

use std::fmt;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use crate::label::{COMMAND, HOLDER, Labels, PID, SINCE};

/// The most characters that are shown of a word that anybody may have written.
const SHOWN: usize = 80;

/// Who holds a claim. Whatever is not told, or makes no sense, is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Holder {
    /// The process.
    pub pid: Option<u32>,
    /// The command it carries out.
    pub command: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Who runs it, and on which host: `user@host`.
    pub by: Option<String>,
}

impl Holder {
    /// Returns this process, as the holder of something from now on.
    pub(super) fn this(command: &str, by: &str) -> Self {
        Self {
            pid: Some(std::process::id()),
            command: Some(command.to_owned()),
            since: Some(Timestamp::now()),
            by: Some(by.to_owned()),
        }
    }

    /// Returns the labels that tell the same.
    pub(super) fn labels(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let Self {
            pid,
            command,
            since,
            by,
        } = self.clone();
        [
            (PID, pid.map(|pid| pid.to_string())),
            (COMMAND, command),
            (SINCE, since.map(|since| format!("{since:.0}"))),
            (HOLDER, by),
        ]
        .into_iter()
        .filter_map(|(label, value)| Some((label.to_owned(), value?)))
    }

    /// Reads labels, which anybody may have written.
    pub(super) fn read(labels: &Labels) -> Self {
        let word = |label: &str| labels.get(label).and_then(|text| word(text));
        Self {
            pid: word(PID).and_then(|pid| pid.parse().ok()),
            command: word(COMMAND),
            since: word(SINCE).and_then(|since| since.parse().ok()),
            by: word(HOLDER),
        }
    }

    /// Leaves out what cannot be shown.
    pub(super) fn cleaned(self) -> Self {
        Self {
            command: self.command.as_deref().and_then(word),
            by: self.by.as_deref().and_then(word),
            ..self
        }
    }

    /// Says in a person's words who is at work, and since when by a clock that may be wrong.
    fn at_work(&self, now: Timestamp) -> String {
        let Self {
            pid,
            command,
            since,
            by,
        } = self;
        let who = match command {
            Some(command) => format!("`aishell {command}`"),
            None => "another aishell".to_owned(),
        };
        let process = match (pid, by) {
            (Some(pid), Some(by)) => Some(format!("process {pid} of {by}")),
            (Some(pid), None) => Some(format!("process {pid}")),
            (None, Some(by)) => Some(format!("of {by}")),
            (None, None) => None,
        };
        let since = since.map(|since| match age(since, now) {
            Some(age) => format!("since {since:.0}, {age} ago"),
            None => format!("since {since:.0}"),
        });
        let details: Vec<String> = process.into_iter().chain(since).collect();
        if details.is_empty() {
            format!("{who} is at work on the same objects")
        } else {
            format!("{who} ({}) is at work on the same objects", details.join(", "))
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.at_work(Timestamp::now()))
    }
}

/// Returns a word as it can be shown.
fn word(text: &str) -> Option<String> {
    let shown: String = text
        .chars()
        .filter(|each| !each.is_control())
        .take(SHOWN)
        .collect();
    (!shown.trim().is_empty()).then_some(shown)
}

/// Returns how long ago something was, unless it is yet to come.
fn age(since: Timestamp, now: Timestamp) -> Option<String> {
    let seconds = (now - since).total(Unit::Second).ok()?;
    let (amount, unit) = match seconds {
        ..0.0 => return None,
        ..120.0 => (seconds, "s"),
        ..7_200.0 => (seconds / 60.0, "m"),
        ..172_800.0 => (seconds / 3_600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    Some(format!("{:.0}{unit}", amount.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn everything_that_is_told_is_said() {
        let holder = Holder {
            pid: Some(7),
            command: Some("apply".to_owned()),
            since: Some(at("2026-11-21T12:00:00Z")),
            by: Some("me@box".to_owned()),
        };
        assert_eq!(
            holder.at_work(at("2026-11-21T12:00:42Z")),
            "`aishell apply` (process 7 of me@box, since 2026-11-21T12:00:00Z, 42s ago) is at work on the same objects"
        );
        assert_eq!(Holder::read(&holder.labels().collect()), holder);
        for (now, age) in [
            ("2026-11-21T12:05:00Z", "5m ago"),
            ("2026-11-21T17:00:00Z", "5h ago"),
            ("2026-12-21T12:00:00Z", "30d ago"),
        ] {
            assert!(holder.at_work(at(now)).contains(age), "{now}");
        }
        // A clock that was set back is no reason to tell nonsense.
        assert!(!holder.at_work(at("2020-01-01T00:00:00Z")).contains("ago"));
    }

    #[test]
    fn rubbish_tells_nothing_and_is_not_shown() {
        let nobody = "another aishell is at work on the same objects";
        assert_eq!(Holder::read(&Labels::new()).at_work(Timestamp::MIN), nobody);
        let labels = [
            (PID, "-1"),
            (COMMAND, "\u{1b}[31m\n"),
            (SINCE, "yesterday"),
            (HOLDER, "  "),
        ];
        let labels: Labels = labels
            .iter()
            .map(|(label, text)| ((*label).to_owned(), (*text).to_owned()))
            .collect();
        let told = Holder::read(&labels).at_work(Timestamp::MAX);
        assert_eq!(told, "`aishell [31m` is at work on the same objects");
        let long: Labels = [(HOLDER.to_owned(), "x".repeat(9000))].into();
        assert!(Holder::read(&long).at_work(Timestamp::MIN).len() < 200);
        let odd: Labels = [(SINCE.to_owned(), "-009999-01-02T01:59:59Z".to_owned())].into();
        assert!(Holder::read(&odd).at_work(Timestamp::MAX).contains("ago"));
    }
}
