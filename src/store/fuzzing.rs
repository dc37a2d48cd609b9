//! For the fuzz targets in `tests/fuzz`: reads blocks as from disk.

use std::ops::Range;

use super::block::{Block, Entry};
use super::record::Records;

/// How many datagrams the valid records at the start of these bytes have.
pub fn datagrams(bytes: &[u8]) -> u64 {
    Records::new(bytes).map(|batch| batch.count()).sum()
}

/// Reads a block that should hold the datagrams `numbers`, and passes those from number `from` on to `take`. Returns
/// whether the block holds them.
pub fn block(bytes: &[u8], numbers: Range<u64>, from: u64, take: impl FnMut(Entry<'_>)) -> bool {
    let block = Block::read(bytes.to_vec(), numbers.start, numbers.end);
    if let Some(block) = &block {
        block.entries_from(from).for_each(take);
    }
    block.is_some()
}
