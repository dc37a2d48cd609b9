//! Bounds of logs: those of each one, and those on the bytes of all logs together, and on their bytes in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::model::Retention;

/// The bounds on the bytes of all logs of a service together, and on their bytes in memory.
///
/// Logs charge their size as they append; retention evicts the oldest blocks.
pub struct Budget {
    kept: Bound,
    memory: Bound,
    exceeded: Notify,
}

struct Bound {
    max: usize,
    /// `max`, or less if the disk lacks space.
    allowed: AtomicUsize,
    held: AtomicUsize,
}

/// Bytes of records and the overhead of their blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charge {
    /// In memory or on disk.
    pub(super) kept: usize,
    pub(super) memory: usize,
}

impl Budget {
    /// `memory`: the bound on the bytes in memory of logs on disk; none if logs are in memory only.
    pub fn new(kept: usize, memory: Option<usize>) -> Self {
        Self {
            kept: Bound::new(kept),
            memory: Bound::new(memory.unwrap_or(usize::MAX)),
            exceeded: Notify::new(),
        }
    }

    /// Whether all logs together exceed the bound.
    pub fn is_exceeded(&self) -> bool {
        self.kept.excess() > 0
    }

    /// Whether the logs in memory exceed the bound.
    pub fn memory_is_exceeded(&self) -> bool {
        self.memory.excess() > 0
    }

    /// Whether memory is nearly full: retention that stops only below this need not evict block by block.
    pub fn memory_is_short(&self) -> bool {
        self.memory.held.load(Ordering::Relaxed) > self.memory.max / 8 * 7
    }

    /// Resolves once either bound is exceeded. Cancel-safe.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// The size of all logs, in bytes.
    pub(super) fn kept(&self) -> usize {
        self.kept.held.load(Ordering::Relaxed)
    }

    /// Lowers the bound on all logs to what the disk has space for.
    pub(super) fn confine(&self, kept: usize) {
        self.kept.allowed.store(kept.min(self.kept.max), Ordering::Relaxed);
        if self.is_exceeded() {
            self.exceeded.notify_one();
        }
    }

    /// Restores the configured bound.
    pub(super) fn release(&self) {
        self.confine(self.kept.max);
    }

    /// The bound in bytes that the disk sets for all logs, if they have nearly reached it.
    pub fn confined_to(&self) -> Option<usize> {
        let allowed = self.kept.allowed.load(Ordering::Relaxed);
        (allowed < self.kept.max && self.kept() >= allowed - allowed / 8).then_some(allowed)
    }

    /// Replaces a log's charge of `before` by `now`.
    pub(super) fn charge(&self, before: Charge, now: Charge) {
        let kept = self.kept.charge(before.kept, now.kept);
        let memory = self.memory.charge(before.memory, now.memory);
        if kept || memory {
            self.exceeded.notify_one();
        }
    }
}

impl Bound {
    fn new(max: usize) -> Self {
        Self { max, allowed: AtomicUsize::new(max), held: AtomicUsize::new(0) }
    }

    fn excess(&self) -> usize {
        self.held.load(Ordering::Relaxed).saturating_sub(self.allowed.load(Ordering::Relaxed))
    }

    /// Returns whether this exceeded the bound.
    fn charge(&self, before: usize, now: usize) -> bool {
        if now < before {
            self.held.fetch_sub(before - now, Ordering::Relaxed);
            return false;
        }
        let allowed = self.allowed.load(Ordering::Relaxed);
        now > before && self.held.fetch_add(now - before, Ordering::Relaxed) + (now - before) > allowed
    }
}

/// The limits of one log; beyond them, it evicts its oldest datagrams.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub entries: u64,
    /// Payloads and their metadata.
    pub bytes: usize,
    /// None: no limit.
    pub age: Option<Duration>,
}

impl Limits {
    /// These limits, or the lower ones of `to`.
    #[must_use]
    pub fn narrowed(self, to: &Retention) -> Self {
        let bytes = to.bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self {
            entries: to.datagrams.map_or(self.entries, |datagrams| datagrams.min(self.entries)),
            bytes: bytes.map_or(self.bytes, |bytes| bytes.min(self.bytes)),
            age: [self.age, to.age].into_iter().flatten().min(),
        }
    }
}
