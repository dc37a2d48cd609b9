//! Reading a database from outside without a trace: nothing is created, changed or removed.
//!
//! Processes that have a database in WAL mode open share an index of `SQLite`'s own log, the file `-shm`. If it exists,
//! from a running service or from one that was killed, `SQLite` can read alongside, also from a read-only medium. If
//! not, no process has the database open, and an ordinary connection would create the file: so the database is read as
//! `immutable`, or, because that would ignore what is only in the log, by a connection that keeps the index to itself
//! (<https://www.sqlite.org/wal.html#noshm>).

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::database;
use super::error::DiskError;
use super::files::beside;
use super::schema::PAGE_BYTES;

/// Reads a database that others may have open, or open at any moment.
pub(super) struct SnapshotReader {
    path: PathBuf,
    connection: Connection,
    /// The files as they were when no other process had the database open, so that nothing was locked.
    alone: Option<Files>,
}

/// What changes when a process opens the database.
#[derive(PartialEq, Eq)]
struct Files {
    database: Option<FileStamp>,
    log: Option<FileStamp>,
    index: Option<FileStamp>,
}

/// Inode, length, and time of the last change in seconds and nanoseconds.
type FileStamp = (u64, u64, i64, i64);

impl SnapshotReader {
    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        let file = std::fs::File::open(path).map_err(|error| match error.kind() {
            // The rows in the WAL can be read without it.
            ErrorKind::NotFound if beside(path, "-wal").exists() => DiskError::Foreign(path.to_owned()),
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                DiskError::Missing(path.parent().unwrap_or(path).to_owned())
            }
            _ => DiskError::NotReadable { path: path.to_owned(), detail: error.to_string() },
        })?;
        // `SQLite` would remove its own log beside a database of less than a page.
        if file.metadata().is_ok_and(|file| file.len() < PAGE_BYTES.into()) {
            return Err(DiskError::Foreign(path.to_owned()));
        }
        Self::connect(path)
    }

    fn connect(path: &Path) -> Result<Self, DiskError> {
        let files = Files::of(path);
        let alone = files.index.is_none().then_some(files);
        let connection = match &alone {
            Some(files) => connect_alone(path, files)?,
            None => database::connect_to_read(path).map_err(DiskError::when_reading)?,
        };
        Ok(Self { path: path.to_owned(), connection, alone })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Call this before each query: once a process has opened the database, it may change under a connection that locks
    /// nothing. It does not change at once, as new data goes into the log first; but that process may be gone again.
    pub(super) fn connection(&mut self) -> Result<&Connection, DiskError> {
        if self.alone.as_ref().is_some_and(|files| *files != Files::of(&self.path)) {
            *self = Self::connect(&self.path)?;
        }
        Ok(&self.connection)
    }

    /// The error of a failed read.
    pub(super) fn disk_error(path: &Path, error: &rusqlite::Error) -> DiskError {
        DiskError::of_sqlite(path, error).when_reading()
    }
}

impl Files {
    fn of(path: &Path) -> Self {
        let look = |path: PathBuf| {
            let about = path.metadata().ok()?;
            Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
        };
        let [database, log, index] = ["", "-wal", "-shm"].map(|suffix| look(beside(path, suffix)));
        Self { database, log, index }
    }
}

fn connect_alone(path: &Path, files: &Files) -> Result<Connection, DiskError> {
    let failed = |error| SnapshotReader::disk_error(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if files.log.is_none_or(|(_, length, ..)| length == 0) {
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        return Connection::open_with_flags(immutable(path), flags).map_err(failed);
    }
    let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-none").map_err(failed)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(failed)?;
    // Otherwise it would act as the last connection to close, which removes the log.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    Ok(connection)
}

/// A URI for `SQLite`: every byte that could have another meaning is percent-encoded.
fn immutable(path: &Path) -> String {
    use std::fmt::Write as _;
    let mut uri = "file://".to_owned();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for &byte in absolute.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri + "?immutable=1"
}
