//! Logs on disk: a database of `SQLite` in a directory, written by one thread in batches.
//!
//! Logs, seen as [`DurableLog`](super::durable_log::DurableLog)s, notify the [`WriteQueue`](write_queue::WriteQueue)
//! when they change; at intervals the [`DiskWriter`](writer::DiskWriter) takes the changes and commits them in one
//! transaction. Appending never waits for the disk. When the disk fails, everything stays in memory as far as the budget
//! allows, and is written when the disk works again. Before logs fill the disk, the oldest blocks are evicted. Readers
//! fetch blocks by connections of their own ([`BlockReader`](reader::BlockReader)). Other processes read the logs through
//! an [`Archive`].
//!
//! Thread: the writer, ended by [`Store::close`] or with the last [`Store`]. If it panics, the process ends: its work
//! is half done in memory, and whole on disk. If code of a log or its owner panics there, that log fails alone.

mod archive;
mod archive_source;
mod database;
mod directory;
mod disk_space;
mod error;
mod files;
mod journal;
mod loading;
mod migration;
mod pending;
mod reader;
mod repair;
mod replacement;
mod salvage;
mod schema;
mod snapshot_reader;
mod status;
mod tables;
mod write_queue;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::block::Block;
use super::budget::Budget;
use super::durable_log::{LogWithOwner, RowId, SavedLog};
use crate::sync::{Lock, Progress, fatal, unpoisoned};
use database::Database;
use directory::Directory;
use disk_space::SpaceEstimate;
use journal::JournalState;
use loading::{LoadedDatabase, LoadedResource};
use reader::BlockReader;
use status::Losses;
use write_queue::WriteQueue;
use writer::DiskWriter;

pub use archive::{Archive, ArchivedLog};
pub use error::DiskError;
pub use repair::{CheckReport, check, repair};
pub use status::StoreStatus;

/// Where and how the store keeps logs.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    pub directory: PathBuf,
    /// How long datagrams may wait for the writer.
    pub flush: Duration,
    /// Bytes of all logs that stay in memory.
    pub memory_bytes: usize,
}

/// An owner and its log, as loaded from disk.
pub struct SavedResource {
    pub kind: String,
    pub id: String,
    pub spec: String,
    pub status: String,
    pub handle: LogHandle,
    pub log: SavedLog,
}

/// The store of one data directory, which no other process can use meanwhile. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<StoreInner>);

struct StoreInner {
    queue: Arc<WriteQueue>,
    budget: Arc<Budget>,
    reader: Arc<BlockReader>,
    /// Std lock: held to take it out.
    thread: Mutex<Option<JoinHandle<Result<(), DiskError>>>>,
}

impl Store {
    /// Opens or creates the directory, and returns the logs on disk. Blocks while it reads them. `budget`: the bound on
    /// all logs, which the store lowers if the disk has less space.
    pub fn open(
        settings: &StoreSettings,
        budget: Arc<Budget>,
    ) -> Result<(Self, Vec<SavedResource>), DiskError> {
        let directory = Directory::open(&settings.directory)?;
        let losses = Losses::default();
        let (database, space, found) = begin_or_rebuild(&directory, &losses)?;
        losses.note(&found.damage);
        directory.mark(false).map_err(|error| DiskError::of_files(&settings.directory, &error))?;
        database.journal.note();
        let queue = Arc::new(WriteQueue::new(found.next_log, losses));
        let reader = Arc::new(BlockReader::new(directory.database()));
        let saved = found.logs.into_iter().map(|LoadedResource { row, spec, log, .. }| {
            let handle = LogHandle::new(queue.clone(), reader.clone(), row.number);
            SavedResource { kind: row.kind, id: row.id, spec, status: row.status, handle, log }
        });
        let saved = saved.collect();
        found.superseded.into_iter().for_each(|number| queue.remove(number));
        queue.free(found.orphans);
        let path = directory.database();
        let writer = DiskWriter::new(
            directory,
            database,
            queue.clone(),
            budget.clone(),
            found.next_row,
            space,
            settings.flush,
        );
        let progress = queue.progress.clone();
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| writer.run()));
            // The next start rolls back the transaction in progress.
            let ended =
                ended.unwrap_or_else(|_| fatal("the thread that writes to the data directory panicked"));
            progress.idle();
            ended
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = thread.map_err(|error| DiskError::other(&path, &error))?;
        let thread = Mutex::new(Some(thread));
        Ok((Self(Arc::new(StoreInner { queue, budget, reader, thread })), saved))
    }

    /// Notes that the owner with this name cannot be restored: its rows stay as they are.
    pub fn note_set_aside(&self, name: &str, reason: &dyn std::fmt::Display) {
        self.0.queue.losses.note_set_aside(name, reason);
    }

    /// Notes that all logs are restored: from now on, if the disk lacks space, the oldest datagrams are evicted.
    pub fn note_restored(&self) {
        self.0.queue.note_restored();
    }

    /// A handle for a new log.
    pub fn new_handle(&self) -> LogHandle {
        let queue = self.0.queue.clone();
        let number = queue.fresh_number();
        LogHandle::new(queue, self.0.reader.clone(), number)
    }

    /// Resolves once all changes of owners until now are on disk, and the datagrams in logs as far as they fit into one
    /// transaction; or with the error that prevents it. Cancel-safe.
    pub async fn flushed(&self) -> Result<(), DiskError> {
        self.0.queue.flushed().await
    }

    /// The same, but not sooner than a moment after the last commit, with all who wait until then. Cancel-safe.
    pub(super) async fn flushed_soon(&self) -> Result<(), DiskError> {
        self.0.queue.flushed_soon().await
    }

    /// Resolves when code of a log or its owner has panicked on the writer's thread since the last call. Cancel-safe.
    pub async fn panicked(&self) {
        self.0.queue.panicked().await;
    }

    /// Progress of the writer.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.0.queue.progress
    }

    /// Releases what is in memory only to make further reads faster. Blocks for some microseconds.
    pub fn release_memory(&self) {
        self.0.reader.release_memory();
    }

    pub fn status(&self) -> StoreStatus {
        self.0.queue.status(self.0.budget.confined_to())
    }

    /// Writes the pending work and closes the database; ignores later changes. The error says why some work is not on
    /// disk.
    pub async fn close(&self) -> Result<(), DiskError> {
        self.0.queue.end();
        let thread = self.0.thread.lock_shared().take();
        let ended = match thread {
            Some(thread) => tokio::task::spawn_blocking(move || thread.join()).await,
            None => Ok(Ok(Ok(()))),
        };
        self.0.queue.abandon(DiskError::Closed);
        ended.ok().and_then(Result::ok).unwrap_or(Err(DiskError::Closed))
    }
}

/// A log's access to the disk: its number there, the queue to notify of its changes, and the reader of its blocks.
#[derive(Clone)]
pub struct LogHandle {
    queue: Arc<WriteQueue>,
    reader: Arc<BlockReader>,
    number: i64,
}

impl LogHandle {
    fn new(queue: Arc<WriteQueue>, reader: Arc<BlockReader>, number: i64) -> Self {
        Self { queue, reader, number }
    }

    /// Writes the log, and its owner, from now on.
    pub(in crate::store) fn persist(&self, entry: LogWithOwner) {
        if entry.is_new {
            self.queue.losses.note_replaced(&loading::name(&entry.kind, &entry.id));
        }
        self.queue.persist(self.number, entry);
    }

    /// Notes that the owner of the log has changed.
    pub fn touch(&self) {
        self.queue.touch(self.number);
    }

    /// Notes that the log has changed and these rows can be deleted. `flush_now`: readers will wait for the write soon.
    pub(in crate::store) fn notify(&self, flush_now: bool, freed: &mut Vec<RowId>) {
        self.queue.dirty(self.number, flush_now, freed);
    }

    /// Notes that this many payload bytes were appended.
    pub(in crate::store) fn note(&self, appended: usize) {
        self.queue.note(appended);
    }

    /// Deletes the log and its owner; the rows of its blocks were freed before.
    pub(in crate::store) fn remove(&self) {
        self.queue.remove(self.number);
    }

    /// Notes that a block could not be read and is lost.
    pub(in crate::store) fn note_lost(&self) {
        self.queue.losses.note_block();
    }

    /// None if the row is no longer there.
    pub(in crate::store) async fn fetch(
        &self,
        row: RowId,
        first: u64,
        next: u64,
    ) -> Result<Option<Arc<Block>>, DiskError> {
        self.reader.fetch(self.number, row, first, next).await
    }
}

/// Opens the database and reads it; if it is damaged, one with all that is good takes its place.
fn begin_or_rebuild(
    directory: &Directory,
    losses: &Losses,
) -> Result<(Database, SpaceEstimate, LoadedDatabase), DiskError> {
    let path = directory.database();
    let begun = directory.examine().and_then(|examined| begin(directory, examined));
    // Tables that cannot be read or written would fail the service later, again and again.
    let Err(error @ (DiskError::Damaged { .. } | DiskError::Foreign(_))) = begun else { return begun };
    if repair::is_ours(&path) {
        let rebuilt = repair::rebuild(directory)?;
        losses.note_rebuilt(rebuilt, &error);
        return begin(directory, JournalState::default());
    }
    Err(repair::hopeless(directory, error))
}

/// Opens the database and reads it.
fn begin(
    directory: &Directory,
    examined: JournalState,
) -> Result<(Database, SpaceEstimate, LoadedDatabase), DiskError> {
    let database = Database::open(directory)?;
    if examined.has_leftovers {
        database.journal.distrust();
    }
    if examined.is_cut_by_power {
        tracing::warn!(
            "the machine stopped before the last changes were on disk: the service skips sequence numbers"
        );
    }
    let space = database.estimate_space().and_then(|space| {
        database.bound_journal(space.max_transaction)?;
        Ok(space)
    });
    let space = space.map_err(|error| DiskError::of_sqlite(&database.path, &error))?;
    let skip = directory.is_marked() || examined.is_cut_by_power;
    let found = loading::begin(&database, skip, space.max_transaction)?;
    Ok((database, space, found))
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        self.queue.end();
        // The directory is free once the thread has ended. The thread cannot wait for itself, if it held the last owner
        // of a log.
        let thread = unpoisoned(self.thread.get_mut()).take();
        let other = |thread: &JoinHandle<_>| thread.thread().id() != std::thread::current().id();
        let _ = thread.filter(other).map(JoinHandle::join);
    }
}
