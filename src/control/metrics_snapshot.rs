//! Gathering the counts of all resources, for a scrape of the metrics.

use std::sync::atomic::Ordering;

use super::histogram::Distribution;
use super::resource_kind::ResourceKind;
use super::shared::Control;
use super::totals::{CurrentState, Totals};
use crate::model::Pattern;

/// All counts at one moment.
#[derive(Debug)]
pub struct MetricsSnapshot {
    pub totals: Totals,
    pub current: CurrentState,
    /// How many interface memberships were opened again because the kernel had forgotten them.
    pub reopened: u64,
    /// Bytes of replies that are sent later.
    pub delayed_reply_bytes: u64,
    /// Bytes of the patterns of all responders.
    pub pattern_bytes: u64,
    /// Round-trip times of responses.
    pub rtt: Distribution,
    /// Bytes of all tables of responders.
    pub table_bytes: usize,
    /// Bytes of all memberships and responders, besides their logs.
    pub membership_bytes: usize,
    /// How often a resource was refused because there were too many, in the order of [`ResourceKind::ALL`].
    pub refused: [u64; ResourceKind::ALL.len()],
}

impl Control {
    /// Reads every resource, holding its locks for well under a microsecond, and the drop counter of every receiving
    /// socket. That takes milliseconds for thousands of resources, so call it where blocking is allowed.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let shared = &self.0;
        // Read before the resources: one that ends meanwhile is missed once, but never counted twice.
        let mut totals = shared.totals.ended();
        let mut current = CurrentState::default();
        for membership in shared.all_memberships() {
            membership.count_into(&mut totals, &mut current);
        }
        for message in shared.messages.all() {
            let counted = message.totals();
            current.collecting += u64::from(counted.closed == Totals::default().closed);
            current.held[2].add(message.log().counters());
            totals += counted;
        }
        MetricsSnapshot {
            totals: shared.totals.never_less(totals),
            current,
            reopened: shared.membership_context.reopened.load(Ordering::Relaxed),
            delayed_reply_bytes: shared.responder_context.delayed.held() as u64,
            pattern_bytes: Pattern::bytes_in_use() as u64,
            rtt: shared.totals.rtt.distribution(),
            table_bytes: shared.message_context.tables.held(),
            membership_bytes: shared.settings.membership_bytes - shared.membership_bytes.available_permits(),
            refused: ResourceKind::ALL.map(|kind| shared.refused[kind as usize].load(Ordering::Relaxed)),
        }
    }

    /// How many resources have failed since the start, by kind.
    pub fn failures(&self) -> [(ResourceKind, u64); ResourceKind::ALL.len()] {
        ResourceKind::ALL.map(|kind| (kind, self.0.failures.count(kind)))
    }

    /// Errors of the receive threads, after which they tried again.
    pub fn receive_errors(&self) -> u64 {
        self.0.receive_threads.epoll_errors()
    }
}
