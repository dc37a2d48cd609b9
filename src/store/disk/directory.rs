use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::DiskFault;

/// A data directory that no other process uses as long as this is there.
pub(super) struct Directory {
    path: PathBuf,
    /// Locked; the lock goes with the process, however it ends.
    _lock: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, DiskFault> {
        let fault = |error| DiskFault::of_files(path, &error);
        // What was heard on a network is nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(fault)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DiskFault::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(fault(error)),
        }
    }

    pub(super) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }
}

pub(super) fn database_in(directory: &Path) -> PathBuf {
    directory.join("rollcall.db")
}
