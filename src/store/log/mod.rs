//! One log: appending, reading, retention. [`saving`](self::saving) writes it to disk.

mod limits;
mod plan;
mod read_range;
mod saving;
mod slot;
mod state;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::block::Block;
use super::budget::Budget;
use super::counters::LogCounters;
use super::cursor::Cursor;
use super::disk::{DiskError, DurableLog, LogHandle};
use super::page::Page;
use super::record::RecordBatch;
use super::saved::{RowId, SavedLog, UnsavedLog};
use crate::model::Timestamp;
use crate::sync::Lock;
use plan::Plan;
use slot::Piece;
use state::LogState;

pub use limits::Limits;
pub use read_range::{ReadError, ReadRange};

/// An append-only sequence of datagrams, of which the latest are in memory and, with a store, all are on disk.
pub struct Log {
    budget: Arc<Budget>,
    /// Its handle to the disk; none if it is in memory only.
    handle: Option<LogHandle>,
    /// Std lock: writers hold it while they copy one batch, readers while they copy a little.
    state: Mutex<LogState>,
    changed: Notify,
}

impl Log {
    pub fn new(limits: Limits, budget: Arc<Budget>, handle: Option<LogHandle>) -> Self {
        Self::of(LogState::new(limits, fastrand::u64(..), 1), budget, handle)
    }

    /// A log as loaded from disk.
    pub fn restored(limits: Limits, budget: Arc<Budget>, handle: LogHandle, saved: &SavedLog) -> Self {
        let log = Self::of(LogState::restored(limits, saved), budget, Some(handle));
        log.change(LogState::retain);
        log
    }

    fn of(state: LogState, budget: Arc<Budget>, handle: Option<LogHandle>) -> Self {
        Self { budget, handle, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Appends a batch under one lock and wakes the waiting readers.
    pub fn append<'a>(&self, batch: impl IntoIterator<Item = RecordBatch<'a>>) {
        self.change(|state| {
            if state.closed {
                return;
            }
            for record_batch in batch {
                state.push(&record_batch);
            }
            state.retain();
        });
        self.changed.notify_waiters();
    }

    /// Counts this many bytes of the log's owner towards the budget of all logs.
    pub fn charge_owner(&self, bytes: usize) {
        self.change(|state| {
            if !state.closed {
                state.owner_bytes = bytes;
            }
        });
    }

    /// Applies these limits from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.change(|state| {
            state.limits = limits;
            state.retain();
        });
    }

    /// Evicts datagrams older than the age limit.
    pub async fn expire(&self, now: Timestamp) {
        let oldest = self.change(|state| {
            let before = state.limits.age.map(|age| now.before(age))?;
            while state.oldest().is_some_and(|(_, latest)| latest < before) {
                state.evict_block();
            }
            if state.oldest().is_none_or(|(earliest, _)| earliest >= before) {
                return None;
            }
            let oldest = match state.slots.front() {
                None => Piece::Held(Arc::new(state.tail.clone())),
                Some(slot) => slot.piece()?,
            };
            Some((oldest, before))
        });
        let Some((oldest, before)) = oldest else { return };
        // If the block cannot be read now, the next round retries.
        let Ok(Some(block)) = self.fetch(oldest).await else { return };
        self.change(|state| {
            if state.front() == block.first() {
                state.evict_until(before, &block);
            }
        });
    }

    /// When its oldest block began; none if the log is empty.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.state().oldest().map(|(earliest, _)| earliest)
    }

    /// When the oldest block that can be dropped from memory began.
    pub fn oldest_held(&self) -> Option<Timestamp> {
        self.state().oldest_held()
    }

    /// Evicts the oldest block.
    pub fn evict(&self) {
        self.change(LogState::evict_block);
    }

    /// Drops its oldest block from memory. If the block is not on disk yet, it is lost, and counted as lost.
    pub fn drop_from_memory(&self) {
        self.change(LogState::drop_from_memory);
    }

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
            let Plan { pieces, start, length, next, gap, complete } = {
                let mut state = self.state();
                if range.durable {
                    state.saving.awaited = true;
                }
                let plan = state.plan(after, limit, range)?;
                state.update_charge(&self.budget);
                plan
            };
            let mut blocks = Vec::with_capacity(pieces.len());
            let mut failed = None;
            for piece in pieces {
                let first = piece.first();
                match self.fetch(piece).await {
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

    /// Resolves at the next append or close after this call, even if the future is polled later.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        let mut waiting = Box::pin(self.changed.notified());
        waiting.as_mut().enable();
        waiting
    }

    /// Marks the log as complete: no datagrams follow, so readers need not wait.
    pub fn complete(&self) {
        self.change(|state| state.complete = true);
        self.changed.notify_waiters();
    }

    /// Ends the log: removes all its datagrams, accepts no more, and wakes waiting readers.
    pub fn close(&self) {
        self.change(LogState::close);
        if let Some(handle) = &self.handle {
            handle.remove();
        }
        self.changed.notify_waiters();
    }

    /// Whether a panic has left the log half changed.
    pub fn is_broken(&self) -> bool {
        self.state.is_poisoned()
    }

    /// Ends a broken log. Its datagrams are lost.
    pub fn abandon(&self) {
        self.state.clear_poison();
        self.close();
    }

    pub fn counters(&self) -> LogCounters {
        let state = self.state();
        LogCounters { kept_bytes: state.kept_bytes() as u64, ..state.counters }
    }

    /// Whether every datagram before this number is on disk or no longer in the log.
    pub(super) fn is_saved_before(&self, next: u64) -> bool {
        let state = self.state();
        state.closed || state.saving.saved >= next
    }

    /// The sequence number that the next datagram gets.
    pub fn next_sequence(&self) -> u64 {
        self.state().tail.next()
    }

    /// The position after the last datagram that readers can see.
    pub fn latest(&self) -> Cursor {
        let state = self.state();
        Cursor { epoch: state.epoch, sequence: state.saving.visible_until.min(state.tail.next()) - 1 }
    }

    /// Its handle to the disk; none if it is in memory only.
    pub fn handle(&self) -> Option<&LogHandle> {
        self.handle.as_ref()
    }

    async fn fetch(&self, piece: Piece) -> Result<Option<Arc<Block>>, ReadError> {
        match (piece, &self.handle) {
            (Piece::Held(block), _) => Ok(Some(block)),
            (Piece::OnDisk { row, first, next }, Some(handle)) => {
                handle.fetch(row, first, next).await.map_err(ReadError::Disk)
            }
            (Piece::OnDisk { .. }, None) => Ok(None),
        }
    }

    /// Changes the state, then updates the budget and notifies the writer.
    fn change<R>(&self, change: impl FnOnce(&mut LogState) -> R) -> R {
        let mut state = self.state();
        let (before, bytes) = (state.extent(), state.counters.payload_bytes);
        let changed = change(&mut state);
        state.update_charge(&self.budget);
        if let Some(handle) = &self.handle
            && (state.extent() != before || !state.freed.is_empty())
        {
            let appended = state.counters.payload_bytes - bytes;
            state.notify(handle, usize::try_from(appended).unwrap_or(usize::MAX));
        }
        changed
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock_own()
    }
}

impl DurableLog for Log {
    fn unsaved(&self, rows: &mut dyn FnMut() -> RowId, most: usize, last: bool) -> Option<UnsavedLog> {
        let mut state = self.state();
        if state.closed || self.is_broken() {
            return None;
        }
        let unsaved = state.unsaved(rows, most, last);
        state.update_charge(&self.budget);
        Some(unsaved)
    }

    fn note_saved(&self, unsaved: &UnsavedLog) {
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

impl Drop for Log {
    fn drop(&mut self) {
        self.state().discharge(&self.budget);
    }
}
