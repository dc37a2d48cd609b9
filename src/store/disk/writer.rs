//! The thread that writes to the database: its loop, and when it writes.

mod space;
mod transaction;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DiskError;
use super::database::{Database, PAGE_BYTES};
use super::directory::Directory;
use super::disk_space::SpaceEstimate;
use super::pending::{CommitResult, PendingWrites};
use super::write_queue::{Wake, WriteQueue};
use crate::store::Budget;
use crate::store::saved::RowId;

pub(super) struct DiskWriter {
    database: Database,
    queue: Arc<WriteQueue>,
    budget: Arc<Budget>,
    pending: PendingWrites,
    next_row: RowId,
    flush: Duration,
    disk: Disk,
    /// The latest measurement of the space on disk.
    space: SpaceEstimate,
    looked_at: Instant,
    /// How many bytes logs may keep together, as the disk has space.
    fitted: usize,
    /// A log line has said that the disk is nearly full.
    told: bool,
    /// Since when the disk has lacked space for blocks.
    starved: Option<Instant>,
    /// The size from which on `SQLite`'s own log is emptied into the database.
    journal_bound: u64,
    /// Something was written since the last checkpoint.
    needs_checkpoint: bool,
    /// Too much of the database is unused.
    needs_vacuum: bool,
    /// Declared last: other processes can use the directory once all else has ended.
    directory: Directory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Works,
    Fails,
    /// The disk works again, and readers may have seen numbers that are not reserved yet.
    CatchesUp,
}

impl DiskWriter {
    /// Bytes that a log, or a deletion, takes in a transaction beside its blocks: pages of the tables.
    const PAGES: u32 = 2 * PAGE_BYTES;
    /// Deletions in one transaction at most.
    const DELETED_AT_ONCE: u64 = 1_000;
    /// Pause before the next attempt after a failure.
    const RETRY: Duration = Duration::from_millis(500);
    /// How long logs may take to evict blocks before a disk without space counts as full.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// Time without work after which `SQLite`'s own log is emptied into the database.
    const IDLE: Duration = Duration::from_secs(1);
    /// How long a measurement of plentiful space is relied on.
    const GRANTED: Duration = Duration::from_millis(100);
    /// Pause before more unused space is returned.
    const WASTEFUL: Duration = Duration::from_millis(10);
    /// Bytes of the database that may be unused before some are returned to the file system, at least and as a share of
    /// all; and how many are returned at once, at most.
    const UNUSED: u64 = 1024 * 1024;
    const UNUSED_SHARE: u64 = 8;
    const GIVEN_AT_ONCE: u64 = 4 * 1024 * 1024;
    /// The share of the capacity that logs may keep in any case: if it does not fit, the disk is full.
    const LEAST_SHARE: u64 = 8;

    pub(super) fn new(
        directory: Directory,
        database: Database,
        queue: Arc<WriteQueue>,
        budget: Arc<Budget>,
        next_row: RowId,
        space: SpaceEstimate,
        flush: Duration,
    ) -> Self {
        Self {
            database,
            queue,
            budget,
            pending: PendingWrites::default(),
            next_row,
            flush,
            disk: Disk::Works,
            space,
            looked_at: Instant::now(),
            fitted: 0,
            told: false,
            starved: None,
            journal_bound: 0,
            needs_checkpoint: true,
            needs_vacuum: false,
            directory,
        }
    }

    /// Writes until the store is closed; an error says why something is not on disk in the end.
    pub(super) fn run(mut self) -> Result<(), DiskError> {
        self.note_size();
        loop {
            self.queue.progress.rest();
            let failing = self.disk == Disk::Fails;
            let pause = match self.starved {
                _ if failing => Self::RETRY,
                Some(_) => self.flush.min(Self::RETRY),
                None => self.flush,
            };
            let idle_after = if self.needs_vacuum { Self::WASTEFUL } else { Self::IDLE };
            let is_done = !self.needs_vacuum && !self.needs_checkpoint && self.budget.confined_to().is_none();
            let wake = self.queue.wait(pause, failing, (!is_done).then_some(idle_after));
            self.queue.progress.work();
            match wake {
                // An error is logged already, and the next round tries again.
                Wake::Work => drop(self.round(false)),
                Wake::Idle if self.needs_vacuum => self.shrink(),
                Wake::Idle => {
                    self.checkpoint();
                    self.update_space_limit(self.budget.kept());
                    self.note_size();
                }
                Wake::End => return self.end(),
            }
        }
    }

    fn note_size(&self) {
        // If the file is no longer there, the next write fails.
        let _ = self.database.check().map(|bytes| self.queue.note_size(bytes));
    }

    /// Writes all that is left, and reserves no more numbers.
    fn end(mut self) -> Result<(), DiskError> {
        self.pending.wait_all();
        self.round(true)?;
        while !self.pending.is_empty() {
            self.round(true)?;
        }
        self.checkpoint();
        Ok(())
    }

    fn round(&mut self, last: bool) -> Result<(), DiskError> {
        // Datagrams that arrive from here on do not have space on disk yet.
        let kept = self.budget.kept();
        self.queue.progress.work();
        self.pending.take(self.queue.take());
        self.queue.begun(self.pending.since);
        match self.write(last) {
            Ok(()) => {
                if self.disk == Disk::Fails {
                    tracing::info!("the data directory can be written to again");
                    self.disk = Disk::CatchesUp;
                }
                if self.disk == Disk::CatchesUp
                    && self.pending.is_empty()
                    && self.directory.mark(false).is_ok()
                {
                    self.disk = Disk::Works;
                }
                self.update_space_limit(kept);
                self.queue.written(self.pending.answered(), self.pending.since);
                match self.starved {
                    _ if last || self.pending.is_empty() => {}
                    Some(_) if self.pending.deletions_done() => self.queue.go_on_when_freed(),
                    _ => self.queue.go_on(),
                }
                Ok(())
            }
            Err(fault) => {
                if std::mem::replace(&mut self.disk, Disk::Fails) != Disk::Fails {
                    tracing::error!(%fault, "nothing can be written to the data directory; logs stay in memory");
                }
                self.update_space_limit(kept);
                self.queue.failed(self.pending.requested(), fault.clone(), self.pending.since);
                Err(fault)
            }
        }
    }

    /// Writes pending work, as far as it fits into one transaction.
    fn write(&mut self, last: bool) -> Result<(), DiskError> {
        let mut written = CommitResult::default();
        let mut outcome = self.database.check().and_then(|file_bytes| {
            self.queue.note_size(file_bytes);
            self.transact(last, &mut written)
                .map_err(|error| DiskError::of_sqlite(&self.database.path, &error))
        });
        if outcome.is_ok() {
            for (log, unsaved) in &written.logs {
                self.queue.contain(|| log.note_saved(unsaved));
            }
            self.pending.done(&written);
            self.needs_checkpoint = true;
            if !self.pending.freed.is_empty() {
                self.shrink();
            }
            if self.is_out_of_room(&written, last) {
                outcome = Err(DiskError::Full(self.database.path.clone()));
            }
        }
        if matches!(outcome, Err(DiskError::Full(_))) {
            self.free_space();
        }
        if outcome.is_err() {
            // Before readers see numbers that are not reserved: the mark makes the next start continue behind them.
            if let Err(error) = self.directory.mark(true) {
                tracing::error!(%error, "sequence numbers may be given again after the next start");
            }
            // Logs whose turn did not come must not wait for the disk either.
            for log in self.pending.unsaved_logs() {
                self.queue.contain(|| log.note_not_saved());
            }
        }
        outcome
    }

    /// Whether blocks have waited for space longer than logs take to evict some.
    fn is_out_of_room(&mut self, written: &CommitResult, last: bool) -> bool {
        if !written.out_of_space {
            self.starved = None;
            return false;
        }
        let since = *self.starved.get_or_insert_with(Instant::now);
        // `SQLite`'s own log may be what fills the disk.
        self.checkpoint();
        let taken = self.database.estimate_space().is_ok_and(|space| space.taken);
        last || taken || since.elapsed() > Self::PATIENCE
    }
}
