//! The table of logs, and their rows joined with those of their owners. Its column `progress` has the owner's status,
//! and the owners' column `wanted` the spec.

use rusqlite::{Connection, Row, Statement, params};

use crate::store::counters::LogCounters;
use crate::store::saved::{SavedLog, UnsavedLog};

/// A log and its owner.
pub(in crate::store::disk) struct LogRow {
    pub(in crate::store::disk) number: i64,
    pub(in crate::store::disk) kind: String,
    pub(in crate::store::disk) id: String,
    pub(in crate::store::disk) spec: String,
    pub(in crate::store::disk) status: String,
    /// Without its blocks.
    pub(in crate::store::disk) log: SavedLog,
}

/// The columns to read of the owners of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::disk) enum Owners {
    Whole,
    /// Only kind and id: spec and status of many messages are large.
    Named,
}

/// All logs in the order of their creation; see [`read_all`].
pub(in crate::store::disk) fn select_all(
    connection: &Connection,
    owners: Owners,
) -> rusqlite::Result<Statement<'_>> {
    connection.prepare(match owners {
        Owners::Whole => {
            "SELECT number, kind, id, wanted, progress, epoch, first, reserved, appended, payload_bytes, \
                evicted, truncated, lost, complete FROM logs JOIN owners ON log = number ORDER BY number"
        }
        Owners::Named => {
            "SELECT number, kind, id, '', '', epoch, first, reserved, appended, payload_bytes, \
                evicted, truncated, lost, complete FROM logs JOIN owners ON log = number ORDER BY number"
        }
    })
}

/// The rows of [`select_all`].
pub(in crate::store::disk) fn read_all(
    selected: &mut Statement<'_>,
) -> rusqlite::Result<impl Iterator<Item = rusqlite::Result<LogRow>>> {
    let read = |row: &Row<'_>| {
        let number = |at| row.get(at).map(i64::cast_unsigned);
        let next = number(7)?;
        Ok(LogRow {
            number: row.get(0)?,
            kind: row.get(1)?,
            id: row.get(2)?,
            spec: row.get(3)?,
            status: row.get(4)?,
            log: SavedLog {
                epoch: number(5)?,
                first: number(6)?,
                next,
                reserved: next,
                counters: LogCounters {
                    appended: number(8)?,
                    payload_bytes: number(9)?,
                    evicted: number(10)?,
                    truncated: number(11)?,
                    lost: number(12)?,
                    kept_bytes: 0,
                },
                complete: row.get::<_, i64>(13)? != 0,
                blocks: Vec::new(),
            },
        })
    };
    selected.query_map([], read)
}

/// Inserts a log or replaces it.
pub(in crate::store::disk) fn put(
    connection: &Connection,
    number: i64,
    status: &str,
    log: &UnsavedLog,
) -> rusqlite::Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO logs (number, progress, epoch, first, reserved, appended, \
        payload_bytes, evicted, truncated, lost, complete) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let counters = &log.counters;
    let columns = params![
        number,
        status,
        log.epoch.cast_signed(),
        log.first.cast_signed(),
        log.reserved.cast_signed(),
        counters.appended.cast_signed(),
        counters.payload_bytes.cast_signed(),
        counters.evicted.cast_signed(),
        counters.truncated.cast_signed(),
        counters.lost.cast_signed(),
        log.complete,
    ];
    connection.prepare_cached(PUT)?.execute(columns).map(drop)
}

/// Reserves this many more sequence numbers for a log.
pub(in crate::store::disk) fn reserve(
    connection: &Connection,
    number: i64,
    count: i64,
) -> rusqlite::Result<()> {
    const RESERVE: &str = "UPDATE logs SET reserved = reserved + ?1 WHERE number = ?2";
    connection.prepare_cached(RESERVE)?.execute((count, number)).map(drop)
}

pub(in crate::store::disk) fn delete(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM logs WHERE number = ?1";
    connection.prepare_cached(DELETE)?.execute([number]).map(drop)
}
