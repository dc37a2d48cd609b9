//! The table of the logs' owners.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Checked, RowChecksum, RowColumns};

/// The owner of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::disk) struct OwnerRow {
    /// The log's number.
    pub(in crate::store::disk) log: i64,
    pub(in crate::store::disk) kind: String,
    pub(in crate::store::disk) id: String,
    pub(in crate::store::disk) spec: String,
}

impl OwnerRow {
    pub(in crate::store::disk) const COLUMNS: usize = 5;

    /// None if the row is damaged.
    pub(in crate::store::disk) fn parse(row: &impl RowColumns) -> Option<Self> {
        let found =
            Self { log: row.column(0)?, kind: row.column(1)?, id: row.column(2)?, spec: row.column(3)? };
        (row.column(4) == Some(found.checksum())).then_some(found)
    }

    fn checksum(&self) -> i64 {
        RowChecksum::new("owners").numbers(&[self.log]).texts(&[&self.kind, &self.id, &self.spec]).get()
    }
}

/// Inserts an owner or replaces it.
pub(in crate::store::disk) fn put(connection: &Connection, owner: &OwnerRow) -> rusqlite::Result<()> {
    const PUT: &str =
        "INSERT OR REPLACE INTO owners (log, kind, id, spec, checksum) VALUES (?1, ?2, ?3, ?4, ?5)";
    let OwnerRow { log, kind, id, spec } = owner;
    connection.prepare_cached(PUT)?.execute(params![log, kind, id, spec, owner.checksum()]).map(drop)
}

pub(in crate::store::disk) fn delete(connection: &Connection, log: i64) -> rusqlite::Result<()> {
    const DELETE: &str = "DELETE FROM owners WHERE log = ?1";
    connection.prepare_cached(DELETE)?.execute([log]).map(drop)
}

/// All owners by their logs' numbers.
pub(in crate::store::disk) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Checked<OwnerRow>>> {
    const ALL: &str = "SELECT log, kind, id, spec, checksum FROM owners ORDER BY log";
    super::read_all(connection, ALL, |row| OwnerRow::parse(row))
}

/// The spec of a log's owner; none if it is damaged, or the number is no longer that of the log with this epoch.
pub(in crate::store::disk) fn spec(
    connection: &Connection,
    log: i64,
    epoch: Option<u64>,
) -> rusqlite::Result<Option<String>> {
    const OWNER: &str = "SELECT log, kind, id, spec, checksum FROM owners WHERE log = ?1 AND (?2 IS NULL OR EXISTS \
        (SELECT 1 FROM logs WHERE logs.number = ?1 AND logs.epoch = ?2))";
    let key = params![log, epoch.map(u64::cast_signed)];
    let found =
        connection.prepare_cached(OWNER)?.query_row(key, |row| Ok(OwnerRow::parse(row))).optional()?;
    Ok(found.flatten().map(|owner| owner.spec))
}
