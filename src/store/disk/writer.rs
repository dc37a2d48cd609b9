//! The thread that writes to the database: its loop, and what it does when writing fails. For a full disk, see
//! [`full_disk`].

mod full_disk;
mod maintenance;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use super::database::Database;
use super::directory::Directory;
use super::disk_space::SpaceEstimate;
use super::error::DiskError;
use super::pending::PendingWrites;
use super::write_queue::{Wake, WriteQueue};
use crate::store::budget::Budget;
use crate::store::durable_log::RowId;
use full_disk::SpaceLimit;
use maintenance::Maintenance;

pub(super) struct DiskWriter {
    database: Database,
    queue: Arc<WriteQueue>,
    pending: PendingWrites,
    next_row: RowId,
    flush: Duration,
    disk: Disk,
    space: SpaceLimit,
    maintenance: Maintenance,
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
    /// Pause before the next attempt after a failure.
    const RETRY: Duration = Duration::from_millis(500);

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
            pending: PendingWrites::default(),
            next_row,
            flush,
            disk: Disk::Works,
            space: SpaceLimit::new(budget, space),
            maintenance: Maintenance::new(),
            directory,
        }
    }

    /// Writes until the store is closed; an error says why some work is not on disk.
    pub(super) fn run(mut self) -> Result<(), DiskError> {
        self.note_size();
        loop {
            self.queue.progress.idle();
            let failing = self.disk == Disk::Fails;
            let pause = if failing {
                Self::RETRY
            } else if self.space.is_lacking() {
                self.flush.min(Self::RETRY)
            } else {
                self.flush
            };
            let is_due = self.maintenance.is_due() || self.space.is_confined();
            let wake = self.queue.wait(pause, failing, is_due.then(|| self.maintenance.idle_after()));
            self.queue.progress.begin_work();
            match wake {
                // The writer has logged the error, and retries in the next round.
                Wake::Work => drop(self.round(false)),
                Wake::Idle if self.maintenance.needs_vacuum() => self.vacuum(),
                Wake::Idle => {
                    self.checkpoint();
                    self.update_space_limit(self.space.kept());
                    self.note_size();
                }
                Wake::End => return self.end(),
            }
        }
    }

    fn note_size(&self) {
        // If the file is no longer there, the next write fails.
        let _ = self.database.file_size().map(|bytes| self.queue.note_size(bytes));
    }

    /// Writes all pending work, and reserves no more numbers.
    fn end(mut self) -> Result<(), DiskError> {
        self.pending.enqueue_all();
        self.round(true)?;
        while !self.pending.is_empty() {
            self.round(true)?;
        }
        self.checkpoint();
        Ok(())
    }

    fn round(&mut self, last: bool) -> Result<(), DiskError> {
        // Datagrams that arrive from here on do not have space on disk yet.
        let kept = self.space.kept();
        self.queue.progress.begin_work();
        self.pending.take(self.queue.take());
        self.queue.begun(self.pending.since);
        match self.write(last) {
            Ok(()) => {
                if self.disk == Disk::Fails {
                    tracing::info!("the service can write to the data directory again");
                    self.disk = Disk::CatchesUp;
                }
                if self.disk == Disk::CatchesUp
                    && self.pending.is_empty()
                    && self.directory.mark(false).is_ok()
                {
                    self.disk = Disk::Works;
                }
                self.update_space_limit(kept);
                self.queue.written(self.pending.complete_tickets(), self.pending.since);
                if !last && !self.pending.is_empty() {
                    if self.space.is_lacking() && self.pending.deletions_done() {
                        self.queue.request_round_when_freed();
                    } else {
                        self.queue.request_round();
                    }
                }
                Ok(())
            }
            Err(error) => {
                if std::mem::replace(&mut self.disk, Disk::Fails) != Disk::Fails {
                    tracing::error!(%error, "the service cannot write to the data directory; logs stay in memory");
                }
                self.update_space_limit(kept);
                self.queue.failed(self.pending.requested(), error.clone(), self.pending.since);
                Err(error)
            }
        }
    }

    /// Writes pending work, as far as it fits into one transaction.
    fn write(&mut self, last: bool) -> Result<(), DiskError> {
        let mut outcome = self.transact(last);
        if matches!(outcome, Err(DiskError::Damaged { .. })) && self.give_up_damaged() {
            outcome = self.transact(last);
        }
        if matches!(outcome, Err(DiskError::Full(_))) {
            let Self { database, queue, pending, maintenance, .. } = self;
            full_disk::free_space(database, queue, pending, maintenance, self.space.is_confined());
        }
        if outcome.is_err() {
            self.database.journal.distrust();
            // Set before readers see numbers that are not reserved: it makes the next start continue after them.
            if let Err(error) = self.directory.mark(true) {
                tracing::error!(%error, "the service may reuse sequence numbers after the next start");
            }
            // Logs whose turn did not come must not wait for the disk either.
            for log in self.pending.unsaved_logs() {
                self.queue.contain(|| log.note_not_saved());
            }
        }
        outcome
    }

    fn transact(&mut self, last: bool) -> Result<(), DiskError> {
        self.queue.note_size(self.database.file_size()?);
        let Self { database, queue, pending, next_row, .. } = self;
        let written = transaction::commit(database, queue, pending, next_row, self.space.estimate(), last);
        let written = written.map_err(|error| DiskError::of_sqlite(&self.database.path, &error))?;
        self.database.journal.note();
        for (log, unsaved) in &written.logs {
            self.queue.contain(|| log.note_saved(unsaved));
        }
        self.pending.done(&written);
        self.maintenance.note_write();
        if !self.pending.freed.is_empty() {
            self.vacuum();
        }
        self.space.note_lack(written.out_of_space);
        if written.out_of_space {
            // `SQLite`'s own log may be what fills the disk.
            self.checkpoint();
            if last || self.space.is_exhausted(&self.database) {
                return Err(DiskError::Full(self.database.path.clone()));
            }
        }
        Ok(())
    }

    /// Gives up pending deletions of damaged rows; returns whether there were any.
    fn give_up_damaged(&mut self) -> bool {
        let given_up = transaction::commit_each_deletion(&self.database, &mut self.pending).unwrap_or(0);
        if given_up > 0 {
            tracing::error!(
                rows = given_up,
                "damaged rows cannot be deleted from the database and stay there: stop the service and run `rollcall check --repair`"
            );
        }
        given_up > 0
    }

    /// Adapts the bound on all logs to the space on disk, and bounds `SQLite`'s own log. `kept`: the size of all logs
    /// when the writer took the work that is now on disk from the queue.
    fn update_space_limit(&mut self, kept: usize) {
        if self.space.update(&self.database) {
            self.maintenance.bound_journal(&self.database, self.space.estimate().max_transaction);
            if self.queue.is_restored() {
                self.space.confine(kept, self.pending.deletions_done());
            }
        }
    }

    fn checkpoint(&mut self) {
        self.maintenance.checkpoint(&self.database);
    }

    fn vacuum(&mut self) {
        self.maintenance.vacuum(&self.database, self.space.is_confined());
        self.database.journal.note();
    }
}
