//! The table with the last start of a service: its time and the program's version.

use rusqlite::Connection;

use crate::model::Timestamp;

pub(in crate::store::disk) fn note_start(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO service VALUES (1, ?1, ?2)";
    connection.execute(PUT, (now.0, env!("CARGO_PKG_VERSION"))).map(drop)
}
