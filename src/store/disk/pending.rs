//! The writer's pending work, and the result of a transaction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::tracked_log::{DurableLog, TrackedLog};
use super::write_queue::QueuedWrites;
use crate::store::saved::{RowId, UnsavedLog};

/// Work that is not committed yet.
#[derive(Default)]
pub(super) struct PendingWrites {
    pub(super) tracked: HashMap<i64, TrackedLog>,
    /// Owners that are not on disk yet.
    pub(super) new: HashSet<i64>,
    /// Owners that have changed.
    pub(super) touched: HashSet<i64>,
    pub(super) removed: Vec<i64>,
    /// Logs in the order of their turns, each once.
    pub(super) dirty: VecDeque<i64>,
    waiting: HashSet<i64>,
    pub(super) freed: Vec<RowId>,
    pub(super) since: Option<Instant>,
    /// Flush tickets: the latest one requested, and the latest one completed.
    requested: u64,
    completed: u64,
}

/// The result of one transaction.
#[derive(Default)]
pub(super) struct CommitResult {
    /// How many of the removed logs, and of the freed rows, it has deleted.
    pub(super) deleted: usize,
    pub(super) owners: Vec<i64>,
    pub(super) logs: Vec<(Arc<dyn DurableLog>, UnsavedLog)>,
    /// How many of the dirty logs have had their turns.
    pub(super) turns: usize,
    /// Logs with more to write than fits into the transaction.
    pub(super) unfinished: Vec<i64>,
    pub(super) bytes: usize,
    /// Blocks were left out because the disk lacks space.
    pub(super) out_of_space: bool,
}

impl PendingWrites {
    /// Adds the queued work.
    pub(super) fn take(&mut self, queue: QueuedWrites) {
        self.since = self.since.or(queue.since);
        for (number, tracked) in queue.tracked {
            // Closing it has queued the removal already, or will.
            if tracked.log.is_closed() {
                continue;
            }
            if tracked.is_new {
                self.new.insert(number);
            } else {
                self.wait(number);
            }
            self.tracked.insert(number, tracked);
        }
        self.touched.extend(queue.touched);
        queue.dirty.into_iter().for_each(|number| self.wait(number));
        self.freed.extend(queue.freed);
        for number in &queue.removed {
            self.tracked.remove(number);
        }
        self.removed.extend(queue.removed);
        self.requested = queue.requested;
    }

    /// The latest flush ticket for which every change of an owner is on disk.
    pub(super) fn answered(&mut self) -> u64 {
        if self.removed.is_empty() && self.new.is_empty() && self.touched.is_empty() {
            self.completed = self.requested;
        }
        self.completed
    }

    /// Whether no deletions are pending.
    pub(super) fn deletions_done(&self) -> bool {
        self.removed.is_empty() && self.freed.is_empty()
    }

    /// The latest requested flush ticket: if writing fails, all tickets up to it fail.
    pub(super) fn requested(&self) -> u64 {
        self.requested
    }

    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.new.is_empty()
            && self.touched.is_empty()
            && self.dirty.is_empty()
            && self.freed.is_empty()
    }

    /// Queues the log to be written when its turn comes.
    fn wait(&mut self, number: i64) {
        if self.waiting.insert(number) {
            self.dirty.push_back(number);
        }
    }

    /// Queues every log.
    pub(super) fn wait_all(&mut self) {
        let all: Vec<_> = self.tracked.keys().copied().collect();
        for number in all {
            self.wait(number);
        }
    }

    /// The logs that have something to write.
    pub(super) fn unsaved_logs(&self) -> impl Iterator<Item = &dyn DurableLog> {
        let numbers = self.new.iter().chain(&self.touched).chain(&self.dirty);
        numbers.filter_map(|number| self.tracked.get(number)).map(|tracked| &*tracked.log)
    }

    /// Removes this many of the removed logs, and of the freed rows, from the pending work.
    pub(super) fn deleted(&mut self, count: usize) {
        self.removed.drain(..count.min(self.removed.len()));
        self.freed.drain(..count.min(self.freed.len()));
    }

    /// Removes what one transaction has done from the pending work.
    pub(super) fn done(&mut self, written: &CommitResult) {
        self.deleted(written.deleted);
        for number in &written.owners {
            self.new.remove(number);
            self.touched.remove(number);
        }
        for number in self.dirty.drain(..written.turns) {
            self.waiting.remove(&number);
        }
        written.unfinished.iter().for_each(|number| self.wait(*number));
        if self.is_empty() {
            self.since = None;
        }
    }
}
