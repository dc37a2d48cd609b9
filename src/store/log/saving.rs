//! What the writer saves of a log, and how the log is restored from that. The log itself writes nothing: it passes its
//! unsaved part to the writer, and learns later what is on disk.
//!
//! Blocks are written as they are. The tail is written too, again and again as it grows, into the same row, until it is
//! sealed; so a log that grows slowly costs few rows. A log reserves more sequence numbers on disk than it uses, and
//! readers see only reserved ones: after a crash, the next start continues after every number that a reader has seen.

use std::sync::Arc;

use super::Log;
use super::state::{BlockSlot, LogState, Saving};
use crate::store::budget::Limits;
use crate::store::durable_log::{DurableLog, LogCounters, RowId, SavedLog, UnsavedPart};

impl DurableLog for Log {
    fn unsaved(&self, rows: &mut dyn FnMut() -> RowId, max: usize, last: bool) -> Option<UnsavedPart> {
        let mut state = self.state();
        if state.closed || self.is_broken() {
            return None;
        }
        let unsaved = state.unsaved(rows, max, last);
        state.update_charge(&self.budget);
        Some(unsaved)
    }

    fn note_saved(&self, unsaved: &UnsavedPart) {
        if self.state().note_saved(unsaved) {
            self.changed.notify_waiters();
        }
    }

    fn note_not_saved(&self) {
        if self.state().note_not_saved() {
            self.changed.notify_waiters();
        }
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }
}

impl LogState {
    /// Sequence numbers to reserve: at least this many, and this many times the datagrams since the last write.
    const MIN_AHEAD: u64 = 1_000;
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
        state.on_disk_count = state.slots.len();
        state.first = saved.first;
        state.recount();
        state.saving = Saving {
            dirty: false,
            saved_until: saved.next,
            visible_until: saved.reserved,
            flush_at: saved.next + (saved.reserved - saved.next) / 2,
            writing_until: 0,
            awaited: false,
        };
        state
    }

    /// Reconciles the counters with the blocks: datagrams of missing blocks are lost.
    fn recount(&mut self) {
        let first = self.first;
        let kept: u64 = self.slots.iter().map(|slot| slot.next - slot.first.max(first)).sum();
        let counters = &mut self.counters;
        let gone = counters.evicted + counters.lost;
        counters.appended = counters.appended.max(gone + kept);
        counters.lost = counters.appended - kept - counters.evicted;
    }

    pub(super) fn unsaved(&mut self, rows: &mut dyn FnMut() -> RowId, max: usize, last: bool) -> UnsavedPart {
        if self.tail.cost() > Self::COPIED_BYTES {
            self.seal();
        }
        let mut bytes = 0;
        let mut blocks = Vec::new();
        let mut saved_until = self.saving.saved_until;
        let mut more = false;
        let begin = self.slots.iter().rposition(|slot| slot.is_saved).map_or(0, |last| last + 1);
        for slot in self.slots.range_mut(begin..) {
            if bytes >= max {
                more = true;
                break;
            }
            bytes += slot.cost;
            let row = *slot.row.get_or_insert_with(&mut *rows);
            blocks.extend(slot.block.clone().map(|block| (row, block)));
            saved_until = slot.next;
        }
        if !more {
            if !self.tail.is_empty() && self.tail.next() > self.saving.saved_until {
                let row = *self.tail_row.get_or_insert_with(&mut *rows);
                blocks.push((row, Arc::new(self.tail.clone())));
            }
            saved_until = self.tail.next();
        }
        let reserved = self.reserve(last);
        (self.saving.dirty, self.saving.writing_until) = (more, saved_until);
        UnsavedPart {
            blocks,
            epoch: self.epoch,
            first: self.first,
            reserved,
            counters: self.counters,
            complete: self.complete,
            saved_until,
            more,
        }
    }

    /// Reserves numbers; returns the first one that readers may not see once this is on disk.
    fn reserve(&mut self, last: bool) -> u64 {
        let next = self.tail.next();
        if last || self.complete {
            return next;
        }
        let before = self.saving.visible_until;
        let came = next - self.saving.saved_until.min(next);
        let ahead = (came * Self::TIMES_AHEAD).max(Self::MIN_AHEAD);
        if before == u64::MAX {
            // No numbers are reserved yet, so none were hidden. From here on they are, because the write may succeed.
            self.saving.visible_until = next + ahead;
            return self.saving.visible_until;
        }
        if before.saturating_sub(next) < ahead / 2 { next + ahead } else { before }
    }

    /// Returns whether waiting readers must be woken.
    pub(super) fn note_saved(&mut self, unsaved: &UnsavedPart) -> bool {
        self.saving.writing_until = 0;
        self.saving.saved_until = self.saving.saved_until.max(unsaved.saved_until);
        let saved_until = self.saving.saved_until;
        for slot in self.slots.iter_mut().rev().take_while(|slot| !slot.is_saved) {
            slot.is_saved = slot.next <= saved_until;
        }
        let hidden = self.tail.next() > self.saving.visible_until;
        let ahead = unsaved.reserved.saturating_sub(self.tail.next());
        (self.saving.visible_until, self.saving.flush_at) = if unsaved.complete {
            (u64::MAX, u64::MAX)
        } else {
            (unsaved.reserved, self.tail.next() + ahead / 2)
        };
        std::mem::take(&mut self.saving.awaited) || hidden
    }

    /// Returns whether waiting readers must be woken.
    pub(super) fn note_not_saved(&mut self) -> bool {
        (self.saving.dirty, self.saving.writing_until) = (true, 0);
        let hidden = self.tail.next() > self.saving.visible_until;
        (self.saving.visible_until, self.saving.flush_at) = (u64::MAX, u64::MAX);
        std::mem::take(&mut self.saving.awaited) || hidden
    }
}
