//! A minimal HTTP client: one request on its own connection.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Returns the response's status and body, of which at most a MiB is read. The request must name its host. No timeout.
pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<Full<Bytes>>,
) -> io::Result<(StatusCode, Bytes)> {
    /// Ample for the response to a readiness probe or to an upload of spans.
    const MAX_BODY: usize = 1 << 20;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let response = async {
        let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
        Ok((head.status, body))
    };
    let mut response = pin!(response);
    tokio::select! {
        biased;
        response = &mut response => response,
        ended = connection => match ended {
            // If the server closes after its response, the rest of the response has arrived by now.
            Ok(()) => response.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}
