//! Why a data directory cannot be opened, read or written.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a data directory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    #[error("another process uses {path}", path = .0.display())]
    InUse(PathBuf),
    #[error("{path} is not a directory", path = .0.display())]
    NoDirectory(PathBuf),
    #[error("{path} cannot be written to ({detail}): give it to the user that runs rollcall", path = .path.display())]
    NotWritable { path: PathBuf, detail: String },
    #[error("{path} is not the data directory of a rollcall", path = .0.display())]
    Missing(PathBuf),
    #[error("{path} cannot be read ({detail}): run this as a user who may", path = .path.display())]
    NotReadable { path: PathBuf, detail: String },
    #[error("there is no room left for {path}: free disk space, or keep less", path = .0.display())]
    Full(PathBuf),
    #[error(
        "{path} is damaged ({detail}): stop the service and run `rollcall check --repair`, which keeps all that is good, or put a copy back",
        path = .path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "{path} is damaged ({detail}), and nothing in it can be read: put a copy back, or move the files of the directory away to start with nothing",
        path = .path.display()
    )]
    Unreadable { path: PathBuf, detail: String },
    #[error(
        "{path} is missing, empty or cut short, but a service has used the directory: put a copy back, or remove {lock} and {journal} to start with nothing, once a backup of the directory is made and `rollcall export` has found nothing in it",
        path = .path.display(),
        lock = .lock.display(),
        journal = .journal.display()
    )]
    Vanished { path: PathBuf, lock: PathBuf, journal: PathBuf },
    #[error("{path} is not a database of rollcall, or its beginning is damaged", path = .0.display())]
    Foreign(PathBuf),
    #[error(
        "{path} was written by a newer rollcall (layout {found}, this one knows {known}): use that one",
        path = .path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the data directory is closed: the service stops")]
    Closed,
    #[error("{path}: {detail}", path = .path.display())]
    Other { path: PathBuf, detail: String },
}

impl DiskError {
    pub(super) fn other(path: &Path, detail: &dyn std::fmt::Display) -> Self {
        Self::Other { path: path.to_owned(), detail: detail.to_string() }
    }

    pub(super) fn damaged(path: &Path, detail: &dyn std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), detail: detail.to_string() }
    }

    pub(super) fn of_files(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path: path.to_owned(), detail: error.to_string() }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path.to_owned()),
            _ => Self::other(path, error),
        }
    }

    /// The same error for a process that only reads.
    pub(super) fn when_reading(self) -> Self {
        match self {
            Self::NotWritable { path, detail } => Self::NotReadable { path, detail },
            error => error,
        }
    }

    pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(path.to_owned()),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path: path.to_owned(), detail: error.to_string() }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse(path.to_owned()),
            // Our statements are right unless the schema is damaged.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                Self::damaged(path, &format!("SQLite cannot find its way in it: {error}"))
            }
            Some(ErrorCode::NotADatabase) => Self::Foreign(path.to_owned()),
            Some(ErrorCode::SystemIoFailure) => {
                Self::other(path, &format!("the disk fails, or the file was cut short (SQLite: {error})"))
            }
            _ => Self::other(path, &format!("SQLite reports an error: {error}")),
        }
    }
}
