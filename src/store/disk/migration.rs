//! Migrates a database of the first layout, which had no checksums.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};

use super::error::DiskError;
use super::files::{free_copy, remove_beside};
use super::replacement::Replacement;
use super::tables::blocks::{self, BlockRow};
use super::tables::logs::{self, LogRow};
use super::tables::owners::{self, OwnerRow};
use crate::model::Timestamp;
use crate::store::durable_log::LogCounters;

/// Replaces the database by one of the current layout. It needs as much space as the database takes. If records are
/// damaged, returns where the old database is now, and what is damaged in it.
pub(super) fn migrate(path: &Path) -> Result<Option<(PathBuf, Vec<String>)>, DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    tracing::info!(database = %path.display(), "the service adds checksums to the database");
    let source = Connection::open(path).map_err(failed)?;
    // Services of the time lock `lock` alone: if that was deleted, only `SQLite` knows that one is running.
    source.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
    let replacement = Replacement::begin(path)?;
    let damage = copy(&source, &replacement.connection).map_err(failed)?;
    let kept = (!damage.is_empty()).then(|| free_copy(path));
    source.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
    replacement.finish(|| {
        drop(source);
        if let Some(kept) = &kept {
            std::fs::rename(path, kept)?;
        }
        remove_beside(path)
    })?;
    for damage in &damage {
        tracing::error!(damage, copy = ?kept, "the earlier database was damaged");
    }
    Ok(kept.map(|kept| (kept, damage)))
}

/// Copies all rows from a database of the first layout into one of the current; returns what is damaged, one sentence
/// each. An owner whose spec is damaged loses it: so it is set aside with its log.
pub(super) fn copy(source: &Connection, target: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut damage = Vec::new();
    let mut selected = source.prepare(
        "SELECT number, kind, id, wanted, progress, epoch, first, reserved, appended, payload_bytes, evicted, \
            truncated, lost, complete FROM logs JOIN owners ON log = number",
    )?;
    let mut rows = selected.query([])?;
    while let Some(row) = rows.next()? {
        let (mut owner, mut log) = (owner(row)?, log(row)?);
        let name = format!("{} `{}`", owner.kind, owner.id);
        if !is_json(&owner.spec) {
            owner.spec = String::new();
            damage.push(format!("{name} is damaged: it is set aside with its log"));
        }
        if !is_json(&log.status) {
            log.status = String::new();
            damage.push(format!("the status of {name} is damaged"));
        }
        owners::put(target, &owner)?;
        logs::put(target, &log)?;
    }
    let mut selected = source.prepare("SELECT row, log, first, next, since, until, data FROM blocks")?;
    let mut rows = selected.query([])?;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(6)?.as_blob()?;
        let numbers = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, i64>(3)?.cast_unsigned());
        let times = (Timestamp(row.get(4)?), Timestamp(row.get(5)?));
        blocks::put_row(target, &BlockRow::of(row.get(1)?, row.get(0)?, numbers, times, data), data)?;
    }
    Ok(damage)
}

/// Whether a text that was read is whole, as far as that shows without a checksum. A status can be empty.
fn is_json(text: &str) -> bool {
    text.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A text; if its bytes are none, one that is no JSON.
fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(at)?.as_bytes()?;
    Ok(std::str::from_utf8(bytes)
        .map_or_else(|_| format!("not UTF-8: {}", bytes.escape_ascii()), str::to_owned))
}

fn owner(row: &Row<'_>) -> rusqlite::Result<OwnerRow> {
    Ok(OwnerRow { log: row.get(0)?, kind: text(row, 1)?, id: text(row, 2)?, spec: text(row, 3)? })
}

fn log(row: &Row<'_>) -> rusqlite::Result<LogRow> {
    let number = |at| row.get(at).map(i64::cast_unsigned);
    Ok(LogRow {
        number: row.get(0)?,
        kind: text(row, 1)?,
        id: text(row, 2)?,
        status: text(row, 4)?,
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
