//! The space on disk: how much of it logs may take, and how it is given back.

use std::time::Instant;

use super::{DiskWriter, transaction};
use crate::store::disk::disk_space::DbSize;

impl DiskWriter {
    /// Frees space on a full disk by deletions that are due, in steps small enough for the little that is left.
    pub(super) fn free_space(&mut self) {
        let mut count = 64;
        while count > 0 && !(self.pending.removed.is_empty() && self.pending.freed.is_empty()) {
            self.queue.progress.work();
            self.checkpoint();
            let deleted = self.database.connection.unchecked_transaction().and_then(|transaction| {
                transaction::delete(&transaction, &self.pending, count)?;
                transaction.commit()
            });
            match deleted {
                Ok(()) => self.pending.deleted(count),
                Err(_) => count /= 2,
            }
            self.shrink();
        }
        self.checkpoint();
    }

    /// Adapts the bound on all logs to the space on disk, and bounds `SQLite`'s own log. `kept`: what logs kept when
    /// the work that is on disk now was taken from the queue.
    pub(super) fn update_space_limit(&mut self, kept: usize) {
        if !self.space.is_tight() && self.looked_at.elapsed() < Self::GRANTED {
            return;
        }
        let Ok(space) = self.database.estimate_space() else { return };
        (self.space, self.looked_at) = (space, Instant::now());
        let bound = 1 << space.at_once.ilog2();
        if bound != self.journal_bound && self.database.bound_journal(bound).is_ok() {
            self.journal_bound = bound;
        }
        if !self.queue.is_restored() {
            return;
        }
        if space.taken {
            // Evicting blocks cannot make up for what other files take: logs stay in memory.
            self.budget.release();
            return;
        }
        let fits = (kept as u64 + space.writable).saturating_sub(space.at_once);
        let fits = fits.max(space.capacity / Self::LEAST_SHARE);
        let mut fits = usize::try_from(fits).unwrap_or(usize::MAX);
        if !self.pending.deletions_done() {
            // Pending deletions will free more space.
            fits = fits.max(self.fitted);
        }
        self.fitted = fits;
        self.budget.confine(fits);
        let is_confined = self.budget.confined_to().is_some();
        if is_confined && !self.told {
            self.told = true;
            tracing::warn!(
                "the disk of the data directory is nearly full: the oldest datagrams give way to new ones"
            );
        } else if self.told && !is_confined && self.budget.kept() < fits / 2 {
            self.told = false;
            tracing::info!("the disk of the data directory has room again");
        }
    }

    /// Returns some unused space to the file system if there is much; on a disk that is nearly full, the next writes
    /// use it.
    pub(super) fn shrink(&mut self) {
        let is_wasteful =
            |extent: DbSize| extent.unused > Self::UNUSED && extent.unused > extent.size / Self::UNUSED_SHARE;
        let given = self.database.size().and_then(|before| {
            if !is_wasteful(before) || self.budget.confined_to().is_some() {
                return Ok(false);
            }
            self.database.vacuum(self.journal_bound.min(Self::GIVEN_AT_ONCE))?;
            self.database.size().map(is_wasteful)
        });
        self.needs_checkpoint = true;
        self.needs_vacuum = given.unwrap_or_else(|error| {
            tracing::debug!(%error, "the database could not be made smaller");
            false
        });
    }

    /// Empties `SQLite`'s own log into the database, so that freed space is returned to the file system.
    pub(super) fn checkpoint(&mut self) {
        self.needs_checkpoint = false;
        let emptied = self.database.checkpoint();
        if let Err(error) = emptied {
            tracing::debug!(%error, "the log of the database could not be emptied");
        }
    }
}
