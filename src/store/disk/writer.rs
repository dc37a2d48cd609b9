//! The thread that writes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Transaction, TransactionBehavior, params};

use super::directory::Directory;
use super::inbox::{Inbox, Keep, Wake};
use super::room::{Extent, Room};
use super::schema::{self, Database};
use super::work::{Work, Written};
use super::{DiskFault, Row};
use crate::store::Budget;
use crate::store::log::Unsaved;

pub(super) struct Writer {
    database: Database,
    inbox: Arc<Inbox>,
    budget: Arc<Budget>,
    room: Room,
    /// Bytes of blocks that one transaction writes.
    at_once: usize,
    work: Work,
    next_row: Row,
    flush: Duration,
    disk: Disk,
    /// Something was written since `SQLite`'s own log was emptied last.
    unchecked: bool,
    /// More of the database is unused than need be.
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
    /// Bytes of blocks that one transaction writes at most, and rows that it deletes.
    const AT_ONCE: usize = 16 * 1024 * 1024;
    pub(super) const DELETED_AT_ONCE: usize = 1_000;
    /// How long to wait before it is tried again after a failure.
    const RETRY: Duration = Duration::from_millis(500);
    /// How long nothing has happened before `SQLite`'s own log is emptied into the database.
    const IDLE: Duration = Duration::from_secs(1);
    /// How long until more is given back.
    const WASTEFUL: Duration = Duration::from_millis(10);
    /// Bytes of the database that may be unused before some are given back to the file system, at least and as a share
    /// of all; and how many are given back at once, at most.
    const UNUSED: u64 = 1024 * 1024;
    const UNUSED_SHARE: u64 = 8;
    const GIVEN_AT_ONCE: usize = 4 * 1024 * 1024;
    /// On a disk that had little room, logs may keep all that they are to when so many times as much as is written in one
    /// go has room.
    const RELEASED: i64 = 4;

    pub(super) fn new(
        directory: Directory,
        database: Database,
        inbox: Arc<Inbox>,
        budget: Arc<Budget>,
        next_row: Row,
        flush: Duration,
    ) -> Result<Self, DiskFault> {
        let room = Room::around(&database.path);
        let room = room.map_err(|error| DiskFault::of_files(&database.path, &error))?;
        let at_once = usize::try_from(room.at_once()).map_or(Self::AT_ONCE, |bytes| bytes.min(Self::AT_ONCE));
        database.bound_journal(at_once)?;
        Ok(Self {
            database,
            inbox,
            budget,
            room,
            at_once,
            work: Work::default(),
            next_row,
            flush,
            disk: Disk::Works,
            unchecked: true,
            wasteful: false,
            directory,
        })
    }

    /// Gives why something is not on disk in the end.
    pub(super) fn run(mut self) -> Result<(), DiskFault> {
        let _watch = Watch(self.inbox.clone());
        loop {
            let failing = self.disk == Disk::Fails;
            let pause = if failing { Self::RETRY } else { self.flush };
            let idle_after = if self.wasteful { Self::WASTEFUL } else { Self::IDLE };
            let is_done = !self.wasteful && !self.unchecked && self.budget.confined_to().is_none();
            let idle_after = (!is_done).then_some(idle_after);
            match self.inbox.wait(pause, failing, idle_after) {
                // It says itself what went wrong, and tries again.
                Wake::Work => drop(self.round(false)),
                Wake::Idle if self.wasteful => self.give_back(),
                Wake::Idle => {
                    self.check_point();
                    self.mind_room(self.budget.kept());
                    // If it is not there any more, the next write fails.
                    let _ = self.database.check().map(|bytes| self.inbox.note_size(bytes));
                }
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
        // What is let go of from here on is in no transaction yet.
        let kept = self.budget.kept();
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
                self.mind_room(kept);
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
        let Self { database, work, next_row, at_once, .. } = self;
        let transaction = database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        delete(&transaction, work, Self::DELETED_AT_ONCE)?;
        let mut fresh_row = || {
            *next_row += 1;
            *next_row - 1
        };
        let mut write = |number: i64, written: &mut Written| -> rusqlite::Result<()> {
            let Some(keep) = work.kept.get(&number) else { return Ok(()) };
            let room = at_once.saturating_sub(written.bytes);
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
            if written.bytes >= *at_once {
                break;
            }
            written.turns += 1;
            if !work.new.contains(number) && !work.touched.contains(number) {
                write(*number, written)?;
            }
        }
        transaction.commit()
    }

    /// Makes the oldest blocks of all give way before the disk is full of them. `kept`: what there was of them when
    /// the writer last learned what it may delete.
    fn mind_room(&self, kept: usize) {
        let Ok(extent) = self.database.extent() else { return };
        let Ok(Some(writable)) = self.room.writable(extent) else { return };
        let aim = i64::try_from(self.at_once).unwrap_or(i64::MAX);
        let was_confined = self.budget.confined_to().is_some();
        if let Ok(lacking @ 1..) = usize::try_from(aim - writable) {
            self.budget.confine(kept.saturating_sub(lacking));
            if !was_confined {
                tracing::warn!(
                    "the disk of the data directory is nearly full: the oldest datagrams give way to new ones"
                );
            }
        } else if was_confined && self.work.is_empty() && writable > aim * Self::RELEASED {
            self.budget.release();
            tracing::info!("the disk of the data directory has room again");
        }
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

    /// Gives some of what is unused back to the file system if there is much.
    fn give_back(&mut self) {
        let is_wasteful =
            |extent: Extent| extent.unused > Self::UNUSED && extent.unused > extent.size / Self::UNUSED_SHARE;
        let given = self.database.extent().and_then(|before| {
            if !is_wasteful(before) {
                return Ok(false);
            }
            self.database.shrink(self.at_once.min(Self::GIVEN_AT_ONCE))?;
            self.database.extent().map(is_wasteful)
        });
        self.unchecked = true;
        self.wasteful = given.unwrap_or_else(|error| {
            tracing::debug!(%error, "the database could not be made smaller");
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
