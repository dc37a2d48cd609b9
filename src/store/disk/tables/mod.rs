//! One file for each table: its statements, their parameters, their columns, and the checksum over them.

pub(super) mod blocks;
pub(super) mod logs;
pub(super) mod owners;
pub(super) mod service;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};

/// A row as read: none if it is damaged, so that its checksum or the type of a column is wrong.
pub(super) struct Checked<T> {
    /// The row's number, as found.
    pub(super) number: i64,
    pub(super) row: Option<T>,
}

/// The columns of a row, wherever it was read.
pub(super) trait RowColumns {
    /// None if the column has a value of another type.
    fn column<T: FromSql>(&self, at: usize) -> Option<T>;
}

impl RowColumns for Row<'_> {
    fn column<T: FromSql>(&self, at: usize) -> Option<T> {
        self.get(at).ok()
    }
}

/// All rows that a statement selects, of which the first column is the number; an error means that `SQLite` cannot go
/// on in the table.
fn read_all<T>(
    connection: &Connection,
    select: &str,
    parse: impl Fn(&Row<'_>) -> Option<T>,
) -> rusqlite::Result<Vec<Checked<T>>> {
    let mut selected = connection.prepare(select)?;
    let rows = selected.query_map([], |row| Ok(Checked { number: row.get(0)?, row: parse(row) }))?;
    rows.collect()
}
