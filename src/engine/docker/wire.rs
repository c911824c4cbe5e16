//! Connections to engines that answer before they were told everything.
//!
//! An engine that refuses a build says so and closes, with the context half read. Whoever is still writing then gets an
//! error, and hyper takes that for the end of everything, although the answer is there to be read. So what the other
//! side does not take any more counts as written: reading tells how the request ended.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

/// Makes connections that can be read after they cannot be written to any more.
#[derive(Clone, Debug)]
pub(super) struct Connector<C>(pub(super) C);

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Future: Future<Output = Result<C::Response, C::Error>> + Send + 'static,
{
    type Response = Wire<C::Response>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Self::Response, C::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            Ok(Wire {
                stream: connecting.await?,
                closed: false,
            })
        })
    }
}

/// A connection.
pub(super) struct Wire<S> {
    stream: S,
    /// Whether the other side takes nothing any more.
    closed: bool,
}

impl<S> Wire<S> {
    /// Takes an error of the other side's having closed for the end of writing.
    fn taken<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        everything: impl FnOnce() -> T,
    ) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Err(error)) if is_closed(&error) => {
                self.closed = true;
                Poll::Ready(Ok(everything()))
            }
            outcome => outcome,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl<S: Read + Unpin> Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.taken(outcome, || bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.taken(outcome, || ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.taken(outcome, || ())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = || pieces.iter().map(|piece| piece.len()).sum();
        if self.closed {
            return Poll::Ready(Ok(length()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.taken(outcome, length)
    }
}

impl<S: Connection> Connection for Wire<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
