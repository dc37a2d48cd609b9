//! The table with the last start of a service: its time and the program's version.

use rusqlite::{Connection, params};

use super::{RowChecksum, RowColumns};
use crate::model::Timestamp;

pub(in crate::store::disk) const COLUMNS: usize = 4;

pub(in crate::store::disk) fn note_start(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    const PUT: &str =
        "INSERT OR REPLACE INTO service (one, opened_at, version, checksum) VALUES (1, ?1, ?2, ?3)";
    let version = env!("CARGO_PKG_VERSION");
    connection.execute(PUT, params![now.0, version, checksum(now.0, version)]).map(drop)
}

/// Whether the row is as it was written.
pub(in crate::store::disk) fn is_good(row: &impl RowColumns) -> bool {
    let good = || Some(row.column::<i64>(3)? == checksum(row.column(1)?, &row.column::<String>(2)?));
    good().unwrap_or(false)
}

fn checksum(opened_at: i64, version: &str) -> i64 {
    RowChecksum::new("service").numbers(&[opened_at]).texts(&[version]).get()
}
