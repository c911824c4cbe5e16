//! What the engine says where a command should have spoken. It starts commands after it has answered, and tells that
//! one cannot be started in the command's own stream.

use super::{Ended, SessionError};
use crate::engine::sessions::{Command, Piece};

/// What the engine's words begin with.
const BEGINNING: &[u8] = b"OCI runtime exec failed: ";
/// What they end with.
const END: &[u8] = b"\r\n";

/// Keeps back what may be the engine's words until it is known whether anything follows.
#[derive(Default)]
pub(super) struct Watch {
    begun: bool,
    kept: Option<Piece>,
}

impl Watch {
    /// Takes a piece, and returns what is to be shown now.
    pub(super) fn pass(&mut self, piece: Piece) -> Vec<Piece> {
        if !self.begun && is_one(&piece) {
            self.begun = true;
            self.kept = Some(piece);
            return Vec::new();
        }
        self.begun = true;
        self.kept.take().into_iter().chain([piece]).collect()
    }

    /// Says how it ended, now that nothing follows.
    pub(super) fn end(self) -> Ended {
        match self.kept {
            Some(piece) => Ended::Refused(String::from_utf8_lossy(&piece.bytes).trim().to_owned()),
            None => Ended::Closed,
        }
    }
}

/// Says whether a piece may be the engine's words.
pub(super) fn is_one(piece: &Piece) -> bool {
    piece.bytes.starts_with(BEGINNING) && piece.bytes.ends_with(END)
}

/// Says why a command could not be started.
pub(super) fn error(command: &Command, code: u8, message: String) -> SessionError {
    let word = command.words.first().cloned().unwrap_or_default();
    if message.contains("chdir to cwd") || message.contains("Cwd must be an absolute path") {
        let path = command.workdir.clone().unwrap_or_default();
        return SessionError::NoDirectory { path };
    }
    // Of a directory that does not exist the engine says so, of a script whose interpreter does not, too.
    let missing =
        message.contains("executable file not found") || message.contains("no such file or directory");
    if code == 127 || missing {
        return SessionError::NotFound { word };
    }
    let reason = message.trim_end_matches(": unknown");
    let reason = reason.rsplit(": ").next().unwrap_or(reason).to_owned();
    SessionError::NotExecutable {
        word,
        message: reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sessions::Stream;

    fn piece(text: &str) -> Piece {
        Piece {
            stream: Stream::Out,
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn refused(texts: &[&str]) -> (String, bool) {
        let mut watch = Watch::default();
        let shown = texts.iter().flat_map(|text| watch.pass(piece(text)));
        let shown: Vec<u8> = shown.flat_map(|piece| piece.bytes).collect();
        let refused = matches!(watch.end(), Ended::Refused(_));
        (String::from_utf8_lossy(&shown).into_owned(), refused)
    }

    #[test]
    fn only_what_stands_alone_is_a_refusal() {
        let words = "OCI runtime exec failed: exec failed: exec: \"x\": executable file not found in $PATH: unknown\r\n";
        assert_eq!(refused(&[words]), (String::new(), true));
        assert_eq!(refused(&[words, "more"]), (format!("{words}more"), false));
        assert_eq!(refused(&["a", words]), (format!("a{words}"), false));
        assert_eq!(refused(&[]), (String::new(), false));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_a_person() {
        let command = Command {
            words: vec!["x".to_owned()],
            workdir: Some("/nowhere".to_owned()),
            ..Command::default()
        };
        let failed = "OCI runtime exec failed: exec failed: container_linux.go:367: starting container process caused: ";
        for (said, code, told) in [
            (
                "exec: \"x\": executable file not found in $PATH: unknown",
                127,
                "there is no program `x` in the container",
            ),
            (
                "exec: \"x\": permission denied: unknown",
                126,
                "`x` in the container cannot be run: permission denied",
            ),
            (
                "chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory: unknown",
                126,
                "there is no directory /nowhere in the container",
            ),
        ] {
            let error = error(&command, code, format!("{failed}{said}"));
            assert_eq!(error.to_string(), told);
        }
    }
}
