//! The table of blocks.
//!
//! A block has two checksums: of its data, and of all other columns. So a start can tell damaged rows without reading
//! any data.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Checked, RowChecksum, RowColumns, checksum_of_data};
use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::durable_log::{RowId, SavedBlock};

/// A block without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::disk) struct BlockRow {
    pub(in crate::store::disk) log: i64,
    pub(in crate::store::disk) block: SavedBlock,
    data_checksum: i64,
}

impl BlockRow {
    pub(in crate::store::disk) const COLUMNS: usize = 10;

    /// None if the row is damaged; its data may be damaged in any case.
    pub(in crate::store::disk) fn parse(row: &impl RowColumns) -> Option<Self> {
        let number = |at| row.column(at).map(i64::cast_unsigned);
        let found = Self {
            log: row.column(1)?,
            block: SavedBlock {
                row: row.column(0)?,
                first: number(2)?,
                next: number(3)?,
                times: (Timestamp(row.column(4)?), Timestamp(row.column(5)?)),
                length: usize::try_from(row.column::<i64>(6)?).ok()?,
            },
            data_checksum: row.column(7)?,
        };
        (row.column(8) == Some(found.checksum())).then_some(found)
    }

    /// Whether this is what was written as the row's data.
    pub(in crate::store::disk) fn is_data(&self, data: &[u8]) -> bool {
        data.len() == self.block.length && checksum_of_data(data) == self.data_checksum
    }

    /// The row of a block with this data.
    pub(in crate::store::disk) fn of(
        log: i64,
        row: RowId,
        (first, next): (u64, u64),
        times: (Timestamp, Timestamp),
        data: &[u8],
    ) -> Self {
        let block = SavedBlock { row, first, next, times, length: data.len() };
        Self { log, block, data_checksum: checksum_of_data(data) }
    }

    fn numbers(&self) -> [i64; 8] {
        let SavedBlock { row, first, next, times: (since, until), length } = self.block;
        let (first, next, length) = (first.cast_signed(), next.cast_signed(), (length as u64).cast_signed());
        [row, self.log, first, next, since.0, until.0, length, self.data_checksum]
    }

    fn checksum(&self) -> i64 {
        RowChecksum::new("blocks").numbers(&self.numbers()).get()
    }
}

/// Inserts a block or replaces what was in its row.
pub(in crate::store::disk) fn put(
    connection: &Connection,
    row: RowId,
    log: i64,
    block: &Block,
) -> rusqlite::Result<()> {
    let times = block.times().unwrap_or((Timestamp(i64::MIN), Timestamp(i64::MAX)));
    let row = BlockRow::of(log, row, (block.first(), block.next()), times, block.bytes());
    put_row(connection, &row, block.bytes())
}

/// The same for a row as read.
pub(in crate::store::disk) fn put_row(
    connection: &Connection,
    block: &BlockRow,
    data: &[u8],
) -> rusqlite::Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO blocks \
        (row, log, first, next, since, until, length, data_checksum, checksum, data) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let [row, log, first, next, since, until, length, data_checksum] = block.numbers();
    let checksum = block.checksum();
    let columns = params![row, log, first, next, since, until, length, data_checksum, checksum, data];
    connection.prepare_cached(PUT)?.execute(columns).map(drop)
}

pub(in crate::store::disk) fn delete(connection: &Connection, row: RowId) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM blocks WHERE row = ?1";
    connection.prepare_cached(DELETE)?.execute([row]).map(drop)
}

/// All blocks without their data, in the order in which they were written.
pub(in crate::store::disk) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Checked<BlockRow>>> {
    const ALL: &str = "SELECT row, log, first, next, since, until, length, data_checksum, checksum FROM blocks ORDER BY row";
    super::read_all(connection, ALL, |row| BlockRow::parse(row))
}

/// A row of the table as it was fetched.
pub(in crate::store::disk) enum Fetched {
    /// Its numbers, and the bytes of its records.
    Good(SavedBlock, Vec<u8>),
    Damaged,
}

/// The block in this row, if it is of this log; none if the row is no longer there, or has a block of another log.
/// `epoch`: the log must have it, too.
pub(in crate::store::disk) fn fetch(
    connection: &Connection,
    row: RowId,
    log: i64,
    epoch: Option<u64>,
) -> rusqlite::Result<Option<Fetched>> {
    const FETCH: &str = "SELECT row, log, first, next, since, until, length, data_checksum, checksum, data \
        FROM blocks WHERE row = ?1 AND (?2 IS NULL OR EXISTS \
            (SELECT 1 FROM logs WHERE logs.number = ?3 AND logs.epoch = ?2))";
    let key = params![row, epoch.map(u64::cast_signed), log];
    let mut fetch = connection.prepare_cached(FETCH)?;
    let found = fetch.query_row(key, |row| {
        let Some(found) = BlockRow::parse(row) else { return Ok(Some(Fetched::Damaged)) };
        if found.log != log {
            return Ok(None);
        }
        let data = row.column::<Vec<u8>>(9).filter(|data| found.is_data(data));
        Ok(Some(data.map_or(Fetched::Damaged, |data| Fetched::Good(found.block, data))))
    });
    found.optional().map(Option::flatten)
}
