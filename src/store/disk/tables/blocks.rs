//! The table of blocks.

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::saved::{RowId, SavedBlock};

/// Inserts a block or replaces what was in its row.
pub(in crate::store::disk) fn put(
    connection: &Connection,
    row: RowId,
    log: i64,
    block: &Block,
) -> rusqlite::Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO blocks (row, log, first, next, since, until, data) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (since, until) = block.times().map_or((i64::MIN, i64::MAX), |(since, until)| (since.0, until.0));
    let (first, next) = (block.first().cast_signed(), block.next().cast_signed());
    let columns = params![row, log, first, next, since, until, block.bytes()];
    connection.prepare_cached(PUT)?.execute(columns).map(drop)
}

pub(in crate::store::disk) fn delete(connection: &Connection, row: RowId) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM blocks WHERE row = ?1";
    connection.prepare_cached(DELETE)?.execute([row]).map(drop)
}

/// All blocks without their data, in the order in which they were written; see [`read_all`].
pub(in crate::store::disk) fn select_all(connection: &Connection) -> rusqlite::Result<Statement<'_>> {
    connection.prepare("SELECT row, log, first, next, since, until, length(data) FROM blocks ORDER BY row")
}

/// The rows of [`select_all`], each with the number of its log.
pub(in crate::store::disk) fn read_all(
    selected: &mut Statement<'_>,
) -> rusqlite::Result<impl Iterator<Item = rusqlite::Result<(i64, SavedBlock)>>> {
    let read = |row: &Row<'_>| {
        let number = |at| row.get(at).map(i64::cast_unsigned);
        let block = SavedBlock {
            row: row.get(0)?,
            first: number(2)?,
            next: number(3)?,
            times: (Timestamp(row.get(4)?), Timestamp(row.get(5)?)),
            length: usize::try_from(row.get::<_, i64>(6)?).unwrap_or_default(),
        };
        Ok((row.get(1)?, block))
    };
    selected.query_map([], read)
}

/// The data of a block; none if the row is no longer there.
pub(in crate::store::disk) fn fetch(
    connection: &Connection,
    row: RowId,
) -> rusqlite::Result<Option<Vec<u8>>> {
    const FETCH: &str = "SELECT data FROM blocks WHERE row = ?1";
    connection.prepare_cached(FETCH)?.query_row([row], |row| row.get(0)).optional()
}

/// The data of a block and the sequence number after its last; none if the row no longer has a block that begins with
/// this number, of the log with this number and epoch.
pub(in crate::store::disk) fn fetch_of_log(
    connection: &Connection,
    row: RowId,
    first: u64,
    log: i64,
    epoch: u64,
) -> rusqlite::Result<Option<(Vec<u8>, u64)>> {
    const FETCH: &str = "SELECT data, next FROM blocks WHERE row = ?1 AND first = ?2 \
        AND log = (SELECT number FROM logs WHERE number = ?3 AND epoch = ?4)";
    let key = [row, first.cast_signed(), log, epoch.cast_signed()];
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1).map(i64::cast_unsigned)?));
    connection.prepare_cached(FETCH)?.query_row(key, read).optional()
}
