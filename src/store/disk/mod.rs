//! Logs on disk: a database of `SQLite` in a directory, written by one thread in batches.
//!
//! Logs tell the [`Inbox`](write_queue::Inbox) that they have changed; every so often the [`Writer`](writer::Writer) takes what is new of
//! them and commits it in one transaction. Nobody who appends waits for the disk. When it fails, everything stays in
//! memory as far as there is room, and is written when it works again. Before the disk is full of logs, the oldest blocks
//! give way. Readers fetch blocks by connections of their
//! own ([`Reader`](reader::Reader)). Who is not the service, and wants to read what it has kept, has an [`Archive`].
//!
//! Thread: the writer, ended by [`Store::close`] or with the last [`Store`]. If it panics, the process ends: what it was
//! at is half done in memory, and whole on disk. Code of a log or its owner may panic there, and then fails alone.

mod archive;
mod directory;
mod disk_space;
mod error;
mod log_handle;
mod pending;
mod reader;
mod schema;
mod snapshot_reader;
mod write_queue;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::block::Block;
use super::log::LogCounters;
use super::{Budget, Log};
use crate::model::Timestamp;
use crate::sync::{Lock, Progress, fatal, unpoisoned};
use directory::Directory;
use reader::BlockReader;
use schema::Database;
use write_queue::{TrackedLog, WriteQueue};
use writer::DiskWriter;

pub use archive::{Archive, ArchivedLog};
pub use error::DiskError;
pub use log_handle::LogHandle;
pub use write_queue::Condition;

/// The number of a block's row.
pub(super) type Row = i64;

/// Where and how the store keeps.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    pub directory: PathBuf,
    /// How long what came may wait to be written.
    pub flush: Duration,
    /// Bytes of all logs that stay in memory.
    pub memory_bytes: usize,
}

/// Whoever owns a log that is kept on disk.
pub trait Persist: Send + Sync {
    /// What it is, to be made again from.
    fn wanted(&self) -> String;
    /// What has come of it, beside what the log counts.
    fn progress(&self) -> String;
}

/// An owner and its log, as they were on disk.
pub struct Saved {
    pub kind: String,
    pub id: String,
    pub wanted: String,
    pub progress: String,
    pub place: LogHandle,
    pub log: SavedLog,
}

/// A log as it was on disk.
pub struct SavedLog {
    pub(super) epoch: u64,
    pub(super) first: u64,
    /// The first number that was never given to a datagram, as far as can be told.
    pub(super) next: u64,
    /// Numbers before this one are set aside for this run.
    pub(super) reserved: u64,
    pub(super) counters: LogCounters,
    pub(super) complete: bool,
    pub(super) blocks: Vec<Stored>,
}

/// A block on disk.
pub(super) struct Stored {
    pub(super) row: Row,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) times: (Timestamp, Timestamp),
    /// Bytes of records.
    pub(super) length: usize,
}

/// The store of one data directory, held by nobody else meanwhile. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

struct Handle {
    inbox: Arc<WriteQueue>,
    budget: Arc<Budget>,
    reader: Arc<BlockReader>,
    /// Std lock: held to take it out.
    thread: Mutex<Option<JoinHandle<Result<(), DiskError>>>>,
}

impl Store {
    /// Opens or makes the directory, and gives what was kept there. Blocks for as long as it takes to find out
    /// what is there. `budget`: what the logs may keep; less, where the disk has no room for it.
    pub fn open(settings: &StoreSettings, budget: Arc<Budget>) -> Result<(Self, Vec<Saved>), DiskError> {
        let directory = Directory::open(&settings.directory)?;
        let database = Database::open(&directory.database())?;
        let outlook = database.outlook().and_then(|outlook| {
            database.bound_journal(outlook.at_once)?;
            Ok(outlook)
        });
        let outlook = outlook.map_err(|error| DiskError::of_sqlite(&database.path, &error))?;
        let found = database.begin(directory.is_marked(), outlook.at_once)?;
        directory.mark(false).map_err(|error| DiskError::of_files(&settings.directory, &error))?;
        let inbox = Arc::new(WriteQueue::new(found.next_log));
        let reader = Arc::new(BlockReader::new(directory.database()));
        let place = |number| LogHandle::new(inbox.clone(), reader.clone(), number);
        let saved = found.logs.into_iter().map(|found| found.into_saved(place)).collect();
        found.superseded.into_iter().for_each(|number| inbox.remove(number));
        inbox.free(found.orphans);
        let path = directory.database();
        let writer = DiskWriter::new(
            directory,
            database,
            inbox.clone(),
            budget.clone(),
            found.next_row,
            outlook,
            settings.flush,
        );
        let progress = inbox.progress.clone();
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| writer.run()));
            // What was under way in the database is undone by the next start.
            let ended =
                ended.unwrap_or_else(|_| fatal("the thread that writes to the data directory panicked"));
            progress.rest();
            ended
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = thread.map_err(|error| DiskError::other(&path, &error))?;
        let thread = Mutex::new(Some(thread));
        Ok((Self(Arc::new(Handle { inbox, budget, reader, thread })), saved))
    }

    /// All that was kept is there again: from now on, where the disk has no room, the oldest datagrams give way.
    pub fn note_restored(&self) {
        self.0.inbox.note_restored();
    }

    /// A place for a new log.
    pub fn place(&self) -> LogHandle {
        let inbox = self.0.inbox.clone();
        let number = inbox.fresh_number();
        LogHandle::new(inbox, self.0.reader.clone(), number)
    }

    /// From now on, the log and its owner are kept. `is_new`: they are not on disk yet.
    pub fn keep(&self, kind: &str, id: &str, log: &Arc<Log>, keeper: Weak<dyn Persist>, is_new: bool) {
        if let Some(place) = log.place() {
            let keep = TrackedLog {
                kind: kind.to_owned(),
                id: id.to_owned(),
                log: log.clone(),
                owner: keeper,
                is_new,
            };
            self.0.inbox.keep(place.number(), keep);
        }
    }

    /// Resolves once everything that was said of owners until now is on disk, and what came into logs as far as one
    /// transaction takes it; or cannot be brought there. Cancel-safe.
    pub async fn flushed(&self) -> Result<(), DiskError> {
        self.0.inbox.settled().await
    }

    /// Resolves once everything that has come into the log until now is on disk, or cannot be brought there.
    /// Cancel-safe.
    pub async fn wait_durable(&self, log: &Log) -> Result<(), DiskError> {
        let next = log.next_sequence();
        while !log.is_saved_before(next) {
            self.flushed().await?;
        }
        Ok(())
    }

    /// Resolves when code of a log or of its owner has panicked at the writer since the last call. Cancel-safe.
    pub async fn panicked(&self) {
        self.0.inbox.panicked().await;
    }

    /// How far the writer has come.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.0.inbox.progress
    }

    pub fn condition(&self) -> Condition {
        self.0.inbox.condition(self.0.budget.confined_to())
    }

    /// Writes what is left and closes the database. Nothing is kept afterwards. The fault is why something is not.
    pub async fn close(&self) -> Result<(), DiskError> {
        self.0.inbox.end();
        let thread = self.0.thread.lock_shared().take();
        let ended = match thread {
            Some(thread) => tokio::task::spawn_blocking(move || thread.join()).await,
            None => Ok(Ok(Ok(()))),
        };
        self.0.inbox.abandon(DiskError::Closed);
        ended.ok().and_then(Result::ok).unwrap_or(Err(DiskError::Closed))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inbox.end();
        // The directory is free once it has ended; unless it is itself that has held the last owner of a log.
        let thread = unpoisoned(self.thread.get_mut()).take();
        let other = |thread: &JoinHandle<_>| thread.thread().id() != std::thread::current().id();
        let _ = thread.filter(other).map(JoinHandle::join);
    }
}

fn shared(bytes: Vec<u8>, first: u64, next: u64) -> Option<Arc<Block>> {
    Block::read(bytes, first, next).map(Arc::new)
}
