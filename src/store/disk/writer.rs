//! The thread that writes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::directory::Directory;
use super::inbox::{Inbox, Keep, Wake};
use super::schema::{self, Database};
use super::work::{Work, Written};
use super::{DiskFault, Row};
use crate::store::log::Unsaved;

pub(super) struct Writer {
    database: Database,
    inbox: Arc<Inbox>,
    work: Work,
    next_row: Row,
    flush: Duration,
    disk: Disk,
    /// Something was written since `SQLite`'s own log was emptied last.
    unchecked: bool,
    /// More pages are free than need be.
    wasteful: bool,
    /// Last: it is free for others when all else has ended.
    directory: Directory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Works,
    Fails,
    /// It works again, and numbers may have been shown that are not set aside yet.
    CatchesUp,
}

impl Writer {
    /// Bytes of blocks that one transaction writes, and rows that it deletes.
    const AT_ONCE: usize = 16 * 1024 * 1024;
    pub(super) const DELETED_AT_ONCE: usize = 1_000;
    /// How long to wait before it is tried again after a failure.
    const RETRY: Duration = Duration::from_millis(500);
    /// How long nothing has happened before `SQLite`'s own log is emptied into the database.
    const IDLE: Duration = Duration::from_secs(1);
    /// How long until more pages are given back.
    const WASTEFUL: Duration = Duration::from_millis(10);
    /// Pages that may be free before some are given back to the file system, at least and as a share of all; and how many
    /// are given back at once.
    const FREE_PAGES: i64 = 64;
    const FREE_SHARE: i64 = 8;
    const VACUUMED_AT_ONCE: i64 = 256;

    pub(super) fn new(
        directory: Directory,
        database: Database,
        inbox: Arc<Inbox>,
        next_row: Row,
        flush: Duration,
    ) -> Self {
        Self {
            database,
            inbox,
            work: Work::default(),
            next_row,
            flush,
            disk: Disk::Works,
            unchecked: true,
            wasteful: false,
            directory,
        }
    }

    /// Gives why something is not on disk in the end.
    pub(super) fn run(mut self) -> Result<(), DiskFault> {
        let _watch = Watch(self.inbox.clone());
        loop {
            let failing = self.disk == Disk::Fails;
            let pause = if failing { Self::RETRY } else { self.flush };
            let idle_after = if self.wasteful { Some(Self::WASTEFUL) } else { Some(Self::IDLE) };
            let idle_after = idle_after.filter(|_| self.wasteful || self.unchecked);
            match self.inbox.wait(pause, failing, idle_after) {
                // It says itself what went wrong, and tries again.
                Wake::Work => drop(self.round(false)),
                Wake::Idle if self.wasteful => self.give_back(),
                Wake::Idle => self.check_point(),
                Wake::End => return self.end(),
            }
        }
    }

    /// Writes all that is left and sets no numbers aside any more.
    fn end(mut self) -> Result<(), DiskFault> {
        self.work.wait_all();
        self.round(true)?;
        while !self.work.is_empty() {
            self.round(true)?;
        }
        self.check_point();
        Ok(())
    }

    fn round(&mut self, last: bool) -> Result<(), DiskFault> {
        let asked = self.work.take(self.inbox.take());
        self.inbox.begun(self.work.since);
        match self.write(last) {
            Ok(()) => {
                if self.disk == Disk::Fails {
                    tracing::info!("the data directory can be written to again");
                    self.disk = Disk::CatchesUp;
                }
                if self.disk == Disk::CatchesUp && self.work.is_empty() && self.directory.mark(false).is_ok()
                {
                    self.disk = Disk::Works;
                }
                self.unchecked = true;
                self.inbox.written(asked, self.work.since);
                if !self.work.is_empty() && !last {
                    self.inbox.go_on();
                }
                Ok(())
            }
            Err(fault) => {
                if std::mem::replace(&mut self.disk, Disk::Fails) != Disk::Fails {
                    tracing::error!(%fault, "nothing can be written to the data directory; logs stay in memory");
                }
                if matches!(fault, DiskFault::Full(_)) {
                    self.let_go();
                }
                self.inbox.failed(asked, fault.clone(), self.work.since);
                Err(fault)
            }
        }
    }

    /// Writes what there is to do, as far as it fits into one transaction.
    fn write(&mut self, last: bool) -> Result<(), DiskFault> {
        let mut written = Written::default();
        let outcome = self.database.check().and_then(|file_bytes| {
            self.inbox.note_size(file_bytes);
            self.transact(last, &mut written)
                .map_err(|error| DiskFault::of_sqlite(&self.database.path, &error))
        });
        if outcome.is_ok() {
            for (log, unsaved) in &written.logs {
                log.saved(unsaved);
            }
            if !self.work.freed.is_empty() {
                self.give_back();
            }
            self.work.done(&written);
        } else {
            // Before numbers are shown that are not set aside: the next start goes on behind them all the same.
            if let Err(error) = self.directory.mark(true) {
                tracing::error!(%error, "sequence numbers may be given again after the next start");
            }
            // Those whose turn did not come must not wait for the disk either.
            for log in self.work.unsaved_logs() {
                log.not_saved();
            }
        }
        outcome
    }

    fn transact(&mut self, last: bool, written: &mut Written) -> rusqlite::Result<()> {
        let Self { database, work, next_row, .. } = self;
        let transaction = database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        delete(&transaction, work, Self::DELETED_AT_ONCE)?;
        let mut fresh_row = || {
            *next_row += 1;
            *next_row - 1
        };
        let mut write = |number: i64, written: &mut Written| -> rusqlite::Result<()> {
            let Some(keep) = work.kept.get(&number) else { return Ok(()) };
            let room = Self::AT_ONCE.saturating_sub(written.bytes);
            let Some(unsaved) = keep.log.unsaved(&mut fresh_row, room, last) else { return Ok(()) };
            if work.new.contains(&number) {
                let new = params![number, keep.kind, keep.id, keep.wanted()];
                transaction.prepare_cached(schema::INSERT_LOG)?.execute(new)?;
            } else if work.touched.contains(&number) {
                transaction.prepare_cached(schema::UPDATE_WANTED)?.execute(params![number, keep.wanted()])?;
            }
            write_log(&transaction, number, &unsaved, &keep.progress())?;
            written.bytes += unsaved.blocks.iter().map(|(_, block)| block.cost()).sum::<usize>();
            if unsaved.more {
                written.unfinished.push(number);
            }
            written.logs.push((keep.log.clone(), unsaved));
            Ok(())
        };
        // Owners that were made or changed go first, all of them: somebody may be waiting.
        for number in work.new.union(&work.touched) {
            write(*number, written)?;
        }
        for number in &work.dirty {
            if written.bytes >= Self::AT_ONCE {
                break;
            }
            written.turns += 1;
            if !work.new.contains(number) && !work.touched.contains(number) {
                write(*number, written)?;
            }
        }
        transaction.commit()
    }

    /// Makes room on a full disk of what is no longer needed there, in small steps, for which a little is enough.
    fn let_go(&mut self) {
        const AT_ONCE: usize = 200;
        while !self.work.removed.is_empty() || !self.work.freed.is_empty() {
            let deleted = self.database.connection.unchecked_transaction().and_then(|transaction| {
                delete(&transaction, &self.work, AT_ONCE)?;
                transaction.commit()
            });
            if deleted.is_err() {
                return;
            }
            self.work.deleted(AT_ONCE);
            self.give_back();
            self.check_point();
        }
    }

    /// Gives some of the free pages back to the file system if there are many.
    fn give_back(&mut self) {
        self.unchecked = true;
        self.wasteful = give_back(&self.database.connection).unwrap_or_else(|error| {
            tracing::debug!(%error, "free pages could not be given back");
            false
        });
    }

    /// Empties `SQLite`'s own log into the database, so that what was freed is given back to the file system.
    fn check_point(&mut self) {
        self.unchecked = false;
        let emptied = self.database.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = emptied {
            tracing::debug!(%error, "the log of the database could not be emptied");
        }
    }
}

impl Keep {
    fn wanted(&self) -> String {
        self.keeper.upgrade().map(|keeper| keeper.wanted()).unwrap_or_default()
    }

    fn progress(&self) -> String {
        self.keeper.upgrade().map(|keeper| keeper.progress()).unwrap_or_default()
    }
}

/// Tells if the thread dies: what nobody writes any more must not be waited for.
struct Watch(Arc<Inbox>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon(DiskFault::WriterDied);
        }
    }
}

/// Deletes logs that are gone, and up to so many of the rows that are not needed.
fn delete(transaction: &Transaction<'_>, work: &Work, most: usize) -> rusqlite::Result<()> {
    for number in &work.removed {
        transaction.prepare_cached(schema::DELETE_LOG)?.execute([number])?;
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
    transaction.prepare_cached(schema::UPDATE_LOG)?.execute(params![
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

/// Whether there are still more free pages than need be.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let get = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let is_wasteful = || {
        let (free, pages) = (get("freelist_count")?, get("page_count")?);
        rusqlite::Result::Ok(free > Writer::FREE_PAGES && free > pages / Writer::FREE_SHARE)
    };
    if !is_wasteful()? {
        return Ok(false);
    }
    let mut vacuum =
        connection.prepare(&format!("PRAGMA incremental_vacuum({})", Writer::VACUUMED_AT_ONCE))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    is_wasteful()
}
