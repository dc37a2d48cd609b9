//! The thread that writes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::inbox::{Inbox, Keep, Wake};
use super::schema::{self, Database};
use super::{DiskFault, Row};
use crate::store::Log;
use crate::store::log::Unsaved;

pub(super) struct Writer {
    database: Database,
    inbox: Arc<Inbox>,
    kept: HashMap<i64, Keep>,
    work: Work,
    next_row: Row,
    flush: Duration,
    /// The last attempt failed.
    failing: bool,
    /// Something was written since `SQLite`'s own log was emptied last.
    unchecked: bool,
    /// More pages are free than need be.
    wasteful: bool,
}

/// What is to be done, kept until it has been done.
#[derive(Default)]
struct Work {
    new: Vec<i64>,
    touched: HashSet<i64>,
    removed: Vec<i64>,
    dirty: Vec<i64>,
    freed: Vec<Row>,
    since: Option<Instant>,
}

/// What one transaction has written of a log.
struct Written {
    log: Arc<Log>,
    number: i64,
    unsaved: Unsaved,
}

impl Writer {
    /// Bytes of blocks that one transaction writes, and rows that it deletes.
    const AT_ONCE: usize = 16 * 1024 * 1024;
    const DELETED_AT_ONCE: usize = 1_000;
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

    pub(super) fn new(database: Database, inbox: Arc<Inbox>, next_row: Row, flush: Duration) -> Self {
        Self {
            database,
            inbox,
            kept: HashMap::new(),
            work: Work::default(),
            next_row,
            flush,
            failing: false,
            unchecked: true,
            wasteful: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let pause = if self.failing { Self::RETRY } else { self.flush };
            let idle_after = if self.wasteful { Some(Self::WASTEFUL) } else { Some(Self::IDLE) };
            let idle_after = idle_after.filter(|_| self.wasteful || self.unchecked);
            match self.inbox.wait(pause, self.failing, idle_after) {
                Wake::Work => self.round(false),
                Wake::Idle if self.wasteful => self.give_back(),
                Wake::Idle => self.check_point(),
                Wake::End => return self.end(),
            }
        }
    }

    /// Writes all that is left and sets no numbers aside any more.
    fn end(mut self) {
        self.work.dirty.extend(self.kept.keys());
        loop {
            self.round(true);
            if self.failing || self.work.is_empty() {
                break;
            }
        }
        self.check_point();
    }

    fn round(&mut self, last: bool) {
        let asked = self.gather();
        self.inbox.begun(self.work.since);
        if last {
            self.work.dirty.extend(self.work.new.iter());
        }
        match self.write(last) {
            Ok(()) => {
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!("the data directory can be written to again");
                }
                self.give_back();
                self.inbox.written(asked, self.work.since);
                if !self.work.is_empty() && !last {
                    self.inbox.go_on();
                }
            }
            Err(fault) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%fault, "nothing can be written to the data directory; logs stay in memory");
                }
                self.inbox.failed(asked, fault, self.work.since);
            }
        }
    }

    /// Adds what has come to what is to be done.
    fn gather(&mut self) -> u64 {
        let queue = self.inbox.take();
        let since = queue.since();
        for (number, keep) in queue.kept {
            // Whoever closed it said so before, or will say so.
            if keep.log.is_closed() {
                continue;
            }
            if keep.is_new {
                self.work.new.push(number);
                self.work.dirty.push(number);
            }
            self.kept.insert(number, keep);
        }
        self.work.dirty.extend(&queue.touched);
        self.work.touched.extend(queue.touched);
        self.work.dirty.extend(queue.dirty);
        self.work.freed.extend(queue.freed);
        for number in queue.removed {
            self.kept.remove(&number);
            self.work.removed.push(number);
        }
        self.work.since = self.work.since.or(since);
        queue.asked
    }

    /// Writes what there is to do, as far as it fits into one transaction.
    fn write(&mut self, last: bool) -> Result<(), DiskFault> {
        self.work.dirty.sort_unstable();
        self.work.dirty.dedup();
        let mut written = Vec::new();
        let outcome = self.transact(last, &mut written);
        let outcome = outcome.map_err(|error| DiskFault::of_sqlite(&self.database.path, &error));
        match &outcome {
            Ok(()) => {
                self.work.done(&written);
                for one in &written {
                    one.log.saved(&one.unsaved);
                }
            }
            Err(_) => {
                for one in &written {
                    one.log.not_saved();
                }
            }
        }
        outcome
    }

    fn transact(&mut self, last: bool, written: &mut Vec<Written>) -> rusqlite::Result<()> {
        let Self { database, kept, work, next_row, .. } = self;
        let connection = &mut database.connection;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for number in &work.removed {
            transaction.prepare_cached(schema::DELETE_LOG)?.execute([number])?;
        }
        for row in work.freed.iter().take(Self::DELETED_AT_ONCE) {
            transaction.prepare_cached(schema::DELETE_BLOCK)?.execute([row])?;
        }
        for number in &work.new {
            if let Some(Keep { kind, id, keeper, .. }) = kept.get(number) {
                let wanted = keeper.upgrade().map(|keeper| keeper.wanted()).unwrap_or_default();
                let new = params![number, kind, id, wanted];
                transaction.prepare_cached(schema::INSERT_LOG)?.execute(new)?;
            }
        }
        for number in &work.touched {
            if let Some(keeper) = kept.get(number).and_then(|keep| keep.keeper.upgrade()) {
                transaction
                    .prepare_cached(schema::UPDATE_WANTED)?
                    .execute(params![number, keeper.wanted()])?;
            }
        }
        let mut bytes = 0;
        let mut fresh_row = || {
            *next_row += 1;
            *next_row - 1
        };
        for number in &work.dirty {
            if bytes >= Self::AT_ONCE {
                break;
            }
            let Some(keep) = kept.get(number) else { continue };
            let Some(unsaved) = keep.log.unsaved(&mut fresh_row, Self::AT_ONCE - bytes, last) else {
                continue;
            };
            bytes += unsaved.blocks.iter().map(|(_, block)| block.cost()).sum::<usize>();
            let one = Written { log: keep.log.clone(), number: *number, unsaved };
            written.push(one);
            let unsaved = &written.last().expect("it was just put there").unsaved;
            let progress = keep.keeper.upgrade().map(|keeper| keeper.progress()).unwrap_or_default();
            write_log(&transaction, *number, unsaved, &progress)?;
        }
        transaction.commit()
    }

    /// Gives some of the free pages back to the file system if there are many.
    fn give_back(&mut self) {
        (self.unchecked, self.wasteful) = (true, false);
        match give_back(&self.database.connection) {
            Ok((file_bytes, wasteful)) => {
                self.inbox.note_size(file_bytes);
                self.wasteful = wasteful;
            }
            Err(error) => tracing::debug!(%error, "free pages could not be given back"),
        }
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

impl Work {
    fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.touched.is_empty()
            && self.removed.is_empty()
            && self.dirty.is_empty()
            && self.freed.is_empty()
    }

    /// Strikes out what one transaction has done.
    fn done(&mut self, written: &[Written]) {
        self.new.clear();
        self.touched.clear();
        self.removed.clear();
        let deleted = self.freed.len().min(Writer::DELETED_AT_ONCE);
        self.freed.drain(..deleted);
        // Numbers are sorted: those up to the last that was looked at are done, and it, too, if all of it fitted.
        let rest = written.iter().find(|one| one.unsaved.more).map(|one| one.number);
        let full: usize =
            written.iter().flat_map(|one| &one.unsaved.blocks).map(|(_, block)| block.cost()).sum();
        let last = written.last().map(|one| one.number);
        match (rest, last) {
            (Some(rest), _) => self.dirty.retain(|number| *number >= rest),
            (None, Some(last)) if full >= Writer::AT_ONCE => self.dirty.retain(|number| *number > last),
            _ => self.dirty.clear(),
        }
        if self.is_empty() {
            self.since = None;
        }
    }
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

/// Gives the size of the database, and whether there are still more free pages than need be.
fn give_back(connection: &Connection) -> rusqlite::Result<(u64, bool)> {
    let get = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let is_wasteful = |free, pages| free > Writer::FREE_PAGES && free > pages / Writer::FREE_SHARE;
    if is_wasteful(get("freelist_count")?, get("page_count")?) {
        let mut vacuum =
            connection.prepare(&format!("PRAGMA incremental_vacuum({})", Writer::VACUUMED_AT_ONCE))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    let (free, pages, size) = (get("freelist_count")?, get("page_count")?, get("page_size")?);
    Ok(((pages * size).cast_unsigned(), is_wasteful(free, pages)))
}
