//! A connection, which ends without losing a request when the service stops.
//!
//! A request is lost if the service has read a part of it and never responds. On shutdown, hyper closes an idle
//! keep-alive connection at once, even if a part of the next request's head has arrived. So from the moment at which
//! the service stops, each response has `connection: close` and is the last one of its connection (RFC 9112 section
//! 9.6), and only a connection that stays silent for [`SILENCE`] is closed without a response: a client that uses its
//! connection reads `close`, instead of finding it closed. Requests that a client pipelines behind such a response get
//! none.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::connection_stream::{ClientStream, ConnectionStream};
use super::connections::Connection;
use super::parser_responses::{ParserResponses, ResponseState};
use crate::http::{Api, GuardedBody, ListenerKind};

/// How long a connection may be silent once the service stops. Longer than the pauses between an active client's
/// requests, and short compared with the grace period.
const SILENCE: Duration = Duration::from_millis(100);

/// The parts of the service that every connection of a listener uses.
#[derive(Clone)]
pub(super) struct ConnectionContext {
    pub(super) api: Api,
    pub(super) kind: ListenerKind,
    pub(super) stop: CancellationToken,
    /// See [`ConnectionLimits`](super::config::ConnectionLimits).
    pub(super) write_timeout: Duration,
}

/// Serves requests until the client disconnects, or the service stops and no request is left, or others need the slot
/// of the connection.
pub(super) async fn serve<S>(stream: S, connection: Connection, context: ConnectionContext)
where
    S: ClientStream,
{
    /// How long a client that sends nothing can hold a connection; and a connection of the reserve.
    const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
    const RESERVED_HEADER_TIMEOUT: Duration = Duration::from_secs(1);
    /// The longest head of a request, and the most that is buffered for a slow reader, besides the waiting chunk.
    const BUFFERED: usize = 16 * 1024;
    const RESERVED_BUFFERED: usize = 8 * 1024;
    let ConnectionContext { api, kind, stop, write_timeout } = context;
    let connection = Arc::new(connection);
    let (has_unanswered, state) = (Arc::new(AtomicBool::new(false)), Arc::new(ResponseState::default()));
    let stream = ConnectionStream::new(stream, connection.clone(), has_unanswered.clone(), write_timeout);
    let stream = ParserResponses::new(stream, api.clone(), connection.clone(), state.clone());
    let silent = async {
        stop.cancelled().await;
        tokio::time::sleep(SILENCE).await;
    };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (api, connection, state, stop) = (api.clone(), connection.clone(), state.clone(), &stop);
        async move {
            state.begin();
            let capacity = connection.begin_request();
            let mut response = api.respond(request.map(Body::new), kind, capacity).await;
            if stop.is_cancelled() || connection.is_reserved() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| GuardedBody::new(body, ResponseEnd(state))))
        }
    });
    let (head_timeout, buffered) = if connection.is_reserved() {
        (RESERVED_HEADER_TIMEOUT, RESERVED_BUFFERED)
    } else {
        (HEADER_TIMEOUT, BUFFERED)
    };
    let mut http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(buffered)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        biased;
        ended = &mut http => ended,
        () = connection.close_requested() => Ok(()),
        () = silent => {
            let mut closing = false;
            poll_fn(|context| {
                let polled = http.as_mut().poll(context);
                if polled.is_ready() || closing || has_unanswered.load(Ordering::Relaxed) {
                    return polled;
                }
                closing = true;
                http.as_mut().graceful_shutdown();
                http.as_mut().poll(context)
            })
            .await
        }
    };
    if !stop.is_cancelled() {
        connection.ends();
    }
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Reports the end of a response when it is dropped.
struct ResponseEnd(Arc<ResponseState>);

impl Drop for ResponseEnd {
    fn drop(&mut self) {
        self.0.complete();
    }
}
