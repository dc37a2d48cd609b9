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
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::http::{Api, ListenerKind};

/// How long a connection may be silent once the service stops. Longer than the pauses between an active client's
/// requests, and short compared with the grace period.
const SILENCE: Duration = Duration::from_millis(100);

/// Serves requests until the client disconnects, or the service stops and no request is left.
pub(super) async fn serve<S>(stream: S, api: Api, kind: ListenerKind, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// How long a client that sends nothing can hold a connection.
    const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
    /// The most that is buffered for a slow reader, besides the waiting chunk; and the longest head of a request.
    const BUFFERED: usize = 64 * 1024;
    let unanswered = Arc::new(AtomicBool::new(false));
    let stream = UnansweredReads { stream, unanswered: unanswered.clone() };
    let silent = async {
        stop.cancelled().await;
        tokio::time::sleep(SILENCE).await;
    };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (api, stop) = (api.clone(), &stop);
        async move {
            let mut response = api.answer(request.map(Body::new), kind).await;
            if stop.is_cancelled() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFERED)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = silent => {
            let mut closing = false;
            poll_fn(|context| {
                let polled = connection.as_mut().poll(context);
                if polled.is_ready() || closing || unanswered.load(Ordering::Relaxed) {
                    return polled;
                }
                closing = true;
                connection.as_mut().graceful_shutdown();
                connection.as_mut().poll(context)
            })
            .await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A stream that notes whether anything was read since the last write: a request, or a part of one.
struct UnansweredReads<S> {
    stream: S,
    /// Shared only within the task that polls the stream, so relaxed ordering suffices.
    unanswered: Arc<AtomicBool>,
}

impl<S> UnansweredReads<S> {
    fn written(&self, written: usize) -> usize {
        if written > 0 {
            self.unanswered.store(false, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UnansweredReads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.unanswered.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UnansweredReads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        Poll::Ready(Ok(self.written(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        Poll::Ready(Ok(self.written(written)))
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
