//! `rollcall healthcheck`: requests `/readyz` from a running service.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::exchange::exchange;
use crate::server::Listen;

/// Checks whether the service at `listen` is ready; if not, returns a line for each failed check.
pub async fn check(listen: &Listen) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let response = async {
        match listen {
            Listen::Unix(path) => get_readyz(UnixStream::connect(path).await?).await,
            Listen::Tcp(address) => {
                let mut address = *address;
                // A service that listens on all addresses is reached on this host.
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
    match tokio::time::timeout(PATIENCE, response).await {
        Ok(Ok((status, _))) if status.is_success() => Ok(()),
        Ok(Ok((status, body))) => Err(not_ready(status, &body)),
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
            Err(format!("nothing listens on {listen}: name the address of the service with --listen"))
        }
        Ok(Err(error)) => Err(format!("{listen} cannot be asked: {error}")),
        Err(_) => Err(format!("no response from {listen} within {} s", PATIENCE.as_secs())),
    }
}

async fn get_readyz(stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> io::Result<(StatusCode, Bytes)> {
    let request = Request::get("/readyz").header("host", "localhost").body(Full::default());
    exchange(stream, request.map_err(io::Error::other)?).await
}

fn not_ready(status: StatusCode, body: &[u8]) -> String {
    let body = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut text = format!("not ready: {status}");
    for check in body["checks"].as_array().into_iter().flatten().filter(|check| check["status"] == "failed") {
        let field = |name| check[name].as_str().unwrap_or_default();
        let _ = write!(text, "\n{}: {}", field("name"), field("detail"));
    }
    text
}
