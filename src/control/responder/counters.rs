//! The counters of a responder.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How a responder handled the datagrams that it received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyCounters {
    pub received: u64,
    pub matched: u64,
    pub replied: u64,
    /// The kernel could not send the reply.
    pub failed: u64,
    /// Withheld by the rate limits, or because the source is not an address to reply to.
    pub limited: u64,
    /// Withheld because the responder had handled the same datagram on another interface: replied, or withheld that reply
    /// by a limit.
    pub suppressed: u64,
    /// Withheld because the source had got many more bytes than it had sent.
    #[serde(default)]
    pub limited_bytes: u64,
    /// Not delayed, and so not sent, because too many replies wait already.
    #[serde(default)]
    pub limited_delayed: u64,
    /// Datagrams that were not matched, because all responders together had searched them for too long.
    #[serde(default)]
    pub limited_matching: u64,
}

/// The live counters behind [`ReplyCounters`].
#[derive(Default)]
pub(super) struct AtomicReplyCounters {
    pub(super) received: Counter,
    pub(super) matched: Counter,
    pub(super) replied: Counter,
    pub(super) failed: Counter,
    pub(super) limited: Counter,
    pub(super) suppressed: Counter,
    pub(super) limited_bytes: Counter,
    pub(super) limited_delayed: Counter,
    pub(super) limited_matching: Counter,
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl AtomicReplyCounters {
    pub(super) fn read(&self) -> ReplyCounters {
        ReplyCounters {
            received: self.received.read(),
            matched: self.matched.read(),
            replied: self.replied.read(),
            failed: self.failed.read(),
            limited: self.limited.read(),
            suppressed: self.suppressed.read(),
            limited_bytes: self.limited_bytes.read(),
            limited_delayed: self.limited_delayed.read(),
            limited_matching: self.limited_matching.read(),
        }
    }
}

impl From<ReplyCounters> for AtomicReplyCounters {
    fn from(counted: ReplyCounters) -> Self {
        let from = |count: u64| Counter(count.into());
        Self {
            received: from(counted.received),
            matched: from(counted.matched),
            replied: from(counted.replied),
            failed: from(counted.failed),
            limited: from(counted.limited),
            suppressed: from(counted.suppressed),
            limited_bytes: from(counted.limited_bytes),
            limited_delayed: from(counted.limited_delayed),
            limited_matching: from(counted.limited_matching),
        }
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
