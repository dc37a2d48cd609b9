//! All timers: window ends, lingering, leases, retries, delayed replies.
//!
//! One queue and one task instead of a timer for each, so that a waiting message or membership costs an entry. An
//! entry's action checks again when it runs, so a resource that was closed or renewed in between needs no removal. An
//! entry whose owner is gone is swept: each new entry, and each round of retention, checks a few.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::resource_failures::ResourceFailures;
use crate::sync::{Lock, Progress};

#[derive(Default)]
pub(super) struct Timers {
    /// Std lock: held to insert or remove an entry, or to check a few.
    queue: Mutex<TimerQueue>,
    sooner: Notify,
    progress: Progress,
}

#[derive(Default)]
struct TimerQueue {
    entries: BTreeMap<TimerKey, Box<dyn Timer>>,
    /// The number of entries so far: it tells those of the same time apart.
    armed: u64,
    /// The entry that was checked last; none: the next check begins with the first.
    swept: Option<TimerKey>,
}

type TimerKey = (Instant, u64);

trait Timer: Send {
    fn is_dead(&self) -> bool;
    fn run(self: Box<Self>);
}

struct OwnedTimer<T, F> {
    owner: Weak<T>,
    action: F,
}

impl Timers {
    /// The most bytes of an entry, besides its action: a node of the tree is at least half full.
    pub(super) const ENTRY_BYTES: usize = 2 * size_of::<(TimerKey, Box<dyn Timer>)>();
    /// Entries checked for each new one: with two, at most as many are dead as alive.
    const SWEPT_FOR_EACH: usize = 2;
    /// Entries checked under one lock, and how often in a round.
    const MAX_SWEPT: usize = 256;
    const SWEEPS: usize = 64;

    /// Has the action run at this time, unless its owner is gone by then.
    pub(super) fn arm<T: Send + Sync + 'static>(
        &self,
        at: Instant,
        owner: Weak<T>,
        action: impl FnOnce(Arc<T>) + Send + 'static,
    ) {
        let timer = Box::new(OwnedTimer { owner, action });
        let mut queue = self.queue();
        let is_first = queue.first().is_none_or(|first| at < first);
        queue.insert(at, timer);
        let dead = queue.take_dead(Self::SWEPT_FOR_EACH);
        drop(queue);
        drop(dead);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Removes entries whose owners are gone: some of them, if there are many entries.
    pub(super) fn sweep(&self) {
        for _ in 0..Self::SWEEPS {
            let mut queue = self.queue();
            let dead = queue.take_dead(Self::MAX_SWEPT);
            let is_over = queue.swept.is_none();
            drop(queue);
            drop(dead);
            if is_over {
                return;
            }
        }
    }

    /// How late the first due entry is, or how long the task has been running the current action.
    pub(super) fn late(&self, now: Instant) -> Duration {
        let first = self.first().map(|at| now.saturating_duration_since(at));
        self.progress.busy_for(now).max(first.unwrap_or_default())
    }

    /// When the first waiting entry is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.queue().first()
    }

    /// Runs due actions until it is cancelled; one that panics and names no resource has left one broken, or none.
    /// Cancel-safe: an action is taken and run without an await in between.
    pub(super) async fn run(&self, failures: &ResourceFailures) {
        loop {
            let sooner = self.sooner.notified();
            self.progress.idle();
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
                self.progress.begin_work();
                failures.catch(|| action.run());
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue().entries.len()
    }

    fn pop_due(&self, now: Instant) -> Option<Box<dyn Timer>> {
        let mut queue = self.queue();
        let is_due = queue.first().is_some_and(|first| first <= now);
        if is_due { queue.entries.pop_first().map(|(_, timer)| timer) } else { None }
    }

    fn queue(&self) -> MutexGuard<'_, TimerQueue> {
        self.queue.lock_shared()
    }
}

impl TimerQueue {
    fn first(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    fn insert(&mut self, at: Instant, timer: Box<dyn Timer>) {
        self.armed += 1;
        self.entries.insert((at, self.armed), timer);
    }

    /// Checks the next `count` entries; removes and returns those whose owners are gone, to be dropped without the
    /// lock.
    fn take_dead(&mut self, count: usize) -> Vec<Box<dyn Timer>> {
        let start = self.swept.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut dead, mut checked) = (Vec::new(), 0);
        self.swept = None;
        for (key, timer) in self.entries.range((start, Bound::Unbounded)).take(count) {
            checked += 1;
            self.swept = Some(*key);
            if timer.is_dead() {
                dead.push(*key);
            }
        }
        if checked < count {
            self.swept = None;
        }
        dead.into_iter().filter_map(|key| self.entries.remove(&key)).collect()
    }
}

impl<T: Send + Sync, F: FnOnce(Arc<T>) + Send> Timer for OwnedTimer<T, F> {
    fn is_dead(&self) -> bool {
        self.owner.strong_count() == 0
    }

    fn run(self: Box<Self>) {
        let Self { owner, action } = *self;
        if let Some(owner) = owner.upgrade() {
            action(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_entry_is_late() {
        let (timers, now, owner) = (Timers::default(), Instant::now(), Arc::new(()));
        assert_eq!(timers.late(now), Duration::ZERO);
        timers.arm(now, Arc::downgrade(&owner), |_| {});
        timers.arm(now + Duration::from_secs(5), Arc::downgrade(&owner), |_| {});
        assert_eq!(timers.late(now + Duration::from_secs(7)), Duration::from_secs(7));
        assert!(timers.pop_due(now).is_some());
        assert_eq!(timers.late(now + Duration::from_secs(7)), Duration::from_secs(2));
        assert_eq!(timers.late(now + Duration::from_secs(4)), Duration::ZERO);
    }

    #[test]
    fn entries_of_owners_that_are_gone_do_not_add_up() {
        let (timers, now) = (Timers::default(), Instant::now());
        let living: Vec<_> = (0..100).map(Arc::new).collect();
        let far =
            |nth: u32| now + Duration::from_hours(1) + Duration::from_secs(u64::from(nth * 7919 % 3600));
        for (nth, owner) in (0..).zip(&living) {
            timers.arm(far(nth), Arc::downgrade(owner), |_| {});
        }
        let mut most = 0;
        for nth in 0..100_000 {
            let owner = Arc::new([0_u8; 500]);
            timers.arm(far(nth), Arc::downgrade(&owner), |_| {});
            most = most.max(timers.len());
        }
        assert!(most <= 4 * living.len(), "{most} entries");
        timers.sweep();
        timers.sweep();
        assert_eq!(timers.len(), living.len());
    }
}
