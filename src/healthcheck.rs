//! `rollcall healthcheck`: asks `/readyz` of a running service.

use std::fmt::Write as _;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::server::Listen;

/// Whether the service there is ready; if not, a line on each check that has failed.
pub async fn ask(listen: &Listen) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let asked = async {
        match listen {
            Listen::Unix(path) => get_readyz(UnixStream::connect(path).await?).await,
            Listen::Tcp(address) => {
                let mut address = *address;
                // A service that listens everywhere is asked on this host.
                if address.ip().is_unspecified() {
                    address.set_ip(if address.is_ipv4() {
                        [127, 0, 0, 1].into()
                    } else {
                        [0, 0, 0, 0, 0, 0, 0, 1_u16].into()
                    });
                }
                get_readyz(TcpStream::connect(address).await?).await
            }
        }
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok((status, _))) if status.is_success() => Ok(()),
        Ok(Ok((status, body))) => Err(not_ready(status, &body)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The answer's status and body.
async fn get_readyz(stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> io::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request =
        Request::get("/readyz").header("host", "localhost").body(Body::empty()).map_err(io::Error::other)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok((head.status, body))
    };
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => match ended {
            // The rest of an answer after which the service closes is there by now.
            Ok(()) => answer.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

fn not_ready(status: StatusCode, body: &[u8]) -> String {
    let answer = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut text = format!("not ready: {status}");
    for check in answer["checks"].as_array().into_iter().flatten().filter(|check| check["status"] == "failed")
    {
        let field = |name| check[name].as_str().unwrap_or_default();
        let _ = write!(text, "\n{}: {}", field("name"), field("detail"));
    }
    text
}
