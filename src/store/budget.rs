use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What all logs of a service may hold together.
///
/// Logs charge what they hold as they append; whoever keeps house makes the oldest blocks give way.
pub struct Budget {
    most: usize,
    held: AtomicUsize,
    exceeded: Notify,
}

impl Budget {
    /// `most`: bytes, records and what blocks cost beside them.
    pub fn new(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0), exceeded: Notify::new() }
    }

    /// Bytes that are over; 0 while all is well.
    pub fn excess(&self) -> usize {
        self.held.load(Ordering::Relaxed).saturating_sub(self.most)
    }

    /// Resolves once there is too much. Cancel-safe.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// A log holds `now` bytes where it held `before`.
    pub(super) fn charge(&self, before: usize, now: usize) {
        if now >= before {
            let held = self.held.fetch_add(now - before, Ordering::Relaxed) + (now - before);
            if held > self.most {
                self.exceeded.notify_one();
            }
        } else {
            self.held.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}
