//! Sending a responder's replies: at once from the receive thread, or later by the timers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::decision::{Decision, decide};
use super::delayed::{DelayedReply, Via};
use super::state::Responder;
use crate::logging::rarely;
use crate::model::Timestamp;
use crate::net::{Batch, RegisteredSocket, SendHandle, SocketError, SocketErrorKind};
use crate::sync::Lock;

impl Responder {
    /// Bytes of delayed replies that one responder may hold, including [`DelayedReply::COST`] for each.
    const MOST_WAITING: usize = 64 * 1024 * 1024;
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
        let mut at_once: Vec<(SocketAddr, &[u8])> = Vec::new();
        let (mut received_count, mut matched) = (0, 0);
        for received in batch.iter() {
            let received_at = received.received_at.unwrap_or_else(Timestamp::now);
            let source = received.source;
            for datagram in received.datagrams() {
                received_count += 1;
                let is_copy = || {
                    !is_only_interface
                        && self.recent.lock_own().is_copy(received_at, interface_index, source, datagram)
                };
                let is_allowed = || self.context.limits.allow(self.serial, source.ip());
                let decision = decide(&active.rules, datagram, source, is_copy, is_allowed);
                matched += u64::from(decision != Decision::NoMatch);
                match decision {
                    Decision::NoMatch => {}
                    Decision::Copy => self.counters.suppressed.add(1),
                    Decision::Limited => self.counters.limited.add(1),
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
                                self.postpone(
                                    Instant::now() + delay,
                                    via(),
                                    source,
                                    payload,
                                    Self::BUSY_TRIES,
                                );
                            }
                            None => at_once.push((source, payload)),
                            Some(other) => {
                                let sent = self.counted(|| other.send_to(source, payload));
                                self.handle_send_result(sent, via(), source, payload, Self::BUSY_TRIES);
                            }
                        }
                    }
                }
            }
        }
        self.counters.received.add(received_count);
        self.counters.matched.add(matched);
        self.send_at_once(socket, &at_once);
    }

    fn send_at_once(self: &Arc<Self>, socket: &Arc<RegisteredSocket>, mut rest: &[(SocketAddr, &[u8])]) {
        while let Some(&(destination, payload)) = rest.first() {
            let batch = &rest[..rest.len().min(Self::AT_ONCE)];
            // Counted before they are sent: a client that has received a reply finds it counted.
            self.counters.replied.add(batch.len() as u64);
            let outcome = socket.send_batch(batch.iter().copied());
            let sent = *outcome.as_ref().unwrap_or(&0);
            self.counters.replied.take_back((batch.len() - sent) as u64);
            let done = match outcome {
                Ok(sent) => sent,
                Err(error) => {
                    let via = Via::Group(SendHandle::new(socket));
                    self.handle_send_result(Err(error), via, destination, payload, Self::BUSY_TRIES);
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

    /// Handles the result of a send: after a full send buffer, the reply is retried in a moment.
    pub(super) fn handle_send_result(
        self: &Arc<Self>,
        sent: Result<(), SocketError>,
        via: Via,
        destination: SocketAddr,
        payload: &[u8],
        tries_left: u8,
    ) {
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == SocketErrorKind::Busy && tries_left > 0 => {
                self.postpone(Instant::now() + Self::BUSY_PAUSE, via, destination, payload, tries_left - 1);
            }
            Err(error) => {
                rarely!(WARN, %error, %destination, "a reply was not sent");
                self.counters.failed.add(1);
            }
        }
    }

    fn postpone(
        self: &Arc<Self>,
        at: Instant,
        via: Via,
        destination: SocketAddr,
        payload: &[u8],
        tries_left: u8,
    ) {
        let cost = payload.len() + DelayedReply::COST;
        if self.waiting.fetch_add(cost, Ordering::Relaxed) + cost > Self::MOST_WAITING {
            self.waiting.fetch_sub(cost, Ordering::Relaxed);
            self.counters.failed.add(1);
            return;
        }
        let payload = Bytes::copy_from_slice(payload);
        let reply = DelayedReply { responder: Arc::downgrade(self), via, destination, payload, tries_left };
        self.context.timers.arm(at, Arc::downgrade(self), |_| reply.send());
    }
}
