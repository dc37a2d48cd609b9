//! One transaction: what is deleted, owners that are new or have changed, and the blocks of logs.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::DiskWriter;
use crate::store::disk::pending::{CommitResult, PendingWrites};
use crate::store::disk::tables::{blocks, logs, owners};

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
                owners::put(&transaction, number, &tracked.kind, &tracked.id, &spec)?;
            }
            for (row, block) in &unsaved.blocks {
                blocks::put(&transaction, *row, number, block)?;
            }
            logs::put(&transaction, number, &status, &unsaved)?;
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
pub(super) fn delete(connection: &Connection, pending: &PendingWrites, most: usize) -> rusqlite::Result<()> {
    for number in pending.removed.iter().take(most) {
        logs::delete(connection, *number)?;
        owners::delete(connection, *number)?;
    }
    for row in pending.freed.iter().take(most) {
        blocks::delete(connection, *row)?;
    }
    Ok(())
}
