//! Saving a log to disk, and restoring it from there.
//!
//! Blocks are written as they are. The tail is written too, again and again as it grows, into the same row, until it is
//! sealed; so a log that grows slowly costs few rows. A log reserves more sequence numbers on disk than it uses, and
//! readers see only reserved ones: after a crash, the next start continues behind every number that was seen.

use std::sync::Arc;

use super::slot::BlockSlot;
use super::state::{LogState, Piece, Saving};
use super::{Limits, Log, LogCounters};
use crate::store::block::Block;
use crate::store::disk::{LogHandle, Row, SavedLog};

/// The part of a log that a transaction is to write.
pub(in crate::store) struct Unsaved {
    pub(in crate::store) blocks: Vec<(Row, Arc<Block>)>,
    pub(in crate::store) epoch: u64,
    pub(in crate::store) first: u64,
    /// Numbers before this one are reserved.
    pub(in crate::store) reserved: u64,
    pub(in crate::store) counters: LogCounters,
    pub(in crate::store) complete: bool,
    /// All that is kept before this number is on disk after this write.
    saved: u64,
    /// There is more to write than fitted.
    pub(in crate::store) more: bool,
}

impl Log {
    /// What is not on disk yet, up to `most` bytes; none if the log is closed or broken. `rows` gives new row numbers.
    /// `last`: nothing more will come, so no numbers are reserved.
    pub(in crate::store) fn unsaved(
        &self,
        rows: &mut impl FnMut() -> Row,
        most: usize,
        last: bool,
    ) -> Option<Unsaved> {
        let mut state = self.state();
        if state.closed || self.is_broken() {
            return None;
        }
        let unsaved = state.unsaved(rows, most, last);
        state.settle(&self.budget);
        Some(unsaved)
    }

    /// Notes that this is on disk.
    pub(in crate::store) fn saved(&self, unsaved: &Unsaved) {
        if self.state().note_saved(unsaved) {
            self.changed.notify_waiters();
        }
    }

    /// Notes that the log could not be written. Readers now see datagrams that were hidden for lack of reserved
    /// numbers: the data directory has been marked, so that the next start skips more numbers.
    pub(in crate::store) fn not_saved(&self) {
        if self.state().note_not_saved() {
            self.changed.notify_waiters();
        }
    }
}

impl LogState {
    /// Sequence numbers to reserve: at least this many, and this many times what came since the last write.
    const LEAST_AHEAD: u64 = 1_000;
    const TIMES_AHEAD: u64 = 16;

    pub(super) fn restored(limits: Limits, saved: &SavedLog) -> Self {
        let mut state = Self::new(limits, saved.epoch, saved.next);
        state.counters = LogCounters { kept_bytes: 0, ..saved.counters };
        state.complete = saved.complete;
        for stored in &saved.blocks {
            if stored.next <= saved.first {
                state.freed.push(stored.row);
            } else {
                let slot = BlockSlot::on_disk(stored);
                state.slots_bytes += slot.cost;
                state.slots.push_back(slot);
            }
        }
        state.cold = state.slots.len();
        state.first = saved.first;
        state.recount();
        state.saving = Saving {
            dirty: false,
            saved: saved.next,
            shown: saved.reserved,
            hurry_from: saved.next + (saved.reserved - saved.next) / 2,
            under_way: 0,
            awaited: false,
        };
        state
    }

    /// Makes the counters agree with what is there: blocks that were counted and are missing are lost.
    fn recount(&mut self) {
        let first = self.first;
        let kept: u64 = self.slots.iter().map(|slot| slot.next - slot.first.max(first)).sum();
        let counters = &mut self.counters;
        let gone = counters.evicted + counters.lost;
        counters.appended = counters.appended.max(gone + kept);
        counters.lost = counters.appended - kept - counters.evicted;
    }

    /// What is written beside the blocks, to detect changes.
    pub(super) fn extent(&self) -> (u64, u64, u64, bool) {
        (self.first, self.tail.next(), self.counters.lost, self.complete)
    }

    /// Notifies the writer, if necessary, that there is something to write.
    pub(super) fn notify(&mut self, place: &LogHandle, appended: usize) {
        let hurry = self.tail.next() >= self.saving.hurry_from;
        if hurry {
            self.saving.hurry_from = u64::MAX;
        }
        if !std::mem::replace(&mut self.saving.dirty, true) || hurry || !self.freed.is_empty() {
            place.notify(hurry, &mut self.freed);
        }
        place.note(appended);
    }

    fn unsaved(&mut self, rows: &mut impl FnMut() -> Row, most: usize, last: bool) -> Unsaved {
        if self.tail.cost() > Self::COPIED_BYTES {
            self.seal();
        }
        let mut bytes = 0;
        let mut blocks = Vec::new();
        let mut saved = self.saving.saved;
        let mut more = false;
        let begin = self.slots.iter().rposition(|slot| slot.saved).map_or(0, |last| last + 1);
        for slot in self.slots.range_mut(begin..) {
            if bytes >= most {
                more = true;
                break;
            }
            bytes += slot.cost;
            let row = *slot.row.get_or_insert_with(&mut *rows);
            blocks.extend(slot.block.clone().map(|block| (row, block)));
            saved = slot.next;
        }
        if !more {
            if !self.tail.is_empty() && self.tail.next() > self.saving.saved {
                let row = *self.tail_row.get_or_insert_with(&mut *rows);
                blocks.push((row, Arc::new(self.tail.clone())));
            }
            saved = self.tail.next();
        }
        let reserved = self.set_aside(last);
        (self.saving.dirty, self.saving.under_way) = (more, saved);
        Unsaved {
            blocks,
            epoch: self.epoch,
            first: self.first,
            reserved,
            counters: self.counters,
            complete: self.complete,
            saved,
            more,
        }
    }

    /// Reserves numbers; returns the first one that readers may not see once this is on disk.
    fn set_aside(&mut self, last: bool) -> u64 {
        let next = self.tail.next();
        if last || self.complete {
            return next;
        }
        let before = self.saving.shown;
        let came = next - self.saving.saved.min(next);
        let ahead = (came * Self::TIMES_AHEAD).max(Self::LEAST_AHEAD);
        if before == u64::MAX {
            // No numbers are reserved yet, so none were hidden. From here on they are, because the write may succeed.
            self.saving.shown = next + ahead;
            return self.saving.shown;
        }
        if before.saturating_sub(next) < ahead / 2 { next + ahead } else { before }
    }

    /// Returns whether waiting readers must be woken.
    fn note_saved(&mut self, unsaved: &Unsaved) -> bool {
        self.saving.under_way = 0;
        self.saving.saved = self.saving.saved.max(unsaved.saved);
        let saved = self.saving.saved;
        for slot in self.slots.iter_mut().rev().take_while(|slot| !slot.saved) {
            slot.saved = slot.next <= saved;
        }
        let hidden = self.tail.next() > self.saving.shown;
        let ahead = unsaved.reserved.saturating_sub(self.tail.next());
        (self.saving.shown, self.saving.hurry_from) = if unsaved.complete {
            (u64::MAX, u64::MAX)
        } else {
            (unsaved.reserved, self.tail.next() + ahead / 2)
        };
        std::mem::take(&mut self.saving.awaited) || hidden
    }

    fn note_not_saved(&mut self) -> bool {
        (self.saving.dirty, self.saving.under_way) = (true, 0);
        let hidden = self.tail.next() > self.saving.shown;
        (self.saving.shown, self.saving.hurry_from) = (u64::MAX, u64::MAX);
        std::mem::take(&mut self.saving.awaited) || hidden
    }
}

impl BlockSlot {
    /// Where the block is; none while it is neither in memory nor has a row, which does not last.
    pub(super) fn piece(&self) -> Option<Piece> {
        let on_disk = |row| Piece::OnDisk { row, first: self.first, next: self.next };
        self.block.clone().map(Piece::Held).or(self.row.map(on_disk))
    }
}
