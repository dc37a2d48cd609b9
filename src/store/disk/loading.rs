//! Loads the database: logs with their owners and blocks, without what is damaged.
//!
//! A damaged block is a gap in its log. An owner that is damaged is set aside with its log: the service does not
//! restore it, and leaves its rows as they are. A log whose own row is damaged continues with the blocks that it has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use rusqlite::Connection;

use super::database::Database;
use super::error::DiskError;
use super::schema::PAGE_BYTES;
use super::tables::blocks::{self, BlockRow};
use super::tables::logs::{self, LogRow};
use super::tables::owners::{self, OwnerRow};
use super::tables::{Checked, service};
use crate::model::Timestamp;
use crate::store::durable_log::{LogCounters, RowId, SavedLog};

/// Sequence numbers reserved for each log when it is restored.
const AHEAD: u64 = 1_000;
/// More sequence numbers than a log can have used while the disk failed: days, at a million a second. A double can hold
/// numbers some thousand times as large.
const SKIPPED: u64 = 1 << 40;

/// No service reaches larger numbers of datagrams, bytes, logs or blocks.
const MAX_NUMBER: i64 = i64::MAX >> 1;

/// The content of the database.
#[derive(Default)]
pub(super) struct LoadedDatabase {
    pub(super) logs: Vec<LoadedResource>,
    /// Logs without a sound owner; their specs are empty.
    pub(super) set_aside: Vec<LoadedResource>,
    pub(super) damage: Damage,
    /// Logs whose owner has a newer log: they were about to be deleted.
    pub(super) superseded: Vec<i64>,
    /// Blocks of logs that are gone or superseded.
    pub(super) orphans: Vec<RowId>,
    pub(super) next_log: i64,
    pub(super) next_row: RowId,
}

/// A log and its owner.
pub(super) struct LoadedResource {
    pub(super) row: LogRow,
    pub(super) spec: String,
    pub(super) log: SavedLog,
    /// Its own row is damaged, so that its numbers come from its blocks.
    pub(super) is_rebuilt: bool,
}

/// What is damaged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Names of the owners that are set aside.
    pub(super) set_aside: Vec<String>,
    /// Names of damaged owners that were created again since, and how many datagrams their earlier logs have.
    pub(super) replaced: Vec<(String, u64)>,
    /// Names of the owners whose specs a repair could not keep.
    pub(super) without_spec: Vec<String>,
    /// Names of the owners whose status and counters are lost.
    pub(super) rebuilt: Vec<String>,
    /// Rows of blocks.
    pub(super) blocks: Vec<RowId>,
}

/// The rows of the database, as they were found.
#[derive(Default)]
pub(super) struct FoundRows {
    pub(super) owners: Vec<Checked<OwnerRow>>,
    pub(super) logs: Vec<Checked<LogRow>>,
    /// In the order in which they were written.
    pub(super) blocks: Vec<Checked<BlockRow>>,
}

/// Notes the start, reserves numbers for it, and returns the saved logs: the first write to the directory.
/// `skip`: readers saw numbers that had not been reserved. `max_transaction`: how many bytes one transaction may write.
pub(super) fn begin(
    database: &Database,
    skip: bool,
    max_transaction: u64,
) -> Result<LoadedDatabase, DiskError> {
    let failed = |error| DiskError::of_sqlite(&database.path, &error);
    let mut state = load(&database.connection, &database.path)?;
    let skipped = if skip { SKIPPED } else { 0 };
    for found in state.logs.iter_mut().filter(|found| !found.row.complete) {
        found.log.next += skipped;
        found.log.reserved = found.log.next + AHEAD;
        found.row.reserved = found.log.reserved;
    }
    // If the process is killed here, some reserved numbers stay unused.
    let max_logs = usize::try_from(max_transaction / u64::from(PAGE_BYTES)).unwrap_or(usize::MAX).max(1);
    let changed: Vec<_> = state.logs.iter().filter(|found| !found.row.complete || found.is_rebuilt).collect();
    for logs in changed.chunks(max_logs) {
        let transaction = database.connection.unchecked_transaction().map_err(failed)?;
        for found in logs {
            logs::put(&transaction, &found.row).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    }
    service::note_start(&database.connection, Timestamp::now()).map_err(failed)?;
    Ok(state)
}

/// Reads everything but the blocks' data. An error means that a table cannot be read to its end.
pub(super) fn load(connection: &Connection, path: &Path) -> Result<LoadedDatabase, DiskError> {
    let rows = || {
        Ok(FoundRows {
            owners: owners::read_all(connection)?,
            logs: logs::read_all(connection)?,
            blocks: blocks::read_all(connection)?,
        })
    };
    Ok(assemble(rows().map_err(|error| DiskError::of_sqlite(path, &error))?))
}

/// Brings owners, logs and blocks together.
pub(super) fn assemble(rows: FoundRows) -> LoadedDatabase {
    let mut state = LoadedDatabase::default();
    // A damaged number is not relied on, but stays taken.
    let taken = |numbers: &mut dyn Iterator<Item = i64>| {
        numbers.filter(|number| *number <= MAX_NUMBER).max().unwrap_or(0).max(0) + 1
    };
    let blocks_logs = rows.blocks.iter().filter_map(|block| block.row.as_ref()).map(|block| block.log);
    let numbers = rows.owners.iter().map(|owner| owner.number).chain(rows.logs.iter().map(|log| log.number));
    state.next_log = taken(&mut numbers.chain(blocks_logs));
    state.next_row = taken(&mut rows.blocks.iter().map(|block| block.number));
    let all: BTreeSet<_> =
        rows.owners.iter().map(|owner| owner.number).chain(rows.logs.iter().map(|log| log.number)).collect();
    let mut owners: BTreeMap<_, _> =
        rows.owners.into_iter().filter_map(|owner| owner.row).map(|owner| (owner.log, owner)).collect();
    let mut logs: BTreeMap<_, _> =
        rows.logs.into_iter().filter_map(|log| log.row).map(|log| (log.number, log)).collect();
    logs.retain(|_, log| is_possible(log));
    let (mut found, mut set_aside) = (BTreeMap::new(), BTreeMap::new());
    for number in all {
        match (owners.remove(&number), logs.remove(&number)) {
            (Some(owner), Some(row)) if owner.spec.is_empty() => {
                state.damage.without_spec.push(name(&owner.kind, &owner.id));
                set_aside.insert(number, Some(LoadedResource::new(row, owner.spec)));
            }
            (Some(owner), Some(row)) if (&owner.kind, &owner.id) == (&row.kind, &row.id) => {
                found.insert(number, LoadedResource::new(row, owner.spec));
            }
            (Some(owner), None) if number <= MAX_NUMBER => {
                state.damage.rebuilt.push(name(&owner.kind, &owner.id));
                found.insert(number, LoadedResource::rebuilt(owner));
            }
            (_, Some(row)) => {
                state.damage.set_aside.push(name(&row.kind, &row.id));
                set_aside.insert(number, Some(LoadedResource::new(row, String::new())));
            }
            (_, None) => {
                state.damage.set_aside.push(format!("the owner of log {number}"));
                set_aside.insert(number, None);
            }
        }
    }
    let is_sound = state.damage.set_aside.is_empty() && state.damage.rebuilt.is_empty();
    for Checked { number, row } in rows.blocks {
        let Some(BlockRow { log, block, .. }) = row.filter(|row| row.block.row <= MAX_NUMBER) else {
            state.damage.blocks.push(number);
            continue;
        };
        let aside = set_aside.get_mut(&log).and_then(Option::as_mut);
        let Some(LoadedResource { log, .. }) = found.get_mut(&log).or(aside) else {
            // If owners or logs are damaged, the block may be of one of them.
            if is_sound {
                state.orphans.push(number);
            }
            continue;
        };
        let reached = log.blocks.last().map_or(1, |last| last.next);
        if block.first < reached || block.next < block.first || block.next > MAX_NUMBER.cast_unsigned() {
            state.damage.blocks.push(number);
            continue;
        }
        // The row of the log may be older, after a checkpoint that was cut short.
        log.next = log.next.max(block.next);
        log.reserved = log.reserved.max(log.next);
        log.blocks.push(block);
    }
    for rebuilt in found.values_mut().filter(|found| found.is_rebuilt) {
        rebuilt.count();
    }
    let mut names = HashSet::new();
    for found in found.into_values().rev() {
        if names.insert((found.row.kind.clone(), found.row.id.clone())) {
            state.logs.push(found);
        } else {
            state.superseded.push(found.row.number);
            state.orphans.extend(found.log.blocks.iter().map(|block| block.row));
        }
    }
    state.logs.reverse();
    // The client has created the resource again since it was set aside.
    let is_replaced =
        |aside: &LoadedResource| names.contains(&(aside.row.kind.clone(), aside.row.id.clone()));
    for aside in set_aside.into_values().flatten() {
        let name = name(&aside.row.kind, &aside.row.id);
        if is_replaced(&aside) {
            if state.damage.set_aside.contains(&name) {
                state.damage.set_aside.retain(|other| *other != name);
                state.damage.replaced.push((name.clone(), aside.log.datagrams()));
            }
            state.damage.without_spec.retain(|other| *other != name);
            state.superseded.push(aside.row.number);
            state.orphans.extend(aside.log.blocks.iter().map(|block| block.row));
        } else {
            state.set_aside.push(aside);
        }
    }
    state
}

pub(super) fn name(kind: &str, id: &str) -> String {
    format!("{kind} `{id}`")
}

impl LoadedResource {
    fn new(row: LogRow, spec: String) -> Self {
        let log = SavedLog {
            epoch: row.epoch,
            first: row.first,
            next: row.reserved,
            reserved: row.reserved,
            counters: row.counters,
            complete: row.complete,
            blocks: Vec::new(),
        };
        Self { row, spec, log, is_rebuilt: false }
    }

    /// A log of which only the owner is known yet. Its epoch is new: cursors of the old one may be ahead of its blocks.
    fn rebuilt(owner: OwnerRow) -> Self {
        let row = LogRow {
            number: owner.log,
            kind: owner.kind,
            id: owner.id,
            status: String::new(),
            epoch: fastrand::u64(..),
            first: 1,
            reserved: 1,
            counters: LogCounters::default(),
            complete: false,
        };
        Self { is_rebuilt: true, ..Self::new(row, owner.spec) }
    }

    /// Counts what is in the blocks, and skips the numbers that later datagrams may have had.
    fn count(&mut self) {
        let log = &mut self.log;
        log.first = log.blocks.first().map_or(1, |block| block.first);
        log.next += SKIPPED;
        log.reserved = log.next;
        log.counters.appended = log.blocks.iter().map(|block| block.next - block.first).sum();
        (self.row.first, self.row.reserved, self.row.counters) = (log.first, log.next, log.counters);
    }
}

/// Whether a service can have written these numbers: they are in order, and a service can continue from them.
fn is_possible(found: &LogRow) -> bool {
    let LogRow { first, reserved, counters, .. } = found;
    let LogCounters { appended, payload_bytes, evicted, truncated, lost, .. } = *counters;
    let max = MAX_NUMBER.cast_unsigned();
    found.number <= MAX_NUMBER
        && (1..=max).contains(reserved)
        && (1..=*reserved).contains(first)
        && [appended, payload_bytes, evicted, truncated, lost].iter().all(|count| *count <= max)
}
