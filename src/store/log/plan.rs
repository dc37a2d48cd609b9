//! Plans a read under the log's lock; blocks on disk are fetched later, without the lock.

use std::sync::Arc;

use super::read_range::{LogClosed, ReadRange};
use super::slot::Piece;
use super::state::LogState;
use crate::model::Timestamp;
use crate::store::cursor::{Cursor, Gap, GapReason};

/// The parts of a log that a read returns.
pub(super) struct Plan {
    pub(super) pieces: Vec<Piece>,
    pub(super) start: u64,
    pub(super) length: usize,
    pub(super) next: Cursor,
    pub(super) gap: Option<Gap>,
    pub(super) complete: bool,
}

impl LogState {
    /// Plans what to read after the cursor: up to `limit` datagrams that follow each other without a gap.
    pub(super) fn plan(
        &mut self,
        after: Option<Cursor>,
        limit: usize,
        range: ReadRange,
    ) -> Result<Plan, LogClosed> {
        if self.closed {
            return Err(LogClosed);
        }
        let bound = if range.durable { self.saving.saved } else { self.saving.visible_until };
        let bound = bound.min(self.tail.next());
        let (start, gap) = self.start(after);
        let start = range.since.map_or(start, |since| self.skip(start, since).min(bound.max(start)));
        let end = start.saturating_add(limit as u64).min(bound);
        let at = self.slots.partition_point(|slot| slot.next <= start);
        let (mut pieces, mut reached, mut bytes) = (Vec::new(), start, 0);
        for slot in self.slots.range(at..) {
            if reached >= end || slot.first > reached || bytes >= range.bytes {
                break;
            }
            let Some(piece) = slot.piece() else { break };
            pieces.push(piece);
            bytes += slot.cost;
            reached = slot.next;
        }
        if reached < end && self.tail.first() <= reached && !self.tail.is_empty() {
            if self.tail.cost() > Self::COPIED_BYTES {
                self.seal();
                pieces.extend(self.slots.back().and_then(|slot| slot.block.clone()).map(Piece::Held));
            } else {
                pieces.push(Piece::Held(Arc::new(self.tail.clone())));
            }
            reached = self.tail.next();
        }
        let reached = reached.min(end).max(start);
        Ok(Plan {
            pieces,
            start,
            length: usize::try_from(reached - start).unwrap_or(limit),
            next: Cursor { epoch: self.epoch, sequence: reached - 1 },
            gap,
            complete: self.complete && reached == self.tail.next(),
        })
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
