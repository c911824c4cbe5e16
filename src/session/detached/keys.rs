//! The keys by which a session is left. Pure.

use std::str::FromStr;

/// Keys that have to be pressed one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<u8>);

/// What is no sequence of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no key; write a letter, or `ctrl-` and one of a-z @ [ \\ ] ^ _, separated by commas")]
pub struct KeysError(String);

impl Default for Keys {
    /// Ctrl-P Ctrl-Q, as with docker.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for Keys {
    type Err = KeysError;

    fn from_str(text: &str) -> Result<Self, KeysError> {
        let key = |word: &str| {
            let wrong = || KeysError(word.to_owned());
            let of = |text: &str| match text.as_bytes() {
                [byte] if byte.is_ascii_graphic() => Some(*byte),
                _ => None,
            };
            match word.strip_prefix("ctrl-") {
                Some(letter) => of(letter)
                    .map(|letter| letter.to_ascii_uppercase())
                    .filter(|letter| (b'@'..=b'_').contains(letter))
                    .map(|letter| letter & 0x1f)
                    .ok_or_else(wrong),
                None => of(word).ok_or_else(wrong),
            }
        };
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

/// Keys that are pressed, and how far they are those.
#[derive(Clone, Debug)]
pub(super) struct Pressed {
    keys: Keys,
    /// How many of them were the last that were pressed; these are kept back.
    met: usize,
}

impl Pressed {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, met: 0 }
    }

    /// Takes in what is pressed, and returns what is for the command, and whether the session is to be left.
    pub(super) fn press(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        let mut on = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == keys[self.met] {
                self.met += 1;
                if self.met == keys.len() {
                    self.met = 0;
                    return (on, true);
                }
                continue;
            }
            on.extend_from_slice(&keys[..self.met]);
            self.met = usize::from(*byte == keys[0]);
            if self.met == 0 {
                on.push(*byte);
            } else if keys.len() == 1 {
                return (on, true);
            }
        }
        (on, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_for_docker() {
        assert_eq!("ctrl-p,ctrl-q".parse(), Ok(Keys::default()));
        assert_eq!("ctrl-],d".parse(), Ok(Keys(vec![0x1d, b'd'])));
        for wrong in ["", "ctrl-", "ctrl-1", "pq", "a,,b", "ö"] {
            assert!(wrong.parse::<Keys>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_whole_sequence_leaves_and_nothing_is_lost() {
        for (typed, expected, left) in [
            ("abc", "abc", false),
            ("a\x10\x11b", "a", true),
            ("\x10x", "\x10x", false),
            ("\x10\x10\x11", "\x10", true),
            ("\x11\x10", "\x11", false),
        ] {
            for size in 1..=typed.len() {
                let mut pressed = Pressed::new(Keys::default());
                let (mut on, mut gone) = (Vec::new(), false);
                for piece in typed.as_bytes().chunks(size) {
                    if !gone {
                        let (more, leaves) = pressed.press(piece);
                        on.extend(more);
                        gone = leaves;
                    }
                }
                assert_eq!(
                    (on.as_slice(), gone),
                    (expected.as_bytes(), left),
                    "{typed:?} {size}"
                );
            }
        }
    }
}
