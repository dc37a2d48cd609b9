//! How logs are read: a reader passes a cursor, and gets a page with the next one, and with the gap before it.
//! `log/read_page.rs` makes pages of a log, and `disk/archive.rs` of an archive.

use std::fmt;
use std::sync::Arc;

use super::block::{Block, Entry};
use crate::model::parse_decimal;

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

/// A position in a log: after the datagram with this sequence number. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Random for each log, so that the cursor of another log is recognised.
    pub epoch: u64,
    /// The last sequence number seen; 0 before the first.
    pub sequence: u64,
}

impl Cursor {
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        let (epoch, sequence) = text.split_once('-').ok_or(CursorError)?;
        if epoch.len() != 16 || !epoch.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(CursorError);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| CursorError)?;
        let sequence = parse_decimal(sequence).ok_or(CursorError)?;
        Ok(Self { epoch, sequence })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.sequence)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "pass a `next_cursor` as it was given, or `latest` for future entries only; without `after`, reading starts at the oldest"
)]
pub struct CursorError;

/// Datagrams that a reader has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub reason: GapReason,
    /// How many datagrams are missing, if known.
    pub missed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// The log reached its bounds and evicted its oldest datagrams.
    Retention,
    /// The datagrams were not on disk yet when the service was killed or had to free memory, or they were damaged there.
    /// After a kill, `missed` is an upper bound.
    Lost,
    /// The cursor is from another log; reading starts at this log's oldest datagram.
    LogReplaced,
}
