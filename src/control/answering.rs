//! A responder's side of a socket: which datagrams to answer, with what, when, and from where.
//!
//! Runs inside the lane's call, so that an immediate reply costs no task and no queue; what must wait
//! (a delay, a full send buffer) goes to the timers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::recent::RecentDatagrams;
use super::refusal::{Attempt, Purpose, Refusal};
use super::reply_limits::ReplyLimits;
use super::reply_sockets::ReplySockets;
use super::timers::{Due, Timers};
use crate::logging::rarely;
use crate::model::{Family, Group, Interface, Reply, ReplyFrom, ResponderRules, Timestamp};
use crate::net::{Batch, Fault, FaultKind, Handle, InterfaceWatch, Socket};

pub(super) struct Answering {
    /// Tells responders apart in the rate limits.
    serial: u64,
    active: RwLock<Arc<Active>>,
    counters: Counters,
    recent: Mutex<RecentDatagrams>,
    /// Delayed replies under way; bounded, so that a flood costs bounded memory.
    waiting: AtomicUsize,
    services: Services,
}

/// What a responder needs of the service around it.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) limits: Arc<ReplyLimits>,
    pub(super) timers: Arc<Timers>,
    pub(super) interfaces: InterfaceWatch,
}

/// The rules in force and the sockets they need; replaced as a whole.
pub(super) struct Active {
    pub(super) rules: ResponderRules,
    sockets: Arc<ReplySockets>,
}

#[derive(Default)]
struct Counters {
    received: AtomicU64,
    matched: AtomicU64,
    replied: AtomicU64,
    failed: AtomicU64,
    limited: AtomicU64,
    suppressed: AtomicU64,
}

/// What has become of the datagrams that a responder heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyCounters {
    pub received: u64,
    pub matched: u64,
    pub replied: u64,
    /// The system could not send the reply.
    pub failed: u64,
    /// Withheld by the rate limits, or because the source is no address to answer to.
    pub limited: u64,
    /// Withheld because the same datagram was answered on another interface.
    pub suppressed: u64,
}

pub(super) struct DelayedReply {
    answering: Weak<Answering>,
    via: Via,
    destination: SocketAddr,
    payload: Bytes,
    tries_left: u8,
}

#[derive(Clone)]
enum Via {
    /// The socket that heard the datagram.
    Group(Handle),
    /// Weak: a reply that waits does not keep the socket of a responder that is gone.
    Other(Weak<Socket>),
}

impl Active {
    pub(super) fn new(group: &Group, rules: ResponderRules) -> Self {
        let port = rules.reply_from.and_then(|from| from.port).unwrap_or(group.port());
        Self { rules, sockets: Arc::new(ReplySockets::new(port)) }
    }

    /// Other rules with the same sockets, so that a fresh reply port stays the same.
    pub(super) fn with_rules(&self, rules: ResponderRules) -> Self {
        Self { rules, sockets: self.sockets.clone() }
    }

    /// Opens what `reply_from` asks for on this interface, to learn at once whether it can be had.
    pub(super) fn prepare(&self, group: &Group, interface: &Interface) -> Result<(), Refusal> {
        let Some(from) = self.rules.reply_from else {
            return Ok(());
        };
        if let Some(address) = from.address.filter(|address| Family::of(*address) != group.family()) {
            return Err(Refusal::AddressFamily { group: *group, address });
        }
        let Some(address) = from.address.or_else(|| interface.source_for(group)) else {
            return Ok(());
        };
        // A link-local address is one of its interface only; elsewhere there is nothing to answer from it.
        if is_link_local(address) && !interface.has(address) {
            return Ok(());
        }
        let bind = SocketAddr::new(address, from.port.unwrap_or(group.port()));
        let attempt = Attempt {
            purpose: Purpose::Reply,
            group,
            interface: &interface.name,
            bind,
            sources: 0,
            payload: 0,
        };
        self.sockets.from(address, interface.index).map(drop).map_err(|fault| Refusal::of(fault, &attempt))
    }

    pub(super) fn reply_addresses(&self) -> Vec<SocketAddr> {
        if self.rules.reply_from.is_some() { self.sockets.addresses() } else { Vec::new() }
    }

    /// The socket to answer this peer from; none: the one that heard it.
    fn reply_socket(
        &self,
        interface: Option<&Interface>,
        peer: IpAddr,
    ) -> Option<Result<Arc<Socket>, Fault>> {
        let interface = interface?;
        let address = match self.rules.reply_from {
            Some(ReplyFrom { address: Some(address), .. }) => address,
            None if interface.is_on_link(peer) => return None,
            Some(ReplyFrom { address: None, .. }) | None => interface.source_towards(peer)?,
        };
        Some(self.sockets.from(address, interface.index))
    }
}

impl Answering {
    /// Bytes of delayed replies that one responder may hold, each with what it costs beside its payload.
    const MOST_WAITING: usize = 64 * 1024 * 1024;
    const WAITING_COST: usize = size_of::<DelayedReply>() + size_of::<Due>() + size_of::<Instant>();
    /// How soon, and how often, a reply is tried again after a full send buffer.
    const BUSY_PAUSE: Duration = Duration::from_millis(1);
    const BUSY_TRIES: u8 = 100;
    /// Replies counted and handed to the kernel together.
    const AT_ONCE: usize = 64;

    pub(super) fn new(active: Active, services: Services) -> Self {
        Self::counting_from(active, services, ReplyCounters::default())
    }

    /// Goes on with the counts of an earlier run.
    pub(super) fn counting_from(active: Active, services: Services, counted: ReplyCounters) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            active: RwLock::new(Arc::new(active)),
            counters: Counters::from(counted),
            recent: Mutex::default(),
            waiting: AtomicUsize::new(0),
            services,
        }
    }

    pub(super) fn active(&self) -> Arc<Active> {
        self.active.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn replace(&self, active: Active) {
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(active);
    }

    /// Closes the sockets of its own; what still waits is not sent.
    pub(super) fn close(&self) {
        self.active().sockets.close();
    }

    pub(super) fn counters(&self) -> ReplyCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReplyCounters {
            received: read(&self.counters.received),
            matched: read(&self.counters.matched),
            replied: read(&self.counters.replied),
            failed: read(&self.counters.failed),
            limited: read(&self.counters.limited),
            suppressed: read(&self.counters.suppressed),
        }
    }

    /// Answers what a batch brought on one interface.
    pub(super) fn answer(
        self: &Arc<Self>,
        socket: &Socket,
        handle: &Handle,
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
                    let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                    recent.is_copy(received_at, interface_index, received.source, datagram)
                };
                if repeated {
                    add(&self.counters.suppressed, 1);
                    continue;
                }
                let source = received.source;
                if !is_answerable(source) || !self.services.limits.allow(self.serial, source.ip()) {
                    add(&self.counters.limited, 1);
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
                        add(&self.counters.failed, 1);
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
                            || Via::Group(handle.clone()),
                            |other| Via::Other(Arc::downgrade(&other)),
                        );
                        let delay = Duration::from_millis(fastrand::u32(active.rules.delay.0.clone()).into());
                        self.postpone(now + delay, via, source, payload, Self::BUSY_TRIES);
                    }
                }
            }
        }
        add(&self.counters.received, heard);
        add(&self.counters.matched, matched);
        self.send_at_once(socket, handle, &at_once);
    }

    fn send_at_once(self: &Arc<Self>, socket: &Socket, handle: &Handle, mut rest: &[(SocketAddr, &[u8])]) {
        while let Some(&(destination, payload)) = rest.first() {
            let batch = &rest[..rest.len().min(Self::AT_ONCE)];
            // Counted before they leave: whoever has a reply finds it counted.
            add(&self.counters.replied, batch.len() as u64);
            let outcome = socket.send_batch(batch.iter().copied());
            let sent = *outcome.as_ref().unwrap_or(&0);
            take_back(&self.counters.replied, (batch.len() - sent) as u64);
            let done = match outcome {
                Ok(sent) => sent,
                Err(fault) => {
                    let via = Via::Group(handle.clone());
                    self.settle(Err(fault), via, destination, payload, Self::BUSY_TRIES);
                    1
                }
            };
            rest = &rest[done..];
        }
    }

    /// Counts a reply before it leaves, and takes it back if it did not.
    fn counted(&self, send: impl FnOnce() -> Result<(), Fault>) -> Result<(), Fault> {
        add(&self.counters.replied, 1);
        let sent = send();
        if sent.is_err() {
            take_back(&self.counters.replied, 1);
        }
        sent
    }

    /// Sees to a reply that was not sent: a full send buffer is tried again in a moment.
    fn settle(
        self: &Arc<Self>,
        sent: Result<(), Fault>,
        via: Via,
        destination: SocketAddr,
        payload: &[u8],
        tries_left: u8,
    ) {
        match sent {
            Ok(()) => {}
            Err(fault) if fault.kind() == FaultKind::Busy && tries_left > 0 => {
                self.postpone(Instant::now() + Self::BUSY_PAUSE, via, destination, payload, tries_left - 1);
            }
            Err(error) => {
                rarely!(WARN, %error, %destination, "a reply was not sent");
                add(&self.counters.failed, 1);
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
            add(&self.counters.failed, 1);
            return;
        }
        let payload = Bytes::copy_from_slice(payload);
        let reply = DelayedReply { answering: Arc::downgrade(self), via, destination, payload, tries_left };
        self.services.timers.arm(at, Due::Reply(Box::new(reply)));
    }
}

impl From<ReplyCounters> for Counters {
    fn from(counted: ReplyCounters) -> Self {
        Self {
            received: counted.received.into(),
            matched: counted.matched.into(),
            replied: counted.replied.into(),
            failed: counted.failed.into(),
            limited: counted.limited.into(),
            suppressed: counted.suppressed.into(),
        }
    }
}

impl DelayedReply {
    /// Sends the reply, unless its responder is gone.
    pub(super) fn send(self) {
        let gone = || Err(Fault::socket_closed());
        let Some(answering) = self.answering.upgrade() else {
            return;
        };
        answering.waiting.fetch_sub(self.payload.len() + Answering::WAITING_COST, Ordering::Relaxed);
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

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn is_answerable(source: SocketAddr) -> bool {
    let ip = source.ip();
    let no_host = ip.is_multicast() || ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    source.port() != 0 && !no_host
}

fn take_back(counter: &AtomicU64, amount: u64) {
    counter.fetch_sub(amount, Ordering::Relaxed);
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
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
