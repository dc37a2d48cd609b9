//! The data directory: its lock, its files, and the mark: whether readers saw numbers that were not reserved, and how far
//! the WAL reaches.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::DiskError;
use super::files::beside;
use super::journal::{self, JournalMark, JournalMarker, JournalState};
use super::schema::{self, PAGE_BYTES};

/// A data directory that no other process can use while this exists.
pub(super) struct Directory {
    path: PathBuf,
    /// The file `lock`, whose content is the mark.
    lock: Arc<File>,
    /// Locked, like the file: if someone deletes that, the directory is still in use. The kernel drops both locks when
    /// the process ends, however that happens.
    _itself: File,
}

impl Directory {
    const MARKED: [u8; 8] = *b"degraded";
    const UNMARKED: [u8; 8] = *b"in order";

    /// Opens or creates a directory with a database.
    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        // Received datagrams may be confidential: only the service's user may read them.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                DiskError::NoDirectory(path.to_owned())
            }
            _ => DiskError::of_files(path, &error),
        })?;
        let directory = Self::locked(path)?;
        // `SQLite` would create a database that all users can read.
        if !directory.has_vanished() {
            open_private(&directory.database()).map_err(|error| DiskError::of_files(path, &error))?;
        }
        Ok(directory)
    }

    /// Opens a directory that has a database.
    pub(super) fn existing(path: &Path) -> Result<Self, DiskError> {
        if !path.is_dir() {
            return Err(DiskError::Missing(path.to_owned()));
        }
        let had_lock = path.join(LOCK).exists();
        if !had_lock && !database_in(path).exists() {
            return Err(DiskError::Missing(path.to_owned()));
        }
        Self::locked(path)
    }

    fn locked(path: &Path) -> Result<Self, DiskError> {
        let failed = |error| DiskError::of_files(path, &error);
        let in_use = || DiskError::InUse(path.to_owned());
        let itself = File::open(path).map_err(failed)?;
        match itself.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            // NFS locks no directories: then the file has to do.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let lock = open_private(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock: Arc::new(lock), _itself: itself }),
            Err(TryLockError::WouldBlock) => Err(in_use()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Whether the database is missing, empty or cut short to less than a page, although there was one. `SQLite` would
    /// remove its own log beside it.
    pub(super) fn has_vanished(&self) -> bool {
        let database = self.database();
        length(&database) < PAGE_BYTES.into() && (self.was_used() || length(&beside(&database, "-wal")) > 0)
    }

    /// Examines the files before `SQLite` opens them.
    pub(super) fn examine(&self) -> Result<JournalState, DiskError> {
        let database = self.database();
        if self.has_vanished() {
            return Err(DiskError::damaged(&database, &"it is missing, empty or cut short"));
        }
        schema::examine_header(&database)?;
        journal::examine(&database, JournalMark::read(&self.lock).as_ref())
    }

    /// What notes in the mark how far the WAL reaches.
    pub(super) fn journal_marker(&self) -> JournalMarker {
        JournalMarker::new(self.lock.clone(), &self.database())
    }

    /// Whether a service has read or created a database here: it has left the mark, set or not.
    pub(super) fn was_used(&self) -> bool {
        self.lock.metadata().is_ok_and(|lock| lock.len() > 0)
    }

    /// The error of a directory that was used and has no database any more.
    pub(super) fn vanished(&self) -> DiskError {
        let path = self.database();
        let journal = beside(&path, "-wal");
        DiskError::Vanished { path, lock: self.path.join(LOCK), journal }
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

/// Examines the files of a directory that a service may be using, which changes them meanwhile.
pub(super) fn examine_shared(path: &Path) -> Result<(), DiskError> {
    let database = database_in(path);
    let mark = File::open(path.join(LOCK)).ok().and_then(|lock| JournalMark::read(&lock));
    let examined =
        schema::examine_header(&database).and_then(|()| journal::examine(&database, mark.as_ref()));
    if examined.is_err() && is_in_use(path) { Ok(()) } else { examined.map(drop) }
}

fn is_in_use(path: &Path) -> bool {
    let is_locked = |path: &Path| {
        let locked = File::open(path).map(|file| file.try_lock_shared());
        matches!(locked, Ok(Err(TryLockError::WouldBlock)))
    };
    is_locked(path) || is_locked(&path.join(LOCK))
}

const DATABASE: &str = "rollcall.db";
const LOCK: &str = "lock";

pub(super) fn database_in(directory: &Path) -> PathBuf {
    directory.join(DATABASE)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// Opens or creates a file that only this user can read.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}
