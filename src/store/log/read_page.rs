//! Reading a log: a cursor becomes a page. The read is planned under the log's lock; then blocks on disk are fetched,
//! without the lock.

use std::iter;
use std::sync::Arc;

use super::Log;
use super::state::{BlockSource, LogState};
use crate::model::Timestamp;
use crate::store::block::Block;
use crate::store::disk::DiskError;
use crate::store::page::{Cursor, Gap, GapReason, Page};

impl Log {
    /// Reads up to `limit` datagrams after the cursor; without one, from the oldest on.
    pub async fn read(
        &self,
        after: Option<Cursor>,
        limit: usize,
        range: ReadRange,
    ) -> Result<Page, ReadError> {
        // If a block is gone when it is fetched, retention has evicted it, and the read is planned again. If the next
        // plan has the same block, the block is lost.
        let mut missing = None;
        loop {
            let ReadPlan { sources, start, length, next, gap, complete } = {
                let mut state = self.state();
                if range.durable {
                    state.saving.awaited = true;
                }
                let plan = state.plan(after, limit, range)?;
                state.update_charge(&self.budget);
                plan
            };
            let mut blocks = Vec::with_capacity(sources.len());
            let mut failed = None;
            for source in sources {
                let first = source.first();
                match self.fetch(source).await {
                    Ok(Some(block)) => blocks.push(block),
                    Ok(None) => failed = Some((first, missing.replace(first) == Some(first))),
                    Err(ReadError::Disk(DiskError::Damaged { .. })) => failed = Some((first, true)),
                    Err(error) => return Err(error),
                }
                if failed.is_some() {
                    break;
                }
            }
            let Some((first, lost)) = failed else {
                return Ok(Page { blocks, start, length, next, gap, complete });
            };
            if lost {
                self.lose(first);
            }
        }
    }

    /// The position before the last `count` datagrams of the range, and only of those up to `end`, if it is given; before
    /// all of them if they are fewer.
    pub fn before_last(&self, count: usize, end: Option<Cursor>, range: ReadRange) -> Cursor {
        self.state().before_last(count as u64, end, range)
    }

    /// Gives up the block on disk that begins with this number, because it is missing or damaged.
    fn lose(&self, first: u64) {
        let lost = self.change(|state| state.lose(first));
        if let Some(handle) = self.handle.as_ref().filter(|_| lost > 0) {
            tracing::error!(
                datagrams = lost,
                "the service cannot read a block of a log from disk: its datagrams are lost"
            );
            handle.note_lost();
        }
    }

    /// The block, from disk unless it is in memory; none if it is gone from there.
    pub(super) async fn fetch(&self, source: BlockSource) -> Result<Option<Arc<Block>>, ReadError> {
        match (source, &self.handle) {
            (BlockSource::Held(block), _) => Ok(Some(block)),
            (BlockSource::OnDisk { row, first, next }, Some(handle)) => {
                handle.fetch(row, first, next).await.map_err(ReadError::Disk)
            }
            (BlockSource::OnDisk { .. }, None) => Ok(None),
        }
    }
}

/// The part of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRange {
    /// Only datagrams that are on disk.
    pub durable: bool,
    /// Skips whole blocks of earlier datagrams, though not every earlier datagram.
    pub since: Option<Timestamp>,
    /// A read ends with the block that reaches so many bytes, because its reader may hold the blocks for long.
    pub bytes: usize,
}

impl ReadRange {
    pub const ALL: Self = Self { durable: false, since: None, bytes: 1024 * 1024 };
    pub const DURABLE: Self = Self { durable: true, ..Self::ALL };
}

/// The log's owner is gone, and the log with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogClosed;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the log was deleted while it was read, or its membership moved to another group")]
    Closed,
    #[error(transparent)]
    Disk(DiskError),
}

impl From<LogClosed> for ReadError {
    fn from(_: LogClosed) -> Self {
        Self::Closed
    }
}

/// The parts of a log that a read returns.
struct ReadPlan {
    sources: Vec<BlockSource>,
    start: u64,
    length: usize,
    next: Cursor,
    gap: Option<Gap>,
    complete: bool,
}

impl LogState {
    /// Plans what to read after the cursor: up to `limit` datagrams that follow each other without a gap.
    fn plan(&mut self, after: Option<Cursor>, limit: usize, range: ReadRange) -> Result<ReadPlan, LogClosed> {
        if self.closed {
            return Err(LogClosed);
        }
        let bound = self.bound(range);
        let (start, gap) = self.start(after);
        let start = range.since.map_or(start, |since| self.skip(start, since).min(bound.max(start)));
        let end = start.saturating_add(limit as u64).min(bound);
        let at = self.slots.partition_point(|slot| slot.next <= start);
        let (mut sources, mut reached, mut bytes) = (Vec::new(), start, 0);
        for slot in self.slots.range(at..) {
            if reached >= end || slot.first > reached || bytes >= range.bytes {
                break;
            }
            let Some(source) = slot.source() else { break };
            sources.push(source);
            bytes += slot.cost;
            reached = slot.next;
        }
        if reached < end && self.tail.first() <= reached && !self.tail.is_empty() {
            if self.tail.cost() > Self::COPIED_BYTES {
                self.seal();
                sources.extend(self.slots.back().and_then(|slot| slot.block.clone()).map(BlockSource::Held));
            } else {
                sources.push(BlockSource::Held(Arc::new(self.tail.clone())));
            }
            reached = self.tail.next();
        }
        let reached = reached.min(end).max(start);
        Ok(ReadPlan {
            sources,
            start,
            length: usize::try_from(reached - start).unwrap_or(limit),
            next: Cursor { epoch: self.epoch, sequence: reached - 1 },
            gap,
            complete: self.complete && reached == self.tail.next(),
        })
    }

    /// The number before which readers of the range see datagrams.
    fn bound(&self, range: ReadRange) -> u64 {
        let bound = if range.durable { self.saving.saved_until } else { self.saving.visible_until };
        bound.min(self.tail.next())
    }

    /// Counts blocks from the latest on: between two of them, numbers may be missing.
    fn before_last(&self, count: u64, end: Option<Cursor>, range: ReadRange) -> Cursor {
        let bound = self.bound(range);
        let mut start = end.map_or(bound, |end| bound.min(end.sequence + 1));
        let (end, mut left) = (start, count);
        let slots = self.slots.iter().rev().map(|slot| (slot.first, slot.next));
        for (first, next) in iter::once((self.tail.first(), self.tail.next())).chain(slots) {
            let (first, next) = (first.max(self.first), next.min(end));
            if left == 0 {
                break;
            }
            if first < next {
                let taken = left.min(next - first);
                (start, left) = (next - taken, left - taken);
            }
        }
        Cursor { epoch: self.epoch, sequence: start - 1 }
    }

    /// Skips blocks, from `start` on, whose datagrams all arrived before `since`; returns the number to start from.
    fn skip(&self, start: u64, since: Timestamp) -> u64 {
        let at = self.slots.partition_point(|slot| slot.next <= start);
        let block = self.slots.range(at..).find(|slot| slot.times.1 >= since);
        start.max(block.map_or(self.tail.first(), |slot| slot.first))
    }

    /// The sequence number to read from, and the gap before it.
    fn start(&self, after: Option<Cursor>) -> (u64, Option<Gap>) {
        let replaced =
            after.is_some_and(|cursor| cursor.epoch != self.epoch || cursor.sequence >= self.tail.next());
        if replaced {
            return (self.first, Some(Gap { reason: GapReason::LogReplaced, missed: None }));
        }
        let expected = after.map_or(1, |cursor| cursor.sequence + 1);
        let from = expected.max(self.first);
        let at = self.slots.partition_point(|slot| slot.next <= from);
        let start = from.max(self.slots.get(at).map_or(self.tail.first(), |slot| slot.first));
        // The next read reports a loss that follows evicted datagrams.
        let (reason, start) =
            if expected < from { (GapReason::Retention, from) } else { (GapReason::Lost, start) };
        let gap = (start > expected).then_some(Gap { reason, missed: Some(start - expected) });
        (start, gap)
    }
}
