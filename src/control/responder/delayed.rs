//! Replies that are sent later.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::byte_budget::{FixedReply, Reserved};
use super::state::Responder;
use crate::control::timers::Timers;
use crate::net::{SendHandle, Socket, SocketError};

/// A reply that is sent later.
pub(super) struct DelayedReply {
    pub(super) responder: Weak<Responder>,
    pub(super) via: Via,
    pub(super) destination: SocketAddr,
    pub(super) payload: DelayedPayload,
    pub(super) tries_left: u8,
    pub(super) _reserved: Reserved,
}

pub(super) enum DelayedPayload {
    Fixed(Arc<FixedReply>),
    /// A copy of what was received.
    Received(Bytes),
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

    pub(super) fn arm(self, timers: &Timers, at: Instant) {
        timers.arm(at, move || self.send());
    }

    /// Sends the reply, unless its responder is gone.
    fn send(self) {
        let gone = || Err(SocketError::socket_closed());
        let Some(responder) = self.responder.upgrade() else {
            return;
        };
        let payload = self.payload.bytes();
        let sent = match &self.via {
            Via::Group(handle) => {
                responder.counted(|| handle.send_to(self.destination, payload).unwrap_or_else(gone))
            }
            Via::Other(socket) => match socket.upgrade() {
                Some(socket) => responder.counted(|| socket.send_to(self.destination, payload)),
                None => gone(),
            },
        };
        if let Err(error) = sent
            && let Some(at) = responder.retry_at(&error, self.destination, self.tries_left)
        {
            let timers = &responder.context.timers;
            Self { tries_left: self.tries_left - 1, ..self }.arm(timers, at);
        }
    }
}

impl DelayedPayload {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Fixed(reply) => &reply.payload,
            Self::Received(bytes) => bytes,
        }
    }
}
