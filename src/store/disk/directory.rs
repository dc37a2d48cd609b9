//! The data directory: its lock, its files, and the mark that readers saw numbers that were not reserved.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::DiskError;

/// A data directory that no other process can use while this exists.
pub(super) struct Directory {
    path: PathBuf,
    /// Locked; the kernel drops the lock when the process ends, however that happens. The file's content is the mark.
    lock: File,
}

impl Directory {
    const MARKED: [u8; 8] = *b"degraded";
    const UNMARKED: [u8; 8] = *b"in order";

    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        let disk_error = |error| DiskError::of_files(path, &error);
        // Received datagrams may be confidential: only the service's user may read them.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                DiskError::NoDirectory(path.to_owned())
            }
            _ => disk_error(error),
        })?;
        let open = |name| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path.join(name))
        };
        let lock = open("lock").map_err(disk_error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(disk_error(error)),
        }
        // `SQLite` would create a database that all users can read.
        open(DATABASE).map_err(disk_error)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    pub(super) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }

    /// Whether readers of the last service saw numbers that it could not reserve.
    pub(super) fn is_marked(&self) -> bool {
        let mut found = [0; 8];
        self.lock.read_exact_at(&mut found, 0).is_ok() && found == Self::MARKED
    }

    /// Sets or clears the mark. It is written in place, which works on a full disk, too.
    pub(super) fn mark(&self, marked: bool) -> io::Result<()> {
        self.lock.write_all_at(if marked { &Self::MARKED } else { &Self::UNMARKED }, 0)
    }
}

const DATABASE: &str = "rollcall.db";

pub(super) fn database_in(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}
