//! The table of the logs' owners. Its column `wanted` has the owner's spec.

use rusqlite::{Connection, OptionalExtension, params};

/// Inserts an owner or replaces it.
pub(in crate::store::disk) fn put(
    connection: &Connection,
    log: i64,
    kind: &str,
    id: &str,
    spec: &str,
) -> rusqlite::Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO owners (log, kind, id, wanted) VALUES (?1, ?2, ?3, ?4)";
    connection.prepare_cached(PUT)?.execute(params![log, kind, id, spec]).map(drop)
}

pub(in crate::store::disk) fn delete(connection: &Connection, log: i64) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM owners WHERE log = ?1";
    connection.prepare_cached(DELETE)?.execute([log]).map(drop)
}

/// The spec of a log's owner; none if the number is no longer that of the log with this epoch.
pub(in crate::store::disk) fn spec(
    connection: &Connection,
    log: i64,
    epoch: u64,
) -> rusqlite::Result<Option<String>> {
    const SPEC: &str = "SELECT wanted FROM owners JOIN logs ON number = log WHERE number = ?1 AND epoch = ?2";
    let key = [log, epoch.cast_signed()];
    connection.prepare_cached(SPEC)?.query_row(key, |row| row.get(0)).optional()
}
