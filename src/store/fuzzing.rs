//! For the fuzz targets in `tests/fuzz`: what a block goes through that was read from disk.

use std::ops::Range;

use super::block::{Block, Entry};
use super::record::Records;

/// How many datagrams the records at the start of these bytes are.
pub fn datagrams(bytes: &[u8]) -> u64 {
    Records::new(bytes).map(|run| run.count()).sum()
}

/// Reads a block that is said to hold the datagrams of these numbers, and gives those from one number on to `take`.
/// Whether it holds them.
pub fn block(bytes: &[u8], numbers: Range<u64>, from: u64, take: impl FnMut(Entry<'_>)) -> bool {
    let block = Block::read(bytes.to_vec(), numbers.start, numbers.end);
    if let Some(block) = &block {
        block.entries_from(from).for_each(take);
    }
    block.is_some()
}
