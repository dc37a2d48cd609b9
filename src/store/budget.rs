use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What all logs of a service may keep together, and how much of that in memory.
///
/// Logs charge what they have as they append; whoever keeps house makes the oldest blocks give way.
pub struct Budget {
    kept: Bound,
    memory: Bound,
    exceeded: Notify,
}

struct Bound {
    most: usize,
    /// `most`, or less.
    allowed: AtomicUsize,
    held: AtomicUsize,
}

/// Bytes of records, and what blocks cost beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charge {
    /// In memory or on disk.
    pub(super) kept: usize,
    pub(super) memory: usize,
}

impl Budget {
    /// `memory`: where logs are on disk, too, what of them is in memory; none where they are only there.
    pub fn new(kept: usize, memory: Option<usize>) -> Self {
        Self {
            kept: Bound::new(kept),
            memory: Bound::new(memory.unwrap_or(usize::MAX)),
            exceeded: Notify::new(),
        }
    }

    /// Whether more is kept than may be.
    pub fn is_exceeded(&self) -> bool {
        self.kept.excess() > 0
    }

    /// Whether more is in memory than may be.
    pub fn memory_is_exceeded(&self) -> bool {
        self.memory.excess() > 0
    }

    /// Whether so much is in memory that it would soon be too much: to stop short of this spares making room
    /// block by block.
    pub fn memory_is_short(&self) -> bool {
        self.memory.held.load(Ordering::Relaxed) > self.memory.most / 8 * 7
    }

    /// Resolves once there is too much of either. Cancel-safe.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// All that is kept, in bytes.
    pub(super) fn kept(&self) -> usize {
        self.kept.held.load(Ordering::Relaxed)
    }

    /// Allows no more to be kept than the disk has room for.
    pub(super) fn confine(&self, kept: usize) {
        self.kept.allowed.store(kept.min(self.kept.most), Ordering::Relaxed);
        if self.is_exceeded() {
            self.exceeded.notify_one();
        }
    }

    /// Allows again what was set.
    pub(super) fn release(&self) {
        self.confine(self.kept.most);
    }

    /// To how many bytes of all logs the disk confines them, if there are nearly so many.
    pub fn confined_to(&self) -> Option<usize> {
        let allowed = self.kept.allowed.load(Ordering::Relaxed);
        (allowed < self.kept.most && self.kept() >= allowed - allowed / 8).then_some(allowed)
    }

    /// A log has `now` where it had `before`.
    pub(super) fn charge(&self, before: Charge, now: Charge) {
        let kept = self.kept.charge(before.kept, now.kept);
        let memory = self.memory.charge(before.memory, now.memory);
        if kept || memory {
            self.exceeded.notify_one();
        }
    }
}

impl Bound {
    fn new(most: usize) -> Self {
        Self { most, allowed: AtomicUsize::new(most), held: AtomicUsize::new(0) }
    }

    fn excess(&self) -> usize {
        self.held.load(Ordering::Relaxed).saturating_sub(self.allowed.load(Ordering::Relaxed))
    }

    /// Whether this made it too much.
    fn charge(&self, before: usize, now: usize) -> bool {
        if now < before {
            self.held.fetch_sub(before - now, Ordering::Relaxed);
            return false;
        }
        let allowed = self.allowed.load(Ordering::Relaxed);
        now > before && self.held.fetch_add(now - before, Ordering::Relaxed) + (now - before) > allowed
    }
}
