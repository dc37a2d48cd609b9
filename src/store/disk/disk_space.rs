//! How much a database may still write to its file system.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::{Statvfs, statvfs};

/// Space on the file system of a database. Logs may take all of it but a reserve, which is there to commit deletions
/// and to start the service again.
pub(super) struct DiskSpace {
    database: PathBuf,
    journal: PathBuf,
}

/// The size of a database in bytes, including what is only in `SQLite`'s own log (the WAL) yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct DatabaseSize {
    pub(super) total: u64,
    /// Of that, unused pages, which `SQLite` reuses first.
    pub(super) unused: u64,
}

/// The bytes that the service can write.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpaceEstimate {
    /// The most bytes of the database.
    pub(super) capacity: u64,
    /// The remaining part of that; 0 if it is too little for a block.
    pub(super) writable: u64,
    /// What one transaction may write. It is in `SQLite`'s own log before it is in the database, and so may two others
    /// be; all three are less than half of the reserve.
    pub(super) max_transaction: u64,
    /// Other files take most of the disk, or of the reserve: the writer may only write deletions.
    pub(super) taken: bool,
}

impl SpaceEstimate {
    /// Whether so little is left that each transaction must measure it first: less than could be written until the next
    /// regular measurement. On a small disk that is always so.
    pub(super) fn is_tight(&self) -> bool {
        self.taken || self.writable < 64 * self.max_transaction
    }
}

impl DiskSpace {
    /// The reserve at most; it is no more than an eighth of the bytes that are free or the database's.
    const MAX_RESERVE: u64 = 128 * 1024 * 1024;
    const RESERVE_DIVISOR: u64 = 8;
    /// A block and its overhead.
    const MIN_TRANSACTION: u64 = 96 * 1024;
    /// If less than this, and less than an eighth of the disk, is available, others fill it: memory holds more.
    const MIN_AVAILABLE: u64 = 16 * 1024 * 1024;
    const AVAILABLE_DIVISOR: u64 = 8;

    pub(super) fn around(database: &Path) -> Self {
        let mut journal = database.as_os_str().to_owned();
        journal.push("-wal");
        Self { database: database.to_owned(), journal: journal.into() }
    }

    pub(super) fn estimate(&self, database: DatabaseSize) -> SpaceEstimate {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let (free, all) = free_and_all(&self.database);
        let (file, journal) = (length(&self.database), length(&self.journal));
        let available = free + file + journal;
        let reserve = Self::MAX_RESERVE.min(available / Self::RESERVE_DIVISOR);
        let capacity = available - reserve;
        // The file has yet to grow by what is in the journal alone.
        let growth = database.total.saturating_sub(file);
        SpaceEstimate {
            capacity,
            writable: capacity
                .checked_sub(database.total - database.unused)
                .filter(|writable| *writable >= Self::MIN_TRANSACTION)
                .unwrap_or(0),
            max_transaction: (reserve / 8).max(Self::MIN_TRANSACTION),
            taken: free < growth + reserve / 2
                || available < Self::MIN_AVAILABLE.min(all / Self::AVAILABLE_DIVISOR),
        }
    }
}

/// Bytes of the file system: free to unprivileged processes, and in all. If it does not report them, assume plenty:
/// when it is full, writing fails.
fn free_and_all(path: &Path) -> (u64, u64) {
    const PLENTY: u64 = 1 << 60;
    let found = statvfs(path).ok().filter(|found| found.blocks() > 0);
    let bytes = |found: Statvfs| {
        let unit = found.fragment_size();
        (found.blocks_available().saturating_mul(unit), found.blocks().saturating_mul(unit))
    };
    found.map_or((PLENTY, PLENTY), bytes)
}
