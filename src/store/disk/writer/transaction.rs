//! One transaction: what is deleted, owners that are new or have changed, and the blocks of logs.

use rusqlite::{Transaction, TransactionBehavior, params};

use super::DiskWriter;
use crate::store::disk::pending::{CommitResult, PendingWrites};
use crate::store::disk::schema;
use crate::store::saved::UnsavedLog;

impl DiskWriter {
    pub(super) fn transact(&mut self, last: bool, written: &mut CommitResult) -> rusqlite::Result<()> {
        let Self { database, queue, pending, next_row, space, .. } = self;
        let at_once = space.at_once;
        let transaction = Transaction::new_unchecked(&database.connection, TransactionBehavior::Immediate)?;
        written.deleted =
            usize::try_from((at_once / u64::from(Self::PAGES)).min(Self::DELETED_AT_ONCE)).unwrap_or(1);
        delete(&transaction, pending, written.deleted)?;
        // The deletions have freed space.
        let space = if space.is_tight() { database.estimate_space()? } else { *space };
        let for_all = if space.taken { 0 } else { at_once };
        let for_blocks = if last { for_all } else { for_all.min(space.writable) };
        let [at_once, for_all, for_blocks] =
            [at_once, for_all, for_blocks].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut fresh_row = || {
            *next_row += 1;
            *next_row - 1
        };
        let mut write = |number: i64, written: &mut CommitResult| -> rusqlite::Result<()> {
            let Some(tracked) = pending.tracked.get(&number) else { return Ok(()) };
            let room = for_blocks.saturating_sub(written.bytes);
            let is_changed = pending.new.contains(&number) || pending.touched.contains(&number);
            let gathered = queue.contain(|| {
                let unsaved = tracked.log.unsaved(&mut fresh_row, room, last)?;
                Some((unsaved, is_changed.then(|| tracked.spec()), tracked.status()))
            });
            let Some(Some((unsaved, spec, status))) = gathered else { return Ok(()) };
            written.bytes += Self::PAGES as usize;
            if let Some(spec) = spec {
                written.bytes += spec.len();
                let owner = params![number, tracked.kind, tracked.id, spec];
                transaction.prepare_cached(schema::PUT_OWNER)?.execute(owner)?;
            }
            write_log(&transaction, number, &unsaved, &status)?;
            written.bytes += status.len();
            written.bytes += unsaved.blocks.iter().map(|(_, block)| block.cost()).sum::<usize>();
            if unsaved.more {
                written.unfinished.push(number);
            }
            written.logs.push((tracked.log.clone(), unsaved));
            Ok(())
        };
        // New and changed owners go first: a request may be waiting.
        for number in pending.new.union(&pending.touched) {
            if written.bytes >= for_all {
                written.out_of_space = for_all < at_once;
                break;
            }
            // Some owners are gone by now.
            written.owners.push(*number);
            write(*number, written)?;
        }
        for number in &pending.dirty {
            if written.bytes >= for_blocks {
                written.out_of_space |= for_blocks < at_once;
                break;
            }
            written.turns += 1;
            if !pending.new.contains(number) && !pending.touched.contains(number) {
                write(*number, written)?;
            }
        }
        transaction.commit()
    }
}

/// Deletes up to `most` of the removed logs, and of the freed rows.
pub(super) fn delete(
    transaction: &Transaction<'_>,
    pending: &PendingWrites,
    most: usize,
) -> rusqlite::Result<()> {
    for number in pending.removed.iter().take(most) {
        for table in [schema::DELETE_LOG, schema::DELETE_OWNER] {
            transaction.prepare_cached(table)?.execute([number])?;
        }
    }
    for row in pending.freed.iter().take(most) {
        transaction.prepare_cached(schema::DELETE_BLOCK)?.execute([row])?;
    }
    Ok(())
}

fn write_log(
    transaction: &Transaction<'_>,
    number: i64,
    unsaved: &UnsavedLog,
    status: &str,
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
        status,
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
