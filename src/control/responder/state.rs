//! A responder: its rules in force, its counters, and the datagrams that it remembers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::active_rules::ActiveRules;
use super::byte_budget::ByteBudget;
use super::decision::RecentDatagrams;
use super::match_budget::MatchBudget;
use super::reply_limits::ReplyLimits;
use crate::control::timers::Timers;
use crate::net::InterfaceWatch;
use crate::sync::Lock;

pub(in crate::control) struct Responder {
    /// Identifies the responder in the rate limits.
    pub(super) serial: u64,
    /// Std lock, like the next: held to copy or to replace the rules.
    active: Mutex<Arc<ActiveRules>>,
    pub(super) counters: AtomicReplyCounters,
    /// Held for a look-up; no request takes it.
    pub(super) recent: Mutex<RecentDatagrams>,
    /// For its delayed replies.
    pub(super) delayed: Arc<ByteBudget>,
    pub(super) context: ResponderContext,
}

/// The parts of the service that every responder uses.
#[derive(Clone)]
pub(in crate::control) struct ResponderContext {
    pub(in crate::control) limits: Arc<ReplyLimits>,
    pub(in crate::control) matching: Arc<MatchBudget>,
    /// The most bytes of all patterns.
    pub(in crate::control) pattern_bytes: usize,
    /// For the delayed replies of all responders.
    pub(in crate::control) delayed: Arc<ByteBudget>,
    pub(in crate::control) timers: Arc<Timers>,
    pub(in crate::control) interfaces: InterfaceWatch,
}

impl Responder {
    pub(in crate::control) fn new(active: ActiveRules, context: ResponderContext) -> Self {
        Self::counting_from(active, context, ReplyCounters::default())
    }

    /// Continues the counts of an earlier run.
    pub(in crate::control) fn counting_from(
        active: ActiveRules,
        context: ResponderContext,
        counted: ReplyCounters,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            active: Mutex::new(Arc::new(active)),
            counters: AtomicReplyCounters::from(counted),
            recent: Mutex::default(),
            delayed: context.delayed.share(),
            context,
        }
    }

    pub(in crate::control) fn active(&self) -> Arc<ActiveRules> {
        self.active.lock_own().clone()
    }

    pub(in crate::control) fn replace(&self, active: ActiveRules) {
        *self.active.lock_own() = Arc::new(active);
    }

    /// Closes the responder's own sockets; replies that still wait for them are not sent.
    pub(in crate::control) fn close(&self) {
        self.active().sockets.close();
    }

    /// Whether a panic has left it half changed.
    pub(in crate::control) fn is_broken(&self) -> bool {
        self.active.is_poisoned() || self.recent.is_poisoned()
    }

    /// Drops state that may be half changed. As a result, a duplicate of a datagram that was just handled may get a
    /// reply too.
    pub(in crate::control) fn repair(&self) {
        self.active.clear_poison();
        self.recent.clear_poison();
        *self.recent.lock_own() = RecentDatagrams::default();
    }

    pub(in crate::control) fn counters(&self) -> ReplyCounters {
        self.counters.read()
    }
}

/// How a responder handled the datagrams that it received.
///
/// A new counter also goes into `map` and `cells`, and is reported by the contract and the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyCounters<C = u64> {
    pub received: C,
    pub matched: C,
    pub replied: C,
    /// The kernel could not send the reply.
    pub failed: C,
    /// Withheld by the rate limits, or because the source is not an address to reply to.
    pub limited: C,
    /// Withheld because the responder had handled the same datagram on another interface: replied, or withheld that
    /// reply by a limit.
    pub suppressed: C,
    /// Withheld because the source had got many more bytes than it had sent.
    #[serde(default)]
    pub limited_bytes: C,
    /// Not delayed, and so not sent, because too many replies wait already.
    #[serde(default)]
    pub limited_delayed: C,
    /// Datagrams that were not matched, because all responders together had searched them for too long.
    #[serde(default)]
    pub limited_matching: C,
}

/// The live counters of a responder.
pub(super) type AtomicReplyCounters = ReplyCounters<Counter>;

pub(super) struct Counter(AtomicU64);

impl<C> ReplyCounters<C> {
    fn map<D>(&self, convert: impl Fn(&C) -> D) -> ReplyCounters<D> {
        ReplyCounters {
            received: convert(&self.received),
            matched: convert(&self.matched),
            replied: convert(&self.replied),
            failed: convert(&self.failed),
            limited: convert(&self.limited),
            suppressed: convert(&self.suppressed),
            limited_bytes: convert(&self.limited_bytes),
            limited_delayed: convert(&self.limited_delayed),
            limited_matching: convert(&self.limited_matching),
        }
    }
}

impl ReplyCounters {
    /// All counters, in no particular order.
    pub(in crate::control) fn cells(&mut self) -> [&mut u64; size_of::<Self>() / size_of::<u64>()] {
        [
            &mut self.received,
            &mut self.matched,
            &mut self.replied,
            &mut self.failed,
            &mut self.limited,
            &mut self.suppressed,
            &mut self.limited_bytes,
            &mut self.limited_delayed,
            &mut self.limited_matching,
        ]
    }
}

impl AtomicReplyCounters {
    pub(super) fn read(&self) -> ReplyCounters {
        self.map(Counter::read)
    }
}

impl From<ReplyCounters> for AtomicReplyCounters {
    fn from(counted: ReplyCounters) -> Self {
        counted.map(|count| Counter(AtomicU64::new(*count)))
    }
}

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes back replies that were counted before their send, which then failed.
    pub(super) fn take_back(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
