use std::sync::Arc;

use crate::store::block::{Block, Entry};
use crate::store::cursor::{Cursor, Gap};
use crate::store::disk::DiskFault;

/// What one read gives: datagrams in order, shared with the log or copied from its tail.
pub struct Page {
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) start: u64,
    pub(super) length: usize,
    pub next: Cursor,
    pub gap: Option<Gap>,
    /// Nothing will come after it.
    pub complete: bool,
}

impl Page {
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.blocks.iter().flat_map(|block| block.entries_from(self.start)).take(self.length)
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The log's owner is gone, and the log with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the log was deleted while it was read, or its membership moved to another group")]
    Closed,
    #[error(transparent)]
    Disk(DiskFault),
    #[error("a part of the log is not on disk, where it should be")]
    Missing,
}

impl From<Closed> for ReadError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}
