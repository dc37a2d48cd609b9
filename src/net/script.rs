//! Sockets that model tests use in place of the kernel's: they send nothing, and receive the datagrams that a test
//! delivers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::error::SocketError;
use super::send_socket::SharedSendSocket;
use super::socket::Socket;
use crate::model::Family;

/// Decides the result of each send of a number of copies.
#[derive(Clone)]
pub(crate) struct SendScript {
    /// The address that the socket claims to be bound to.
    pub(super) local: SocketAddr,
    send: Arc<dyn Fn(usize) -> io::Result<usize> + Send + Sync>,
}

impl SendScript {
    pub(crate) fn new(
        local: SocketAddr,
        send: impl Fn(usize) -> io::Result<usize> + Send + Sync + 'static,
    ) -> Self {
        Self { local, send: Arc::new(send) }
    }

    pub(super) fn send(&self, copies: usize) -> io::Result<usize> {
        (self.send)(copies)
    }
}

impl fmt::Debug for SendScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.local.fmt(f)
    }
}

impl Socket {
    pub(crate) fn scripted(script: SendScript) -> Result<Self, SocketError> {
        let mut socket = Self::open(Family::of(script.local.ip()))?;
        socket.script = Some(script);
        Ok(socket)
    }
}

impl SharedSendSocket {
    pub(crate) fn scripted(script: SendScript) -> Result<Self, SocketError> {
        let port = script.local.port();
        Socket::scripted(script).map(|socket| Self { socket, port })
    }
}
