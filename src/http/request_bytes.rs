//! The budget for bytes of unfinished requests: heads that are not complete, and bodies that are not parsed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bounded_counter::BoundedCounter;

/// Counts the bytes of unfinished requests of all connections together.
#[derive(Debug)]
pub struct RequestBytes {
    held: BoundedCounter,
    refused: AtomicU64,
}

/// Bytes of one request; released when dropped.
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
        Self { held: BoundedCounter::new(limit), refused: AtomicU64::new(0) }
    }

    pub fn none(self: &Arc<Self>) -> HeldBytes {
        HeldBytes { budget: self.clone(), bytes: 0 }
    }

    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    /// How often there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl HeldBytes {
    /// Holds more bytes, if there is room.
    pub fn grow(&mut self, bytes: usize) -> Result<(), OutOfRequestBytes> {
        if !self.budget.held.try_add(bytes) {
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            return Err(OutOfRequestBytes);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Holds bytes that have arrived already.
    pub fn grow_beyond_limit(&mut self, bytes: usize) {
        self.budget.held.add_beyond_max(bytes);
        self.bytes += bytes;
    }

    pub fn release(&mut self) {
        self.budget.held.subtract(std::mem::take(&mut self.bytes));
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.release();
    }
}
