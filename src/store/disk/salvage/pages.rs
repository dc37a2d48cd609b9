//! The pages of a database file, as its write-ahead log (the WAL) leaves them.
//!
//! Formats: <https://www.sqlite.org/fileformat.html>, sections 1.3 (header), 1.5 (freelist), 1.8 (pointer map) and 4
//! (WAL).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::disk::schema::PAGE_BYTES;

pub(super) const SIZE: usize = PAGE_BYTES as usize;

pub(super) struct DatabasePages {
    file: File,
    /// Pages that are newer in the WAL, and where they are there.
    newer: HashMap<u32, u64>,
    journal: Option<File>,
    count: u32,
}

impl DatabasePages {
    pub(super) fn open(database: &Path, journal: &Path) -> io::Result<Self> {
        let file = File::open(database)?;
        let count = u32::try_from(file.metadata()?.len() / SIZE as u64).unwrap_or(u32::MAX);
        let journal = File::open(journal).ok();
        let mut pages = Self { file, newer: HashMap::new(), journal, count };
        pages.read_journal();
        Ok(pages)
    }

    /// The numbers of all pages that are not known to be free: free ones still have rows that were deleted.
    pub(super) fn in_use(&self) -> impl Iterator<Item = u32> {
        let listed = self.freelist();
        (1..=self.count).filter(move |page| {
            let is_listed = listed.as_ref().map(|free| free.contains(page));
            match self.use_of(*page) {
                Some(PageUse::Free) => is_listed == Some(false),
                Some(PageUse::Taken) => true,
                None => is_listed != Some(true),
            }
        })
    }

    pub(super) fn get(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; SIZE];
        let offset = u64::from(number.checked_sub(1)?) * SIZE as u64;
        let (file, offset) = match (self.newer.get(&number), &self.journal) {
            (Some(offset), Some(journal)) => (journal, *offset),
            _ => (&self.file, offset),
        };
        file.read_exact_at(&mut page, offset).ok()?;
        Some(page)
    }

    /// The most bytes that one row can have.
    pub(super) fn bytes(&self) -> usize {
        self.count as usize * SIZE
    }

    /// Notes the pages of all transactions that are whole.
    fn read_journal(&mut self) {
        const HEADER: usize = 32;
        const FRAME: usize = 24;
        let Some(journal) = &self.journal else { return };
        let mut header = [0; HEADER];
        if journal.read_exact_at(&mut header, 0).is_err() || be(&header, 8) as usize != SIZE {
            return;
        }
        let is_big = match be(&header, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return,
        };
        let mut sums = checksum((0, 0), &header[..24], is_big);
        if sums != (be(&header, 24), be(&header, 28)) {
            return;
        }
        let (mut frame, mut offset, mut uncommitted) = (vec![0; FRAME + SIZE], HEADER as u64, Vec::new());
        while journal.read_exact_at(&mut frame, offset).is_ok() {
            sums = checksum(checksum(sums, &frame[..8], is_big), &frame[FRAME..], is_big);
            if frame[8..16] != header[16..24] || sums != (be(&frame, 16), be(&frame, 20)) {
                break;
            }
            uncommitted.push((be(&frame, 0), offset + FRAME as u64));
            // Not 0 in the last frame of a transaction: the pages of the database.
            let pages = be(&frame, 4);
            if pages > 0 {
                self.newer.extend(uncommitted.drain(..));
                self.count = pages;
            }
            offset += frame.len() as u64;
        }
    }

    /// The free pages; none if the list of them is damaged.
    fn freelist(&self) -> Option<HashSet<u32>> {
        let header = self.get(1)?;
        let (mut trunk, count) = (be(&header, 32), be(&header, 36) as usize);
        let mut free = HashSet::new();
        while trunk != 0 {
            let page = self.get(trunk)?;
            let leaves = be(&page, 4) as usize;
            if leaves > SIZE / 4 - 2 || !free.insert(trunk) {
                return None;
            }
            for leaf in 0..leaves {
                if !free.insert(be(&page, 8 + 4 * leaf)) {
                    return None;
                }
            }
            trunk = be(&page, 0);
        }
        (free.len() == count).then_some(free)
    }

    /// What the pointer map says of a page; none if that is damaged.
    fn use_of(&self, page: u32) -> Option<PageUse> {
        let entries = PAGE_BYTES / 5;
        let map = page.checked_sub(2)? / (entries + 1) * (entries + 1) + 2;
        let at = 5 * page.checked_sub(map + 1)? as usize;
        match self.get(map)?[at] {
            1 | 3..=5 => Some(PageUse::Taken),
            2 => Some(PageUse::Free),
            _ => None,
        }
    }
}

enum PageUse {
    Free,
    Taken,
}

/// A big-endian number.
pub(super) fn be(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn checksum((mut first, mut second): (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let number = |at| if is_big { be(bytes, at) } else { be(bytes, at).swap_bytes() };
    for at in (0..bytes.len()).step_by(8) {
        first = first.wrapping_add(number(at)).wrapping_add(second);
        second = second.wrapping_add(number(at + 4)).wrapping_add(first);
    }
    (first, second)
}
