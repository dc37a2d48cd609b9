//! Sending a responder's replies: at once from the receive thread, or later by the timers.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::active_rules::ActiveRules;
use super::byte_budget::{FixedReply, Reserved};
use super::decision::{Decision, ReplyPayload, decide};
use super::reply_limits::ExceededLimit;
use super::state::Responder;
use crate::control::timers::Timers;
use crate::logging::log_throttled;
use crate::model::Timestamp;
use crate::net::{Batch, RegisteredSocket, SendHandle, Socket, SocketError, SocketErrorKind};
use crate::sync::Lock;

impl Responder {
    /// The pause before, and the number of, retries after a full send buffer.
    const BUSY_PAUSE: Duration = Duration::from_millis(1);
    const BUSY_TRIES: u8 = 100;
    /// Replies counted and handed to the kernel together.
    const MAX_BATCH: usize = 64;

    /// Replies to the datagrams of a batch that was received on one interface. `is_only_interface`: there is no other
    /// interface on which a duplicate could arrive.
    pub(in crate::control) fn reply_to_batch(
        self: &Arc<Self>,
        socket: &Arc<RegisteredSocket>,
        interface_index: u32,
        is_only_interface: bool,
        batch: &Batch<'_>,
    ) {
        let active = self.active();
        let table = self.context.interfaces.table();
        let interface = table.by_index(interface_index).map(AsRef::as_ref);
        let mut immediate: Vec<(SocketAddr, ReplyPayload<'_>)> = Vec::new();
        let (mut received_count, mut matched) = (0, 0);
        for received in batch.iter() {
            let received_at = received.received_at.unwrap_or_else(Timestamp::now);
            let source = received.source;
            for (nth, datagram) in received.datagrams().enumerate() {
                received_count += 1;
                let matching = &self.context.matching;
                let key = || matching.key(received_at, source, nth);
                match matching.search(&active.rules.matches, datagram, key) {
                    Some(true) => matched += 1,
                    Some(false) => continue,
                    None => {
                        self.counters.limited_matching.add(1);
                        continue;
                    }
                }
                let check_duplicate = || {
                    !is_only_interface
                        && self.recent.lock_own().note_and_check(
                            received_at,
                            interface_index,
                            source,
                            datagram,
                        )
                };
                let check_limits = |reply: &[u8]| self.check_limits(&active, source, datagram, reply);
                match decide(&active.rules, datagram, source, check_duplicate, check_limits) {
                    Decision::Duplicate => self.counters.suppressed.add(1),
                    Decision::NoHost | Decision::Limited(ExceededLimit::Replies) => {
                        self.counters.limited.add(1);
                    }
                    Decision::Limited(ExceededLimit::Bytes) => self.counters.limited_bytes.add(1),
                    Decision::Reply { payload, delay } => {
                        let other_socket = match active.reply_socket(interface, source.ip()).transpose() {
                            Ok(other_socket) => other_socket,
                            Err(error) => {
                                log_throttled!(WARN, %error, %source, "no socket to reply from");
                                self.counters.failed.add(1);
                                continue;
                            }
                        };
                        let via = || match &other_socket {
                            Some(other_socket) => ReplyVia::Own(Arc::downgrade(other_socket)),
                            None => ReplyVia::Group(SendHandle::new(socket)),
                        };
                        match &other_socket {
                            _ if !active.rules.delay.is_none() => {
                                let at = Instant::now() + delay;
                                self.postpone(&active, at, via(), source, payload, Self::BUSY_TRIES);
                            }
                            None => immediate.push((source, payload)),
                            Some(other_socket) => {
                                let sent = self.counted(|| other_socket.send_to(source, payload.bytes()));
                                if let Err(error) = sent {
                                    self.handle_failure(&active, &error, via(), source, payload);
                                }
                            }
                        }
                    }
                }
            }
        }
        self.counters.received.add(received_count);
        self.counters.matched.add(matched);
        self.send_immediate(&active, socket, &immediate);
    }

    fn check_limits(
        &self,
        active: &ActiveRules,
        source: SocketAddr,
        datagram: &[u8],
        reply: &[u8],
    ) -> Result<(), ExceededLimit> {
        let (limits, source, own) = (&self.context.limits, source.ip(), active.rules.reply_bytes);
        if !limits.allow(self.serial, source) {
            return Err(ExceededLimit::Replies);
        }
        let recipient = (self.serial, source);
        if !limits.allow_bytes(recipient, datagram.len(), reply.len(), own, Instant::now()) {
            return Err(ExceededLimit::Bytes);
        }
        Ok(())
    }

    fn send_immediate(
        self: &Arc<Self>,
        active: &ActiveRules,
        socket: &Arc<RegisteredSocket>,
        mut rest: &[(SocketAddr, ReplyPayload<'_>)],
    ) {
        while let Some(&(destination, payload)) = rest.first() {
            let batch = &rest[..rest.len().min(Self::MAX_BATCH)];
            // Counted before they are sent: a client that has received a reply finds it counted.
            self.counters.replied.add(batch.len() as u64);
            let outcome = socket.send_batch(batch.iter().map(|(to, payload)| (*to, payload.bytes())));
            let sent = *outcome.as_ref().unwrap_or(&0);
            self.counters.replied.take_back((batch.len() - sent) as u64);
            let done = match outcome {
                Ok(sent) => sent,
                Err(error) => {
                    let via = ReplyVia::Group(SendHandle::new(socket));
                    self.handle_failure(active, &error, via, destination, payload);
                    1
                }
            };
            rest = &rest[done..];
        }
    }

    /// Counts a reply before it is sent, and takes the count back if the send failed.
    fn counted(&self, send: impl FnOnce() -> Result<(), SocketError>) -> Result<(), SocketError> {
        self.counters.replied.add(1);
        let sent = send();
        if sent.is_err() {
            self.counters.replied.take_back(1);
        }
        sent
    }

    /// Handles the failure of a first send.
    fn handle_failure(
        self: &Arc<Self>,
        active: &ActiveRules,
        error: &SocketError,
        via: ReplyVia,
        destination: SocketAddr,
        payload: ReplyPayload<'_>,
    ) {
        if let Some(at) = self.retry_or_fail(error, destination, Self::BUSY_TRIES) {
            self.postpone(active, at, via, destination, payload, Self::BUSY_TRIES - 1);
        }
    }

    /// When to try a failed send again: after a full send buffer, in a moment. Counts any other reply as failed.
    fn retry_or_fail(&self, error: &SocketError, destination: SocketAddr, tries_left: u8) -> Option<Instant> {
        if error.kind() == SocketErrorKind::Busy && tries_left > 0 {
            return Some(Instant::now() + Self::BUSY_PAUSE);
        }
        if let Some(name) = self.interface_down(error, destination) {
            log_throttled!(
                WARN,
                %destination,
                "a reply was not sent: {name} is down: `ip link set {name} up`"
            );
        } else {
            log_throttled!(WARN, %error, %destination, "a reply was not sent");
        }
        self.counters.failed.add(1);
        None
    }

    /// The interface towards the destination, if it is down, which took the route away.
    fn interface_down(&self, error: &SocketError, destination: SocketAddr) -> Option<Arc<str>> {
        if !matches!(error.kind(), SocketErrorKind::NoRoute | SocketErrorKind::Down) {
            return None;
        }
        let table = self.context.interfaces.table();
        let mut down = table.interfaces.iter().filter(|interface| !interface.up);
        down.find(|interface| interface.is_on_link(destination.ip())).map(|interface| interface.name.clone())
    }

    /// Counts a delayed reply whose socket is closed as failed.
    fn fail_delayed(&self, destination: SocketAddr) {
        log_throttled!(
            WARN,
            %destination,
            "a delayed reply was not sent: its interface or address is gone or renamed, or the responder was changed"
        );
        self.counters.failed.add(1);
    }

    fn postpone(
        self: &Arc<Self>,
        active: &ActiveRules,
        at: Instant,
        via: ReplyVia,
        destination: SocketAddr,
        payload: ReplyPayload<'_>,
        tries_left: u8,
    ) {
        let budget = &self.delayed;
        let held = match payload {
            ReplyPayload::Fixed(payload) => active
                .waiting_reply(payload, budget)
                .map(DelayedPayload::Fixed)
                .zip(budget.reserve(DelayedReply::COST)),
            // Copied only if there is room.
            ReplyPayload::Received(bytes) => budget
                .reserve(DelayedReply::COST + bytes.len())
                .map(|reserved| (DelayedPayload::Received(Bytes::copy_from_slice(bytes)), reserved)),
        };
        let Some((payload, reserved)) = held else {
            self.counters.limited_delayed.add(1);
            return;
        };
        DelayedReply { via, destination, payload, tries_left, _reserved: reserved }.arm(self, at);
    }
}

/// A reply that is sent later.
struct DelayedReply {
    via: ReplyVia,
    destination: SocketAddr,
    payload: DelayedPayload,
    tries_left: u8,
    _reserved: Reserved,
}

enum DelayedPayload {
    Fixed(Arc<FixedReply>),
    /// A copy of what was received.
    Received(Bytes),
}

/// The socket that a reply is sent from.
#[derive(Clone)]
enum ReplyVia {
    /// The socket that received the datagram.
    Group(SendHandle),
    /// Another socket of the responder, see [`ReplySockets`](super::active_rules). Weak: a waiting reply does not keep
    /// open the socket of a responder that is gone.
    Own(Weak<Socket>),
}

impl DelayedReply {
    /// Bytes that a waiting reply takes besides its payload.
    const COST: usize = size_of::<Self>() + Timers::ENTRY_BYTES;

    fn arm(self, responder: &Arc<Responder>, at: Instant) {
        let timers = &responder.context.timers;
        timers.arm(at, Arc::downgrade(responder), move |responder: Arc<Responder>| self.send(&responder));
    }

    fn send(self, responder: &Arc<Responder>) {
        let payload = self.payload.bytes();
        let sent = match &self.via {
            ReplyVia::Group(handle) => {
                handle.open().map(|socket| responder.counted(|| socket.send_to(self.destination, payload)))
            }
            ReplyVia::Own(socket) => {
                socket.upgrade().map(|socket| responder.counted(|| socket.send_to(self.destination, payload)))
            }
        };
        let Some(sent) = sent else { return responder.fail_delayed(self.destination) };
        if let Err(error) = sent
            && let Some(at) = responder.retry_or_fail(&error, self.destination, self.tries_left)
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
