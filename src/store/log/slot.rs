//! A sealed block's entry in a log, and where a reader finds the block.

use std::sync::Arc;

use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::saved::{RowId, SavedBlock};

/// A sealed block's entry in a log, whether the block is in memory or on disk.
#[derive(Debug)]
pub(super) struct BlockSlot {
    pub(super) first: u64,
    /// The sequence number after its last.
    pub(super) next: u64,
    /// The earliest and the latest time of arrival of the datagrams that are still kept.
    pub(super) times: (Timestamp, Timestamp),
    pub(super) cost: usize,
    /// None: the block is on disk only.
    pub(super) block: Option<Arc<Block>>,
    /// Its row on disk, whether written yet or not.
    pub(super) row: Option<RowId>,
    /// The row holds the whole block.
    pub(super) is_saved: bool,
}

impl BlockSlot {
    /// `row`: where the block may have been written in part while it was the tail.
    pub(super) fn sealed(block: Block, row: Option<RowId>) -> Self {
        let times = block.times().unwrap_or((Timestamp(i64::MIN), Timestamp(i64::MAX)));
        Self {
            first: block.first(),
            next: block.next(),
            times,
            cost: block.cost(),
            block: Some(Arc::new(block)),
            row,
            is_saved: false,
        }
    }

    pub(super) fn on_disk(stored: &SavedBlock) -> Self {
        Self {
            first: stored.first,
            next: stored.next,
            times: stored.times,
            cost: Block::cost_of(stored.length),
            block: None,
            row: Some(stored.row),
            is_saved: true,
        }
    }

    /// Where the block is; none while it is neither in memory nor has a row, which does not last.
    pub(super) fn source(&self) -> Option<BlockSource> {
        let on_disk = |row| BlockSource::OnDisk { row, first: self.first, next: self.next };
        self.block.clone().map(BlockSource::Held).or(self.row.map(on_disk))
    }
}

/// Where a reader gets a block from: memory, or a row on disk.
pub(super) enum BlockSource {
    Held(Arc<Block>),
    OnDisk { row: RowId, first: u64, next: u64 },
}

impl BlockSource {
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Held(block) => block.first(),
            Self::OnDisk { first, .. } => *first,
        }
    }
}
