//! `rollcall healthcheck`: asks `/readyz` of a running service.

use std::io;
use std::time::Duration;

use axum::body::Body;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::server::Listen;

/// Whether the service there is ready.
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
        Ok(Ok(status)) if status.is_success() => Ok(()),
        Ok(Ok(status)) => Err(format!("not ready: {status}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn get_readyz(stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> io::Result<hyper::StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request =
        Request::get("/readyz").header("host", "localhost").body(Body::empty()).map_err(io::Error::other)?;
    let response = async { sender.send_request(request).await.map_err(io::Error::other) };
    tokio::select! {
        response = response => response.map(|response| response.status()),
        ended = connection => Err(ended.err().map_or_else(|| io::ErrorKind::UnexpectedEof.into(), io::Error::other)),
    }
}
