use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// Room on the file system of a database. Logs may take all of it but a reserve: with that, what is deleted can be
/// written down, and the service can start again.
pub(super) struct Room {
    database: PathBuf,
    journal: PathBuf,
    reserve: u64,
}

/// How much a database has and needs, in bytes, when all is in it that is only in `SQLite`'s own log yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) size: u64,
    /// Of that, what holds nothing, and is written to first.
    pub(super) unused: u64,
}

impl Room {
    /// What stays free at most, and as a share of the file system.
    const RESERVE: u64 = 128 * 1024 * 1024;
    const SHARE: u64 = 8;

    pub(super) fn around(database: &Path) -> io::Result<Self> {
        let mut journal = database.as_os_str().to_owned();
        journal.push("-wal");
        let (_, size) = free_and_size(database)?;
        let reserve = Self::RESERVE.min(size / Self::SHARE);
        Ok(Self { database: database.to_owned(), journal: journal.into(), reserve })
    }

    /// How many bytes can be written in one go. They are in `SQLite`'s own log before they are in the database, and
    /// as many may be there already; all that is no more than half of the reserve.
    pub(super) fn at_once(&self) -> u64 {
        self.reserve / 8
    }

    /// How many bytes can be written beside the reserve; if negative, so many of the reserve are in use. None if others
    /// have taken most of it: nothing that logs let go of makes up for that.
    pub(super) fn writable(&self, extent: Extent) -> io::Result<Option<i64>> {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let (free, _) = free_and_size(&self.database)?;
        let room = free + length(&self.database) + length(&self.journal);
        if room < extent.size + self.reserve / 2 {
            return Ok(None);
        }
        let needed = extent.size - extent.unused + self.reserve;
        Ok(Some(room.cast_signed() - needed.cast_signed()))
    }
}

/// In bytes; the former for those without privileges.
fn free_and_size(path: &Path) -> io::Result<(u64, u64)> {
    let found = statvfs(path)?;
    let unit = found.fragment_size();
    Ok((found.blocks_available() * unit, found.blocks() * unit))
}
