//! What the engine tells of long work while it is at it: documents in JSON, one a line, read as they come.
//!
//! bollard has a reader for them, too. It takes a document for whole as soon as it parses, and then trips over the end
//! of its line when that comes alone and nothing after it: a build that went well ends as a broken connection.

use std::io;

use bollard::BollardRequest;
use bollard::errors::Error;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::connect::{Open, Stream};
use super::error::Failure;

/// The longest document that is read.
const LONGEST: usize = 64 << 20;
/// The most that is read of an answer that says why there is none.
const LONGEST_REFUSAL: usize = 1 << 20;

/// The documents of one answer.
pub(super) struct News {
    stream: Stream,
    lines: Documents,
    ended: bool,
}

/// What a refusal says.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// What a document says of the end of the work, if that is a bad one.
#[derive(Deserialize)]
struct Trouble {
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    message: Option<String>,
}

impl News {
    /// Sends a request and waits until the engine begins to answer.
    pub(super) async fn of(open: &Open, request: BollardRequest) -> Result<Self, Failure> {
        let mut stream = open(request).await?;
        if !(200..300).contains(&stream.status) {
            let mut body = Vec::new();
            while body.len() < LONGEST_REFUSAL
                && let Some(Ok(piece)) = stream.pieces.next().await
            {
                body.extend(piece);
            }
            let message = match serde_json::from_slice(&body) {
                Ok(Refusal { message }) => message,
                Err(_) => String::from_utf8_lossy(&body).into_owned(),
            };
            return Err(Error::DockerResponseServerError {
                status_code: stream.status,
                message,
            }
            .into());
        }
        Ok(Self {
            stream,
            lines: Documents::default(),
            ended: false,
        })
    }

    /// Returns the next document; `None` when the answer has ended.
    ///
    /// # Errors
    /// The work failed, in the engine's words; or the answer ends in the middle, or makes no sense.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        loop {
            if let Some(line) = self.lines.take() {
                return read(&line).map(Some);
            }
            if self.ended {
                return match self.lines.finish() {
                    Some(line) => read(&line).map(Some),
                    None => Ok(None),
                };
            }
            match self.stream.pieces.next().await {
                Some(Ok(piece)) => self.lines.push(&piece)?,
                Some(Err(message)) => return Err(broken(message)),
                None => self.ended = true,
            }
        }
    }
}

fn broken(message: String) -> Failure {
    Error::IOError {
        err: io::Error::other(message),
    }
    .into()
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, Failure> {
    if let Ok(Trouble { detail, error }) = serde_json::from_slice(line)
        && let Some(error) = detail.and_then(|detail| detail.message).or(error)
    {
        return Err(Error::DockerStreamError { error }.into());
    }
    serde_json::from_slice(line).map_err(|error| {
        if error.is_eof() {
            broken("it broke off its answer in the middle".to_owned())
        } else {
            Error::from(error).into()
        }
    })
}

/// Puts documents together from pieces that arrive anyhow.
#[derive(Default)]
struct Documents {
    text: Vec<u8>,
    /// Up to where there is no end of a line.
    searched: usize,
    /// Up to where it was given out.
    given: usize,
}

impl Documents {
    fn push(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.text.drain(..self.given);
        self.searched -= self.given;
        self.given = 0;
        if self.text.len() + piece.len() > LONGEST {
            return Err(broken(
                "it says more at once than anybody could make sense of".to_owned(),
            ));
        }
        self.text.extend_from_slice(piece);
        Ok(())
    }

    /// Returns the next whole line that says something.
    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(end) = self.text[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.text.len();
                return None;
            };
            let end = self.searched + end;
            let line = self.text[self.given..end].trim_ascii().to_vec();
            self.searched = end + 1;
            self.given = end + 1;
            if !line.is_empty() {
                return Some(line);
            }
        }
    }

    /// Returns what is left behind the last line.
    fn finish(&mut self) -> Option<Vec<u8>> {
        let rest = self.text[self.given..].trim_ascii().to_vec();
        self.given = self.text.len();
        self.searched = self.text.len();
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_the_same_wherever_their_bytes_were_cut() {
        let text = b"{\"a\":1}\r\n\r\n{\"b\":\"x\\ny\"}\n{\"c\":3}\r\n";
        for size in 1..=text.len() {
            let mut documents = Documents::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                assert!(documents.push(piece).is_ok());
                while let Some(line) = documents.take() {
                    found.push(String::from_utf8(line).expect("text"));
                }
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":\"x\\ny\"}", "{\"c\":3}"], "{size}");
            assert_eq!(documents.finish(), None);
        }
    }

    #[test]
    fn what_has_no_end_of_a_line_is_read_at_the_end() {
        let mut documents = Documents::default();
        assert!(documents.push(b"{\"a\":1}\n{\"b\"").is_ok());
        assert_eq!(documents.take(), Some(b"{\"a\":1}".to_vec()));
        assert_eq!(documents.take(), None);
        assert!(documents.push(b":2}").is_ok());
        assert_eq!(documents.take(), None);
        assert_eq!(documents.finish(), Some(b"{\"b\":2}".to_vec()));
        assert_eq!(documents.finish(), None);
    }
}
