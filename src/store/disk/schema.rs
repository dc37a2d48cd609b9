//! The layout of the database, and the header by which a file is one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::DiskError;

/// The largest pages that `SQLite` has are four times as large.
pub(super) const PAGE_BYTES: u32 = 16 * 1024;

/// The layout with this version. In `blocks`, the data comes last: the other columns are read without it.
const LAYOUT: &str = "
    CREATE TABLE owners (
        log INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        spec TEXT NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE logs (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        status TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL,
        reserved INTEGER NOT NULL,
        appended INTEGER NOT NULL,
        payload_bytes INTEGER NOT NULL,
        evicted INTEGER NOT NULL,
        truncated INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        complete INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE blocks (
        row INTEGER PRIMARY KEY,
        log INTEGER NOT NULL,
        first INTEGER NOT NULL,
        next INTEGER NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        length INTEGER NOT NULL,
        data_checksum INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE service (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        opened_at INTEGER NOT NULL,
        version TEXT NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
";
const KNOWN: i64 = 2;

/// `Roll` in ASCII: what `PRAGMA application_id` says of our databases.
pub(super) const APPLICATION: i32 = 0x526f_6c6c;

/// The layout of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The database is empty.
    None,
    /// The one before checksums, see [`migration`](super::migration).
    First,
    Current,
}

/// The layout of the database, if this program knows it.
pub(super) fn layout(connection: &Connection, path: &Path) -> Result<Layout, DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    let get = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let found = get("user_version")?;
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    if found == 0 && tables.map_err(failed)? == 0 {
        return Ok(Layout::None);
    }
    if get("application_id")? != i64::from(APPLICATION) {
        return Err(DiskError::Foreign(path.to_owned()));
    }
    let encoding = connection.pragma_query_value(None, "encoding", |row| row.get::<_, String>(0));
    if encoding.map_err(failed)? != "UTF-8" {
        return Err(DiskError::damaged(path, &"its texts are not in UTF-8"));
    }
    match found {
        KNOWN => Ok(Layout::Current),
        _ if has_current_tables(connection).map_err(failed)? => {
            Err(DiskError::damaged(path, &"the number of its layout is wrong"))
        }
        1 => Ok(Layout::First),
        // A service numbers its layouts from 1 on.
        ..=0 => Err(DiskError::damaged(path, &"it has no layout")),
        _ => Err(DiskError::Newer { path: path.to_owned(), found, known: KNOWN }),
    }
}

/// Whether the tables are those of the current layout, whatever the number says.
fn has_current_tables(connection: &Connection) -> rusqlite::Result<bool> {
    let tables = |connection: &Connection| {
        let mut tables = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
        let tables = tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        tables.collect::<rusqlite::Result<Vec<(String, String)>>>()
    };
    let current = Connection::open_in_memory()?;
    current.execute_batch(LAYOUT)?;
    Ok(tables(connection)? == tables(&current)?)
}

/// Takes effect only in an empty database: pages that hold a block without a long chain, and unused space that can be
/// returned to the file system.
pub(super) fn shape(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

/// Creates the tables in an empty database.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(LAYOUT)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", KNOWN)?;
    transaction.commit()
}

/// Examines the bytes of the database's header that never change (<https://www.sqlite.org/fileformat.html>, section 1.3).
/// `SQLite` takes some of them for what another program or a later version of its own has written, and one for a page
/// size at which it finds no rows. An error says what is damaged, unless the database is none of ours.
pub(super) fn examine_header(database: &Path) -> Result<(), DiskError> {
    const LENGTH: usize = 100;
    let mut header = [0; LENGTH];
    let is_read = File::open(database).is_ok_and(|file| file.read_exact_at(&mut header, 0).is_ok());
    if !is_read {
        return Ok(());
    }
    let page = u16::try_from(PAGE_BYTES).unwrap_or_default().to_be_bytes();
    // Until the first checkpoint, the identifier is in the WAL alone.
    let application = [[0; 4], APPLICATION.to_be_bytes()];
    let is_sound = header[..16] == *b"SQLite format 3\0"
        && header[16..18] == page
        && matches!(header[18..20], [1, 1] | [2, 2])
        && header[20..24] == [0, 64, 32, 32]
        && application.iter().any(|known| header[68..72] == *known);
    if is_sound {
        Ok(())
    } else {
        Err(DiskError::damaged(database, &"its first bytes are not those of a database of rollcall"))
    }
}
