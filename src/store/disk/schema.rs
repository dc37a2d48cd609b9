//! The database: its layout, and its content at the start.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::disk_space::{DbSize, DiskSpace, SpaceEstimate};
use super::{ArchivedLog, DiskError, LogHandle, Saved};
use crate::model::Timestamp;
use crate::store::counters::LogCounters;
use crate::store::saved::{RowId, SavedBlock, SavedLog};

/// One step for each version of the layout; `PRAGMA user_version` says how many have been taken.
const LAYOUTS: [&str; 1] = ["
    CREATE TABLE owners (
        log INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        wanted TEXT NOT NULL
    ) STRICT;
    CREATE TABLE logs (
        number INTEGER PRIMARY KEY,
        progress TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL,
        reserved INTEGER NOT NULL,
        appended INTEGER NOT NULL,
        payload_bytes INTEGER NOT NULL,
        evicted INTEGER NOT NULL,
        truncated INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        complete INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE blocks (
        row INTEGER PRIMARY KEY,
        log INTEGER NOT NULL,
        first INTEGER NOT NULL,
        next INTEGER NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE service (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        opened_at INTEGER NOT NULL,
        version TEXT NOT NULL
    ) STRICT;
"];

#[expect(clippy::cast_possible_wrap, reason = "they are few")]
const KNOWN: i64 = LAYOUTS.len() as i64;

/// The largest pages that `SQLite` has are four times as large.
pub(super) const PAGE_BYTES: u32 = 16 * 1024;

/// `Roll` in ASCII: what `PRAGMA application_id` says of our databases.
const APPLICATION: i64 = 0x526f_6c6c;

/// Sequence numbers reserved for each log when it is restored.
const AHEAD: i64 = 1_000;
/// More sequence numbers than a log can have used while nothing could be written: days, at a million a second. A double
/// can hold numbers some thousand times as large.
const SKIPPED: i64 = 1 << 40;

/// No service reaches larger numbers of datagrams, bytes, logs or blocks.
const LARGEST: i64 = i64::MAX >> 1;

const SET_ASIDE: &str = "UPDATE logs SET reserved = reserved + ?1 WHERE number = ?2";
const OPENED: &str = "INSERT OR REPLACE INTO service VALUES (1, ?1, ?2)";
const LOGS: &str = "SELECT number, kind, id, wanted, progress, epoch, first, reserved, appended, payload_bytes, \
    evicted, truncated, lost, complete FROM logs JOIN owners ON log = number ORDER BY number";
const NAMED_LOGS: &str = "SELECT number, kind, id, '', '', epoch, first, reserved, appended, payload_bytes, \
    evicted, truncated, lost, complete FROM logs JOIN owners ON log = number ORDER BY number";
const BLOCKS: &str = "SELECT row, log, first, next, since, until, length(data) FROM blocks ORDER BY row";

pub(super) const FETCH: &str = "SELECT data FROM blocks WHERE row = ?1";
pub(super) const FETCH_OF_LOG: &str = "SELECT data, next FROM blocks WHERE row = ?1 AND first = ?2 \
    AND log = (SELECT number FROM logs WHERE number = ?3 AND epoch = ?4)";
pub(super) const WANTED: &str =
    "SELECT wanted FROM owners JOIN logs ON number = log WHERE number = ?1 AND epoch = ?2";
pub(super) const PUT_OWNER: &str =
    "INSERT OR REPLACE INTO owners (log, kind, id, wanted) VALUES (?1, ?2, ?3, ?4)";
pub(super) const PUT_LOG: &str = "INSERT OR REPLACE INTO logs (number, progress, epoch, first, reserved, appended, \
    payload_bytes, evicted, truncated, lost, complete) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
pub(super) const DELETE_OWNER: &str = "DELETE FROM owners WHERE log = ?1";
pub(super) const DELETE_LOG: &str = "DELETE FROM logs WHERE number = ?1";
pub(super) const PUT_BLOCK: &str = "INSERT OR REPLACE INTO blocks (row, log, first, next, since, until, data) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
pub(super) const DELETE_BLOCK: &str = "DELETE FROM blocks WHERE row = ?1";

/// The database, open to be written.
pub(super) struct Database {
    pub(super) path: PathBuf,
    /// Device and inode of the file, to detect that another has taken its place.
    identity: (u64, u64),
    pub(super) connection: Connection,
    room: DiskSpace,
}

/// What was in the database.
pub(super) struct SavedState {
    pub(super) logs: Vec<FoundLog>,
    /// Logs whose owner has a newer log: they were about to be deleted.
    pub(super) superseded: Vec<i64>,
    /// Blocks of logs that are gone or superseded.
    pub(super) orphans: Vec<RowId>,
    pub(super) next_log: i64,
    pub(super) next_row: RowId,
}

/// How much is read of the owners of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    Whole,
    /// Only kind and id: the rest of many messages is large.
    Named,
}

pub(super) struct FoundLog {
    number: i64,
    kind: String,
    id: String,
    wanted: String,
    progress: String,
    log: SavedLog,
}

impl Database {
    /// Opens the database, makes it if it is not there, and brings its layout up to date.
    pub(super) fn open(path: &Path) -> Result<Self, DiskError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |error| DiskError::of_sqlite(path, &error);
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        let identity = identity(path).map_err(|error| DiskError::of_files(path, &error))?;
        // Nothing is changed before the database is known to be ours.
        version(&connection, path)?;
        let mut database =
            Self { path: path.to_owned(), identity, connection, room: DiskSpace::around(path) };
        database.configure().map_err(failed)?;
        database.migrate()?;
        Ok(database)
    }

    fn configure(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.busy_timeout(Duration::from_secs(2))?;
        // These two take effect only in an empty database: pages that hold a block without a long chain, and unused
        // space that can be returned to the file system.
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit survives the end of the process; a checkpoint also survives a power failure.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(())
    }

    /// From this size on, `SQLite`'s own log is emptied into the database, and cut back to it.
    pub(super) fn bound_journal(&self, bytes: u64) -> rusqlite::Result<()> {
        let bytes = bytes.cast_signed();
        self.connection.pragma_update(None, "wal_autocheckpoint", (bytes / i64::from(PAGE_BYTES)).max(1))?;
        self.connection.pragma_update(None, "journal_size_limit", bytes)
    }

    fn migrate(&mut self) -> Result<(), DiskError> {
        let path = self.path.clone();
        let failed = |error| DiskError::of_sqlite(&path, &error);
        let version = version(&self.connection, &path)?;
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        for layout in &LAYOUTS[version..] {
            transaction.execute_batch(layout).map_err(failed)?;
        }
        let set = |name, value: i64| transaction.pragma_update(None, name, value);
        set("application_id", APPLICATION).map_err(failed)?;
        set("user_version", KNOWN).map_err(failed)?;
        transaction.commit().map_err(failed)
    }

    pub(super) fn extent(&self) -> rusqlite::Result<DbSize> {
        let pages = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = |pages: i64| pages.cast_unsigned() * u64::from(PAGE_BYTES);
        Ok(DbSize { size: bytes(pages("page_count")?), unused: bytes(pages("freelist_count")?) })
    }

    /// How much space there is now. Within a transaction, as if it were committed.
    pub(super) fn estimate_space(&self) -> rusqlite::Result<SpaceEstimate> {
        self.extent().map(|extent| self.room.estimate(extent))
    }

    /// Returns this many unused bytes to the file system.
    pub(super) fn shrink(&self, bytes: u64) -> rusqlite::Result<()> {
        let pages = bytes.cast_signed() / i64::from(PAGE_BYTES);
        let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({})", pages.max(1)))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        Ok(())
    }

    /// The size of the file, if it is still there: what is written to a removed one is lost.
    pub(super) fn check(&self) -> Result<u64, DiskError> {
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.identity => Ok(found.len()),
            Ok(_) => {
                Err(DiskError::other(&self.path, &"another file has taken its place: restart the service"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DiskError::other(&self.path, &"it was removed: restart the service"))
            }
            Err(error) => Err(DiskError::of_files(&self.path, &error)),
        }
    }

    /// Notes the start, reserves numbers for it, and returns what is there: from here on the directory has been written
    /// to. `skip`: readers saw numbers that had not been reserved. `at_once`: how many bytes one transaction may write.
    pub(super) fn begin(&self, skip: bool, at_once: u64) -> Result<SavedState, DiskError> {
        let failed = |error| DiskError::of_sqlite(&self.path, &error);
        let mut found = find(&self.connection, &self.path, Owners::Whole)?;
        let skipped = if skip { SKIPPED } else { 0 };
        for log in found.logs.iter_mut().map(|found| &mut found.log).filter(|log| !log.complete) {
            log.next += skipped.cast_unsigned();
            log.reserved = log.next + AHEAD.cast_unsigned();
        }
        // If the process is killed here, some reserved numbers stay unused.
        let at_once = usize::try_from(at_once / u64::from(PAGE_BYTES)).unwrap_or(usize::MAX).max(1);
        let incomplete = found.logs.iter().filter(|found| !found.log.complete).map(|found| found.number);
        for numbers in incomplete.collect::<Vec<_>>().chunks(at_once) {
            let transaction = self.connection.unchecked_transaction().map_err(failed)?;
            for number in numbers {
                let aside = (skipped + AHEAD, number);
                transaction
                    .prepare_cached(SET_ASIDE)
                    .and_then(|mut set| set.execute(aside))
                    .map_err(failed)?;
            }
            transaction.commit().map_err(failed)?;
        }
        let opened = (Timestamp::now().0, env!("CARGO_PKG_VERSION"));
        self.connection.execute(OPENED, opened).map_err(failed)?;
        Ok(found)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// A connection that only reads.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, DiskError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| DiskError::of_sqlite(path, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(2)).map_err(failed)?;
    Ok(connection)
}

/// The layout of the database, if this program knows it.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    let get = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(failed);
    let (found, known) = (get("user_version")?, KNOWN);
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let is_new = found == 0 && tables.map_err(failed)? == 0;
    if !is_new && get("application_id")? != APPLICATION {
        return Err(DiskError::Foreign(path.to_owned()));
    }
    if found > known {
        return Err(DiskError::Newer { path: path.to_owned(), found, known });
    }
    Ok(usize::try_from(found).unwrap_or_default())
}

/// Reads everything but the blocks' data.
pub(super) fn find(connection: &Connection, path: &Path, owners: Owners) -> Result<SavedState, DiskError> {
    let failed = |error| DiskError::of_sqlite(path, &error);
    let logs_of = if owners == Owners::Whole { LOGS } else { NAMED_LOGS };
    let mut logs = Vec::new();
    let mut places = HashMap::new();
    let mut statement = connection.prepare(logs_of).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let log = FoundLog::read(row).map_err(failed)?;
        if !log.is_possible() {
            let detail = format!("the numbers of log {} cannot be", log.number);
            return Err(DiskError::damaged(path, &detail));
        }
        places.insert(log.number, logs.len());
        logs.push(log);
    }
    let (mut orphans, mut next_row) = (Vec::new(), 1);
    let mut last_log = logs.last().map_or(0, |last: &FoundLog| last.number);
    let mut statement = connection.prepare(BLOCKS).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let stored = SavedBlock::read(row).map_err(failed)?;
        let number: i64 = row.get(1).map_err(failed)?;
        if stored.row > LARGEST || number > LARGEST {
            return Err(DiskError::damaged(path, &format!("block {} of log {number} cannot be", stored.row)));
        }
        next_row = stored.row + 1;
        // Blocks may outlive their log: no new log may get its number.
        last_log = last_log.max(number);
        let Some(found) = places.get(&number).map(|at| &mut logs[*at]) else {
            orphans.push(stored.row);
            continue;
        };
        let reached = found.log.blocks.last().map_or(1, |last| last.next);
        if stored.first < reached || stored.next < stored.first || stored.next > found.log.next {
            let detail = format!("block {} does not follow those before it", stored.row);
            return Err(DiskError::damaged(path, &detail));
        }
        found.log.blocks.push(stored);
    }
    let (mut newest, mut superseded, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for found in logs.into_iter().rev() {
        if names.insert((found.kind.clone(), found.id.clone())) {
            newest.push(found);
        } else {
            superseded.push(found.number);
            orphans.extend(found.log.blocks.iter().map(|stored| stored.row));
        }
    }
    newest.reverse();
    Ok(SavedState { logs: newest, superseded, orphans, next_log: last_log + 1, next_row })
}

impl FoundLog {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let number = |at| row.get(at).map(i64::cast_unsigned);
        let next = number(7)?;
        Ok(Self {
            number: row.get(0)?,
            kind: row.get(1)?,
            id: row.get(2)?,
            wanted: row.get(3)?,
            progress: row.get(4)?,
            log: SavedLog {
                epoch: number(5)?,
                first: number(6)?,
                next,
                reserved: next,
                counters: LogCounters {
                    appended: number(8)?,
                    payload_bytes: number(9)?,
                    evicted: number(10)?,
                    truncated: number(11)?,
                    lost: number(12)?,
                    kept_bytes: 0,
                },
                complete: row.get::<_, i64>(13)? != 0,
                blocks: Vec::new(),
            },
        })
    }

    /// Whether a service can have written these numbers: they are in order, and a service can continue from them.
    fn is_possible(&self) -> bool {
        let SavedLog { first, next, counters, .. } = &self.log;
        let LogCounters { appended, payload_bytes, evicted, truncated, lost, .. } = *counters;
        let largest = LARGEST.cast_unsigned();
        self.number <= LARGEST
            && (1..=largest).contains(next)
            && (1..=*next).contains(first)
            && [appended, payload_bytes, evicted, truncated, lost].iter().all(|count| *count <= largest)
    }

    pub(super) fn into_saved(self, place: impl FnOnce(i64) -> LogHandle) -> Saved {
        let Self { number, kind, id, wanted, progress, log } = self;
        Saved { kind, id, wanted, progress, place: place(number), log }
    }

    pub(super) fn into_archived(self) -> ArchivedLog {
        ArchivedLog::new(self.number, self.kind, self.id, self.log)
    }
}

impl SavedBlock {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let number = |at| row.get(at).map(i64::cast_unsigned);
        Ok(Self {
            row: row.get(0)?,
            first: number(2)?,
            next: number(3)?,
            times: (Timestamp(row.get(4)?), Timestamp(row.get(5)?)),
            length: usize::try_from(row.get::<_, i64>(6)?).unwrap_or_default(),
        })
    }
}
