//! The file of the database: its connections, its size, and what keeps it small.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::directory::Directory;
use super::disk_space::{DatabaseSize, DiskSpace, SpaceEstimate};
use super::error::DiskError;
use super::journal::JournalMarker;
use super::migration;
use super::schema::{self, Layout, PAGE_BYTES};
use crate::file_identity::FileIdentity;

/// The database, open for writing.
pub(super) struct Database {
    pub(super) path: PathBuf,
    /// To detect that another file has taken its place.
    identity: FileIdentity,
    pub(super) connection: Connection,
    disk: DiskSpace,
    pub(super) journal: JournalMarker,
}

impl Database {
    /// Opens the database of a directory. An empty one gets its tables, unless the directory was used before, and one of
    /// an earlier layout is replaced by its migration.
    pub(super) fn open(directory: &Directory) -> Result<Self, DiskError> {
        let path = &*directory.database();
        let failed = |error| DiskError::of_sqlite(path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connect = || Connection::open_with_flags(path, flags).map_err(failed);
        let mut connection = connect()?;
        // Nothing changes in a database that may be another program's.
        let layout = schema::layout(&connection, path)?;
        if layout == Layout::None && directory.was_used() {
            // What a service wrote was in `SQLite`'s own log, and that is lost.
            return Err(directory.vanished());
        }
        if layout == Layout::First {
            drop(connection);
            // What it sets aside is found again when the database is read.
            let _ = migration::migrate(path)?;
            connection = connect()?;
        }
        let identity = identity(path).map_err(|error| DiskError::of_files(path, &error))?;
        let journal = directory.journal_marker();
        let disk = DiskSpace::around(path);
        let mut database = Self { path: path.to_owned(), identity, connection, disk, journal };
        database.configure().map_err(failed)?;
        if layout == Layout::None {
            schema::create(&mut database.connection).map_err(failed)?;
        }
        Ok(database)
    }

    fn configure(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.busy_timeout(Duration::from_secs(2))?;
        schema::shape(connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit survives the end of the process; a checkpoint also survives a power failure.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(())
    }

    /// Above this size, `SQLite` empties its own log into the database and truncates it to this size.
    pub(super) fn bound_journal(&self, bytes: u64) -> rusqlite::Result<()> {
        let bytes = bytes.cast_signed();
        self.connection.pragma_update(None, "wal_autocheckpoint", (bytes / i64::from(PAGE_BYTES)).max(1))?;
        self.connection.pragma_update(None, "journal_size_limit", bytes)
    }

    pub(super) fn size(&self) -> rusqlite::Result<DatabaseSize> {
        let pages = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = |pages: i64| pages.cast_unsigned() * u64::from(PAGE_BYTES);
        Ok(DatabaseSize { total: bytes(pages("page_count")?), unused: bytes(pages("freelist_count")?) })
    }

    /// How much space there is now. Within a transaction, as if it were committed.
    pub(super) fn estimate_space(&self) -> rusqlite::Result<SpaceEstimate> {
        self.size().map(|size| self.disk.estimate(size))
    }

    /// Empties `SQLite`'s own log into the database.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.journal.note_empty();
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.journal.note();
        emptied
    }

    /// Releases the pages that `SQLite` keeps in memory.
    pub(super) fn release_memory(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("PRAGMA shrink_memory")
    }

    /// Returns this many unused bytes to the file system.
    pub(super) fn vacuum(&self, bytes: u64) -> rusqlite::Result<()> {
        let pages = bytes.cast_signed() / i64::from(PAGE_BYTES);
        let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({})", pages.max(1)))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// The size of the file, if it is still there: what is written to a removed one is lost.
    pub(super) fn file_size(&self) -> Result<u64, DiskError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if FileIdentity::of(&found) == self.identity => Ok(found.len()),
            Ok(_) => {
                Err(DiskError::other(&self.path, &"another file has taken its place: restart the service"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DiskError::other(&self.path, &"it was removed: restart the service"))
            }
            Err(error) => Err(DiskError::of_files(&self.path, &error)),
        }
    }
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    std::fs::metadata(path).map(|found| FileIdentity::of(&found))
}

/// A connection that only reads.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, DiskError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| DiskError::of_sqlite(path, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(2)).map_err(failed)?;
    Ok(connection)
}
