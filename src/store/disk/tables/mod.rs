//! One file for each table: its statements, their parameters, their columns, and the checksum over them.
//!
//! Checksums (XXH3, 64 bits) detect what was damaged on disk. The checksum of a row covers its table's name, its number
//! and all its columns, so that a row that turns up under another number or in another log is not taken for good. They
//! are no protection against forgery.

pub(super) mod blocks;
pub(super) mod logs;
pub(super) mod owners;
pub(super) mod service;

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};
use twox_hash::XxHash3_64;

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

/// The checksum of the data of a block.
fn checksum_of_data(data: &[u8]) -> i64 {
    XxHash3_64::oneshot(data).cast_signed()
}

/// The checksum of a row, from its columns in a fixed order.
struct RowChecksum(Vec<u8>);

impl RowChecksum {
    fn new(table: &str) -> Self {
        Self(table.as_bytes().to_vec())
    }

    fn numbers(mut self, numbers: &[i64]) -> Self {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self
    }

    /// Texts count by their length and their own checksum, so that where one ends is covered, too.
    fn texts(mut self, texts: &[&str]) -> Self {
        for text in texts {
            self.0.extend((text.len() as u64).to_le_bytes());
            self.0.extend(checksum_of_data(text.as_bytes()).to_le_bytes());
        }
        self
    }

    fn get(self) -> i64 {
        checksum_of_data(&self.0)
    }
}
