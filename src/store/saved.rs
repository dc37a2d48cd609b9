//! Logs and blocks as rows of the database: what a start reads, and what a transaction writes.

use std::sync::Arc;

use super::block::Block;
use super::counters::LogCounters;
use crate::model::Timestamp;

/// The number of a block's row.
pub(super) type RowId = i64;

/// A log as it was on disk.
pub struct SavedLog {
    pub(super) epoch: u64,
    pub(super) first: u64,
    /// The first number that was never given to a datagram, as far as is known.
    pub(super) next: u64,
    /// Numbers before this one are reserved for this run of the service.
    pub(super) reserved: u64,
    pub(super) counters: LogCounters,
    pub(super) complete: bool,
    pub(super) blocks: Vec<SavedBlock>,
}

/// A block on disk.
pub(super) struct SavedBlock {
    pub(super) row: RowId,
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) times: (Timestamp, Timestamp),
    /// Bytes of records.
    pub(super) length: usize,
}

/// The part of a log that a transaction is to write.
pub(super) struct UnsavedLog {
    pub(super) blocks: Vec<(RowId, Arc<Block>)>,
    pub(super) epoch: u64,
    pub(super) first: u64,
    /// Numbers before this one are reserved.
    pub(super) reserved: u64,
    pub(super) counters: LogCounters,
    pub(super) complete: bool,
    /// All that is kept before this number is on disk after this write.
    pub(super) saved: u64,
    /// There is more to write than fits into the transaction.
    pub(super) more: bool,
}
