//! Replies that are sent later.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;

use super::byte_budget::{FixedReply, Reserved};
use super::state::Responder;
use crate::control::timers::Timers;
use crate::net::{SendHandle, Socket};

/// A reply that is sent later.
pub(super) struct DelayedReply {
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

    pub(super) fn arm(self, responder: &Arc<Responder>, at: Instant) {
        let timers = &responder.context.timers;
        timers.arm(at, Arc::downgrade(responder), move |responder: Arc<Responder>| self.send(&responder));
    }

    fn send(self, responder: &Arc<Responder>) {
        let payload = self.payload.bytes();
        let sent = match &self.via {
            Via::Group(handle) => {
                handle.open().map(|socket| responder.counted(|| socket.send_to(self.destination, payload)))
            }
            Via::Other(socket) => {
                socket.upgrade().map(|socket| responder.counted(|| socket.send_to(self.destination, payload)))
            }
        };
        let Some(sent) = sent else { return responder.drop_delayed(self.destination) };
        if let Err(error) = sent
            && let Some(at) = responder.retry_at(&error, self.destination, self.tries_left)
        {
            Self { tries_left: self.tries_left - 1, ..self }.arm(responder, at);
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
