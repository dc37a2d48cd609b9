//! hyper answers bytes that are not HTTP with an empty response; this sends a problem document instead.
//!
//! The parser of hyper writes such a response as the last one of its connection, when no request is under way. Bytes
//! that it passes to the stream belong to the routes' responses as long as one is under way, and so do those that the
//! stream has not taken when that response is complete. Whatever follows is the parser's own: it reads the next head
//! only after it has passed all of the response before to the stream at least once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection_stream::poll_received;
use super::connections::Connection;
use crate::http::{Api, ProtocolError};

/// Whose bytes the parser writes. Shared only within the task of a connection, so relaxed ordering suffices.
#[derive(Default)]
pub(super) struct ResponseState(AtomicU8);

const PARSER: u8 = 0;
/// A request is under way.
const ROUTES: u8 = 1;
/// The response is complete, and its end was not passed to the stream yet.
const COMPLETED: u8 = 2;

impl ResponseState {
    pub(super) fn begin(&self) {
        self.0.store(ROUTES, Ordering::Relaxed);
    }

    pub(super) fn complete(&self) {
        self.0.store(COMPLETED, Ordering::Relaxed);
    }
}

pub(super) struct ParserResponses<S> {
    stream: S,
    api: Api,
    connection: Arc<Connection>,
    state: Arc<ResponseState>,
    /// How many bytes of the routes' responses the stream did not take when they were passed to it.
    left: usize,
    /// The end of a response was passed to the stream, which may not have taken it.
    is_ending: bool,
    is_first_read: bool,
    /// What is left to write of a document.
    document: Vec<u8>,
}

impl<S> ParserResponses<S> {
    pub(super) fn new(stream: S, api: Api, connection: Arc<Connection>, state: Arc<ResponseState>) -> Self {
        Self {
            stream,
            api,
            connection,
            state,
            left: 0,
            is_ending: false,
            is_first_read: true,
            document: Vec::new(),
        }
    }

    /// How many of these bytes belong to the routes' responses.
    fn of_routes(&self, passed: usize) -> usize {
        if self.state.0.load(Ordering::Relaxed) == PARSER { passed.min(self.left) } else { passed }
    }

    fn passed(&mut self, of_routes: usize, taken: usize) {
        match self.state.0.load(Ordering::Relaxed) {
            PARSER => self.left -= taken,
            state => {
                self.left = of_routes - taken;
                if state == COMPLETED {
                    self.state.0.store(PARSER, Ordering::Relaxed);
                    self.is_ending = true;
                }
            }
        }
    }

    /// The stream has taken all that the parser had.
    fn flushed(&mut self) {
        let state = self.state.0.load(Ordering::Relaxed);
        if state == COMPLETED || (state == PARSER && self.is_ending) {
            self.state.0.store(PARSER, Ordering::Relaxed);
            (self.left, self.is_ending) = (0, false);
            self.connection.note_response_end();
        }
    }

    /// Takes the parser's response, to write a document instead.
    fn replace(&mut self, response: &[u8]) -> bool {
        let status = if response.starts_with(b"HTTP/1.") { response.get(9..12) } else { None };
        let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(error) = status.and_then(ProtocolError::of_status) else { return false };
        self.document = self.api.protocol_error_response(error);
        true
    }
}

impl<S: AsyncWrite + Unpin> ParserResponses<S> {
    fn write_document(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.document.is_empty() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(context, &self.document))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.document.drain(..taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ParserResponses<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let received = ready!(poll_received(&mut self.stream, context, buffer))?;
        let before = buffer.filled().len() - received;
        if std::mem::take(&mut self.is_first_read)
            && let Some(error) = other_protocol(&buffer.filled()[before..])
        {
            self.document = self.api.protocol_error_response(error);
            // The parser takes it for the end, and shuts the stream down.
            buffer.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}

/// The protocol that a connection begins with, if that is a usual one that is not plain HTTP/1.1.
fn other_protocol(beginning: &[u8]) -> Option<ProtocolError> {
    /// RFC 9113 section 3.4, as far as it is no method of HTTP/1.1.
    const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";
    /// A record of the type `handshake`, of some version 3.x (RFC 8446 section 5.1).
    const TLS: &[u8] = &[0x16, 0x03];
    if beginning.starts_with(HTTP_2) {
        Some(ProtocolError::Http2)
    } else if beginning.starts_with(TLS) {
        Some(ProtocolError::Tls)
    } else {
        None
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ParserResponses<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let of_routes = self.of_routes(bytes.len());
        if of_routes == 0 && self.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let bytes = if of_routes == 0 { bytes } else { &bytes[..of_routes] };
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        if of_routes > 0 {
            self.passed(of_routes, taken(&outcome));
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        let of_routes = self.of_routes(length);
        if of_routes == 0 || of_routes < length {
            // A response of the parser, perhaps behind one of the routes.
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            return self.poll_write(context, &bytes);
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.passed(of_routes, taken(&outcome));
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed();
        ready!(self.write_document(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Also takes what the client has sent besides: closing a socket with unread bytes would reset the connection, and the
    /// client might lose the response.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// As much as a client may have on its way.
        const MAX_READS: usize = 64;
        ready!(self.write_document(context))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        let mut rest = [0; 8 * 1024];
        for _ in 0..MAX_READS {
            let mut buffer = ReadBuf::new(&mut rest);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            if !matches!(read, Poll::Ready(Ok(()))) || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn taken(outcome: &Poll<io::Result<usize>>) -> usize {
    match outcome {
        Poll::Ready(Ok(taken)) => *taken,
        _ => 0,
    }
}
