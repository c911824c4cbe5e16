//! Which line of a Dockerfile a builder means when it names a step.
//!
//! Builders name steps by their instructions: the words as they stand, lines joined, variables filled in. That is
//! compared with every instruction of the Dockerfile that was sent; where several are the same, the number decides.

use super::part::{Part, escape, parts, unquoted};
use super::{MOUNTED, VARIABLES};

/// An instruction of the Dockerfile as it was sent, with its place in the one that was written.
struct Instruction {
    word: String,
    /// The pieces between its variables, whatever stands for nothing left out.
    pieces: Vec<String>,
    /// Whether the words of here-documents follow.
    open: bool,
    /// The stage it is in, counted from 0, and the name of that.
    stage: Option<usize>,
    name: String,
    /// Which of the steps of its stage it is, counted from 1; nothing where it makes no layer.
    number: Option<usize>,
    line: u32,
}

/// What a builder says of a step.
struct Said<'a> {
    stage: Option<&'a str>,
    number: Option<usize>,
    /// How many there are in its stage.
    of: Option<usize>,
    word: &'a str,
    text: String,
}

/// Returns the line that is meant by the name of a step, counted from 1. `sent` is the text after
/// [`prepare`](super::prepare).
pub fn line_of_step(text: &str, sent: &str, step: &str) -> Option<u32> {
    let said = said(step)?;
    let all = instructions(text, sent);
    let of_stage = |instruction: &&Instruction| match said.stage {
        Some(name) => instruction.stage.is_some_and(|stage| {
            name.eq_ignore_ascii_case(&instruction.name) || name == format!("stage-{stage}")
        }),
        None => true,
    };
    let own: Vec<&Instruction> = all.iter().filter(of_stage).collect();
    let own = if own.is_empty() { all.iter().collect() } else { own };
    let same: Vec<&&Instruction> = own
        .iter()
        .filter(|instruction| instruction.is_said(&said.text))
        .collect();
    let numbered = |instruction: &&&Instruction| instruction.number == said.number;
    if let Some(found) = same
        .iter()
        .copied()
        .find(numbered)
        .or_else(|| same.first().copied())
    {
        return Some(found.line);
    }
    // A trigger of the image that the stage begins with is written in none of its lines.
    let numbered = own.iter().filter(|one| one.number.is_some());
    let all_ours = said.of == Some(numbered.clone().count());
    let by_number = numbered
        .filter(|one| all_ours && one.number == said.number)
        .find(|one| one.word.eq_ignore_ascii_case(said.word));
    let begins = || own.iter().rfind(|one| one.word == "FROM");
    by_number.or_else(begins).map(|one| one.line)
}

/// Returns the line that starts from an image, or takes something from it.
pub fn line_of_image(text: &str, image: &str) -> Option<u32> {
    let escape = escape(text);
    let names = |part: &&Part<'_>| {
        part.words(escape).into_iter().any(|word| {
            let place = unquoted(part.text, word);
            let word = &part.text[place];
            let word = word.strip_prefix("--from=").unwrap_or(word);
            word == image
                || word.strip_suffix(":latest") == Some(image)
                || image.strip_suffix(":latest") == Some(word)
        })
    };
    let parts = parts(text, escape);
    let found = parts
        .iter()
        .filter(|part| part.word_end > 0)
        .find(|part| names(part));
    // What a variable stands for cannot be found by its name.
    let first = || {
        let from = |part: &&Part<'_>| part.text[..part.word_end].trim().eq_ignore_ascii_case("FROM");
        let mut from = parts.iter().filter(from);
        from.next().filter(|_| from.next().is_none())
    };
    Some(found.or_else(first)?.line(text))
}

/// Returns what a builder says of a Dockerfile that it cannot make sense of, with the line that was written in the place
/// of the one that was sent.
pub fn line_of_complaint(sent: &str, message: String) -> (String, Option<u32>) {
    for words in ["parse error line ", "parse error on line "] {
        let Some((before, after)) = message.split_once(words) else {
            continue;
        };
        let end = after
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(after.len());
        if let Ok(line) = after[..end].parse() {
            let line = written(sent, line);
            return (format!("{before}{words}{line}{}", &after[end..]), Some(line));
        }
    }
    (message, None)
}

fn written(sent: &str, line: u32) -> u32 {
    let before = sent.lines().take(usize::try_from(line).unwrap_or(usize::MAX));
    let added = before.filter(|line| is_ours(line)).count();
    line.saturating_sub(u32::try_from(added).unwrap_or(u32::MAX))
        .max(1)
}

/// Says whether a line is one that was added.
fn is_ours(line: &str) -> bool {
    let (name, file) = VARIABLES[0];
    line.starts_with(&format!("ARG {name}={MOUNTED}/{file} "))
}

fn said(step: &str) -> Option<Said<'_>> {
    if let Some(rest) = step.strip_prefix('[') {
        let (head, text) = rest.split_once("] ")?;
        let mut words = head.split_whitespace().rev();
        let (number, of) = words.next()?.split_once('/')?;
        let (number, of) = (number.parse().ok(), of.parse().ok());
        return Some(Said {
            // The platform may stand before it.
            stage: words.next().filter(|word| !word.contains('/')),
            number,
            of,
            word: first(text),
            text: plain(text),
        });
    }
    let rest = step
        .strip_prefix("Step ")
        .or_else(|| step.strip_prefix("STEP "))?;
    let (_, text) = rest.split_once(':')?;
    Some(Said {
        stage: None,
        // It counts every instruction, which says little.
        number: None,
        of: None,
        word: first(text),
        text: plain(text),
    })
}

fn first(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn instructions(text: &str, sent: &str) -> Vec<Instruction> {
    let (escape_written, escape_sent) = (escape(text), escape(sent));
    let written = parts(text, escape_written);
    let sent = parts(sent, escape_sent);
    let written = written.iter().filter(|part| part.word_end > 0);
    let sent = sent
        .iter()
        .filter(|part| part.word_end > 0 && !is_ours(part.text));
    let mut found: Vec<Instruction> = Vec::new();
    let (mut stage, mut name, mut number) = (None, String::new(), 0);
    for (written, sent) in written.zip(sent) {
        let word = sent.text[..sent.word_end].trim().to_ascii_uppercase();
        if word == "FROM" {
            let words: Vec<String> = sent
                .words(escape_sent)
                .into_iter()
                .map(|word| sent.text[word].to_owned())
                .filter(|word| !word.starts_with("--"))
                .collect();
            let earlier = |one: &Instruction| {
                let image = words.first();
                image.is_some_and(|image| one.name.eq_ignore_ascii_case(image))
            };
            // What begins with another stage, or with nothing, has no step for that.
            let is_pulled =
                words.first().is_some_and(|image| image != "scratch") && !found.iter().any(earlier);
            number = usize::from(is_pulled);
            stage = Some(stage.map_or(0, |stage| stage + 1));
            name = words.get(2).cloned().unwrap_or_default();
        }
        let counts = matches!(word.as_str(), "RUN" | "COPY" | "ADD" | "WORKDIR");
        number += usize::from(counts);
        let joined = joined(&sent.text[sent.word_end..], escape_sent);
        found.push(Instruction {
            pieces: pieces(&format!("{word}{joined}")),
            open: !sent.heredocs(escape_sent).is_empty(),
            stage,
            name: name.clone(),
            number: (counts || (word == "FROM" && number == 1)).then_some(number),
            line: written.line(text),
            word,
        });
    }
    found
}

impl Instruction {
    /// Says whether a text is this instruction with its variables filled in.
    fn is_said(&self, text: &str) -> bool {
        let Some((start, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some(mut left) = text.strip_prefix(start.as_str()) else {
            return false;
        };
        let Some((end, between)) = rest.split_last() else {
            return self.open || left.is_empty();
        };
        for piece in between {
            let Some((_, after)) = left.split_once(piece.as_str()) else {
                return false;
            };
            left = after;
        }
        if self.open {
            left.contains(end.as_str())
        } else {
            left.ends_with(end.as_str())
        }
    }
}

/// Returns the lines of an instruction as one, without the comments between them.
pub(super) fn joined(text: &str, escape: char) -> String {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.trim_end().trim_end_matches(escape));
    lines.collect::<Vec<_>>().concat()
}

/// Returns the pieces of an instruction between its variables, in the form of [`plain`].
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        piece.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        rest = match rest.strip_prefix('{') {
            Some(inner) => inner.split_once('}').map_or("", |(_, after)| after),
            None => rest
                .trim_start_matches(|character: char| character.is_ascii_alphanumeric() || character == '_'),
        };
        pieces.push(plain(&std::mem::take(&mut piece)));
    }
    piece.push_str(rest);
    pieces.push(plain(&piece));
    pieces
}

/// Returns a text without what builders write differently: spaces, quotes and escapes.
fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|character| !character.is_whitespace() && !['"', '\'', '\\', '`'].contains(character))
        .collect();
    text
}

#[cfg(test)]
mod tests {
    use super::super::prepare;
    use super::*;

    const TEXT: &str = "ARG V=1\n\
        FROM debian:$V AS one\n\
        # a comment\n\
        RUN echo a && \\\n  # between\n  echo b\n\
        WORKDIR /x\n\
        COPY . /all/\n\
        RUN echo $V \"${V}\" end\n\
        ENV A=1\n\
        RUN false\n\
        FROM one\n\
        run [\"sh\", \"-c\", \"false\"]\n\
        RUN <<EOF\nfalse\nEOF\n\
        RUN false\n\
        FROM scratch AS three\n\
        COPY --from=one /x /y\n\
        COPY --from=busybox:1 /x /y\n";

    fn line(step: &str) -> Option<u32> {
        let mut found = Vec::new();
        for certificates in [false, true] {
            let sent = prepare(TEXT, certificates, false).text;
            let step = if certificates && step.contains("RUN ") {
                step.replace(
                    "RUN ",
                    "RUN --mount=type=bind,source=.aishell,target=/dev/aishell ",
                )
            } else {
                step.to_owned()
            };
            found.push(line_of_step(TEXT, &sent, &step));
        }
        assert_eq!(found[0], found[1], "{step}");
        found[0]
    }

    #[test]
    fn a_step_is_found_by_what_it_says_and_by_its_number_where_others_say_the_same() {
        for (step, expected) in [
            ("[one 1/6] FROM docker.io/library/debian:1", 2),
            ("[one 2/6] RUN echo a &&   echo b", 4),
            ("[one 3/6] WORKDIR /x", 7),
            ("[one 4/6] COPY context /all/", 8),
            ("[linux/amd64 one 5/6] RUN echo 1 1 end", 9),
            ("[one 6/6] RUN false", 11),
            ("[stage-1 1/3] RUN [\"sh\", \"-c\", \"false\"]", 13),
            ("[stage-1 2/3] RUN <<EOF (false)", 14),
            ("[stage-1 3/3] RUN false", 17),
            ("[three 1/2] COPY --from=one /x /y", 19),
            ("Step 3/12 : RUN echo $V \"${V}\" end", 9),
            ("STEP 9/12: WORKDIR /x", 7),
            // Triggers of an image are in none of our lines.
            ("[one 2/7] RUN trigger", 2),
            ("[stage-1 1/4] COPY trigger /", 12),
        ] {
            assert_eq!(line(step), Some(expected), "{step}");
        }
        assert_eq!(line("exporting to image"), None);
    }

    #[test]
    fn an_image_is_found_where_it_is_named() {
        assert_eq!(line_of_image(TEXT, "busybox:1"), Some(20));
        assert_eq!(line_of_image(TEXT, "debian:1"), None);
        assert_eq!(line_of_image("ARG V=1\nFROM debian:$V\n", "debian:1"), Some(2));
        assert_eq!(line_of_image("FROM a\nFROM debian:latest\n", "debian"), Some(2));
        assert_eq!(line_of_image("FROM a\nFROM debian\n", "debian:latest"), Some(2));
    }

    #[test]
    fn lines_that_were_added_do_not_count() {
        let sent = prepare("FROM a\nRUN x\nFROM b\nRUNN y\n", true, false).text;
        let said = "failed: dockerfile parse error line 6: unknown instruction: RUNN";
        let (message, line) = line_of_complaint(&sent, said.to_owned());
        assert_eq!(
            (message.as_str(), line),
            (
                "failed: dockerfile parse error line 4: unknown instruction: RUNN",
                Some(4)
            )
        );
        let said = "dockerfile parse error on line 2: unknown instruction";
        assert_eq!(
            line_of_complaint("FROM a\nRUNN\n", said.to_owned()),
            (said.to_owned(), Some(2))
        );
        assert_eq!(line_of_complaint("", "no".to_owned()), ("no".to_owned(), None));
    }
}
