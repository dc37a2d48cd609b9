//! Replies that are sent later.

use std::net::SocketAddr;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::state::Responder;
use crate::control::timers::Timers;
use crate::net::{SendHandle, Socket, SocketError};

/// A reply that is sent later.
pub(super) struct DelayedReply {
    pub(super) responder: Weak<Responder>,
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
    /// Bytes that a waiting reply takes besides its payload.
    pub(super) const COST: usize = size_of::<Self>() + Timers::ENTRY_BYTES;

    /// Sends the reply, unless its responder is gone.
    pub(super) fn send(self) {
        let gone = || Err(SocketError::socket_closed());
        let Some(responder) = self.responder.upgrade() else {
            return;
        };
        responder.waiting.fetch_sub(self.payload.len() + Self::COST, Ordering::Relaxed);
        let sent = match &self.via {
            Via::Group(handle) => {
                responder.counted(|| handle.send_to(self.destination, &self.payload).unwrap_or_else(gone))
            }
            Via::Other(socket) => match socket.upgrade() {
                Some(socket) => responder.counted(|| socket.send_to(self.destination, &self.payload)),
                None => gone(),
            },
        };
        responder.handle_send_result(sent, self.via, self.destination, &self.payload, self.tries_left);
    }
}
