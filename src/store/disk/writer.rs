//! The thread that writes to the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior, params};

use super::directory::Directory;
use super::disk_space::{DbSize, SpaceEstimate};
use super::pending::{CommitResult, PendingWrites};
use super::schema::{self, Database, PAGE_BYTES};
use super::write_queue::{TrackedLog, Wake, WriteQueue};
use super::{DiskError, Row};
use crate::store::Budget;
use crate::store::log::Unsaved;

pub(super) struct DiskWriter {
    database: Database,
    queue: Arc<WriteQueue>,
    budget: Arc<Budget>,
    pending: PendingWrites,
    next_row: Row,
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
        inbox: Arc<WriteQueue>,
        budget: Arc<Budget>,
        next_row: Row,
        outlook: SpaceEstimate,
        flush: Duration,
    ) -> Self {
        Self {
            database,
            queue: inbox,
            budget,
            pending: PendingWrites::default(),
            next_row,
            flush,
            disk: Disk::Works,
            space: outlook,
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
                self.queue.contain(|| log.saved(unsaved));
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
                self.queue.contain(|| log.not_saved());
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
        let taken = self.database.outlook().is_ok_and(|outlook| outlook.taken);
        last || taken || since.elapsed() > Self::PATIENCE
    }

    fn transact(&mut self, last: bool, written: &mut CommitResult) -> rusqlite::Result<()> {
        let Self { database, queue: inbox, pending: work, next_row, space: outlook, .. } = self;
        let at_once = outlook.at_once;
        let transaction = Transaction::new_unchecked(&database.connection, TransactionBehavior::Immediate)?;
        written.deleted =
            usize::try_from((at_once / u64::from(Self::PAGES)).min(Self::DELETED_AT_ONCE)).unwrap_or(1);
        delete(&transaction, work, written.deleted)?;
        // The deletions have freed space.
        let outlook = if outlook.is_tight() { database.outlook()? } else { *outlook };
        let for_all = if outlook.taken { 0 } else { at_once };
        let for_blocks = if last { for_all } else { for_all.min(outlook.writable) };
        let [at_once, for_all, for_blocks] =
            [at_once, for_all, for_blocks].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut fresh_row = || {
            *next_row += 1;
            *next_row - 1
        };
        let mut write = |number: i64, written: &mut CommitResult| -> rusqlite::Result<()> {
            let Some(keep) = work.kept.get(&number) else { return Ok(()) };
            let room = for_blocks.saturating_sub(written.bytes);
            let is_changed = work.new.contains(&number) || work.touched.contains(&number);
            let gathered = inbox.contain(|| {
                let unsaved = keep.log.unsaved(&mut fresh_row, room, last)?;
                Some((unsaved, is_changed.then(|| keep.wanted()), keep.progress()))
            });
            let Some(Some((unsaved, wanted, progress))) = gathered else { return Ok(()) };
            written.bytes += Self::PAGES as usize;
            if let Some(wanted) = wanted {
                written.bytes += wanted.len();
                let owner = params![number, keep.kind, keep.id, wanted];
                transaction.prepare_cached(schema::PUT_OWNER)?.execute(owner)?;
            }
            write_log(&transaction, number, &unsaved, &progress)?;
            written.bytes += progress.len();
            written.bytes += unsaved.blocks.iter().map(|(_, block)| block.cost()).sum::<usize>();
            if unsaved.more {
                written.unfinished.push(number);
            }
            written.logs.push((keep.log.clone(), unsaved));
            Ok(())
        };
        // New and changed owners go first: a request may be waiting.
        for number in work.new.union(&work.touched) {
            if written.bytes >= for_all {
                written.out_of_space = for_all < at_once;
                break;
            }
            // Some owners are gone by now.
            written.owners.push(*number);
            write(*number, written)?;
        }
        for number in &work.dirty {
            if written.bytes >= for_blocks {
                written.out_of_space |= for_blocks < at_once;
                break;
            }
            written.turns += 1;
            if !work.new.contains(number) && !work.touched.contains(number) {
                write(*number, written)?;
            }
        }
        transaction.commit()
    }

    /// Frees space on a full disk by deletions that are due, in steps small enough for the little that is left.
    fn free_space(&mut self) {
        let mut count = 64;
        while count > 0 && !(self.pending.removed.is_empty() && self.pending.freed.is_empty()) {
            self.queue.progress.work();
            self.checkpoint();
            let deleted = self.database.connection.unchecked_transaction().and_then(|transaction| {
                delete(&transaction, &self.pending, count)?;
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
    fn update_space_limit(&mut self, kept: usize) {
        if !self.space.is_tight() && self.looked_at.elapsed() < Self::GRANTED {
            return;
        }
        let Ok(outlook) = self.database.outlook() else { return };
        (self.space, self.looked_at) = (outlook, Instant::now());
        let bound = 1 << outlook.at_once.ilog2();
        if bound != self.journal_bound && self.database.bound_journal(bound).is_ok() {
            self.journal_bound = bound;
        }
        if !self.queue.is_restored() {
            return;
        }
        if outlook.taken {
            // Evicting blocks cannot make up for what other files take: logs stay in memory.
            self.budget.release();
            return;
        }
        let fits = (kept as u64 + outlook.writable).saturating_sub(outlook.at_once);
        let fits = fits.max(outlook.capacity / Self::LEAST_SHARE);
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
    fn shrink(&mut self) {
        let is_wasteful =
            |extent: DbSize| extent.unused > Self::UNUSED && extent.unused > extent.size / Self::UNUSED_SHARE;
        let given = self.database.extent().and_then(|before| {
            if !is_wasteful(before) || self.budget.confined_to().is_some() {
                return Ok(false);
            }
            self.database.shrink(self.journal_bound.min(Self::GIVEN_AT_ONCE))?;
            self.database.extent().map(is_wasteful)
        });
        self.needs_checkpoint = true;
        self.needs_vacuum = given.unwrap_or_else(|error| {
            tracing::debug!(%error, "the database could not be made smaller");
            false
        });
    }

    /// Empties `SQLite`'s own log into the database, so that freed space is returned to the file system.
    fn checkpoint(&mut self) {
        self.needs_checkpoint = false;
        let emptied = self.database.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = emptied {
            tracing::debug!(%error, "the log of the database could not be emptied");
        }
    }
}

impl TrackedLog {
    fn wanted(&self) -> String {
        self.owner.upgrade().map(|keeper| keeper.spec()).unwrap_or_default()
    }

    fn progress(&self) -> String {
        self.owner.upgrade().map(|keeper| keeper.status()).unwrap_or_default()
    }
}

/// Deletes up to `most` of the removed logs, and of the freed rows.
fn delete(transaction: &Transaction<'_>, work: &PendingWrites, most: usize) -> rusqlite::Result<()> {
    for number in work.removed.iter().take(most) {
        for table in [schema::DELETE_LOG, schema::DELETE_OWNER] {
            transaction.prepare_cached(table)?.execute([number])?;
        }
    }
    for row in work.freed.iter().take(most) {
        transaction.prepare_cached(schema::DELETE_BLOCK)?.execute([row])?;
    }
    Ok(())
}

fn write_log(
    transaction: &Transaction<'_>,
    number: i64,
    unsaved: &Unsaved,
    progress: &str,
) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(schema::PUT_BLOCK)?;
    for (row, block) in &unsaved.blocks {
        let (since, until) = block.times().map_or((i64::MIN, i64::MAX), |(since, until)| (since.0, until.0));
        let (first, next) = (block.first().cast_signed(), block.next().cast_signed());
        put.execute(params![row, number, first, next, since, until, block.bytes()])?;
    }
    let counters = &unsaved.counters;
    transaction.prepare_cached(schema::PUT_LOG)?.execute(params![
        number,
        progress,
        unsaved.epoch.cast_signed(),
        unsaved.first.cast_signed(),
        unsaved.reserved.cast_signed(),
        counters.appended.cast_signed(),
        counters.payload_bytes.cast_signed(),
        counters.evicted.cast_signed(),
        counters.truncated.cast_signed(),
        counters.lost.cast_signed(),
        unsaved.complete,
    ])?;
    Ok(())
}
