//! The stream of a connection: reports what arrives, and ends when its client does not read.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connections::Connection;
use crate::net::{has_unread_bytes, unsent_bytes};

/// A stream over a socket.
pub(super) trait ClientStream: AsyncRead + AsyncWrite + AsFd + Unpin {}

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin> ClientStream for S {}

pub(super) struct ConnectionStream<S> {
    stream: S,
    connection: Arc<Connection>,
    /// Whether anything was read since the last write: a request, or a part of one. Shared only within the task that
    /// polls the stream, so relaxed ordering suffices.
    has_unanswered: Arc<AtomicBool>,
    write_timeout: Duration,
    /// When to look next whether the client reads; allocated at the first wait for it.
    next_look: Option<Pin<Box<Sleep>>>,
    /// None while the socket takes what is written.
    blocked: Option<Blocked>,
    is_shut_down: bool,
}

/// The wait for a client to read.
struct Blocked {
    /// What the socket held at the last look. The socket takes nothing before a large part of its buffer is free, so
    /// that only this shows whether a slow client reads.
    unsent: usize,
    /// For how many looks that did not become less.
    looks: u32,
}

impl<S: AsFd> ConnectionStream<S> {
    pub(super) fn new(
        stream: S,
        connection: Arc<Connection>,
        has_unanswered: Arc<AtomicBool>,
        write_timeout: Duration,
    ) -> Self {
        let (next_look, blocked) = (None, None);
        Self { stream, connection, has_unanswered, write_timeout, next_look, blocked, is_shut_down: false }
    }

    /// Checks the outcome of a write: an error if the client has not read for too long.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        /// How often it looks within the timeout.
        const LOOKS: u32 = 4;
        if let Poll::Ready(outcome) = outcome {
            self.blocked = None;
            if matches!(outcome, Ok(written) if written > 0) {
                self.has_unanswered.store(false, Ordering::Relaxed);
            }
            return Poll::Ready(outcome);
        }
        let pause = self.write_timeout / LOOKS;
        let next_look = self.next_look.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        let unsent = || unsent_bytes(self.stream.as_fd()).unwrap_or(usize::MAX);
        let blocked = self.blocked.get_or_insert_with(|| {
            next_look.as_mut().reset(Instant::now() + pause);
            Blocked { unsent: unsent(), looks: 0 }
        });
        loop {
            ready!(next_look.as_mut().poll(context));
            let unsent = unsent();
            blocked.looks = if unsent < blocked.unsent { 0 } else { blocked.looks + 1 };
            blocked.unsent = unsent;
            if blocked.looks == LOOKS {
                self.connection.stalled();
                let error = io::Error::new(io::ErrorKind::TimedOut, "the client does not read");
                return Poll::Ready(Err(error));
            }
            next_look.as_mut().reset(Instant::now() + pause);
        }
    }
}

impl<S: ClientStream> AsyncRead for ConnectionStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = poll_received(&mut self.stream, context, buffer);
        if self.is_shut_down {
            return polled.map_ok(drop);
        }
        if polled.is_pending() {
            // The runtime may not know yet of bytes that have arrived.
            let has_unread = self.connection.is_close_requested() && has_unread_bytes(self.stream.as_fd());
            self.connection.found_empty(has_unread);
            return Poll::Pending;
        }
        self.connection.found_something();
        let received = ready!(polled)?;
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

impl<S: ClientStream> AsyncWrite for ConnectionStream<S> {
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
        self.is_shut_down = true;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
