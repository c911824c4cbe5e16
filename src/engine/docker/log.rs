//! Output of containers and builds as lines that are safe to show. Pure.

use std::collections::VecDeque;

/// Characters of a line that are kept.
const LONGEST_LINE: usize = 1_000;
/// Bytes without a line break after which a line is considered ended.
const LONGEST_BYTES: usize = 4 * LONGEST_LINE;

/// Puts lines together from pieces that arrive anyhow.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes a piece and returns the lines that it completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            // What is beyond the longest line would be cut off anyway, and need not be remembered.
            let room = LONGEST_BYTES.saturating_sub(self.partial.len());
            let end = part.ends_with(b"\n");
            let part = if end { &part[..part.len() - 1] } else { part };
            self.partial.extend_from_slice(&part[..part.len().min(room)]);
            if end {
                lines.push(clean(&std::mem::take(&mut self.partial)));
            }
        }
        lines
    }

    /// Returns the last line, if it was not ended.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| clean(&std::mem::take(&mut self.partial)))
    }
}

/// The last lines of many.
pub(super) struct Tail {
    lines: VecDeque<String>,
    most: usize,
    /// How many bytes there are, and may be.
    bytes: usize,
    room: usize,
}

impl Tail {
    pub(super) fn of(most: usize) -> Self {
        Self {
            lines: VecDeque::new(),
            most,
            bytes: 0,
            room: usize::MAX,
        }
    }

    pub(super) fn of_bytes(room: usize) -> Self {
        Self {
            room,
            ..Self::of(usize::MAX)
        }
    }

    pub(super) fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.lines.len() > self.most || self.bytes > self.room {
            let Some(first) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= first.len() + 1;
        }
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.lines.into()
    }
}

/// Returns a line as a terminal may show it: what was overwritten, escape sequences and control characters are
/// gone, and it has an end.
pub(super) fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    // A bar that redraws itself leaves all its states; the last is the one that would be seen.
    let text = text
        .rsplit('\r')
        .find(|part| !part.is_empty())
        .unwrap_or_default();
    let mut kept = String::with_capacity(text.len().min(LONGEST_LINE));
    let mut count = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if count == LONGEST_LINE {
            kept.push('…');
            break;
        }
        match character {
            '\u{1b}' => skip_sequence(&mut characters),
            '\u{9b}' => skip_parameters(&mut characters),
            '\t' => {
                kept.push(' ');
                count += 1;
            }
            _ if character.is_control() || is_invisible(character) => {}
            _ => {
                kept.push(character);
                count += 1;
            }
        }
    }
    kept
}

/// Says whether a character changes the direction or the order of what is around it.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Skips what follows an escape character.
fn skip_sequence(characters: &mut Characters<'_>) {
    match characters.next() {
        Some('[') => skip_parameters(characters),
        // A string (title, hyperlink) ends with a bell or with an escape and a backslash.
        Some(']' | 'P' | '^' | '_' | 'X') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' || character == '\u{9c}' {
                    return;
                }
                if character == '\u{1b}' {
                    characters.next_if_eq(&'\\');
                    return;
                }
            }
        }
        // An intermediate byte has one more behind it.
        Some(' '..='/') => {
            characters.next();
        }
        Some(_) | None => {}
    }
}

/// Skips parameters up to the character that ends the sequence.
fn skip_parameters(characters: &mut Characters<'_>) {
    for character in characters.by_ref() {
        if ('@'..='~').contains(&character) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_wherever_they_were_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"on"), Vec::<String>::new());
        assert_eq!(lines.push(b"e\ntwo\n\nth"), ["one", "two", ""]);
        assert_eq!(lines.push(b"ree"), Vec::<String>::new());
        assert_eq!(lines.finish(), Some("three".to_owned()));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn lines_are_safe_to_show() {
        for (raw, shown) in [
            ("plain", "plain"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bx\u{1b}cy", "xy"),
            ("10%\r50%\r100%\r", "100%"),
            ("bell\u{7} back\u{8} nul\0", "bell back nul"),
            ("a\tb", "a b"),
            ("evil\u{202e}txt", "eviltxt"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}[", ""),
            ("\u{1b}", ""),
        ] {
            assert_eq!(clean(raw.as_bytes()), shown, "{raw:?}");
        }
        assert_eq!(clean(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_line_without_end_is_cut_and_costs_no_memory() {
        let mut lines = Lines::default();
        for _ in 0..1_000 {
            lines.push(&[b'x'; 4_096]);
        }
        assert!(lines.partial.len() <= LONGEST_BYTES);
        let line = lines.finish().expect("a line");
        assert_eq!(line.chars().count(), LONGEST_LINE + 1);
        assert!(line.ends_with('…'));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::of(2);
        for line in ["a", "b", "c"] {
            tail.push(line.to_owned());
        }
        assert_eq!(tail.into_vec(), ["b", "c"]);
        let mut tail = Tail::of_bytes(6);
        for line in ["first", "b", "cde"] {
            tail.push(line.to_owned());
        }
        assert_eq!(tail.into_vec(), ["b", "cde"]);
    }
}
