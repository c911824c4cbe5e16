//! What a holder and whoever sits at a terminal say to each other.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Held;
use crate::engine::sessions::Size;

/// The longest thing that is said at once.
const LONGEST: usize = 256 * 1024;

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// What is held there?
    Ask,
    /// This.
    Held(Held),
    /// Somebody sits down at a terminal of this size, or has made it that.
    Size(Option<Size>),
    /// Keys, or what is shown.
    Bytes(Vec<u8>),
    /// The command has ended with a code.
    Ended(u8),
    /// It never ran, or nobody knows how it ended: the code to end with, and why.
    Failed(u8, String),
    /// Somebody else has sat down.
    Taken,
}

/// Says one thing.
pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let (kind, body): (u8, Vec<u8>) = match frame {
        Frame::Ask => (b'a', Vec::new()),
        Frame::Held(held) => (b'h', serde_json::to_vec(held)?),
        Frame::Size(size) => {
            let (rows, columns) = size.map_or((0, 0), |size| (size.rows, size.columns));
            (b's', [rows.to_be_bytes(), columns.to_be_bytes()].concat())
        }
        Frame::Bytes(bytes) => (b'b', bytes.clone()),
        Frame::Ended(code) => (b'e', vec![*code]),
        Frame::Failed(code, why) => (b'f', [&[*code], why.as_bytes()].concat()),
        Frame::Taken => (b't', Vec::new()),
    };
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    to.write_all(&[&[kind], length.to_be_bytes().as_slice(), &body].concat())
        .await
}

/// Hears one thing; `None` when nobody says anything any more. It must not be dropped before it is done.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    if let Err(error) = from.read_exact(&mut head).await {
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(None)
        } else {
            Err(error)
        };
    }
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Some(match (kind, body.as_slice()) {
        (b'a', _) => Frame::Ask,
        (b'h', body) => Frame::Held(serde_json::from_slice(body)?),
        (b's', [a, b, c, d]) => {
            let (rows, columns) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            Frame::Size((rows > 0 && columns > 0).then_some(Size { rows, columns }))
        }
        (b'b', _) => Frame::Bytes(body),
        (b'e', [code]) => Frame::Ended(*code),
        (b'f', [code, why @ ..]) => Frame::Failed(*code, text(why)),
        (b't', _) => Frame::Taken,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_is_heard() {
        let held = Held {
            id: "0a1b2c".to_owned(),
            container: "x".to_owned(),
            words: vec!["sh".to_owned()],
            since: "now".to_owned(),
        };
        let frames = [
            Frame::Ask,
            Frame::Held(held),
            Frame::Size(Some(Size {
                rows: 24,
                columns: 300,
            })),
            Frame::Size(None),
            Frame::Bytes(vec![0, 1, 2]),
            Frame::Ended(7),
            Frame::Failed(125, "why".to_owned()),
            Frame::Taken,
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            write(&mut bytes, frame).await.expect("said");
        }
        let mut from = bytes.as_slice();
        for frame in frames {
            assert_eq!(read(&mut from).await.expect("heard"), Some(frame));
        }
        assert_eq!(read(&mut from).await.expect("an end"), None);
        assert!(read(&mut [b'b', 255, 255, 255, 255].as_slice()).await.is_err());
    }
}
