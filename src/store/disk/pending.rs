//! The writer's pending work, and the result of a transaction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::write_queue::QueuedWrites;
use crate::store::durable_log::{DurableLog, LogWithOwner, RowId, UnsavedPart};

/// Work that is not committed yet.
#[derive(Default)]
pub(super) struct PendingWrites {
    /// All logs that the writer keeps on disk, by number.
    pub(super) logs: HashMap<i64, LogWithOwner>,
    /// Owners that are not on disk yet.
    pub(super) new: HashSet<i64>,
    /// Owners that have changed.
    pub(super) touched: HashSet<i64>,
    pub(super) removed: Vec<i64>,
    /// Logs in the order of their turns, each once.
    pub(super) dirty: VecDeque<i64>,
    /// The same, to find one.
    enqueued: HashSet<i64>,
    pub(super) freed: Vec<RowId>,
    pub(super) since: Option<Instant>,
    /// Flush tickets: the latest one requested, and the latest one completed.
    requested: u64,
    completed: u64,
}

/// The result of one transaction.
#[derive(Default)]
pub(super) struct CommitResult {
    /// The most of the removed logs, and the most of the freed rows, that it was to delete: it has deleted as many, or
    /// all.
    pub(super) max_deletions: usize,
    pub(super) owners: Vec<i64>,
    pub(super) logs: Vec<(Arc<dyn DurableLog>, UnsavedPart)>,
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
        for (number, entry) in queue.logs {
            // Closing it has queued the removal already, or will.
            if entry.log.is_closed() {
                continue;
            }
            if entry.is_new {
                self.new.insert(number);
            } else {
                self.enqueue(number);
            }
            self.logs.insert(number, entry);
        }
        self.touched.extend(queue.touched);
        queue.dirty.into_iter().for_each(|number| self.enqueue(number));
        self.freed.extend(queue.freed);
        for number in &queue.removed {
            self.logs.remove(number);
        }
        self.removed.extend(queue.removed);
        self.requested = queue.requested;
    }

    /// Completes the flush tickets for which every change of an owner is on disk; returns the latest one.
    pub(super) fn complete_tickets(&mut self) -> u64 {
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
    fn enqueue(&mut self, number: i64) {
        if self.enqueued.insert(number) {
            self.dirty.push_back(number);
        }
    }

    /// Queues every log.
    pub(super) fn enqueue_all(&mut self) {
        let all: Vec<_> = self.logs.keys().copied().collect();
        for number in all {
            self.enqueue(number);
        }
    }

    /// The logs that have something to write.
    pub(super) fn unsaved_logs(&self) -> impl Iterator<Item = &dyn DurableLog> {
        let numbers = self.new.iter().chain(&self.touched).chain(&self.dirty);
        numbers.filter_map(|number| self.logs.get(number)).map(|entry| &*entry.log)
    }

    /// Removes up to `max` of the removed logs, and of the freed rows, from the pending work: they are deleted.
    pub(super) fn drop_deleted(&mut self, max: usize) {
        self.removed.drain(..max.min(self.removed.len()));
        self.freed.drain(..max.min(self.freed.len()));
    }

    /// Removes what one transaction has done from the pending work.
    pub(super) fn done(&mut self, written: &CommitResult) {
        self.drop_deleted(written.max_deletions);
        for number in &written.owners {
            self.new.remove(number);
            self.touched.remove(number);
        }
        for number in self.dirty.drain(..written.turns) {
            self.enqueued.remove(&number);
        }
        written.unfinished.iter().for_each(|number| self.enqueue(*number));
        if self.is_empty() {
            self.since = None;
        }
    }
}
