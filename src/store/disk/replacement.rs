//! A database that is written beside another one, and takes its place when it is whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::DiskError;
use super::files::beside;
use super::{directory, schema};

pub(super) struct Replacement {
    database: PathBuf,
    path: PathBuf,
    pub(super) connection: Connection,
}

impl Replacement {
    /// A new database with tables, for the place of this one.
    pub(super) fn begin(database: &Path) -> Result<Self, DiskError> {
        let path = beside(database, ".new");
        let failed = |error: &io::Error| DiskError::of_files(&path, error);
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(&error));
        }
        directory::open_private(&path).map_err(|error| failed(&error))?;
        let connection = Connection::open(&path).and_then(|mut connection| {
            // Until it is whole, it is worth nothing.
            connection.pragma_update(None, "journal_mode", "OFF")?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            schema::shape(&connection)?;
            schema::create(&mut connection)?;
            connection.execute_batch("BEGIN")?;
            Ok(connection)
        });
        let connection = connection.map_err(|error| DiskError::of_sqlite(&path, &error))?;
        Ok(Self { database: database.to_owned(), path, connection })
    }

    /// Puts it in the place of the other one. `clear_away` moves or removes the WAL of the other one first, and may
    /// move that one, too.
    pub(super) fn finish(self, clear_away: impl FnOnce() -> io::Result<()>) -> Result<(), DiskError> {
        let Self { database, path, connection } = self;
        connection.execute_batch("COMMIT").map_err(|error| DiskError::of_sqlite(&path, &error))?;
        drop(connection);
        let replace = || {
            File::open(&path)?.sync_all()?;
            clear_away()?;
            std::fs::rename(&path, &database)?;
            File::open(database.parent().unwrap_or(&database))?.sync_all()
        };
        replace().map_err(|error| DiskError::of_files(&database, &error))
    }
}
