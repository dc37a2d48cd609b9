//! The counters of a responder.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

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
