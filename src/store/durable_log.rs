//! What logs and the disk share: a log and its owner as the writer uses them, and their rows in the database, as a start
//! reads them and a transaction writes them.

use std::sync::{Arc, Weak};

use super::block::Block;
use crate::model::Timestamp;

/// A log, as the writer uses it.
pub(super) trait DurableLog: Send + Sync {
    /// The part of the log that is not on disk yet, up to `max` bytes; none if the log is closed or broken. `rows`
    /// gives new row numbers. `last`: no writes follow, so the log reserves no numbers.
    fn unsaved(&self, rows: &mut dyn FnMut() -> RowId, max: usize, last: bool) -> Option<UnsavedPart>;

    /// Notes that this part is on disk.
    fn note_saved(&self, unsaved: &UnsavedPart);

    /// Notes that the writer could not write the log. Readers now see datagrams that were hidden for lack of reserved
    /// numbers: the mark in the data directory makes the next start skip more numbers.
    fn note_not_saved(&self);

    fn is_closed(&self) -> bool;
}

/// A log that the writer writes from now on, and its owner.
pub(super) struct LogWithOwner {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) log: Arc<dyn DurableLog>,
    pub(super) owner: Weak<dyn Persist>,
    /// It is not on disk yet.
    pub(super) is_new: bool,
}

impl LogWithOwner {
    /// The spec of the owner; empty if that is gone.
    pub(super) fn spec(&self) -> String {
        self.owner.upgrade().map(|owner| owner.spec()).unwrap_or_default()
    }

    /// The status of the owner; empty if that is gone.
    pub(super) fn status(&self) -> String {
        self.owner.upgrade().map(|owner| owner.status()).unwrap_or_default()
    }
}

/// The owner of a log on disk.
pub trait Persist: Send + Sync {
    /// Its spec, from which the next start restores it.
    fn spec(&self) -> String;
    /// Its status, beside what the log counts.
    fn status(&self) -> String;
}

/// The part of a log that a transaction is to write.
pub(super) struct UnsavedPart {
    pub(super) blocks: Vec<(RowId, Arc<Block>)>,
    pub(super) epoch: u64,
    pub(super) first: u64,
    /// Numbers before this one are reserved.
    pub(super) reserved: u64,
    pub(super) counters: LogCounters,
    pub(super) complete: bool,
    /// All datagrams of the log before this number are on disk after this write.
    pub(super) saved_until: u64,
    /// The log has more to write than fits into the transaction.
    pub(super) more: bool,
}

/// A log as loaded from disk.
pub struct SavedLog {
    pub(super) epoch: u64,
    pub(super) first: u64,
    /// The first number that no datagram has, as far as the database shows.
    pub(super) next: u64,
    /// Numbers before this one are reserved for this run of the service.
    pub(super) reserved: u64,
    pub(super) counters: LogCounters,
    pub(super) complete: bool,
    pub(super) blocks: Vec<SavedBlock>,
}

impl SavedLog {
    /// Datagrams that readers can read.
    pub(super) fn datagrams(&self) -> u64 {
        self.blocks.iter().map(|block| block.next - block.first.max(self.first).min(block.next)).sum()
    }
}

/// A block on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SavedBlock {
    pub(super) row: RowId,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) times: (Timestamp, Timestamp),
    /// Bytes of records.
    pub(super) length: usize,
}

/// The number of a block's row.
pub(super) type RowId = i64;

/// The counters of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Datagrams appended since the log began.
    pub appended: u64,
    /// Their payload bytes.
    pub payload_bytes: u64,
    /// Datagrams that retention has evicted.
    pub evicted: u64,
    /// Datagrams whose payload was longer than the buffer.
    pub truncated: u64,
    /// Datagrams that were dropped from memory before they were on disk, or could not be read from there: missing or damaged.
    pub lost: u64,
    /// Current size in bytes, in memory or on disk, including headers.
    pub kept_bytes: u64,
}

impl LogCounters {
    /// Datagrams that readers can read.
    pub fn kept(&self) -> u64 {
        self.appended - self.evicted - self.lost
    }
}
