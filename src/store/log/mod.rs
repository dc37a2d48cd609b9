//! One log: appending, retention, and waiting for the disk. [`read_page`] turns a cursor into a page; [`saving`] passes
//! what is not on disk yet to the writer, and restores the log at a start.

pub(super) mod read_page;
mod saving;
mod state;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::budget::{Budget, Limits};
use super::disk::{DiskError, LogHandle, Store};
use super::durable_log::{LogCounters, LogWithOwner, Persist, SavedLog};
use super::page::Cursor;
use super::record::RecordBatch;
use crate::model::Timestamp;
use crate::sync::Lock;
use state::{BlockSource, LogState};

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
                None => BlockSource::Held(Arc::new(state.tail.clone())),
                Some(slot) => slot.source()?,
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

    /// The sequence number that the next datagram gets.
    pub fn next_sequence(&self) -> u64 {
        self.state().tail.next()
    }

    /// The position after the last datagram that readers can see.
    pub fn latest(&self) -> Cursor {
        let state = self.state();
        Cursor { epoch: state.epoch, sequence: state.saving.visible_until.min(state.tail.next()) - 1 }
    }

    /// Keeps the log and its owner in the store from now on, if there is one. `is_new`: they are not there yet.
    pub fn persist(self: &Arc<Self>, kind: &str, id: &str, owner: Weak<dyn Persist>, is_new: bool) {
        if let Some(handle) = self.handle() {
            let (kind, id) = (kind.to_owned(), id.to_owned());
            handle.persist(LogWithOwner { kind, id, log: self.clone(), owner, is_new });
        }
    }

    /// Resolves once all datagrams in the log until now are on disk, or with the error that prevents it. Cancel-safe.
    pub async fn wait_durable(&self, store: &Store) -> Result<(), DiskError> {
        let next = self.next_sequence();
        while !self.is_saved_before(next) {
            store.flushed_soon().await?;
        }
        Ok(())
    }

    /// Whether every datagram before this number is on disk or no longer in the log.
    fn is_saved_before(&self, next: u64) -> bool {
        let state = self.state();
        state.closed || state.saving.saved_until >= next
    }

    /// Its handle to the disk; none if it is in memory only.
    pub fn handle(&self) -> Option<&LogHandle> {
        self.handle.as_ref()
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

impl LogState {
    /// The state that is written beside the blocks, to detect changes.
    fn extent(&self) -> (u64, u64, u64, bool) {
        (self.first, self.tail.next(), self.counters.lost, self.complete)
    }

    /// Notifies the writer, if necessary, that the log has unwritten changes.
    fn notify(&mut self, handle: &LogHandle, appended: usize) {
        let flush_now = self.tail.next() >= self.saving.flush_at;
        if flush_now {
            self.saving.flush_at = u64::MAX;
        }
        if !std::mem::replace(&mut self.saving.dirty, true) || flush_now || !self.freed.is_empty() {
            handle.notify(flush_now, &mut self.freed);
        }
        handle.note(appended);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.state().discharge(&self.budget);
    }
}
