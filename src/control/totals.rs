//! Totals since the service started, and the current state.
//!
//! Each resource has its own counters. A scrape adds up those of existing resources and the [`TotalsAccumulator`], into
//! which each resource enters its counts as it ends; so nothing is counted twice on the paths of datagrams.

use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::histogram::Histogram;
use super::resource_kind::ResourceKind;
use super::responder::ReplyCounters;
use super::views::JoinState;
use crate::model::CloseReason;
use crate::store::LogCounters;
use crate::sync::Lock;

/// Counts that never go down while the service runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub memberships: ReceivedTotals,
    pub responders: ReceivedTotals,
    pub messages: ReceivedTotals,
    pub replies: ReplyCounters,
    /// Closed messages by reason, in the order of [`CloseReason::ALL`].
    pub closed: [u64; CloseReason::ALL.len()],
    /// Copies of messages that were sent, by all interfaces.
    pub sent: u64,
    /// Copies that could not be sent.
    pub send_failures: u64,
    /// Responses whose responders were not told apart.
    pub untracked: u64,
}

/// Datagrams received by the logs of one kind of resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceivedTotals {
    pub datagrams: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Datagrams evicted from a log to make room for later ones.
    pub evicted: u64,
    /// Datagrams dropped from memory before they were on disk.
    pub lost: u64,
    /// Datagrams whose payload was longer than the buffer.
    pub truncated: u64,
    /// Buffers that the kernel dropped, each of one datagram or, if it coalesces, up to 64.
    pub dropped_buffers: u64,
}

/// The state at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CurrentState {
    pub memberships: States,
    pub responders: States,
    /// Memberships, and responders, that do not hear.
    pub not_hearing: [u64; 2],
    /// Messages that are collecting.
    pub collecting: u64,
    /// The content of the logs of memberships, responders and messages.
    pub held: [LogUsage; 3],
}

/// Memberships by the worst state of their interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct States {
    pub joined: u64,
    pub pending: u64,
    pub lost: u64,
    pub failed: u64,
}

/// The content of logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogUsage {
    pub datagrams: u64,
    /// Bytes, including headers.
    pub bytes: u64,
}

/// The counts of deleted resources, and counts that belong to no resource.
pub(super) struct TotalsAccumulator {
    /// Std lock, like the next two: held for an addition.
    ended: Mutex<Totals>,
    /// The counts of restored resources from earlier runs: the resources continue them, but the totals start from zero.
    before: Mutex<Totals>,
    shown: Mutex<Totals>,
    /// Round-trip times of responses.
    pub(super) rtt: Histogram,
}

impl TotalsAccumulator {
    pub(super) fn enter(&self, ended: &Totals) {
        *locked(&self.ended) += *ended;
    }

    /// Notes the counts of an earlier run with which a resource starts.
    pub(super) fn begin_with(&self, counted: &Totals) {
        *locked(&self.before) += *counted;
    }

    pub(super) fn ended(&self) -> Totals {
        *locked(&self.ended)
    }

    /// The maximum of the last shown totals and these, count by count. A resource that ends during a scrape may be
    /// missed once, and the count of a failed reply or send is taken back; neither must look like a restart.
    pub(super) fn never_less(&self, mut now: Totals) -> Totals {
        now.merge(*locked(&self.before), u64::saturating_sub);
        let mut shown = locked(&self.shown);
        shown.merge(now, u64::max);
        *shown
    }
}

impl Default for TotalsAccumulator {
    fn default() -> Self {
        const fn us(microseconds: u64) -> Duration {
            Duration::from_micros(microseconds)
        }
        /// From a reply within one host to a responder that delays its reply.
        const RTT_BOUNDS: [Duration; 17] = [
            us(50),
            us(100),
            us(250),
            us(500),
            us(1_000),
            us(2_500),
            us(5_000),
            us(10_000),
            us(25_000),
            us(50_000),
            us(100_000),
            us(250_000),
            us(500_000),
            us(1_000_000),
            us(2_500_000),
            us(5_000_000),
            us(10_000_000),
        ];
        Self {
            ended: Mutex::default(),
            before: Mutex::default(),
            shown: Mutex::default(),
            rtt: Histogram::new(&RTT_BOUNDS),
        }
    }
}

impl Totals {
    pub(super) fn received(&mut self, kind: ResourceKind) -> &mut ReceivedTotals {
        match kind {
            ResourceKind::Membership => &mut self.memberships,
            ResourceKind::Responder => &mut self.responders,
            ResourceKind::Message => &mut self.messages,
        }
    }

    fn merge(&mut self, other: Self, how: impl Fn(u64, u64) -> u64) {
        let mut other = other;
        for (own, other) in self.cells().into_iter().zip(other.cells()) {
            *own = how(*own, *other);
        }
    }

    fn cells(&mut self) -> [&mut u64; size_of::<Self>() / size_of::<u64>()] {
        let Self { memberships, responders, messages, replies, closed, sent, send_failures, untracked } =
            self;
        let received = [memberships, responders, messages].into_iter().flat_map(|received| {
            let ReceivedTotals { datagrams, bytes, evicted, lost, truncated, dropped_buffers } = received;
            [datagrams, bytes, evicted, lost, truncated, dropped_buffers]
        });
        let mut cells = received.chain(replies.cells()).chain(closed).chain([sent, send_failures, untracked]);
        std::array::from_fn(|_| cells.next().expect("it is made of counts only, and all are here"))
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.merge(other, |own, other| own + other);
    }
}

impl ReceivedTotals {
    pub(super) fn of(log: LogCounters, dropped_buffers: u64) -> Self {
        Self {
            datagrams: log.appended,
            bytes: log.payload_bytes,
            evicted: log.evicted,
            lost: log.lost,
            truncated: log.truncated,
            dropped_buffers,
        }
    }
}

impl CurrentState {
    pub(super) fn add_membership(
        &mut self,
        kind: ResourceKind,
        state: JoinState,
        hears: bool,
        log: LogCounters,
    ) {
        let (states, at) = match kind {
            ResourceKind::Responder => (&mut self.responders, 1),
            ResourceKind::Membership | ResourceKind::Message => (&mut self.memberships, 0),
        };
        states.add(state);
        self.not_hearing[at] += u64::from(!hears);
        self.held[at].add(log);
    }
}

impl States {
    fn add(&mut self, state: JoinState) {
        *match state {
            JoinState::Joined => &mut self.joined,
            JoinState::Pending => &mut self.pending,
            JoinState::Lost => &mut self.lost,
            JoinState::Failed => &mut self.failed,
        } += 1;
    }
}

impl LogUsage {
    pub(super) fn add(&mut self, log: LogCounters) {
        self.datagrams += log.kept();
        self.bytes += log.kept_bytes;
    }
}

fn locked(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock_shared()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_totals_never_decrease() {
        let accumulator = TotalsAccumulator::default();
        let totals = |sent, send_failures| Totals { sent, send_failures, ..Totals::default() };
        accumulator.enter(&totals(1, 1));
        accumulator.enter(&totals(2, 0));
        assert_eq!(accumulator.ended(), totals(3, 1));
        assert_eq!(accumulator.never_less(totals(5, 1)), totals(5, 1));
        assert_eq!(accumulator.never_less(totals(4, 2)), totals(5, 2));
    }

    #[test]
    fn every_count_is_added() {
        let mut ones = Totals::default();
        ones.cells().into_iter().for_each(|cell| *cell = 1);
        let mut twos = ones;
        twos += ones;
        assert!(twos.cells().into_iter().all(|cell| *cell == 2));
    }
}
