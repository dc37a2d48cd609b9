use std::path::{Path, PathBuf};

use nix::sys::statvfs::{Statvfs, statvfs};

/// Room on the file system of a database. Logs may take all of it but a reserve: with that, what is deleted can be
/// written down, and the service can start again.
pub(super) struct DiskSpace {
    database: PathBuf,
    journal: PathBuf,
}

/// How much a database has and needs, in bytes, when all is in it that is only in `SQLite`'s own log yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct DbSize {
    pub(super) size: u64,
    /// Of that, what holds nothing, and is written to first.
    pub(super) unused: u64,
}

/// What there is room for, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpaceEstimate {
    /// What the database may take in all.
    pub(super) capacity: u64,
    /// Of that, what is left; none, if it is too little for a block.
    pub(super) writable: u64,
    /// What one transaction may write. It is in `SQLite`'s own log before it is in the database, and so may two others
    /// be; all that is less than half of the reserve.
    pub(super) at_once: u64,
    /// Others have taken most of the disk, or of the reserve: nothing may be written but what is deleted.
    pub(super) taken: bool,
}

impl SpaceEstimate {
    /// Whether so little is left that each transaction has to look first: less than can be written in the while for which
    /// the rest is taken for granted. On a small disk that is always so.
    pub(super) fn is_tight(&self) -> bool {
        self.taken || self.writable < 64 * self.at_once
    }
}

impl DiskSpace {
    /// What stays free at most, and as a share of what is free or the database's.
    const RESERVE: u64 = 128 * 1024 * 1024;
    const SHARE: u64 = 8;
    /// A block, and what belongs to it.
    const LEAST_AT_ONCE: u64 = 96 * 1024;
    /// If the database may not have so much, or such a share of the file system, others have it: memory holds more.
    const LEAST: u64 = 16 * 1024 * 1024;

    pub(super) fn around(database: &Path) -> Self {
        let mut journal = database.as_os_str().to_owned();
        journal.push("-wal");
        Self { database: database.to_owned(), journal: journal.into() }
    }

    pub(super) fn estimate(&self, extent: DbSize) -> SpaceEstimate {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let (free, all) = free_and_all(&self.database);
        let (file, journal) = (length(&self.database), length(&self.journal));
        let available = free + file + journal;
        let reserve = Self::RESERVE.min(available / Self::SHARE);
        let capacity = available - reserve;
        // What is in the journal alone has yet to find its place in the file.
        let growth = extent.size.saturating_sub(file);
        SpaceEstimate {
            capacity,
            writable: capacity
                .checked_sub(extent.size - extent.unused)
                .filter(|writable| *writable >= Self::LEAST_AT_ONCE)
                .unwrap_or(0),
            at_once: (reserve / 8).max(Self::LEAST_AT_ONCE),
            taken: free < growth + reserve / 2 || available < Self::LEAST.min(all / Self::SHARE),
        }
    }
}

/// Bytes of the file system, the former for those without privileges. One that does not tell has plenty: when it is
/// full, writing fails.
fn free_and_all(path: &Path) -> (u64, u64) {
    const PLENTY: u64 = 1 << 60;
    let found = statvfs(path).ok().filter(|found| found.blocks() > 0);
    let bytes = |found: Statvfs| {
        let unit = found.fragment_size();
        (found.blocks_available().saturating_mul(unit), found.blocks().saturating_mul(unit))
    };
    found.map_or((PLENTY, PLENTY), bytes)
}
