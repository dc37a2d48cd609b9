//! One transaction: deletions, new and changed owners, and the blocks of logs.

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::store::disk::database::Database;
use crate::store::disk::disk_space::SpaceEstimate;
use crate::store::disk::pending::{CommitResult, PendingWrites};
use crate::store::disk::schema::PAGE_BYTES;
use crate::store::disk::tables::blocks;
use crate::store::disk::tables::logs::{self, LogRow};
use crate::store::disk::tables::owners::{self, OwnerRow};
use crate::store::disk::write_queue::WriteQueue;
use crate::store::durable_log::{LogWithOwner, RowId, UnsavedPart};

/// Bytes that a log, or a deletion, takes in a transaction beside its blocks: pages of the tables.
const PAGES_BYTES: u32 = 2 * PAGE_BYTES;
/// The most deletions in one transaction.
const MAX_DELETIONS: u64 = 1_000;

/// Writes pending work, as far as it fits into one transaction. `next_row`: the number of the next new row. `last`:
/// no writes follow.
pub(super) fn commit(
    database: &Database,
    queue: &WriteQueue,
    pending: &PendingWrites,
    next_row: &mut RowId,
    space: SpaceEstimate,
    last: bool,
) -> rusqlite::Result<CommitResult> {
    let mut written = CommitResult::default();
    let max_transaction = space.max_transaction;
    let transaction = Transaction::new_unchecked(&database.connection, TransactionBehavior::Immediate)?;
    written.max_deletions =
        usize::try_from((max_transaction / u64::from(PAGES_BYTES)).min(MAX_DELETIONS)).unwrap_or(1);
    delete(&transaction, pending, written.max_deletions)?;
    // The deletions have freed space.
    let space = if space.is_tight() { database.estimate_space()? } else { space };
    let for_all = if space.taken { 0 } else { max_transaction };
    let for_blocks = if last { for_all } else { for_all.min(space.writable) };
    let [max_transaction, for_all, for_blocks] =
        [max_transaction, for_all, for_blocks].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let mut fresh_row = || {
        *next_row += 1;
        *next_row - 1
    };
    let mut write = |number: i64, written: &mut CommitResult| -> rusqlite::Result<()> {
        let Some(entry) = pending.logs.get(&number) else { return Ok(()) };
        let room = for_blocks.saturating_sub(written.bytes);
        let is_changed = pending.new.contains(&number) || pending.touched.contains(&number);
        let gathered = queue.contain(|| {
            let unsaved = entry.log.unsaved(&mut fresh_row, room, last)?;
            Some((unsaved, is_changed.then(|| entry.spec()), entry.status()))
        });
        let Some(Some((unsaved, spec, status))) = gathered else { return Ok(()) };
        written.bytes += PAGES_BYTES as usize;
        if let Some(spec) = spec {
            written.bytes += spec.len();
            let (kind, id) = (entry.kind.clone(), entry.id.clone());
            owners::put(&transaction, &OwnerRow { log: number, kind, id, spec })?;
        }
        for (row, block) in &unsaved.blocks {
            blocks::put(&transaction, *row, number, block)?;
        }
        written.bytes += status.len();
        logs::put(&transaction, &LogRow::of(number, entry, status, &unsaved))?;
        written.bytes += unsaved.blocks.iter().map(|(_, block)| block.cost()).sum::<usize>();
        if unsaved.more {
            written.unfinished.push(number);
        }
        written.logs.push((entry.log.clone(), unsaved));
        Ok(())
    };
    // New and changed owners go first: a request may be waiting.
    for number in pending.new.union(&pending.touched) {
        if written.bytes >= for_all {
            written.out_of_space = for_all < max_transaction;
            break;
        }
        // Some owners are gone by now.
        written.owners.push(*number);
        write(*number, &mut written)?;
    }
    for number in &pending.dirty {
        if written.bytes >= for_blocks {
            written.out_of_space |= for_blocks < max_transaction;
            break;
        }
        written.turns += 1;
        if !pending.new.contains(number) && !pending.touched.contains(number) {
            write(*number, &mut written)?;
        }
    }
    transaction.commit()?;
    Ok(written)
}

/// Commits up to `max` of the pending deletions, and nothing else.
pub(super) fn commit_deletions(
    database: &Database,
    pending: &PendingWrites,
    max: usize,
) -> rusqlite::Result<()> {
    let transaction = database.connection.unchecked_transaction()?;
    delete(&transaction, pending, max)?;
    transaction.commit()
}

/// Commits the pending deletions one by one, after they have failed together, and gives up those of damaged rows, which
/// would fail again and again. Returns how many it gave up.
pub(super) fn commit_each_deletion(
    database: &Database,
    pending: &mut PendingWrites,
) -> rusqlite::Result<usize> {
    let connection = &database.connection;
    let mut given_up = 0;
    let mut commit = |delete: &dyn Fn(&Connection) -> rusqlite::Result<()>| {
        let transaction = connection.unchecked_transaction()?;
        match delete(&transaction).and_then(|()| transaction.commit()) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => given_up += 1,
            committed => committed?,
        }
        Ok::<_, rusqlite::Error>(())
    };
    while let Some(number) = pending.removed.last().copied() {
        commit(&|connection| {
            logs::delete(connection, number)?;
            owners::delete(connection, number)
        })?;
        pending.removed.pop();
    }
    while let Some(row) = pending.freed.last().copied() {
        commit(&|connection| blocks::delete(connection, row))?;
        pending.freed.pop();
    }
    Ok(given_up)
}

/// Deletes up to `max` of the removed logs, and of the freed rows.
fn delete(connection: &Connection, pending: &PendingWrites, max: usize) -> rusqlite::Result<()> {
    for number in pending.removed.iter().take(max) {
        logs::delete(connection, *number)?;
        owners::delete(connection, *number)?;
    }
    for row in pending.freed.iter().take(max) {
        blocks::delete(connection, *row)?;
    }
    Ok(())
}

impl LogRow {
    fn of(number: i64, entry: &LogWithOwner, status: String, log: &UnsavedPart) -> Self {
        Self {
            number,
            kind: entry.kind.clone(),
            id: entry.id.clone(),
            status,
            epoch: log.epoch,
            first: log.first,
            reserved: log.reserved,
            counters: log.counters,
            complete: log.complete,
        }
    }
}
