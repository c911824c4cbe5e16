//! The pieces of a Dockerfile: instructions, what continues them, and the here-documents behind them.

use std::ops::Range;

/// The instructions that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    From,
    Arg,
    Run,
    /// `COPY` and `ADD`.
    Copy,
    OnBuild,
    /// Any other instruction; comments, empty lines and the bodies of here-documents as well.
    Other,
}

/// A piece of a Dockerfile; all of them together are its text.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) keyword: Keyword,
    pub(super) text: &'a str,
    /// Where the keyword ends.
    pub(super) word_end: usize,
    /// Where it begins in the whole text.
    pub(super) start: usize,
}

/// Returns the character that escapes and that continues lines, which a directive can change. Directives are only
/// what comes before anything else.
pub(super) fn escape(text: &str) -> char {
    for line in text.trim_start_matches('\u{feff}').lines() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|line| line.split_once('='))
        else {
            break;
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "escape" if value.trim() == "`" => return '`',
            "syntax" | "check" => {}
            _ => break,
        }
    }
    '\\'
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Says whether the next line belongs to the same instruction.
fn is_continued(line: &str, escape: char) -> bool {
    let line = line.trim_end();
    line.strip_suffix(escape)
        .is_some_and(|before| !before.ends_with(escape))
}

pub(super) fn parts(text: &str, escape: char) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.split_inclusive('\n').next() {
        let plain = first.trim_start_matches('\u{feff}');
        if plain.trim().is_empty() || is_comment(plain) {
            parts.push(Part {
                keyword: Keyword::Other,
                text: first,
                word_end: 0,
                start: text.len() - rest.len(),
            });
            rest = &rest[first.len()..];
            continue;
        }
        let mut length = 0;
        for line in rest.split_inclusive('\n') {
            length += line.len();
            // Comments and empty lines between the lines of an instruction do not end it.
            let between = length > line.len() && (is_comment(line) || line.trim().is_empty());
            if !between && !is_continued(line, escape) {
                break;
            }
        }
        let (instruction, mut after) = rest.split_at(length);
        let start = first.len() - plain.trim_start().len();
        let word = instruction[start..]
            .split(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let keyword = match word.to_ascii_uppercase().as_str() {
            "FROM" => Keyword::From,
            "ARG" => Keyword::Arg,
            "RUN" => Keyword::Run,
            "COPY" | "ADD" => Keyword::Copy,
            "ONBUILD" => Keyword::OnBuild,
            _ => Keyword::Other,
        };
        let part = Part {
            keyword,
            text: instruction,
            word_end: start + word.len(),
            start: text.len() - rest.len(),
        };
        let mut bodies = 0;
        for (indented, name) in part.heredocs(escape) {
            for line in after[bodies..].split_inclusive('\n') {
                bodies += line.len();
                let line = line.trim_end_matches(['\n', '\r']);
                if name
                    == if indented {
                        line.trim_start_matches('\t')
                    } else {
                        line
                    }
                {
                    break;
                }
            }
        }
        parts.push(part);
        if bodies > 0 {
            parts.push(Part {
                keyword: Keyword::Other,
                text: &after[..bodies],
                word_end: 0,
                start: text.len() - after.len(),
            });
            after = &after[bodies..];
        }
        rest = after;
    }
    parts
}

impl Part<'_> {
    /// Returns the line of the whole text that it begins on, counted from 1.
    pub(super) fn line(&self, text: &str) -> u32 {
        let before = text.get(..self.start).unwrap_or_default().matches('\n').count();
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Returns the words behind the keyword: where they are. Quotes are part of them.
    pub(super) fn words(&self, escape: char) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        let mut start = None;
        let mut quote = None;
        let mut at = self.word_end;
        while let Some(character) = self.text[at..].chars().next() {
            let next = at + character.len_utf8();
            if character == escape && quote != Some('\'') {
                let line = self.text[next..].split_inclusive('\n').next().unwrap_or_default();
                if line.ends_with('\n') && line.trim().is_empty() {
                    at = skip_comments(self.text, next + line.len());
                    continue;
                }
                start.get_or_insert(at);
                at = next + self.text[next..].chars().next().map_or(0, char::len_utf8);
                continue;
            }
            if quote == Some(character) {
                quote = None;
            } else if quote.is_none() && (character == '"' || character == '\'') {
                quote = Some(character);
            }
            if quote.is_none() && character.is_whitespace() {
                words.extend(start.take().map(|start| start..at));
            } else {
                start.get_or_insert(at);
            }
            at = next;
        }
        words.extend(start.map(|start| start..self.text.len()));
        words
    }

    /// Returns the here-documents that follow: whether tabs before their lines are dropped, and the line that ends
    /// them.
    pub(super) fn heredocs(&self, escape: char) -> Vec<(bool, String)> {
        match self.keyword {
            Keyword::Run | Keyword::Copy | Keyword::OnBuild => {}
            Keyword::From | Keyword::Arg | Keyword::Other => return Vec::new(),
        }
        let name = |word: Range<usize>| {
            let word = self.text[word].trim_start_matches(|digit: char| digit.is_ascii_digit());
            let name = word.strip_prefix("<<")?;
            let (indented, name) = name.strip_prefix('-').map_or((false, name), |name| (true, name));
            let name: String = name
                .chars()
                .filter(|character| !['"', '\''].contains(character))
                .collect();
            (!name.is_empty() && !name.contains('<')).then_some((indented, name))
        };
        self.words(escape).into_iter().filter_map(name).collect()
    }
}

/// Returns where the text goes on behind comments and empty lines.
pub(super) fn skip_comments(text: &str, mut at: usize) -> usize {
    for line in text[at..].split_inclusive('\n') {
        if !(is_comment(line) || line.trim().is_empty()) {
            break;
        }
        at += line.len();
    }
    at
}

/// Returns a place without the quotes around it.
pub(super) fn unquoted(text: &str, place: Range<usize>) -> Range<usize> {
    let word = &text[place.clone()];
    let quoted = word.len() > 1
        && ['"', '\'']
            .iter()
            .any(|quote| word.starts_with(*quote) && word.ends_with(*quote));
    if quoted {
        place.start + 1..place.end - 1
    } else {
        place
    }
}

/// Returns the places of the strings of a list in JSON, quotes included.
pub(super) fn strings(text: &str, from: usize) -> Vec<Range<usize>> {
    let mut strings = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (at, character) in text[from..].char_indices() {
        match (start, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(begun), '"') => {
                strings.push(begun..from + at + 1);
                start = None;
            }
            (None, '"') => start = Some(from + at),
            _ => {}
        }
    }
    strings
}
