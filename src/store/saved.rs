//! Logs and blocks as rows of the database, as a start reads them and a transaction writes them.

use std::sync::Arc;

use super::block::Block;
use super::counters::LogCounters;
use crate::model::Timestamp;

/// The number of a block's row.
pub(super) type RowId = i64;

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
