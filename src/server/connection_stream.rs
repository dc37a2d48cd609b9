//! The stream of a connection: reports what arrives, and ends when its client does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connections::Connection;

pub(super) struct ConnectionStream<S> {
    stream: S,
    connection: Arc<Connection>,
    /// Whether anything was read since the last write: a request, or a part of one. Shared only within the task that
    /// polls the stream, so relaxed ordering suffices.
    has_unanswered: Arc<AtomicBool>,
    write_timeout: Duration,
    /// Ends the wait for a client that does not read; allocated at the first such wait.
    deadline: Option<Pin<Box<Sleep>>>,
    is_blocked: bool,
}

impl<S> ConnectionStream<S> {
    pub(super) fn new(
        stream: S,
        connection: Arc<Connection>,
        has_unanswered: Arc<AtomicBool>,
        write_timeout: Duration,
    ) -> Self {
        Self { stream, connection, has_unanswered, write_timeout, deadline: None, is_blocked: false }
    }

    /// Checks the outcome of a write: an error if the client has not read for too long.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = outcome {
            self.is_blocked = false;
            if matches!(outcome, Ok(written) if written > 0) {
                self.has_unanswered.store(false, Ordering::Relaxed);
            }
            return Poll::Ready(outcome);
        }
        let timeout = self.write_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if !std::mem::replace(&mut self.is_blocked, true) {
            deadline.as_mut().reset(Instant::now() + timeout);
        }
        ready!(deadline.as_mut().poll(context));
        self.connection.stalled();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ConnectionStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = ready!(poll_received(&mut self.stream, context, buffer))?;
        if received > 0 {
            self.has_unanswered.store(true, Ordering::Relaxed);
            self.connection.received(received);
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads into the buffer; returns how many bytes that added.
pub(super) fn poll_received<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let before = buffer.filled().len();
    ready!(Pin::new(stream).poll_read(context, buffer))?;
    Poll::Ready(Ok(buffer.filled().len() - before))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ConnectionStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
