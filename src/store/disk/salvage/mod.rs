//! Reads all rows that are good from the pages of a database, without `SQLite`, which gives up a whole table if one of
//! its inner pages is damaged.

mod pages;
mod records;

use std::io;
use std::path::Path;

use super::files::beside;
use super::loading::FoundRows;
use super::tables::blocks::BlockRow;
use super::tables::logs::LogRow;
use super::tables::owners::OwnerRow;
use super::tables::{Checked, RowColumns, service};
use pages::DatabasePages;

/// The rows that were found, and how many could not be assigned to a table.
#[derive(Default)]
pub(super) struct Salvaged {
    pub(super) rows: FoundRows,
    pub(super) unknown: u64,
}

/// Reads the database file and what its WAL adds to it. `take` gets each good block with its data.
pub(super) fn read(
    database: &Path,
    mut take: impl FnMut(&BlockRow, &[u8]) -> io::Result<()>,
) -> io::Result<Salvaged> {
    let pages = DatabasePages::open(database, &beside(database, "-wal"))?;
    let mut found = Salvaged::default();
    // The first page has the schema.
    for number in pages.in_use().filter(|number| *number > 1) {
        let Some(page) = pages.get(number) else { continue };
        for record in records::in_page(&pages, &page) {
            let Some(record) = record else {
                found.unknown += 1;
                continue;
            };
            let number = record.number;
            match record.columns() {
                OwnerRow::COLUMNS => {
                    found.rows.owners.push(Checked { number, row: OwnerRow::parse(&record) });
                }
                LogRow::COLUMNS => found.rows.logs.push(Checked { number, row: LogRow::parse(&record) }),
                BlockRow::COLUMNS => {
                    let data = record.column::<Vec<u8>>(BlockRow::COLUMNS - 1).unwrap_or_default();
                    let row = BlockRow::parse(&record).filter(|row| row.is_data(&data));
                    if let Some(row) = &row {
                        take(row, &data)?;
                    }
                    found.rows.blocks.push(Checked { number, row });
                }
                service::COLUMNS if service::is_good(&record) => {}
                _ => found.unknown += 1,
            }
        }
    }
    found.rows.blocks.sort_by_key(|block| block.number);
    Ok(found)
}
