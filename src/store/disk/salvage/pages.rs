//! The pages of a database file, as its write-ahead log (the WAL) leaves them.
//!
//! Formats: <https://www.sqlite.org/fileformat.html>, sections 1.3 (header), 1.5 (freelist) and 1.8 (pointer map).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::store::disk::journal::{Journal, be};
use crate::store::disk::schema::PAGE_BYTES;

pub(super) const SIZE: usize = PAGE_BYTES as usize;

pub(super) struct DatabasePages {
    /// None if there is none: all that is left is in the WAL.
    file: Option<File>,
    /// Pages that are newer in the WAL, and where they are there.
    newer: HashMap<u32, u64>,
    journal: Option<Journal>,
    count: u32,
    /// Frames of the WAL are damaged or missing, so that pages may be of different ages.
    is_broken: bool,
}

/// The frames of the WAL that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalFrames {
    /// Those that `SQLite` reads.
    Committed,
    /// Also good ones behind damaged ones.
    Good,
    /// Also damaged ones, and those of a transaction that has no end: most of their rows can be good.
    All,
}

impl DatabasePages {
    pub(super) fn open(database: &Path, journal: &Path, frames: JournalFrames) -> io::Result<Self> {
        let file = match File::open(database) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|about| about.len()))?;
        let count = u32::try_from(length / SIZE as u64).unwrap_or(u32::MAX);
        let journal = Journal::read(journal)?;
        let mut pages = Self { file, newer: HashMap::new(), journal: None, count, is_broken: false };
        if let Some(journal) = journal {
            pages.read_journal(&journal, frames);
            pages.journal = Some(journal);
        }
        Ok(pages)
    }

    /// The numbers of all pages that are not known to be free: free ones still have rows that were deleted.
    pub(super) fn in_use(&self) -> impl Iterator<Item = u32> {
        let listed = self.freelist().filter(|_| !self.is_broken);
        (1..=self.count).filter(move |page| {
            if self.is_broken && self.newer.contains_key(page) {
                return true;
            }
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
            (Some(offset), Some(journal)) => (&journal.file, *offset),
            _ => (self.file.as_ref()?, offset),
        };
        file.read_exact_at(&mut page, offset).ok()?;
        Some(page)
    }

    /// The most bytes that one row can have.
    pub(super) fn bytes(&self) -> usize {
        self.count as usize * SIZE
    }

    fn read_journal(&mut self, journal: &Journal, frames: JournalFrames) {
        self.is_broken = frames != JournalFrames::Committed && journal.is_broken();
        let frames: Vec<_> = match frames {
            JournalFrames::Committed => journal.frames[..journal.committed()].iter().collect(),
            JournalFrames::Good => journal.good().collect(),
            JournalFrames::All => journal.frames_of_header().collect(),
        };
        // A damaged frame can name any page.
        let most = self.count.saturating_add(u32::try_from(journal.frames.len()).unwrap_or(u32::MAX));
        for frame in frames {
            self.newer.insert(frame.page, frame.offset);
            if !self.is_broken && frame.pages > 0 {
                self.count = frame.pages;
            } else if self.is_broken {
                self.count = self.count.max(frame.pages.max(frame.page).min(most));
            }
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
