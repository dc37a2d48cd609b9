//! A responder: its rules in force, its counters, and the datagrams that it remembers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::active_rules::ActiveRules;
use super::byte_budget::ByteBudget;
use super::counters::{AtomicReplyCounters, ReplyCounters};
use super::match_budget::MatchBudget;
use super::recent::RecentDatagrams;
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
