//! Sending a responder's replies: at once from the receive thread, or later by the timers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::active::ActiveRules;
use super::decision::{Decision, ReplyPayload, decide};
use super::delayed::{DelayedPayload, DelayedReply, Via};
use super::limits::Limit;
use super::state::Responder;
use crate::logging::rarely;
use crate::model::Timestamp;
use crate::net::{Batch, RegisteredSocket, SendHandle, SocketError, SocketErrorKind};
use crate::sync::Lock;

impl Responder {
    /// The pause before, and the number of, retries after a full send buffer.
    const BUSY_PAUSE: Duration = Duration::from_millis(1);
    const BUSY_TRIES: u8 = 100;
    /// Replies counted and handed to the kernel together.
    const AT_ONCE: usize = 64;

    /// Replies to the datagrams of a batch that was received on one interface. `is_only_interface`: there is no other
    /// interface on which a copy could arrive.
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
        let mut at_once: Vec<(SocketAddr, ReplyPayload<'_>)> = Vec::new();
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
                let is_copy = || {
                    !is_only_interface
                        && self.recent.lock_own().is_copy(received_at, interface_index, source, datagram)
                };
                let check_limits = |reply: &[u8]| self.check_limits(&active, source, datagram, reply);
                match decide(&active.rules, datagram, source, is_copy, check_limits) {
                    Decision::Copy => self.counters.suppressed.add(1),
                    Decision::Limited(Limit::Replies) => self.counters.limited.add(1),
                    Decision::Limited(Limit::Bytes) => self.counters.limited_bytes.add(1),
                    Decision::Reply { payload, delay } => {
                        let other = match active.reply_socket(interface, source.ip()).transpose() {
                            Ok(other) => other,
                            Err(error) => {
                                rarely!(WARN, %error, %source, "no socket to reply from");
                                self.counters.failed.add(1);
                                continue;
                            }
                        };
                        let via = || match &other {
                            Some(other) => Via::Other(Arc::downgrade(other)),
                            None => Via::Group(SendHandle::new(socket)),
                        };
                        match &other {
                            _ if !active.rules.delay.is_none() => {
                                let at = Instant::now() + delay;
                                self.postpone(&active, at, via(), source, payload, Self::BUSY_TRIES);
                            }
                            None => at_once.push((source, payload)),
                            Some(other) => {
                                let sent = self.counted(|| other.send_to(source, payload.bytes()));
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
        self.send_at_once(&active, socket, &at_once);
    }

    fn check_limits(
        &self,
        active: &ActiveRules,
        source: SocketAddr,
        datagram: &[u8],
        reply: &[u8],
    ) -> Result<(), Limit> {
        let (limits, source, own) = (&self.context.limits, source.ip(), active.rules.reply_bytes);
        if !limits.allow(self.serial, source) {
            return Err(Limit::Replies);
        }
        let recipient = (self.serial, source);
        if !limits.allow_bytes(recipient, datagram.len(), reply.len(), own, Instant::now()) {
            return Err(Limit::Bytes);
        }
        Ok(())
    }

    fn send_at_once(
        self: &Arc<Self>,
        active: &ActiveRules,
        socket: &Arc<RegisteredSocket>,
        mut rest: &[(SocketAddr, ReplyPayload<'_>)],
    ) {
        while let Some(&(destination, payload)) = rest.first() {
            let batch = &rest[..rest.len().min(Self::AT_ONCE)];
            // Counted before they are sent: a client that has received a reply finds it counted.
            self.counters.replied.add(batch.len() as u64);
            let outcome = socket.send_batch(batch.iter().map(|(to, payload)| (*to, payload.bytes())));
            let sent = *outcome.as_ref().unwrap_or(&0);
            self.counters.replied.take_back((batch.len() - sent) as u64);
            let done = match outcome {
                Ok(sent) => sent,
                Err(error) => {
                    let via = Via::Group(SendHandle::new(socket));
                    self.handle_failure(active, &error, via, destination, payload);
                    1
                }
            };
            rest = &rest[done..];
        }
    }

    /// Counts a reply before it is sent, and takes the count back if the send failed.
    pub(super) fn counted(&self, send: impl FnOnce() -> Result<(), SocketError>) -> Result<(), SocketError> {
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
        via: Via,
        destination: SocketAddr,
        payload: ReplyPayload<'_>,
    ) {
        if let Some(at) = self.retry_at(error, destination, Self::BUSY_TRIES) {
            self.postpone(active, at, via, destination, payload, Self::BUSY_TRIES - 1);
        }
    }

    /// When to try a failed send again: after a full send buffer, in a moment. Any other reply has failed.
    pub(super) fn retry_at(
        &self,
        error: &SocketError,
        destination: SocketAddr,
        tries_left: u8,
    ) -> Option<Instant> {
        if error.kind() == SocketErrorKind::Busy && tries_left > 0 {
            return Some(Instant::now() + Self::BUSY_PAUSE);
        }
        rarely!(WARN, %error, %destination, "a reply was not sent");
        self.counters.failed.add(1);
        None
    }

    /// Counts a delayed reply whose socket is closed.
    pub(super) fn drop_delayed(&self, destination: SocketAddr) {
        rarely!(
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
        via: Via,
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
