//! A responder's part of a membership: which datagrams to answer, with what, when, and from which socket.
//!
//! Runs on the receive thread, so that an immediate reply costs no task and no queue; a reply that must wait (a delay,
//! a full send buffer) goes to the timers.

mod active;
mod counters;
mod delayed;
mod limits;
mod recent;
mod sockets;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::timers::{TimerAction, Timers};
use crate::logging::rarely;
use crate::model::{Reply, Timestamp};
use crate::net::{Batch, InterfaceWatch, RegisteredSocket, SendHandle, SocketError, SocketErrorKind};
use crate::sync::Lock;
use counters::AtomicReplyCounters;
use delayed::Via;
use recent::RecentDatagrams;

pub(super) use active::ActiveRules;
pub use counters::ReplyCounters;
pub(super) use delayed::DelayedReply;
pub(super) use limits::ReplyLimits;

pub(super) struct Responder {
    /// Identifies the responder in the rate limits.
    serial: u64,
    /// Std lock, like the next: held to copy or to replace the rules.
    active: Mutex<Arc<ActiveRules>>,
    counters: AtomicReplyCounters,
    /// Held for a look-up; no request takes it.
    recent: Mutex<RecentDatagrams>,
    /// Bytes of delayed replies; bounded, so that a flood costs bounded memory.
    waiting: AtomicUsize,
    services: ResponderContext,
}

/// The parts of the service that every responder uses.
#[derive(Clone)]
pub(super) struct ResponderContext {
    pub(super) limits: Arc<ReplyLimits>,
    pub(super) timers: Arc<Timers>,
    pub(super) interfaces: InterfaceWatch,
}

impl Responder {
    /// Bytes of delayed replies that one responder may hold, including `WAITING_COST` for each.
    const MOST_WAITING: usize = 64 * 1024 * 1024;
    const WAITING_COST: usize = size_of::<DelayedReply>() + size_of::<TimerAction>() + size_of::<Instant>();
    /// The pause before, and the number of, retries after a full send buffer.
    const BUSY_PAUSE: Duration = Duration::from_millis(1);
    const BUSY_TRIES: u8 = 100;
    /// Replies counted and handed to the kernel together.
    const AT_ONCE: usize = 64;

    pub(super) fn new(active: ActiveRules, services: ResponderContext) -> Self {
        Self::counting_from(active, services, ReplyCounters::default())
    }

    /// Continues the counts of an earlier run.
    pub(super) fn counting_from(
        active: ActiveRules,
        services: ResponderContext,
        counted: ReplyCounters,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            active: Mutex::new(Arc::new(active)),
            counters: AtomicReplyCounters::from(counted),
            recent: Mutex::default(),
            waiting: AtomicUsize::new(0),
            services,
        }
    }

    pub(super) fn active(&self) -> Arc<ActiveRules> {
        self.active.lock_own().clone()
    }

    pub(super) fn replace(&self, active: ActiveRules) {
        *self.active.lock_own() = Arc::new(active);
    }

    /// Closes the responder's own sockets; replies that still wait for them are not sent.
    pub(super) fn close(&self) {
        self.active().sockets.close();
    }

    /// Whether a panic has left it half changed.
    pub(super) fn is_broken(&self) -> bool {
        self.active.is_poisoned() || self.recent.is_poisoned()
    }

    /// Drops state that may be half changed. As a result, a copy of a datagram that was just answered may be answered
    /// too.
    pub(super) fn repair(&self) {
        self.active.clear_poison();
        self.recent.clear_poison();
        *self.recent.lock_own() = RecentDatagrams::default();
    }

    pub(super) fn counters(&self) -> ReplyCounters {
        self.counters.read()
    }

    /// Answers the datagrams of a batch on one interface.
    pub(super) fn answer(
        self: &Arc<Self>,
        socket: &Arc<RegisteredSocket>,
        interface_index: u32,
        alone: bool,
        batch: &Batch<'_>,
    ) {
        let active = self.active();
        let table = self.services.interfaces.table();
        let interface = table.by_index(interface_index).map(AsRef::as_ref);
        let now = Instant::now();
        let mut at_once: Vec<(SocketAddr, &[u8])> = Vec::new();
        let (mut heard, mut matched) = (0, 0);
        for received in batch.iter() {
            let received_at = received.received_at.unwrap_or_else(Timestamp::now);
            for datagram in received.datagrams() {
                heard += 1;
                if !active.rules.matches.accepts(datagram) {
                    continue;
                }
                matched += 1;
                let repeated = active.rules.dedupe && !alone && {
                    let mut recent = self.recent.lock_own();
                    recent.is_copy(received_at, interface_index, received.source, datagram)
                };
                if repeated {
                    self.counters.suppressed.add(1);
                    continue;
                }
                let source = received.source;
                if !is_answerable(source) || !self.services.limits.allow(self.serial, source.ip()) {
                    self.counters.limited.add(1);
                    continue;
                }
                let payload = match &active.rules.reply {
                    Reply::Fixed(bytes) => bytes,
                    Reply::Echo => datagram,
                };
                let other = match active.reply_socket(interface, source.ip()).transpose() {
                    Ok(other) => other,
                    Err(error) => {
                        rarely!(WARN, %error, %source, "no socket to reply from");
                        self.counters.failed.add(1);
                        continue;
                    }
                };
                let delayed = !active.rules.delay.is_none();
                match other {
                    None if !delayed => at_once.push((source, payload)),
                    Some(other) if !delayed => {
                        let sent = self.counted(|| other.send_to(source, payload));
                        self.settle(
                            sent,
                            Via::Other(Arc::downgrade(&other)),
                            source,
                            payload,
                            Self::BUSY_TRIES,
                        );
                    }
                    other => {
                        let via = other.map_or_else(
                            || Via::Group(SendHandle::new(socket)),
                            |other| Via::Other(Arc::downgrade(&other)),
                        );
                        let delay = Duration::from_millis(fastrand::u32(active.rules.delay.0.clone()).into());
                        self.postpone(now + delay, via, source, payload, Self::BUSY_TRIES);
                    }
                }
            }
        }
        self.counters.received.add(heard);
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
                Err(fault) => {
                    let via = Via::Group(SendHandle::new(socket));
                    self.settle(Err(fault), via, destination, payload, Self::BUSY_TRIES);
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

    /// Handles the result of a send: after a full send buffer, the reply is retried in a moment.
    fn settle(
        self: &Arc<Self>,
        sent: Result<(), SocketError>,
        via: Via,
        destination: SocketAddr,
        payload: &[u8],
        tries_left: u8,
    ) {
        match sent {
            Ok(()) => {}
            Err(fault) if fault.kind() == SocketErrorKind::Busy && tries_left > 0 => {
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
        let cost = payload.len() + Self::WAITING_COST;
        if self.waiting.fetch_add(cost, Ordering::Relaxed) + cost > Self::MOST_WAITING {
            self.waiting.fetch_sub(cost, Ordering::Relaxed);
            self.counters.failed.add(1);
            return;
        }
        let payload = Bytes::copy_from_slice(payload);
        let reply = DelayedReply { answering: Arc::downgrade(self), via, destination, payload, tries_left };
        self.services.timers.arm(at, TimerAction::Reply(Box::new(reply)));
    }
}

fn is_answerable(source: SocketAddr) -> bool {
    let ip = source.ip();
    let no_host = ip.is_multicast() || ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    source.port() != 0 && !no_host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_go_only_to_hosts() {
        for (source, expected) in [
            ("192.0.2.1:1", true),
            ("192.0.2.1:0", false),
            ("255.255.255.255:1", false),
            ("239.1.1.1:1", false),
            ("0.0.0.0:1", false),
            ("[ff02::1]:1", false),
            ("[fe80::1%2]:1", true),
        ] {
            assert_eq!(is_answerable(source.parse().unwrap()), expected, "{source}");
        }
    }
}
