//! The table of logs, with the kind, id and status of their owners.
//!
//! Kind and id are here and with the owner: if one of the two rows is damaged, the other still names the log.

use rusqlite::{Connection, params};

use super::{Checked, RowChecksum, RowColumns};
use crate::store::durable_log::LogCounters;

/// A log without its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::disk) struct LogRow {
    pub(in crate::store::disk) number: i64,
    pub(in crate::store::disk) kind: String,
    pub(in crate::store::disk) id: String,
    /// The owner's status.
    pub(in crate::store::disk) status: String,
    pub(in crate::store::disk) epoch: u64,
    pub(in crate::store::disk) first: u64,
    /// Numbers before this one are reserved.
    pub(in crate::store::disk) reserved: u64,
    pub(in crate::store::disk) counters: LogCounters,
    pub(in crate::store::disk) complete: bool,
}

impl LogRow {
    pub(in crate::store::disk) const COLUMNS: usize = 14;

    /// None if the row is damaged.
    pub(in crate::store::disk) fn parse(row: &impl RowColumns) -> Option<Self> {
        let number = |at| row.column(at).map(i64::cast_unsigned);
        let found = Self {
            number: row.column(0)?,
            kind: row.column(1)?,
            id: row.column(2)?,
            status: row.column(3)?,
            epoch: number(4)?,
            first: number(5)?,
            reserved: number(6)?,
            counters: LogCounters {
                appended: number(7)?,
                payload_bytes: number(8)?,
                evicted: number(9)?,
                truncated: number(10)?,
                lost: number(11)?,
                kept_bytes: 0,
            },
            complete: row.column::<i64>(12)? != 0,
        };
        (row.column(13) == Some(found.checksum())).then_some(found)
    }

    /// The columns after the texts.
    fn numbers(&self) -> [i64; 9] {
        let counters = &self.counters;
        [
            self.epoch,
            self.first,
            self.reserved,
            counters.appended,
            counters.payload_bytes,
            counters.evicted,
            counters.truncated,
            counters.lost,
            self.complete.into(),
        ]
        .map(u64::cast_signed)
    }

    fn checksum(&self) -> i64 {
        let row = RowChecksum::new("logs").numbers(&[self.number]).numbers(&self.numbers());
        row.texts(&[&self.kind, &self.id, &self.status]).get()
    }
}

/// Inserts a log or replaces it.
pub(in crate::store::disk) fn put(connection: &Connection, log: &LogRow) -> rusqlite::Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO logs (number, kind, id, status, epoch, first, reserved, appended, \
        payload_bytes, evicted, truncated, lost, complete, checksum) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
    let LogRow { number, kind, id, status, .. } = log;
    let [epoch, first, reserved, appended, payload_bytes, evicted, truncated, lost, complete] = log.numbers();
    let columns = params![
        number,
        kind,
        id,
        status,
        epoch,
        first,
        reserved,
        appended,
        payload_bytes,
        evicted,
        truncated,
        lost,
        complete,
        log.checksum(),
    ];
    connection.prepare_cached(PUT)?.execute(columns).map(drop)
}

pub(in crate::store::disk) fn delete(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM logs WHERE number = ?1";
    connection.prepare_cached(DELETE)?.execute([number]).map(drop)
}

/// All logs in the order of their creation.
pub(in crate::store::disk) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Checked<LogRow>>> {
    const ALL: &str = "SELECT number, kind, id, status, epoch, first, reserved, appended, payload_bytes, evicted, truncated, \
            lost, complete, checksum FROM logs ORDER BY number";
    super::read_all(connection, ALL, |row| LogRow::parse(row))
}
