//! The layout of the database, and the migration of older ones.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::DiskError;

/// One step for each version of the layout; `PRAGMA user_version` says how many have been taken.
const LAYOUTS: [&str; 1] = ["
    CREATE TABLE owners (
        log INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        wanted TEXT NOT NULL
    ) STRICT;
    CREATE TABLE logs (
        number INTEGER PRIMARY KEY,
        progress TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL,
        reserved INTEGER NOT NULL,
        appended INTEGER NOT NULL,
        payload_bytes INTEGER NOT NULL,
        evicted INTEGER NOT NULL,
        truncated INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        complete INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE blocks (
        row INTEGER PRIMARY KEY,
        log INTEGER NOT NULL,
        first INTEGER NOT NULL,
        next INTEGER NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE service (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        opened_at INTEGER NOT NULL,
        version TEXT NOT NULL
    ) STRICT;
"];

#[expect(clippy::cast_possible_wrap, reason = "they are few")]
const KNOWN: i64 = LAYOUTS.len() as i64;

/// `Roll` in ASCII: what `PRAGMA application_id` says of our databases.
const APPLICATION: i64 = 0x526f_6c6c;

/// The layout of the database, if this program knows it.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    let get = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let (found, known) = (get("user_version")?, KNOWN);
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let is_new = found == 0 && tables.map_err(failed)? == 0;
    if !is_new && get("application_id")? != APPLICATION {
        return Err(DiskError::Foreign(path.to_owned()));
    }
    if found > known {
        return Err(DiskError::Newer { path: path.to_owned(), found, known });
    }
    Ok(usize::try_from(found).unwrap_or_default())
}

/// Migrates the database to the current layout.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    let version = version(connection, path)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    for layout in &LAYOUTS[version..] {
        transaction.execute_batch(layout).map_err(failed)?;
    }
    let set = |name, value: i64| transaction.pragma_update(None, name, value);
    set("application_id", APPLICATION).map_err(failed)?;
    set("user_version", KNOWN).map_err(failed)?;
    transaction.commit().map_err(failed)
}
