//! Migrates a database of the first layout, which had no checksums.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::error::DiskError;
use super::files::remove_beside;
use super::replacement::Replacement;
use super::tables::blocks::{self, BlockRow};
use super::tables::logs::{self, LogRow};
use super::tables::owners::{self, OwnerRow};
use crate::model::Timestamp;
use crate::store::counters::LogCounters;

/// Replaces the database by one of the current layout. It needs as much space as the database takes.
pub(super) fn migrate(path: &Path) -> Result<(), DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    tracing::info!(database = %path.display(), "the service adds checksums to the database");
    let source = Connection::open(path).map_err(failed)?;
    // Services of the time lock `lock` alone: if that was deleted, only `SQLite` knows that one is running.
    source.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
    let replacement = Replacement::begin(path)?;
    copy(&source, &replacement.connection).map_err(failed)?;
    source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
    replacement.finish(|| {
        drop(source);
        remove_beside(path)
    })
}

/// Copies all rows from a database of the first layout into one of the current.
pub(super) fn copy(source: &Connection, target: &Connection) -> rusqlite::Result<()> {
    let mut selected = source.prepare(
        "SELECT number, kind, id, wanted, progress, epoch, first, reserved, appended, payload_bytes, evicted, \
            truncated, lost, complete FROM logs JOIN owners ON log = number",
    )?;
    let mut rows = selected.query([])?;
    while let Some(row) = rows.next()? {
        owners::put(target, &owner(row)?)?;
        logs::put(target, &log(row)?)?;
    }
    let mut selected = source.prepare("SELECT row, log, first, next, since, until, data FROM blocks")?;
    let mut rows = selected.query([])?;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(6)?.as_blob()?;
        let numbers = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, i64>(3)?.cast_unsigned());
        let times = (Timestamp(row.get(4)?), Timestamp(row.get(5)?));
        blocks::put_row(target, &BlockRow::of(row.get(1)?, row.get(0)?, numbers, times, data), data)?;
    }
    Ok(())
}

fn owner(row: &Row<'_>) -> rusqlite::Result<OwnerRow> {
    Ok(OwnerRow { log: row.get(0)?, kind: row.get(1)?, id: row.get(2)?, spec: row.get(3)? })
}

fn log(row: &Row<'_>) -> rusqlite::Result<LogRow> {
    let number = |at| row.get(at).map(i64::cast_unsigned);
    Ok(LogRow {
        number: row.get(0)?,
        kind: row.get(1)?,
        id: row.get(2)?,
        status: row.get(4)?,
        epoch: number(5)?,
        first: number(6)?,
        reserved: number(7)?,
        counters: LogCounters {
            appended: number(8)?,
            payload_bytes: number(9)?,
            evicted: number(10)?,
            truncated: number(11)?,
            lost: number(12)?,
            kept_bytes: 0,
        },
        complete: row.get::<_, i64>(13)? != 0,
    })
}
