//! All timers: window ends, lingering, leases, retries, delayed replies.
//!
//! One heap and one task instead of a timer for each, so that a waiting message or membership costs a heap entry.
//! Entries hold weak references and are checked again when they fire, so a resource that was closed, renewed or deleted
//! in between needs no removal.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::membership::Membership;
use super::message::Message;
use super::responder::DelayedReply;
use crate::sync::{Lock, Progress};

pub(super) enum TimerAction {
    /// A message's window, or its stall, may have passed.
    CheckWindow(Weak<Message>),
    /// A closed message stops hearing late replies.
    EndLinger(Weak<Message>),
    /// A membership's lease may have run out.
    CheckLease(Weak<Membership>),
    /// A membership that could not join everywhere tries again.
    Retry(Weak<Membership>),
    Reply(Box<DelayedReply>),
}

#[derive(Default)]
pub(super) struct Timers {
    /// Std lock: held for a push or a pop.
    heap: Mutex<BinaryHeap<Reverse<Timer>>>,
    sooner: Notify,
    progress: Progress,
}

struct Timer {
    at: Instant,
    due: TimerAction,
}

impl Timers {
    pub(super) fn arm(&self, at: Instant, due: TimerAction) {
        let mut heap = self.heap();
        let is_first = heap.peek().is_none_or(|Reverse(first)| at < first.at);
        heap.push(Reverse(Timer { at, due }));
        drop(heap);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// How late the first due entry is, or how long the task has been firing the current one.
    pub(super) fn late(&self, now: Instant) -> Duration {
        let first = self.first().map(|at| now.saturating_duration_since(at));
        self.progress.busy_for(now).max(first.unwrap_or_default())
    }

    /// When the first waiting entry is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap().peek().map(|Reverse(first)| first.at)
    }

    /// Fires due entries until it is cancelled. Cancel-safe: an entry is taken and fired without an await in between.
    pub(super) async fn run(&self, mut fire: impl FnMut(TimerAction)) {
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
            while let Some(due) = self.pop_due(tokio::time::Instant::now().into_std()) {
                self.progress.work();
                fire(due);
            }
        }
    }

    fn pop_due(&self, now: Instant) -> Option<TimerAction> {
        let mut heap = self.heap();
        let is_due = heap.peek().is_some_and(|Reverse(first)| first.at <= now);
        if is_due { heap.pop().map(|Reverse(entry)| entry.due) } else { None }
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
    fn what_is_due_and_not_done_is_late() {
        let (timers, now) = (Timers::default(), Instant::now());
        assert_eq!(timers.late(now), Duration::ZERO);
        timers.arm(now, TimerAction::EndLinger(Weak::new()));
        timers.arm(now + Duration::from_secs(5), TimerAction::EndLinger(Weak::new()));
        assert_eq!(timers.late(now + Duration::from_secs(7)), Duration::from_secs(7));
        assert!(timers.pop_due(now).is_some());
        assert_eq!(timers.late(now + Duration::from_secs(7)), Duration::from_secs(2));
        assert_eq!(timers.late(now + Duration::from_secs(4)), Duration::ZERO);
    }
}
