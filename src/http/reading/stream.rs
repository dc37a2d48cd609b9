//! Logs as streamed bodies: the common part of all stream formats.
//!
//! A client has no queue here, only a cursor: the next chunk is read from the log and rendered when the connection has
//! taken the last one. A client that stops reading falls behind, and gets a gap if the log has evicted datagrams.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log_owner::LogOwner;
use crate::contract::datagrams::GapBody;
use crate::control::Done;
use crate::control::waiting::within;
use crate::http::access::Authorization;
use crate::http::operations::Streamed;
use crate::logging::log_throttled;
use crate::rendering::{EndReason, Filter, StreamEncoder};
use crate::store::{Cursor, Page, ReadError, ReadRange};

/// Silence after which a stream sends a heartbeat, so that proxies keep it open.
pub(in crate::http) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where and how a stream reads.
pub(super) struct StreamParams {
    pub(super) owner: LogOwner,
    pub(super) after: Option<Cursor>,
    pub(super) filter: Filter,
    pub(super) scope: ReadRange,
    /// Whether to wait for later datagrams at the end of the log.
    pub(super) follow: bool,
    pub(super) stop: CancellationToken,
    pub(super) authorization: Authorization,
}

/// Datagrams read at once, and the bytes after which a read and a chunk end: with the block and the datagram that reach
/// them, the most that one client holds.
const MAX_READ: usize = 100;
const FULL_CHUNK: usize = 64 * 1024;

/// Permits to render a chunk. A thousand streams that are all behind would otherwise be a thousand runnable tasks ahead
/// of each request; so they wait for each other here.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new((Handle::current().metrics().num_workers() / 2).max(1)));

/// Streams a log. A stream that does not follow ends with the last datagram that the log had at its start, and is
/// aborted if the log goes away before, so that no client takes it for complete.
pub(super) fn body(params: StreamParams, encoder: impl StreamEncoder) -> Body {
    let last = (!params.follow).then(|| params.owner.log().next_sequence() - 1);
    let log_stream =
        LogStream { cursor: params.after, params, encoder, last, reached: 0, state: StreamPhase::Beginning };
    Body::from_stream(stream::unfold(log_stream, |mut stream| async move {
        let chunk = stream.next_chunk().await?;
        Some((chunk, stream))
    }))
}

/// A response with the head of a stream and this body.
pub(in crate::http) fn streamed(streamed: Streamed, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(streamed.format.media_type())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (Extension(streamed), headers, body).into_response()
}

struct LogStream<F> {
    params: StreamParams,
    encoder: F,
    cursor: Option<Cursor>,
    /// The sequence number to stop at, for a stream that does not follow.
    last: Option<u64>,
    /// The last sequence number that was read.
    reached: u64,
    state: StreamPhase,
}

#[derive(PartialEq, Eq)]
enum StreamPhase {
    Beginning,
    Going,
    Ended,
}

/// The result of one read of the log.
enum ReadOutcome {
    More(Page),
    Nothing,
    End(EndReason),
    Failed(io::Error),
    /// All datagrams that the log had at the start have been read.
    AllRead,
}

impl<F: StreamEncoder> LogStream<F> {
    async fn next_chunk(&mut self) -> Option<io::Result<Bytes>> {
        let mut out = Vec::new();
        match self.state {
            StreamPhase::Ended => return None,
            StreamPhase::Beginning => {
                self.state = StreamPhase::Going;
                self.encoder.begin(&mut out, self.cursor);
                if !out.is_empty() {
                    return Some(Ok(out.into()));
                }
            }
            StreamPhase::Going => {}
        }
        // Counted from the last bytes that the client got, even if datagrams arrive that its filter drops.
        let mut silent_until = Instant::now() + HEARTBEAT;
        while out.is_empty() {
            let changed = self.params.owner.log().changed();
            let all_read = self.last.is_some_and(|last| self.reached >= last);
            match read(&self.params, self.cursor, all_read).await {
                ReadOutcome::More(page) => {
                    drop(changed);
                    let _turn = TURNS.acquire().await;
                    self.render(&page, &mut out);
                    if out.is_empty() {
                        tokio::task::yield_now().await;
                    }
                }
                ReadOutcome::Nothing => {
                    tokio::select! {
                        () = self.params.stop.cancelled() => {}
                        _ = self.params.authorization.ended() => {}
                        () = changed => {}
                        () = tokio::time::sleep_until(silent_until) => {}
                    }
                }
                ReadOutcome::AllRead => return None,
                // The client sees that the stream was aborted, and resumes it.
                ReadOutcome::Failed(error) => {
                    self.state = StreamPhase::Ended;
                    log_throttled!(WARN, %error, "the service aborted a stream");
                    return Some(Err(error));
                }
                ReadOutcome::End(reason) => {
                    self.state = StreamPhase::Ended;
                    if !self.params.follow {
                        let lost = format!("the log ended while it was read: {}", reason.name());
                        return Some(Err(io::Error::other(lost)));
                    }
                    self.encoder.end(&mut out, reason);
                    if out.is_empty() {
                        return None;
                    }
                }
            }
            if out.is_empty() && Instant::now() >= silent_until {
                self.encoder.heartbeat(&mut out, self.cursor);
                silent_until += HEARTBEAT;
            }
        }
        Some(Ok(out.into()))
    }

    /// Renders a page, up to a full chunk.
    fn render(&mut self, page: &Page, out: &mut Vec<u8>) {
        if let Some(gap) = page.gap {
            // The cursor after the gap and before the next datagram.
            let sequence = page.entries().next().map_or(page.next.sequence, |entry| entry.sequence - 1);
            self.encoder.gap(out, Cursor { sequence, ..page.next }, &GapBody::from(gap));
        }
        for entry in page.entries().take_while(|entry| self.last.is_none_or(|last| entry.sequence <= last)) {
            let cursor = Cursor { sequence: entry.sequence, ..page.next };
            (self.cursor, self.reached) = (Some(cursor), entry.sequence);
            if self.params.filter.wants(&entry) {
                self.encoder.datagram(out, self.params.owner.items(), cursor, &entry);
                if out.len() >= FULL_CHUNK {
                    return;
                }
            }
        }
        (self.cursor, self.reached) = (Some(page.next), page.next.sequence);
    }
}

async fn read(params: &StreamParams, cursor: Option<Cursor>, all_read: bool) -> ReadOutcome {
    if params.follow && params.stop.is_cancelled() {
        return ReadOutcome::End(EndReason::Stopping);
    }
    if params.authorization.check().is_err() {
        return ReadOutcome::End(EndReason::Unauthorized);
    }
    if all_read {
        return ReadOutcome::AllRead;
    }
    let range = ReadRange { bytes: FULL_CHUNK, ..params.scope };
    let reading = params.owner.log().read(cursor, MAX_READ, range);
    let read = match within(Done::Nothing, reading).await {
        Ok(read) => read,
        Err(late) => return ReadOutcome::Failed(io::Error::other(late)),
    };
    match read {
        // The service closes its logs when it stops.
        Err(ReadError::Closed) if params.stop.is_cancelled() => ReadOutcome::End(EndReason::Stopping),
        Err(ReadError::Closed) => ReadOutcome::End(EndReason::Deleted),
        Err(error) => ReadOutcome::Failed(io::Error::other(error)),
        Ok(page) if !page.is_empty() || page.gap.is_some() => ReadOutcome::More(page),
        Ok(_) if !params.follow => ReadOutcome::AllRead,
        Ok(page) if page.complete => ReadOutcome::End(EndReason::Complete),
        Ok(_) => ReadOutcome::Nothing,
    }
}
