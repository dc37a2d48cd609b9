//! Where an archive reads: in the database itself, or in a copy of what is good there.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::DiskError;
use super::loading::LoadedDatabase;
use super::schema::Layout;
use super::snapshot_reader::SnapshotReader;
use super::{directory, loading, migration, repair, schema};

pub(super) enum ArchiveSource {
    Directory(SnapshotReader),
    /// All that is good in a damaged database, or the content of one of an earlier layout, in a temporary file.
    Copy(PathBuf, Connection),
}

impl ArchiveSource {
    /// Opens the database and reads it; returns also what is damaged, so that it had to be copied.
    pub(super) fn open(database: &Path) -> Result<(Self, LoadedDatabase, Vec<String>), DiskError> {
        let examined = directory::examine_shared(database.parent().unwrap_or(database));
        match examined.and_then(|()| Self::read(database)).map_err(DiskError::when_reading) {
            Err(error @ (DiskError::Damaged { .. } | DiskError::Foreign(_))) => {
                let copy = temporary(database)?;
                let rows = repair::copy_good(database, &copy).map_err(DiskError::when_reading)?;
                // Without them, nothing says whose the datagrams are.
                let has_owners = rows.owners.iter().any(|owner| owner.row.is_some());
                if !has_owners && rows.logs.iter().all(|log| log.row.is_none()) {
                    return Err(error);
                }
                let found = loading::load(&copy, database)?;
                Ok((Self::Copy(database.to_owned(), copy), found, vec![error.to_string()]))
            }
            opened => opened,
        }
    }

    fn read(database: &Path) -> Result<(Self, LoadedDatabase, Vec<String>), DiskError> {
        let mut reader = SnapshotReader::open(database)?;
        let connection = reader.connection()?;
        let snapshot = connection.unchecked_transaction();
        let snapshot = snapshot.map_err(|error| SnapshotReader::disk_error(database, &error))?;
        match schema::layout(&snapshot, database)? {
            Layout::None => Err(DiskError::Foreign(database.to_owned())),
            Layout::First => {
                let copy = temporary(database)?;
                let copied = migration::copy(&snapshot, &copy);
                let damage = copied.map_err(|error| DiskError::of_sqlite(database, &error))?;
                let found = loading::load(&copy, database)?;
                Ok((Self::Copy(database.to_owned(), copy), found, damage))
            }
            Layout::Current => {
                let found = loading::load(&snapshot, database)?;
                drop(snapshot);
                Ok((Self::Directory(reader), found, Vec::new()))
            }
        }
    }

    pub(super) fn query<T>(
        &mut self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DiskError> {
        let (found, path) = match self {
            Self::Directory(reader) => (query(reader.connection()?), reader.path()),
            Self::Copy(path, copy) => (query(copy), &**path),
        };
        found.map_err(|error| SnapshotReader::disk_error(path, &error))
    }
}

/// An empty database in a temporary file, which vanishes with the connection.
fn temporary(database: &Path) -> Result<Connection, DiskError> {
    let created = Connection::open("").and_then(|mut copy| {
        copy.pragma_update(None, "synchronous", "OFF")?;
        schema::create(&mut copy)?;
        copy.execute_batch("BEGIN")?;
        Ok(copy)
    });
    created.map_err(|error| DiskError::of_sqlite(database, &error))
}
