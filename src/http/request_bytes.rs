//! The budget for bytes of unfinished requests: heads that are not complete, and bodies that are not parsed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the bytes of unfinished requests of all connections together.
#[derive(Debug)]
pub struct RequestBytes {
    held: AtomicUsize,
    limit: usize,
    refused: AtomicU64,
}

/// Bytes of one request; given back when dropped.
#[derive(Debug)]
pub struct HeldBytes {
    budget: Arc<RequestBytes>,
    bytes: usize,
}

/// There is no room for more bytes.
#[derive(Debug)]
pub struct OutOfRequestBytes;

impl RequestBytes {
    pub(super) fn new(limit: usize) -> Self {
        Self { held: AtomicUsize::new(0), limit, refused: AtomicU64::new(0) }
    }

    pub fn none(self: &Arc<Self>) -> HeldBytes {
        HeldBytes { budget: self.clone(), bytes: 0 }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How often there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl HeldBytes {
    /// Holds more bytes, if there is room.
    pub fn grow(&mut self, bytes: usize) -> Result<(), OutOfRequestBytes> {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.budget.limit);
        if self.budget.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            return Err(OutOfRequestBytes);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Holds bytes that have arrived already.
    pub fn grow_beyond_limit(&mut self, bytes: usize) {
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    pub fn give_back(&mut self) {
        self.budget.held.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.give_back();
    }
}
