use std::net::SocketAddr;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Responder;
use crate::net::{SendHandle, Socket, SocketError};

/// A reply that is sent later.
pub(in crate::control) struct DelayedReply {
    pub(super) answering: Weak<Responder>,
    pub(super) via: Via,
    pub(super) destination: SocketAddr,
    pub(super) payload: Bytes,
    pub(super) tries_left: u8,
}

/// The socket that a reply is sent from.
#[derive(Clone)]
pub(super) enum Via {
    /// The socket that received the datagram.
    Group(SendHandle),
    /// Weak: a waiting reply does not keep open the socket of a responder that is gone.
    Other(Weak<Socket>),
}

impl DelayedReply {
    /// Sends the reply, unless its responder is gone.
    pub(in crate::control) fn send(self) {
        let gone = || Err(SocketError::socket_closed());
        let Some(answering) = self.answering.upgrade() else {
            return;
        };
        answering.waiting.fetch_sub(self.payload.len() + Responder::WAITING_COST, Ordering::Relaxed);
        let sent = match &self.via {
            Via::Group(handle) => {
                answering.counted(|| handle.send_to(self.destination, &self.payload).unwrap_or_else(gone))
            }
            Via::Other(socket) => match socket.upgrade() {
                Some(socket) => answering.counted(|| socket.send_to(self.destination, &self.payload)),
                None => gone(),
            },
        };
        answering.settle(sent, self.via, self.destination, &self.payload, self.tries_left);
    }
}
