//! A page: what one read of a log returns. `log/read_page.rs` makes it from a cursor, and `disk/archive.rs` from an
//! archive.

use std::sync::Arc;

use super::block::{Block, Entry};
use super::cursor::{Cursor, Gap};

/// The result of one read: datagrams in order, shared with the log or copied from its tail.
pub struct Page {
    pub(super) blocks: Vec<Arc<Block>>,
    pub(super) start: u64,
    pub(super) length: usize,
    pub next: Cursor,
    pub gap: Option<Gap>,
    /// No datagrams follow this page.
    pub complete: bool,
}

impl Page {
    /// The datagrams of a block from `start` to before `end`; without a block, only the gap before `start`.
    pub(super) fn of_block(
        block: Option<Arc<Block>>,
        start: u64,
        end: u64,
        epoch: u64,
        gap: Option<Gap>,
    ) -> Self {
        let length = if block.is_some() { usize::try_from(end - start).unwrap_or(usize::MAX) } else { 0 };
        let next = Cursor { epoch, sequence: end - 1 };
        Self { blocks: block.into_iter().collect(), start, length, next, gap, complete: false }
    }

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
