//! Notes in the directory's mark how far the transactions in the WAL reach.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frames::{FRAME, FRAME_HEADER, HEADER, JournalHeader, be, salts_of};
use crate::store::disk::files::beside;

/// How far the service's transactions reach in the WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::disk) struct JournalMark {
    pub(super) header: JournalHeader,
    /// The frames up to the end of the last transaction.
    pub(super) frames: usize,
    /// After a power failure, the mark may be newer than the WAL.
    boot: String,
}

impl JournalMark {
    /// Where the mark is in its file, and its length.
    const OFFSET: u64 = 8;
    const LENGTH: usize = 80;

    /// None: the WAL may be empty.
    pub(in crate::store::disk) fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; Self::LENGTH];
        file.read_exact_at(&mut bytes, Self::OFFSET).ok()?;
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut words = text.split_ascii_whitespace().filter(|word| *word != "wal");
        let mut number = || u64::from_str_radix(words.next()?, 16).ok();
        let header = JournalHeader { checkpoints: number()?.try_into().ok()?, salts: number()? };
        let frames = number()?.try_into().ok()?;
        Some(Self { header, frames, boot: words.next()?.to_owned() })
    }

    fn write(mark: Option<&Self>, file: &File) -> io::Result<()> {
        let text = mark.map_or_else(
            || "\nwal empty".to_owned(),
            |Self { header: JournalHeader { checkpoints, salts }, frames, boot }| {
                format!("\nwal {checkpoints:08x} {salts:016x} {frames:08x} {boot}")
            },
        );
        let width = Self::LENGTH - 1;
        file.write_all_at(format!("{text:width$.width$}\n").as_bytes(), Self::OFFSET)
    }

    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot == this_boot()
    }
}

/// Notes each transaction of the service.
pub(in crate::store::disk) struct JournalMarker {
    mark: Arc<File>,
    journal: PathBuf,
    boot: String,
    reached: Cell<Option<(JournalHeader, usize)>>,
    /// Frames that count for nothing may follow the last transaction under this header: they could pass for one.
    distrusted: Cell<Option<u64>>,
}

impl JournalMarker {
    pub(in crate::store::disk) fn new(mark: Arc<File>, database: &Path) -> Self {
        let journal = beside(database, "-wal");
        Self { mark, journal, boot: this_boot(), reached: Cell::default(), distrusted: Cell::default() }
    }

    /// Notes that the WAL is, or will soon be, empty.
    pub(in crate::store::disk) fn note_empty(&self) {
        self.write(None);
    }

    /// Notes the transactions that the WAL has now. Call it between transactions.
    pub(in crate::store::disk) fn note(&self) {
        let found = self.find().unwrap_or_default();
        if found != self.reached.replace(found) || found.is_none() {
            self.write(found);
        }
    }

    /// Notes that a transaction was not completed: until the WAL begins again, nothing is said of what comes after it.
    pub(in crate::store::disk) fn distrust(&self) {
        let header = File::open(&self.journal).ok().and_then(|journal| header(&journal));
        self.distrusted.set(header.map(|header| header.salts));
    }

    fn write(&self, reached: Option<(JournalHeader, usize)>) {
        self.reached.set(reached);
        let mark = reached.map(|(header, frames)| JournalMark { header, frames, boot: self.boot.clone() });
        if let Err(error) = JournalMark::write(mark.as_ref(), &self.mark) {
            tracing::debug!(%error, "the mark of the data directory cannot be written");
        }
    }

    fn find(&self) -> io::Result<Option<(JournalHeader, usize)>> {
        let journal = File::open(&self.journal)?;
        let Some(header) = header(&journal) else { return Ok(None) };
        let reached = self.reached.get().filter(|(known, _)| *known == header);
        let mut frames = reached.map_or(0, |(_, frames)| frames);
        if self.distrusted.get() == Some(header.salts) {
            return Ok(Some((header, frames)));
        }
        let mut frame = [0; FRAME_HEADER];
        for next in frames.. {
            let offset = HEADER as u64 + next as u64 * FRAME as u64;
            if journal.read_exact_at(&mut frame, offset).is_err() || salts_of(&frame[8..16]) != header.salts {
                break;
            }
            if be(&frame, 4) > 0 {
                frames = next + 1;
            }
        }
        Ok(Some((header, frames)))
    }
}

fn header(journal: &File) -> Option<JournalHeader> {
    let mut bytes = [0; HEADER];
    journal.read_exact_at(&mut bytes, 0).ok()?;
    JournalHeader::parse(&bytes)
}

/// Another after each start of the machine (random(4)).
fn this_boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned() + "."
}
