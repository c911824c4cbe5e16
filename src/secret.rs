//! [`Secret`]: a text that can neither be printed nor serialised.
//!
//! Whoever holds one can pass it on, compare it, and say how long it is. What it says comes out in one way only,
//! [`Secret::expose`], which whoever speaks to the engine uses, and nobody else.

use std::fmt;

pub mod search;
mod source;

pub use source::{Missing, Source};

/// A text that nobody may see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is shown in its place.
pub const REDACTED: &str = "(secret)";

/// The longest variable, in bytes with its name: Linux passes no longer one to a program.
const LONGEST: usize = 128 * 1024;

/// Why something cannot be the value of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is longer than a variable can be.
    #[error("it is longer than 128 KiB, the most that a variable can hold")]
    Long,
    /// It holds a NUL character, which would end it.
    #[error("it holds a NUL character, which a variable cannot")]
    Nul,
    /// It is not text.
    #[error("it is not UTF-8 text")]
    Binary,
}

impl Secret {
    /// The most bytes that have to be read to know what a secret is, or that it is too long.
    pub const READ: u64 = LONGEST as u64 + 2;

    /// Makes a secret of what a file or a command holds: one newline at its end does not count.
    ///
    /// # Errors
    /// No variable could have this value.
    pub fn of_output(variable: &str, bytes: Vec<u8>) -> Result<Self, SecretError> {
        let mut text = match String::from_utf8(bytes) {
            Ok(text) => text,
            // The limit may have cut a character in two.
            Err(error) if error.as_bytes().len() >= LONGEST => return Err(SecretError::Long),
            Err(_) => return Err(SecretError::Binary),
        };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Self::of_text(variable, text)
    }

    /// Makes a secret of a text as it is.
    ///
    /// # Errors
    /// No variable could have this value.
    pub fn of_text(variable: &str, text: String) -> Result<Self, SecretError> {
        // With the equals sign, and the NUL that ends it.
        if variable.len() + text.len() + 2 > LONGEST {
            return Err(SecretError::Long);
        }
        if text.contains('\0') {
            return Err(SecretError::Nul);
        }
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(text))
    }

    /// Returns what nobody may see.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::of_text("X", "hunter2".to_owned()).unwrap();
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret)),
            "(secret) Some(\n    (secret),\n)"
        );
    }

    #[test]
    fn one_newline_at_the_end_does_not_count() {
        let cases: [(&[u8], Result<&str, SecretError>); 8] = [
            (b"a\n", Ok("a")),
            (b"a\r\n", Ok("a")),
            (b"a\n\n", Ok("a\n")),
            (b" a b ", Ok(" a b ")),
            (b"-----BEGIN\nx\n-----END\n", Ok("-----BEGIN\nx\n-----END")),
            (b"\n", Err(SecretError::Empty)),
            (b"a\0b", Err(SecretError::Nul)),
            (b"\xff\xfe", Err(SecretError::Binary)),
        ];
        for (bytes, expected) in cases {
            let secret = Secret::of_output("X", bytes.to_vec());
            assert_eq!(
                secret.as_ref().map(Secret::expose),
                expected.as_ref().map(|text| *text)
            );
        }
    }

    #[test]
    fn what_no_program_could_be_given_is_refused() {
        let most = LONGEST - "X=".len() - 1;
        assert!(Secret::of_output("X", vec![b'a'; most]).is_ok());
        assert_eq!(
            Secret::of_output("X", vec![b'a'; most + 1]),
            Err(SecretError::Long)
        );
        let cut = "ä".repeat(LONGEST).into_bytes();
        assert_eq!(
            Secret::of_output("X", cut[..=LONGEST].to_vec()),
            Err(SecretError::Long)
        );
    }
}
