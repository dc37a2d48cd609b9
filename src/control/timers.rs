//! All timers: window ends, lingering, leases, retries, delayed replies.
//!
//! One heap and one task instead of a timer for each, so that a waiting message or membership costs a heap entry.
//! Actions hold weak references and check again when they run, so a resource that was closed, renewed or deleted in
//! between needs no removal.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::sync::{Lock, Progress};

/// The action to run at the time of an entry.
type Action = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Timers {
    /// Std lock: held for a push or a pop.
    heap: Mutex<BinaryHeap<Reverse<Timer>>>,
    sooner: Notify,
    progress: Progress,
}

struct Timer {
    at: Instant,
    action: Action,
}

impl Timers {
    /// Bytes of an entry, besides its action.
    pub(super) const ENTRY_BYTES: usize = size_of::<Timer>();

    pub(super) fn arm(&self, at: Instant, action: impl FnOnce() + Send + 'static) {
        let action = Box::new(action);
        let mut heap = self.heap();
        let is_first = heap.peek().is_none_or(|Reverse(first)| at < first.at);
        heap.push(Reverse(Timer { at, action }));
        drop(heap);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// How late the first due entry is, or how long the task has been running the current action.
    pub(super) fn late(&self, now: Instant) -> Duration {
        let first = self.first().map(|at| now.saturating_duration_since(at));
        self.progress.busy_for(now).max(first.unwrap_or_default())
    }

    /// When the first waiting entry is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap().peek().map(|Reverse(first)| first.at)
    }

    /// Passes due actions to `run` until it is cancelled. Cancel-safe: an action is taken and run without an await in
    /// between.
    pub(super) async fn follow(&self, mut run: impl FnMut(Action)) {
        loop {
            let sooner = self.sooner.notified();
            self.progress.rest();
            match self.first() {
                None => sooner.await,
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = sooner => {}
                    }
                }
            }
            while let Some(action) = self.pop_due(tokio::time::Instant::now().into_std()) {
                self.progress.work();
                run(action);
            }
        }
    }

    fn pop_due(&self, now: Instant) -> Option<Action> {
        let mut heap = self.heap();
        let is_due = heap.peek().is_some_and(|Reverse(first)| first.at <= now);
        if is_due { heap.pop().map(|Reverse(entry)| entry.action) } else { None }
    }

    fn heap(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Timer>>> {
        self.heap.lock_shared()
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_entry_is_late() {
        let (timers, now) = (Timers::default(), Instant::now());
        assert_eq!(timers.late(now), Duration::ZERO);
        timers.arm(now, || {});
        timers.arm(now + Duration::from_secs(5), || {});
        assert_eq!(timers.late(now + Duration::from_secs(7)), Duration::from_secs(7));
        assert!(timers.pop_due(now).is_some());
        assert_eq!(timers.late(now + Duration::from_secs(7)), Duration::from_secs(2));
        assert_eq!(timers.late(now + Duration::from_secs(4)), Duration::ZERO);
    }
}
