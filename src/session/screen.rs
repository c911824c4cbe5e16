//! [`Screen`]: what a program has made of the terminal besides writing on it, and what takes that back. Pure.
//!
//! A program that is killed leaves the other screen, a hidden cursor, a mouse that types. Everything here is undone by
//! what a terminal that never heard of it ignores.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The modes that are on by themselves: wrapping, and the cursor.
const ON: [u16; 2] = [7, 25];
/// The modes that are given back: cursor keys, wrapping, mice, the cursor, other screens, focus, pastes, batches of
/// output, sizes and colours that are told.
const MODES: [u16; 18] = [
    1, 7, 9, 25, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2031, 2048,
];
/// The longest sequence that is read.
const LONGEST: usize = 64;

/// What is read of a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Text,
    /// After the escape.
    Escape,
    /// The character that says which character set.
    Set(u8),
    /// Parameters of a control sequence.
    Control(Vec<u8>),
    /// A title or the like; whether an escape came last.
    String(bool),
}

/// What a program can make of a terminal besides modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    /// Other keys on the keypad.
    Keypad,
    /// Keys that are told apart which usually are not.
    OtherKeys,
    Colors,
    /// Another shape of the cursor.
    Cursor,
    /// Only some lines move.
    Region,
    /// Letters that are lines.
    Lines,
}

/// What was made of a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    at: At,
    /// Modes that are not as they are by themselves.
    modes: BTreeSet<u16>,
    made: BTreeSet<Made>,
    /// How many sets of keys lie on those of the terminal.
    keys: u16,
}

impl Screen {
    /// Takes in what is shown, and says whether anything was made of the terminal by it.
    pub fn show(&mut self, bytes: &[u8]) -> bool {
        let mut changed = false;
        for byte in bytes {
            changed |= self.byte(*byte);
        }
        changed
    }

    /// Returns what makes the terminal plain.
    pub fn undo(&self) -> Vec<u8> {
        let mut text = String::new();
        for mode in &self.modes {
            let letter = if ON.contains(mode) { 'h' } else { 'l' };
            let _ = write!(text, "\x1b[?{mode}{letter}");
        }
        if self.keys > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "\x1b[<{}u", self.keys);
        }
        for made in &self.made {
            text.push_str(match made {
                Made::Keypad => "\x1b>",
                Made::OtherKeys => "\x1b[>4m",
                Made::Colors => "\x1b[m",
                Made::Cursor => "\x1b[0 q",
                // It moves the cursor, which is to stay.
                Made::Region => "\x1b7\x1b[r\x1b8",
                Made::Lines => "\x0f\x1b(B",
            });
        }
        text.into_bytes()
    }

    /// Returns what makes a plain terminal what a program has made of it, as far as that does not draw it again itself.
    pub fn redo(&self) -> Vec<u8> {
        let mut text = String::new();
        for mode in &self.modes {
            let letter = if ON.contains(mode) { 'l' } else { 'h' };
            // Writing to a String cannot fail.
            let _ = write!(text, "\x1b[?{mode}{letter}");
        }
        for _ in 0..self.keys.min(8) {
            text.push_str("\x1b[>1u");
        }
        for made in &self.made {
            text.push_str(match made {
                Made::Keypad => "\x1b=",
                Made::OtherKeys => "\x1b[>4;2m",
                Made::Colors | Made::Cursor | Made::Region | Made::Lines => "",
            });
        }
        text.into_bytes()
    }

    /// Says whether a program has the screen for itself.
    pub fn is_full(&self) -> bool {
        [47, 1047, 1049].iter().any(|mode| self.modes.contains(mode))
    }

    fn byte(&mut self, byte: u8) -> bool {
        let at = std::mem::take(&mut self.at);
        let (next, changed) = match (at, byte) {
            (At::Text, 0x1b) => (At::Escape, false),
            (At::Text, 0x0e) => (At::Text, self.make(Made::Lines, true)),
            (At::Text, _) => (At::Text, false),
            (At::Escape, b'[') => (At::Control(Vec::new()), false),
            (At::Escape, b']' | b'P' | b'X' | b'^' | b'_') => (At::String(false), false),
            (At::Escape, b'(' | b')') => (At::Set(byte), false),
            (At::Escape, b'=') => (At::Text, self.make(Made::Keypad, true)),
            (At::Escape, b'>') => (At::Text, self.make(Made::Keypad, false)),
            (At::Escape, b'c') => (At::Text, self.reset()),
            (At::Escape, 0x1b) => (At::Escape, false),
            (At::Escape, _) => (At::Text, false),
            (At::Set(b'('), _) => (At::Text, self.make(Made::Lines, byte == b'0')),
            (At::Set(_), _) => (At::Text, false),
            (At::Control(sequence), 0x40..=0x7e) => (At::Text, self.control(&sequence, byte)),
            // It begins again.
            (At::Control(_), 0x1b) => (At::Escape, false),
            (At::Control(mut sequence), _) if sequence.len() < LONGEST => {
                sequence.push(byte);
                (At::Control(sequence), false)
            }
            (At::Control(_), _) => (At::Text, false),
            (At::String(_), 0x07) | (At::String(true), b'\\') => (At::Text, false),
            (At::String(_), _) => (At::String(byte == 0x1b), false),
        };
        self.at = next;
        changed
    }

    fn control(&mut self, sequence: &[u8], last: u8) -> bool {
        let text = String::from_utf8_lossy(sequence);
        let kind = text.chars().next().filter(|first| "<=>?!".contains(*first));
        let rest = kind.map_or(text.as_ref(), |_| &text[1..]);
        let mut numbers = rest.split(';').map(|part| part.parse::<u16>().ok());
        match (kind, last) {
            (Some('?'), b'h' | b'l') => {
                let mut changed = false;
                for mode in numbers.flatten().filter(|mode| MODES.contains(mode)) {
                    changed |= if (last == b'h') == ON.contains(&mode) {
                        self.modes.remove(&mode)
                    } else {
                        self.modes.insert(mode)
                    };
                }
                changed
            }
            (Some('!'), b'p') => self.reset(),
            (Some('>'), b'u') => {
                self.keys = self.keys.saturating_add(1);
                true
            }
            (Some('<'), b'u') => {
                let fewer = numbers.next().flatten().unwrap_or(1);
                self.keys = self.keys.saturating_sub(fewer);
                true
            }
            (Some('>'), b'm') if numbers.next() == Some(Some(4)) => {
                let how = numbers.next().flatten().unwrap_or(0);
                self.make(Made::OtherKeys, how > 0)
            }
            (None, b'm') => self.make(
                Made::Colors,
                !rest.split(';').all(|part| matches!(part, "" | "0")),
            ),
            (None, b'q') if rest.ends_with(' ') => self.make(Made::Cursor, !matches!(rest, " " | "0 ")),
            (None, b'r') => self.make(Made::Region, !rest.is_empty()),
            _ => false,
        }
    }

    /// Notes that something is or is not made of the terminal, and says whether that is new.
    fn make(&mut self, made: Made, now: bool) -> bool {
        if now {
            self.made.insert(made)
        } else {
            self.made.remove(&made)
        }
    }

    fn reset(&mut self) -> bool {
        let changed = !(self.modes.is_empty() && self.made.is_empty() && self.keys == 0);
        *self = Self::default();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(shown: &str) -> String {
        let mut screen = Screen::default();
        // In pieces of one byte, since that is how it may come.
        for byte in shown.as_bytes() {
            screen.show(&[*byte]);
        }
        String::from_utf8(screen.undo()).expect("text")
    }

    #[test]
    fn what_a_program_made_of_the_terminal_is_taken_back_and_nothing_else() {
        for (shown, expected) in [
            ("plain text\r\n", ""),
            ("\x1b[1;31mred\x1b[0m", ""),
            ("\x1b[1;31mred", "\x1b[m"),
            ("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"),
            ("\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l", ""),
            ("\x1b[?1000;1006h", "\x1b[?1000l\x1b[?1006l"),
            ("\x1b[?2004h$ ", "\x1b[?2004l"),
            ("\x1b[?7l", "\x1b[?7h"),
            ("\x1b[?12h\x1b[?9999h", ""),
            ("\x1b=", "\x1b>"),
            ("\x1b[>1u\x1b[>5u\x1b[<u", "\x1b[<1u"),
            ("\x1b[>4;2m", "\x1b[>4m"),
            ("\x1b[2 q", "\x1b[0 q"),
            ("\x1b[3;10r", "\x1b7\x1b[r\x1b8"),
            ("\x1b(0qqq", "\x0f\x1b(B"),
            ("\x1b]0;a title with \x1b[?25l in it\x07", ""),
            ("\x1b]0;a title\x1b\\\x1b[?25l", "\x1b[?25h"),
            ("\x1b[?1049h\x1b[?1000h\x1bc", ""),
        ] {
            assert_eq!(undone(shown), expected, "{shown:?}");
            let mut screen = Screen::default();
            screen.show(shown.as_bytes());
            let mut again = Screen::default();
            again.show(&screen.redo());
            assert_eq!(
                (again.modes, again.keys),
                (screen.modes, screen.keys),
                "{shown:?}"
            );
        }
    }

    #[test]
    fn rubbish_does_no_harm() {
        let mut screen = Screen::default();
        let mut state = 7_u32;
        for _ in 0..200_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            screen.show(&[(state >> 24) as u8]);
        }
        assert!(screen.undo().len() < 1000);
    }
}
