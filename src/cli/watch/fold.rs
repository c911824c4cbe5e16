//! Lines that repeat themselves: said a few times, then counted. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long repetitions are held back.
const WHILE: Duration = Duration::from_secs(60);
/// How often a line is said within that time before repetitions are held back.
const OFTEN: u32 = 3;
/// How many different lines are remembered.
const MOST: usize = 256;

/// What was said lately.
#[derive(Debug, Default)]
pub struct Fold(BTreeMap<String, Said>);

#[derive(Debug)]
struct Said {
    at: Instant,
    times: u32,
    /// How often since, and how it was put the last time.
    since: Option<(u32, String)>,
}

impl Fold {
    /// Takes a line about a topic, and returns what is to be written now: nothing, if the same was said lately.
    pub fn say(&mut self, topic: &str, text: &str, now: Instant) -> Vec<String> {
        let mut lines = self.due(now);
        if let Some(said) = self.0.get_mut(topic) {
            if said.times < OFTEN {
                said.times += 1;
                lines.push(text.to_owned());
                return lines;
            }
            let count = said.since.as_ref().map_or(0, |(count, _)| *count);
            said.since = Some((count.saturating_add(1), text.to_owned()));
            return lines;
        }
        if self.0.len() >= MOST {
            lines.extend(self.rest());
        }
        self.0.insert(
            topic.to_owned(),
            Said {
                at: now,
                times: 1,
                since: None,
            },
        );
        lines.push(text.to_owned());
        lines
    }

    /// Returns what was held back long enough, and forgets what was not repeated.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|_, said| {
            if now.saturating_duration_since(said.at) < WHILE {
                return true;
            }
            said.at = now;
            match said.since.take() {
                Some((count, text)) => {
                    lines.push(times(&text, count));
                    true
                }
                None => false,
            }
        });
        lines
    }

    /// Returns everything that was held back.
    pub fn rest(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.0);
        all.into_values()
            .filter_map(|said| said.since)
            .map(|(count, text)| times(&text, count))
            .collect()
    }
}

/// Puts a count behind the first line of a text.
fn times(text: &str, count: u32) -> String {
    if count < 2 {
        return text.to_owned();
    }
    match text.split_once('\n') {
        Some((first, rest)) => format!("{first} ×{count}\n{rest}"),
        None => format!("{text} ×{count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_is_said_a_few_times_and_then_counted() {
        let mut fold = Fold::default();
        let now = Instant::now();
        for _ in 0..OFTEN {
            assert_eq!(fold.say("a", "a 1s\n", now), ["a 1s\n"]);
        }
        for _ in 0..36 {
            assert_eq!(fold.say("a", "a 2s\n", now), [""; 0]);
        }
        assert_eq!(fold.say("a", "a 3s\n", now), [""; 0]);
        assert_eq!(fold.say("b", "b\n", now), ["b\n"]);
        let later = now + WHILE;
        assert_eq!(fold.say("c", "c\n", later), ["a 3s ×37\n", "c\n"]);
        assert_eq!(fold.say("b", "b\n", later), ["b\n"]);
        assert_eq!(fold.say("a", "a 4s\n", later), [""; 0]);
        assert_eq!(fold.rest(), ["a 4s\n"]);
    }

    #[test]
    fn memory_does_not_grow_with_what_is_said() {
        let mut fold = Fold::default();
        let now = Instant::now();
        for index in 0..10_000 {
            fold.say(&index.to_string(), "x\n", now);
        }
        assert!(fold.0.len() <= MOST);
    }
}
