//! A log's handle to the disk: its number there, the queue of the writer, and the reader of blocks.

use std::sync::Arc;

use super::error::DiskError;
use super::reader::BlockReader;
use super::write_queue::WriteQueue;
use crate::store::block::Block;
use crate::store::saved::RowId;

/// Where a log is on disk, and the queue to notify of its changes.
#[derive(Clone)]
pub struct LogHandle {
    queue: Arc<WriteQueue>,
    reader: Arc<BlockReader>,
    number: i64,
}

impl LogHandle {
    pub(super) fn new(queue: Arc<WriteQueue>, reader: Arc<BlockReader>, number: i64) -> Self {
        Self { queue, reader, number }
    }

    pub(in crate::store) fn number(&self) -> i64 {
        self.number
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

    /// Forgets the log and its owner; the rows were freed before.
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
