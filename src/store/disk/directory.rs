use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::DiskError;

/// A data directory that no other process uses as long as this is there.
pub(super) struct Directory {
    path: PathBuf,
    /// Locked; the lock goes with the process, however it ends. Its content is the mark.
    lock: File,
}

impl Directory {
    const MARKED: [u8; 8] = *b"degraded";
    const UNMARKED: [u8; 8] = *b"in order";

    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        let fault = |error| DiskError::of_files(path, &error);
        // What was heard on a network is nobody else's business.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                DiskError::NoDirectory(path.to_owned())
            }
            _ => fault(error),
        })?;
        let open = |name| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path.join(name))
        };
        let lock = open("lock").map_err(fault)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        // It would be made for everybody to read.
        open(DATABASE).map_err(fault)?;
        Ok(Self { path: path.to_owned(), lock })
    }

    pub(super) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }

    /// Whether the service that had it last has shown numbers that it could not set aside.
    pub(super) fn is_marked(&self) -> bool {
        let mut found = [0; 8];
        self.lock.read_exact_at(&mut found, 0).is_ok() && found == Self::MARKED
    }

    /// Notes it, or that all is in order. Written in place: that works on a full disk, too.
    pub(super) fn mark(&self, marked: bool) -> io::Result<()> {
        self.lock.write_all_at(if marked { &Self::MARKED } else { &Self::UNMARKED }, 0)
    }
}

const DATABASE: &str = "rollcall.db";

pub(super) fn database_in(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}
