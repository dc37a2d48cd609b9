//! What the writer has to do, and what it has done.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Row;
use super::write_queue::{QueuedWrites, TrackedLog};
use crate::store::Log;
use crate::store::log::Unsaved;

/// What is to be done, kept until it has been done.
#[derive(Default)]
pub(super) struct PendingWrites {
    pub(super) kept: HashMap<i64, TrackedLog>,
    /// Owners that are not on disk yet.
    pub(super) new: HashSet<i64>,
    /// Owners that have changed.
    pub(super) touched: HashSet<i64>,
    pub(super) removed: Vec<i64>,
    /// Logs in the order of their turns, each once.
    pub(super) dirty: VecDeque<i64>,
    waiting: HashSet<i64>,
    pub(super) freed: Vec<Row>,
    pub(super) since: Option<Instant>,
    /// Up to which question.
    requested: u64,
    completed: u64,
}

/// What one transaction has done.
#[derive(Default)]
pub(super) struct CommitResult {
    /// How many of the logs that are gone, and of the rows that are not needed, it has deleted.
    pub(super) deleted: usize,
    pub(super) owners: Vec<i64>,
    pub(super) logs: Vec<(Arc<Log>, Unsaved)>,
    /// How many of those that waited have had their turns.
    pub(super) turns: usize,
    /// Logs that have more than fitted.
    pub(super) unfinished: Vec<i64>,
    pub(super) bytes: usize,
    /// For want of room, blocks were left out.
    pub(super) out_of_space: bool,
}

impl PendingWrites {
    /// Adds what has come.
    pub(super) fn take(&mut self, queue: QueuedWrites) {
        self.since = self.since.or(queue.since);
        for (number, keep) in queue.kept {
            // Whoever closed it said so before, or will say so.
            if keep.log.is_closed() {
                continue;
            }
            if keep.is_new {
                self.new.insert(number);
            } else {
                self.wait(number);
            }
            self.kept.insert(number, keep);
        }
        self.touched.extend(queue.touched);
        queue.dirty.into_iter().for_each(|number| self.wait(number));
        self.freed.extend(queue.freed);
        for number in &queue.removed {
            self.kept.remove(number);
        }
        self.removed.extend(queue.removed);
        self.requested = queue.requested;
    }

    /// Up to which question all is done that had been said of owners by then.
    pub(super) fn answered(&mut self) -> u64 {
        if self.removed.is_empty() && self.new.is_empty() && self.touched.is_empty() {
            self.completed = self.requested;
        }
        self.completed
    }

    /// Whether all is deleted that has to be.
    pub(super) fn deletions_done(&self) -> bool {
        self.removed.is_empty() && self.freed.is_empty()
    }

    /// Up to which question there is no hope for now.
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

    /// The log is written when its turn comes.
    fn wait(&mut self, number: i64) {
        if self.waiting.insert(number) {
            self.dirty.push_back(number);
        }
    }

    /// Every log that is kept is written.
    pub(super) fn wait_all(&mut self) {
        let all: Vec<_> = self.kept.keys().copied().collect();
        for number in all {
            self.wait(number);
        }
    }

    /// The logs that there is something to write of.
    pub(super) fn unsaved_logs(&self) -> impl Iterator<Item = &Log> {
        let numbers = self.new.iter().chain(&self.touched).chain(&self.dirty);
        numbers.filter_map(|number| self.kept.get(number)).map(|keep| &*keep.log)
    }

    /// Strikes out so many of the logs that are gone, and of the rows that are not needed.
    pub(super) fn deleted(&mut self, count: usize) {
        self.removed.drain(..count.min(self.removed.len()));
        self.freed.drain(..count.min(self.freed.len()));
    }

    /// Strikes out what one transaction has done.
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
