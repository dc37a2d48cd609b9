//! Checksums of the database's rows (XXH3, 64 bits), to detect what was damaged on disk.
//!
//! The checksum of a row covers its table's name, its number and all its columns, so that a row that turns up under
//! another number or in another log is not taken for good. They are no protection against forgery.

use twox_hash::XxHash3_64;

/// The checksum of the data of a block.
pub(super) fn of_data(data: &[u8]) -> i64 {
    XxHash3_64::oneshot(data).cast_signed()
}

/// The checksum of a row, from its columns in a fixed order.
pub(super) struct RowChecksum(Vec<u8>);

impl RowChecksum {
    pub(super) fn new(table: &str) -> Self {
        Self(table.as_bytes().to_vec())
    }

    pub(super) fn numbers(mut self, numbers: &[i64]) -> Self {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self
    }

    /// Texts count by their length and their own checksum, so that where one ends is covered, too.
    pub(super) fn texts(mut self, texts: &[&str]) -> Self {
        for text in texts {
            self.0.extend((text.len() as u64).to_le_bytes());
            self.0.extend(of_data(text.as_bytes()).to_le_bytes());
        }
        self
    }

    pub(super) fn get(self) -> i64 {
        of_data(&self.0)
    }
}
