//! The files of `SQLite` beside a database.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file whose name is the database's and this suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A name for the damaged database beside the one that replaces it.
pub(super) fn free_copy(database: &Path) -> PathBuf {
    let copies = (1..).map(|number| beside(database, &format!(".damaged-{number}")));
    let is_taken = |copy: &PathBuf| copy.exists() || beside(copy, "-wal").exists();
    copies.into_iter().find(|copy| !is_taken(copy)).unwrap_or_default()
}

/// Removes `SQLite`'s own files beside a database that is to be replaced: it would apply them to the next one.
pub(super) fn remove_beside(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
