//! The work for the writer, queued by all other threads.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::error::DiskError;
use super::status::{Losses, StoreStatus};
use crate::store::durable_log::{LogWithOwner, RowId};
use crate::sync::{Lock, Progress, unpoisoned};

pub(super) struct WriteQueue {
    /// Std lock: held for a push or to take everything out. A log's lock may be held, but is never taken under it.
    queue: Mutex<QueuedWrites>,
    filled: Condvar,
    next_log: AtomicI64,
    /// Bytes appended since the writer last took work.
    appended: AtomicUsize,
    reached: watch::Sender<Reached>,
    file_bytes: AtomicU64,
    pub(super) losses: Losses,
    restored: AtomicBool,
    /// Progress of the writer.
    pub(super) progress: Arc<Progress>,
    /// Notified when code of a log, or of its owner, has panicked on the writer's thread.
    panicked: Notify,
}

/// Work that the writer has not taken yet.
#[derive(Default)]
pub(super) struct QueuedWrites {
    /// Logs to keep on disk from now on.
    pub(super) logs: Vec<(i64, LogWithOwner)>,
    /// Owners that have changed.
    pub(super) touched: HashSet<i64>,
    pub(super) removed: Vec<i64>,
    /// Logs that have changed.
    pub(super) dirty: Vec<i64>,
    pub(super) freed: Vec<RowId>,
    /// The latest flush ticket: how many flushes have been requested.
    pub(super) requested: u64,
    flush_now: bool,
    /// When the writer must stop waiting for more work, at the latest.
    flush_at: Option<Instant>,
    /// When the writer last took work.
    taken_at: Option<Instant>,
    /// The writer waits for rows to delete.
    out_of_space: bool,
    end: bool,
    /// When the oldest of this work was queued.
    pub(super) since: Option<Instant>,
}

/// The latest flush ticket that the writer has completed, and whether it succeeded.
#[derive(Debug, Clone, Default)]
struct Reached {
    completed: u64,
    error: Option<DiskError>,
    /// When the oldest unwritten work was queued.
    behind_since: Option<Instant>,
}

/// Why the writer wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Work,
    /// There has been no work for a while.
    Idle,
    /// The store is being closed.
    End,
}

impl QueuedWrites {
    fn free(&mut self, rows: &mut Vec<RowId>) {
        self.flush_now |= self.out_of_space && !rows.is_empty();
        self.freed.append(rows);
    }
}

impl WriteQueue {
    /// With this many bytes queued, the writer does not wait for more.
    const FLUSH_BYTES: usize = 4 * 1024 * 1024;
    /// The least time between commits for readers, which share them: a commit takes a few milliseconds.
    const READER_COMMIT_PAUSE: Duration = Duration::from_millis(25);

    pub(super) fn new(next_log: i64, losses: Losses) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            next_log: AtomicI64::new(next_log),
            appended: AtomicUsize::new(0),
            reached: watch::Sender::default(),
            file_bytes: AtomicU64::new(0),
            losses,
            restored: AtomicBool::new(false),
            progress: Arc::default(),
            panicked: Notify::new(),
        }
    }

    pub(super) fn fresh_number(&self) -> i64 {
        self.next_log.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn persist(&self, number: i64, log: LogWithOwner) {
        self.push(|queue| queue.logs.push((number, log)));
    }

    pub(super) fn touch(&self, number: i64) {
        self.push(|queue| {
            queue.touched.insert(number);
        });
    }

    pub(super) fn remove(&self, number: i64) {
        self.push(|queue| queue.removed.push(number));
    }

    pub(super) fn free(&self, mut rows: Vec<RowId>) {
        if !rows.is_empty() {
            self.push(|queue| queue.free(&mut rows));
        }
    }

    pub(super) fn dirty(&self, number: i64, flush_now: bool, freed: &mut Vec<RowId>) {
        self.push(|queue| {
            queue.dirty.push(number);
            queue.free(freed);
            queue.flush_now |= flush_now;
        });
    }

    pub(super) fn note(&self, appended: usize) {
        let before = self.appended.fetch_add(appended, Ordering::Relaxed);
        if before < Self::FLUSH_BYTES && before + appended >= Self::FLUSH_BYTES {
            self.push(|queue| queue.flush_now = true);
        }
    }

    pub(super) async fn flushed(&self) -> Result<(), DiskError> {
        self.flushed_after(|queue| queue.flush_now = true).await
    }

    /// The same, but not sooner than a moment after the last commit began: readers of logs ask again and again, and a
    /// commit for each of them would keep the changes of owners waiting.
    pub(super) async fn flushed_soon(&self) -> Result<(), DiskError> {
        let share = |queue: &mut QueuedWrites| {
            let now = Instant::now();
            let at = queue.taken_at.map_or(now, |taken| now.max(taken + Self::READER_COMMIT_PAUSE));
            queue.flush_at.get_or_insert(at);
        };
        self.flushed_after(share).await
    }

    async fn flushed_after(&self, request: impl FnOnce(&mut QueuedWrites)) -> Result<(), DiskError> {
        let mut reached = self.reached.subscribe();
        // While the disk fails, the writer pauses between its attempts: callers must not wait for them.
        if let Some(error) = &reached.borrow_and_update().error {
            return Err(error.clone());
        }
        let mut ticket = 0;
        self.push(|queue| {
            queue.requested += 1;
            request(queue);
            ticket = queue.requested;
        });
        let completed = reached.wait_for(|reached| reached.completed >= ticket).await;
        completed.ok().and_then(|reached| reached.error.clone()).map_or(Ok(()), Err)
    }

    pub(super) fn end(&self) {
        self.push(|queue| queue.end = true);
    }

    pub(super) fn status(&self, confined_to: Option<usize>) -> StoreStatus {
        let Reached { error, behind_since, .. } = self.reached.borrow().clone();
        let since = behind_since.or(self.queue().since);
        let lag = since.map(|since| since.elapsed()).unwrap_or_default();
        StoreStatus {
            error,
            lag,
            file_bytes: self.file_bytes.load(Ordering::Relaxed),
            lost_blocks: self.losses.blocks(),
            set_aside: self.losses.set_aside(),
            damaged_copy: self.losses.damaged_copy(),
            confined_to,
        }
    }

    /// Waits for work, then for more of it until `pause` after the first. `patient`: even if a flush is requested.
    /// `idle_after`: returns [`Wake::Idle`] after this long without work.
    pub(super) fn wait(&self, pause: Duration, patient: bool, idle_after: Option<Duration>) -> Wake {
        let mut queue = self.queue();
        let nothing = |queue: &mut QueuedWrites| queue.since.is_none() && !queue.end;
        match idle_after {
            Some(limit) => {
                queue = unpoisoned(self.filled.wait_timeout_while(queue, limit, nothing)).0;
                if nothing(&mut queue) {
                    return Wake::Idle;
                }
            }
            None => queue = unpoisoned(self.filled.wait_while(queue, nothing)),
        }
        let due = |queue: &QueuedWrites| {
            let until = queue.since.map_or_else(Instant::now, |since| since + pause);
            let at = queue.flush_at.filter(|_| !patient).map_or(until, |at| at.min(until));
            at.saturating_duration_since(Instant::now())
        };
        while !queue.end && (patient || !queue.flush_now) {
            let left = due(&queue);
            if left.is_zero() {
                break;
            }
            queue = unpoisoned(self.filled.wait_timeout(queue, left)).0;
        }
        if queue.end { Wake::End } else { Wake::Work }
    }

    /// Takes all queued work.
    pub(super) fn take(&self) -> QueuedWrites {
        self.appended.store(0, Ordering::Relaxed);
        let mut queue = self.queue();
        let (requested, end, taken_at) = (queue.requested, queue.end, Some(Instant::now()));
        std::mem::replace(&mut *queue, QueuedWrites { requested, taken_at, end, ..QueuedWrites::default() })
    }

    /// Requests another round, because there is more to do than fits into one.
    pub(super) fn request_round(&self) {
        self.push(|queue| queue.flush_now = true);
    }

    /// Requests another round once rows are freed, or after the usual pause.
    pub(super) fn request_round_when_freed(&self) {
        self.push(|queue| queue.out_of_space = true);
    }

    /// Notes that all logs are restored, so that their oldest blocks can be evicted.
    pub(super) fn note_restored(&self) {
        self.restored.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Relaxed)
    }

    /// Runs code of a log or of its owner; none if it panics: then that log is broken, and all others are written.
    pub(super) fn contain<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.panicked.notify_one();
        }
        done.ok()
    }

    pub(super) async fn panicked(&self) {
        self.panicked.notified().await;
    }

    pub(super) fn note_size(&self, file_bytes: u64) {
        self.file_bytes.store(file_bytes, Ordering::Relaxed);
    }

    /// Notes that work queued since then is being written.
    pub(super) fn begun(&self, since: Option<Instant>) {
        // No caller waits for this change.
        self.reached.send_if_modified(|reached| {
            reached.behind_since = reached.behind_since.or(since);
            false
        });
    }

    /// `since`: when the oldest work that is still to be written was queued.
    pub(super) fn written(&self, ticket: u64, since: Option<Instant>) {
        self.reached.send_replace(Reached { completed: ticket, error: None, behind_since: since });
    }

    /// `since`: when the oldest work that could not be written was queued.
    pub(super) fn failed(&self, ticket: u64, error: DiskError, since: Option<Instant>) {
        self.reached.send_modify(|reached| {
            let behind_since = reached.behind_since.or(since);
            *reached = Reached { completed: ticket, error: Some(error), behind_since };
        });
        // The writer must retry even if no other work is queued.
        self.push(|_| {});
    }

    /// Fails all flushes: the writer has ended.
    pub(super) fn abandon(&self, error: DiskError) {
        self.failed(u64::MAX, error, None);
    }

    fn push(&self, change: impl FnOnce(&mut QueuedWrites)) {
        let mut queue = self.queue();
        let before = queue.flush_at;
        change(&mut queue);
        let is_sooner = queue.since.is_none() || queue.flush_at != before;
        queue.since.get_or_insert_with(Instant::now);
        let wakes = is_sooner || queue.flush_now || queue.end;
        drop(queue);
        if wakes {
            self.filled.notify_one();
        }
    }

    fn queue(&self) -> MutexGuard<'_, QueuedWrites> {
        self.queue.lock_shared()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_lag_includes_changes_that_the_writer_is_writing() {
        let queue = WriteQueue::new(1, Losses::default());
        queue.touch(1);
        let since = queue.take().since;
        queue.begun(since);
        assert!(queue.status(None).lag > Duration::ZERO);
        queue.written(0, since);
        assert!(queue.status(None).lag > Duration::ZERO, "a part of it is not on disk");
        queue.written(0, None);
        assert_eq!(queue.status(None).lag, Duration::ZERO);
    }

    #[test]
    fn readers_share_commits_and_owners_do_not_wait_for_them() {
        let queue = WriteQueue::new(1, Losses::default());
        let due = |queue: &WriteQueue| queue.queue().flush_at.expect("a flush is requested");
        let lone = queue.flushed_soon().now_or_never();
        assert!(lone.is_none() && due(&queue) <= Instant::now(), "nobody to share a commit with");

        let taken = queue.take().requested;
        assert_eq!(taken, 1);
        for _ in 0..32 {
            assert!(queue.flushed_soon().now_or_never().is_none());
        }
        assert!(!queue.queue().flush_now && due(&queue) > Instant::now());
        assert!(queue.flushed().now_or_never().is_none() && queue.queue().flush_now);
        assert_eq!(queue.wait(Duration::from_hours(1), false, None), Wake::Work);
        assert_eq!(queue.take().requested, 34);
    }
}
