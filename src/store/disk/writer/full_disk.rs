//! What happens when the disk is full, in this order:
//!
//! 1. Before it is, logs may keep no more than fits: they evict their oldest datagrams ([`SpaceLimit::confine`]).
//! 2. A transaction leaves out blocks that do not fit; they wait in memory until logs have evicted others.
//! 3. If that does not help soon, or other files take the space, the disk counts as full
//!    ([`SpaceLimit::is_exhausted`]): the writer commits deletions alone ([`free_space`]), logs stay in memory, and the
//!    writer tries again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::maintenance::Maintenance;
use super::transaction;
use crate::store::budget::Budget;
use crate::store::disk::database::Database;
use crate::store::disk::disk_space::SpaceEstimate;
use crate::store::disk::pending::PendingWrites;
use crate::store::disk::write_queue::WriteQueue;

pub(super) struct SpaceLimit {
    budget: Arc<Budget>,
    estimate: SpaceEstimate,
    estimated_at: Instant,
    /// The bound on all logs that the disk allows.
    limit: usize,
    /// Whether a log line has reported that the disk is nearly full.
    is_warned: bool,
    /// Since when the disk has lacked space for blocks.
    lacking_since: Option<Instant>,
}

impl SpaceLimit {
    /// How long an estimate of plentiful space is valid.
    const ESTIMATE_VALIDITY: Duration = Duration::from_millis(100);
    /// Logs may keep the capacity divided by this in any case: if it does not fit, the disk is full.
    const MIN_LIMIT_DIVISOR: u64 = 8;
    /// How long logs may take to evict blocks before a disk without space counts as full.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(super) fn new(budget: Arc<Budget>, estimate: SpaceEstimate) -> Self {
        Self {
            budget,
            estimate,
            estimated_at: Instant::now(),
            limit: 0,
            is_warned: false,
            lacking_since: None,
        }
    }

    /// The latest estimate.
    pub(super) fn estimate(&self) -> SpaceEstimate {
        self.estimate
    }

    /// The size of all logs, in bytes.
    pub(super) fn kept(&self) -> usize {
        self.budget.kept()
    }

    /// Whether the disk bounds what logs keep, and they have nearly reached it.
    pub(super) fn is_confined(&self) -> bool {
        self.budget.confined_to().is_some()
    }

    /// Estimates the space again, unless the latest estimate can be relied on. Returns whether there is a new one.
    pub(super) fn update(&mut self, database: &Database) -> bool {
        if !self.estimate.is_tight() && self.estimated_at.elapsed() < Self::ESTIMATE_VALIDITY {
            return false;
        }
        let Ok(estimate) = database.estimate_space() else { return false };
        (self.estimate, self.estimated_at) = (estimate, Instant::now());
        true
    }

    /// Adapts the bound on all logs to the space on disk. `kept`: what logs kept when the work that is on disk now was
    /// taken from the queue. `deletions_done`: no deletions are pending, which would free more space.
    pub(super) fn confine(&mut self, kept: usize, deletions_done: bool) {
        let space = self.estimate;
        if space.taken {
            // Eviction cannot compensate for the space of other files: logs stay in memory.
            self.budget.release();
            return;
        }
        let limit = (kept as u64 + space.writable).saturating_sub(space.max_transaction);
        let limit = limit.max(space.capacity / Self::MIN_LIMIT_DIVISOR);
        let mut limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if !deletions_done {
            limit = limit.max(self.limit);
        }
        self.limit = limit;
        self.budget.confine(limit);
        let is_confined = self.is_confined();
        if is_confined && !self.is_warned {
            self.is_warned = true;
            tracing::warn!(
                "the disk of the data directory is nearly full: the service evicts the oldest datagrams for new ones"
            );
        } else if self.is_warned && !is_confined && self.kept() < limit / 2 {
            self.is_warned = false;
            tracing::info!("the disk of the data directory has space again");
        }
    }

    /// Notes whether the latest transaction left out blocks because the disk lacks space.
    pub(super) fn note_lack(&mut self, is_lacking: bool) {
        self.lacking_since = is_lacking.then(|| self.lacking_since.unwrap_or_else(Instant::now));
    }

    /// Whether blocks wait for space.
    pub(super) fn is_lacking(&self) -> bool {
        self.lacking_since.is_some()
    }

    /// Whether eviction does not help: others take the space, or blocks have waited for it longer than logs take to
    /// evict some.
    pub(super) fn is_exhausted(&self, database: &Database) -> bool {
        database.estimate_space().is_ok_and(|space| space.taken)
            || self.lacking_since.is_some_and(|since| since.elapsed() > Self::PATIENCE)
    }
}

/// Frees space on a full disk by pending deletions, in steps small enough for the remaining space.
pub(super) fn free_space(
    database: &Database,
    queue: &WriteQueue,
    pending: &mut PendingWrites,
    maintenance: &mut Maintenance,
    is_confined: bool,
) {
    let mut count = 64;
    while count > 0 && !pending.deletions_done() {
        queue.progress.begin_work();
        maintenance.checkpoint(database);
        match transaction::commit_deletions(database, pending, count) {
            Ok(()) => pending.drop_deleted(count),
            Err(_) => count /= 2,
        }
        maintenance.vacuum(database, is_confined);
    }
    maintenance.checkpoint(database);
}
