//! Reads all rows that are good from the pages of a database, without `SQLite`, which gives up a whole table if one of
//! its inner pages is damaged.

mod pages;
mod records;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::files::beside;
use super::loading::FoundRows;
use super::tables::blocks::BlockRow;
use super::tables::logs::LogRow;
use super::tables::owners::OwnerRow;
use super::tables::{Checked, RowColumns, service};
use pages::{DatabasePages, JournalFrames};

/// The rows that were found, and how many could not be assigned to a table.
#[derive(Default)]
pub(super) struct Salvaged {
    pub(super) rows: FoundRows,
    pub(super) unknown: u64,
}

/// Reads the database file and what its WAL adds to it. `take` gets each good block with its data; of two that have the
/// same number, the later one counts. `is_damaged`: what `SQLite` does not read of the WAL is read, too.
pub(super) fn read(
    database: &Path,
    is_damaged: bool,
    mut take: impl FnMut(&BlockRow, &[u8]) -> io::Result<()>,
) -> io::Result<Salvaged> {
    let journal = beside(database, "-wal");
    let mut found = RowsByNumber::default();
    // What is found first counts as newer.
    let frames: &[_] =
        if is_damaged { &[JournalFrames::All, JournalFrames::Good] } else { &[JournalFrames::Committed] };
    for frames in frames {
        found.read(&DatabasePages::open(database, &journal, *frames)?, &mut take)?;
    }
    let RowsByNumber { owners, logs, blocks, unknown } = found;
    let rows = FoundRows {
        owners: owners.into_values().collect(),
        logs: logs.into_values().collect(),
        blocks: blocks.into_values().collect(),
    };
    Ok(Salvaged { rows, unknown })
}

/// The rows by their numbers. A table has each once, but pages of different ages can have several versions.
#[derive(Default)]
struct RowsByNumber {
    owners: BTreeMap<i64, Checked<OwnerRow>>,
    logs: BTreeMap<i64, Checked<LogRow>>,
    blocks: BTreeMap<i64, Checked<BlockRow>>,
    unknown: u64,
}

impl RowsByNumber {
    fn read(
        &mut self,
        pages: &DatabasePages,
        take: &mut impl FnMut(&BlockRow, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.unknown = 0;
        // The first page has the schema.
        for number in pages.in_use().filter(|number| *number > 1) {
            let Some(page) = pages.get(number) else { continue };
            for record in records::in_page(pages, &page) {
                let Some(record) = record else {
                    self.unknown += 1;
                    continue;
                };
                let number = record.number;
                match record.columns() {
                    OwnerRow::COLUMNS => {
                        enter(&mut self.owners, number, OwnerRow::parse(&record), |_, _| false);
                    }
                    LogRow::COLUMNS => {
                        let is_newer = |row: &LogRow, known: &LogRow| row.reserved > known.reserved;
                        enter(&mut self.logs, number, LogRow::parse(&record), is_newer);
                    }
                    BlockRow::COLUMNS => {
                        let data = record.column::<Vec<u8>>(BlockRow::COLUMNS - 1).unwrap_or_default();
                        let row = BlockRow::parse(&record).filter(|row| row.is_data(&data));
                        let is_newer = |row: &BlockRow, known: &BlockRow| row.block.next > known.block.next;
                        if let Some(row) = enter(&mut self.blocks, number, row, is_newer) {
                            take(row, &data)?;
                        }
                    }
                    service::COLUMNS if service::is_good(&record) => {}
                    _ => self.unknown += 1,
                }
            }
        }
        Ok(())
    }
}

/// Enters a row, unless a version of it is known that is as good; returns it if it counts.
fn enter<T>(
    rows: &mut BTreeMap<i64, Checked<T>>,
    number: i64,
    row: Option<T>,
    is_newer: impl Fn(&T, &T) -> bool,
) -> Option<&T> {
    let known = rows.get(&number).map(|known| known.row.as_ref());
    let counts = match (&row, known) {
        (_, None) | (Some(_), Some(None)) => true,
        (Some(row), Some(Some(known))) => is_newer(row, known),
        (None, Some(_)) => false,
    };
    if !counts {
        return None;
    }
    rows.insert(number, Checked { number, row });
    rows.get(&number)?.row.as_ref()
}
