use std::sync::Arc;

use super::reader::BlockReader;
use super::write_queue::WriteQueue;
use super::{DiskError, Row};
use crate::store::block::Block;

/// Where a log is on disk, and whom to tell of its changes.
#[derive(Clone)]
pub struct LogHandle {
    inbox: Arc<WriteQueue>,
    reader: Arc<BlockReader>,
    number: i64,
}

impl LogHandle {
    pub(super) fn new(inbox: Arc<WriteQueue>, reader: Arc<BlockReader>, number: i64) -> Self {
        Self { inbox, reader, number }
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Says that the owner of the log has changed.
    pub fn touch(&self) {
        self.inbox.touch(self.number);
    }

    /// The log has changed; these rows are not needed any more. `hurry`: readers will wait for it soon.
    pub(in crate::store) fn notify(&self, hurry: bool, freed: &mut Vec<Row>) {
        self.inbox.dirty(self.number, hurry, freed);
    }

    /// So many payload bytes were appended.
    pub(in crate::store) fn note(&self, appended: usize) {
        self.inbox.note(appended);
    }

    /// Forgets the log and its owner; the rows were freed before.
    pub(in crate::store) fn remove(&self) {
        self.inbox.remove(self.number);
    }

    /// A block could not be read and is lost.
    pub(in crate::store) fn note_lost(&self) {
        self.inbox.note_lost();
    }

    /// None if the row is there no longer.
    pub(in crate::store) async fn fetch(
        &self,
        row: Row,
        first: u64,
        next: u64,
    ) -> Result<Option<Arc<Block>>, DiskError> {
        self.reader.fetch(row, first, next).await
    }
}
