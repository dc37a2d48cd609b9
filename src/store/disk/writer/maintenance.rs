//! Keeps the files of the database small: empties `SQLite`'s own log (the WAL), and returns unused space.

use std::time::Duration;

use crate::store::disk::database::Database;
use crate::store::disk::disk_space::DatabaseSize;

pub(super) struct Maintenance {
    /// The size above which maintenance empties `SQLite`'s own log into the database.
    journal_bound: u64,
    /// The writer has written since the last checkpoint.
    needs_checkpoint: bool,
    /// Too much of the database is unused.
    needs_vacuum: bool,
}

impl Maintenance {
    /// Time without work after which `SQLite`'s own log is emptied into the database.
    const IDLE: Duration = Duration::from_secs(1);
    /// Pause before more unused space is returned.
    const VACUUM_PAUSE: Duration = Duration::from_millis(10);
    /// Unused bytes are returned to the file system if there are more than this, and more than an eighth of the
    /// database; and how many are returned at once, at most.
    const MIN_UNUSED: u64 = 1024 * 1024;
    const UNUSED_DIVISOR: u64 = 8;
    const MAX_RETURNED: u64 = 4 * 1024 * 1024;

    pub(super) fn new() -> Self {
        Self { journal_bound: 0, needs_checkpoint: true, needs_vacuum: false }
    }

    /// Whether there is something to do when nothing is to be written.
    pub(super) fn is_due(&self) -> bool {
        self.needs_vacuum || self.needs_checkpoint
    }

    pub(super) fn needs_vacuum(&self) -> bool {
        self.needs_vacuum
    }

    /// How long to wait for something to write before maintenance goes on.
    pub(super) fn idle_after(&self) -> Duration {
        if self.needs_vacuum { Self::VACUUM_PAUSE } else { Self::IDLE }
    }

    /// Notes that something was written.
    pub(super) fn note_write(&mut self) {
        self.needs_checkpoint = true;
    }

    /// Bounds `SQLite`'s own log to what one transaction may write, rounded down to a power of two.
    pub(super) fn bound_journal(&mut self, database: &Database, max_transaction: u64) {
        let bound = 1 << max_transaction.ilog2();
        if bound != self.journal_bound && database.bound_journal(bound).is_ok() {
            self.journal_bound = bound;
        }
    }

    /// Empties `SQLite`'s own log into the database, so that freed space is returned to the file system, and `SQLite`'s
    /// memory.
    pub(super) fn checkpoint(&mut self, database: &Database) {
        self.needs_checkpoint = false;
        if let Err(error) = database.checkpoint() {
            tracing::debug!(%error, "SQLite could not empty its own log into the database");
        }
        // It happens when nothing is written, so the next write can wait for pages.
        let _ = database.release_memory();
    }

    /// Returns some unused space to the file system if there is much. `is_confined`: the disk is nearly full, so the
    /// next writes use it.
    pub(super) fn vacuum(&mut self, database: &Database, is_confined: bool) {
        let is_wasteful = |database: DatabaseSize| {
            database.unused > Self::MIN_UNUSED && database.unused > database.total / Self::UNUSED_DIVISOR
        };
        let is_left = database.size().and_then(|before| {
            if !is_wasteful(before) || is_confined {
                return Ok(false);
            }
            database.vacuum(self.journal_bound.min(Self::MAX_RETURNED))?;
            database.size().map(is_wasteful)
        });
        self.needs_checkpoint = true;
        self.needs_vacuum = is_left.unwrap_or_else(|error| {
            tracing::debug!(%error, "SQLite could not return unused space to the file system");
            false
        });
    }
}
