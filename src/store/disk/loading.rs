//! Loads the database at a start: logs with their blocks, checked, and the numbers reserved for them.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::database::{Database, PAGE_BYTES};
use super::error::DiskError;
use super::tables::logs::{LogRow, Owners};
use super::tables::{blocks, logs, service};
use crate::model::Timestamp;
use crate::store::counters::LogCounters;
use crate::store::saved::{RowId, SavedLog};

/// Sequence numbers reserved for each log when it is restored.
const AHEAD: i64 = 1_000;
/// More sequence numbers than a log can have used while the disk failed: days, at a million a second. A double can hold
/// numbers some thousand times as large.
const SKIPPED: i64 = 1 << 40;

/// No service reaches larger numbers of datagrams, bytes, logs or blocks.
const LARGEST: i64 = i64::MAX >> 1;

/// The content of the database.
pub(super) struct SavedState {
    pub(super) logs: Vec<LogRow>,
    /// Logs whose owner has a newer log: they were about to be deleted.
    pub(super) superseded: Vec<i64>,
    /// Blocks of logs that are gone or superseded.
    pub(super) orphans: Vec<RowId>,
    pub(super) next_log: i64,
    pub(super) next_row: RowId,
}

/// Notes the start, reserves numbers for it, and returns the saved logs: the first write to the directory.
/// `skip`: readers saw numbers that had not been reserved. `at_once`: how many bytes one transaction may write.
pub(super) fn begin(database: &Database, skip: bool, at_once: u64) -> Result<SavedState, DiskError> {
    let failed = |error| DiskError::of_sqlite(&database.path, &error);
    let mut state = load(&database.connection, &database.path, Owners::Whole)?;
    let skipped = if skip { SKIPPED } else { 0 };
    for log in state.logs.iter_mut().map(|found| &mut found.log).filter(|log| !log.complete) {
        log.next += skipped.cast_unsigned();
        log.reserved = log.next + AHEAD.cast_unsigned();
    }
    // If the process is killed here, some reserved numbers stay unused.
    let at_once = usize::try_from(at_once / u64::from(PAGE_BYTES)).unwrap_or(usize::MAX).max(1);
    let incomplete = state.logs.iter().filter(|found| !found.log.complete).map(|found| found.number);
    for numbers in incomplete.collect::<Vec<_>>().chunks(at_once) {
        let transaction = database.connection.unchecked_transaction().map_err(failed)?;
        for number in numbers {
            logs::reserve(&transaction, *number, skipped + AHEAD).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    service::note_start(&database.connection, Timestamp::now()).map_err(failed)?;
    Ok(state)
}

/// Reads everything but the blocks' data.
pub(super) fn load(connection: &Connection, path: &Path, owners: Owners) -> Result<SavedState, DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    let mut logs = Vec::new();
    let mut positions = HashMap::new();
    let mut selected = logs::select_all(connection, owners).map_err(failed)?;
    for found in logs::read_all(&mut selected).map_err(failed)? {
        let found = found.map_err(failed)?;
        if !is_possible(&found) {
            let detail = format!("the numbers of log {} cannot be", found.number);
            return Err(DiskError::damaged(path, &detail));
        }
        positions.insert(found.number, logs.len());
        logs.push(found);
    }
    let (mut orphans, mut next_row) = (Vec::new(), 1);
    let mut last_log = logs.last().map_or(0, |last| last.number);
    let mut selected = blocks::select_all(connection).map_err(failed)?;
    for block in blocks::read_all(&mut selected).map_err(failed)? {
        let (number, block) = block.map_err(failed)?;
        if block.row > LARGEST || number > LARGEST {
            return Err(DiskError::damaged(path, &format!("block {} of log {number} cannot be", block.row)));
        }
        next_row = block.row + 1;
        // Blocks may outlive their log: no new log may get its number.
        last_log = last_log.max(number);
        let Some(found) = positions.get(&number).map(|at| &mut logs[*at]) else {
            orphans.push(block.row);
            continue;
        };
        let reached = found.log.blocks.last().map_or(1, |last| last.next);
        if block.first < reached || block.next < block.first || block.next > found.log.next {
            let detail = format!("block {} does not follow those before it", block.row);
            return Err(DiskError::damaged(path, &detail));
        }
        found.log.blocks.push(block);
    }
    let (mut newest, mut superseded, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for found in logs.into_iter().rev() {
        if names.insert((found.kind.clone(), found.id.clone())) {
            newest.push(found);
        } else {
            superseded.push(found.number);
            orphans.extend(found.log.blocks.iter().map(|block| block.row));
        }
    }
    newest.reverse();
    Ok(SavedState { logs: newest, superseded, orphans, next_log: last_log + 1, next_row })
}

/// Whether a service can have written these numbers: they are in order, and a service can continue from them.
fn is_possible(found: &LogRow) -> bool {
    let SavedLog { first, next, counters, .. } = &found.log;
    let LogCounters { appended, payload_bytes, evicted, truncated, lost, .. } = *counters;
    let largest = LARGEST.cast_unsigned();
    found.number <= LARGEST
        && (1..=largest).contains(next)
        && (1..=*next).contains(first)
        && [appended, payload_bytes, evicted, truncated, lost].iter().all(|count| *count <= largest)
}
