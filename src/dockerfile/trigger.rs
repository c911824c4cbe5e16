//! What an image has the next build do that starts from it: the instructions behind `ONBUILD`.

use std::collections::BTreeMap;

use super::base::starts;
use super::parent::tag;
use super::part::{Keyword, escape, parts, unquoted};
use super::step::joined;
use super::{Reads, line_of_argument, reads};
use crate::call::Trigger;

/// Returns what the images have a build do that it begins with: `before` is what the image of the stage before does,
/// `known` what others do, by their names.
pub fn had_done(
    (text, args, target): (&str, &BTreeMap<String, String>, Option<&str>),
    before: &str,
    known: impl Fn(&str) -> String,
) -> Vec<Trigger> {
    let starts = starts(text, args, target).into_iter();
    let triggers = starts.map(|start| Trigger {
        instructions: match tag(&start.image) {
            Some(_) => before.to_owned(),
            None => known(&start.image),
        },
        image: start.image,
        line: start.line,
        bare: None,
    });
    triggers
        .filter(|trigger| !trigger.instructions.trim().is_empty())
        .collect()
}

/// Returns the instructions of all of them as one text.
pub fn instructions(triggers: &[Trigger]) -> String {
    let lines = triggers.iter().flat_map(|trigger| trigger.instructions.lines());
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A Dockerfile in which stands what the images have it do that it begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Its text.
    pub text: String,
    /// The last line before every block that was added, in the text without them, and how many lines that has.
    added: Vec<(u32, u32)>,
}

impl Whole {
    /// Writes out what images have a Dockerfile do, where there is one of each without that: a builder would do it with
    /// whatever is sent beside the context.
    pub fn of(text: &str, triggers: &[Trigger]) -> Self {
        let escape = escape(text);
        let mut whole = Self::default();
        for part in parts(text, escape) {
            let line = part.line(text);
            let mut own = triggers.iter().filter(|trigger| trigger.line == line);
            let found = own.find_map(|trigger| Some((trigger, trigger.bare.as_ref()?)));
            let Some((trigger, bare)) = found.filter(|_| part.keyword == Keyword::From) else {
                whole.text.push_str(part.text);
                continue;
            };
            let words = part.words(escape);
            let mut words = words
                .into_iter()
                .filter(|word| !part.text[word.clone()].starts_with("--"));
            let mut from = part.text.to_owned();
            if let Some(word) = words.next() {
                from.replace_range(unquoted(part.text, word), bare);
            }
            whole.text.push_str(&from);
            if !from.ends_with('\n') {
                whole.text.push('\n');
            }
            let lines = |text: &str| u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
            let last = line.saturating_add(lines(part.text)).saturating_sub(1);
            whole.added.push((last, lines(&trigger.instructions)));
            whole.text.push_str(&trigger.instructions);
            if !trigger.instructions.ends_with('\n') {
                whole.text.push('\n');
            }
        }
        whole
    }

    /// Returns the line that was written for one of this text; what was added is meant by the `FROM` before it.
    pub fn written(&self, line: u32) -> u32 {
        let mut left = line;
        for (before, lines) in &self.added {
            if left > before.saturating_add(*lines) {
                left -= lines;
            } else if left > *before {
                return *before;
            }
        }
        left
    }
}

/// Returns the instructions that the image of a Dockerfile has the next build do, as a text of their own; nothing, where
/// there are none. `target` is the stage of the Dockerfile that is built.
pub fn triggers(text: &str, target: Option<&str>) -> String {
    let escape = escape(text);
    let mut sections: Vec<(String, String)> = Vec::new();
    for part in parts(text, escape) {
        match part.keyword {
            Keyword::From => {
                let words = part.words(escape);
                let mut words = words.iter().map(|word| &part.text[word.clone()]);
                let named = words.find(|word| word.eq_ignore_ascii_case("as"));
                let name = named.and(words.next()).unwrap_or_default();
                sections.push((name.to_owned(), String::new()));
            }
            Keyword::OnBuild => {
                if let Some((_, section)) = sections.last_mut() {
                    // It may stand on a line of its own.
                    let between = |character: char| character.is_whitespace() || character == escape;
                    let text = joined(&part.text[part.word_end..], escape);
                    section.push_str(text.trim_start_matches(between).trim_end());
                    section.push('\n');
                }
            }
            Keyword::Arg | Keyword::Run | Keyword::Copy | Keyword::Other => {}
        }
    }
    let last = sections.len().checked_sub(1);
    let by_name = |name: &str| {
        let named = sections
            .iter()
            .position(|(own, _)| own.eq_ignore_ascii_case(name));
        named.or_else(|| name.parse().ok())
    };
    let built = match target {
        Some(target) => by_name(target),
        None => last,
    };
    let section = built.and_then(|index| sections.into_iter().nth(index));
    section.map(|(_, section)| section).unwrap_or_default()
}

/// Returns what a build can see of its context: what its Dockerfile says, and what it starts from has it do.
pub fn reads_with(text: &str, triggers: &str) -> Reads {
    match (reads(text), reads(triggers)) {
        (Reads::Below(mut paths), Reads::Below(more)) => {
            paths.extend(more);
            paths.sort();
            paths.dedup();
            Reads::Below(paths)
        }
        (Reads::Everything, _) | (_, Reads::Everything) => Reads::Everything,
    }
}

/// Says whether a Dockerfile, or what it starts from, declares an argument.
pub fn declares(text: &str, triggers: &str, name: &str) -> bool {
    line_of_argument(text, name).is_some() || line_of_argument(triggers, name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_build_does_what_the_image_that_is_built_says() {
        let text = "FROM a AS one\nONBUILD COPY one /\nFROM b\nRUN x\nonbuild  arg WORD\nONBUILD \\\n  ADD two three /\n";
        assert_eq!(triggers(text, None), "arg WORD\nADD two three /\n");
        assert_eq!(triggers(text, Some("ONE")), "COPY one /\n");
        assert_eq!(triggers(text, Some("0")), "COPY one /\n");
        assert_eq!(triggers("FROM a\nRUN x\n", None), "");
        assert_eq!(
            triggers("# escape=`\nFROM a\nONBUILD COPY a `\n b /\n", None),
            "COPY a  b /\n"
        );
    }

    #[test]
    fn what_it_does_is_seen_with_the_dockerfile() {
        let below = |paths: &[&str]| Reads::Below(paths.iter().map(|path| (*path).to_owned()).collect());
        let own = "FROM a\nCOPY own /\n";
        assert_eq!(reads_with(own, ""), below(&["own"]));
        assert_eq!(reads_with(own, "COPY b own /\n"), below(&["b", "own"]));
        assert_eq!(reads_with(own, "COPY . /\n"), Reads::Everything);
        assert!(declares(own, "ARG WORD=1\n", "WORD"));
        assert!(!declares(own, "COPY WORD /\n", "WORD"));
    }

    #[test]
    fn what_an_image_has_done_is_written_out_behind_the_line_that_names_it() {
        let trigger = |line, bare: Option<&str>| Trigger {
            image: "one".to_owned(),
            line,
            instructions: "COPY . /app\nRUN make\n".to_owned(),
            bare: bare.map(str::to_owned),
        };
        let text = "ARG V\nFROM --platform=$BUILDPLATFORM \\\n  \"one\" AS x\nRUN a\nFROM one";
        let whole = Whole::of(text, &[trigger(2, Some("bare:1")), trigger(5, Some("bare:2"))]);
        assert_eq!(
            whole.text,
            "ARG V\nFROM --platform=$BUILDPLATFORM \\\n  \"bare:1\" AS x\nCOPY . /app\nRUN make\nRUN a\nFROM bare:2\nCOPY . /app\nRUN make\n"
        );
        let lines: Vec<u32> = (1..=9).map(|line| whole.written(line)).collect();
        assert_eq!(lines, [1, 2, 3, 3, 3, 4, 5, 5, 5]);
        let whole = Whole::of(text, &[trigger(2, None)]);
        assert_eq!((whole.text.as_str(), whole.written(5)), (text, 5));
    }
}
