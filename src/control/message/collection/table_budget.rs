use std::sync::atomic::{AtomicUsize, Ordering};

/// The bounds on the tables of responders: the rows of each, and the bytes of all.
pub(in crate::control) struct TableBudget {
    rows: usize,
    bytes: usize,
    held: AtomicUsize,
}

impl TableBudget {
    pub(in crate::control) fn new(rows: usize, bytes: usize) -> Self {
        Self { rows, bytes, held: AtomicUsize::new(0) }
    }

    /// The most rows of one table.
    pub(in crate::control) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of all tables.
    pub(in crate::control) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether tables of closed messages have to give way to those of messages that collect, until
    /// [`Self::has_room`].
    pub(in crate::control) fn is_short(&self) -> bool {
        self.held() > self.bytes / 2
    }

    pub(in crate::control) fn has_room(&self) -> bool {
        self.held() <= self.bytes / 8 * 3
    }

    /// Charges these bytes, unless that would exceed the bound.
    pub(super) fn try_charge(&self, bytes: usize) -> bool {
        let charged = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.bytes);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charged).is_ok()
    }

    /// Charges the bytes of restored rows, which may exceed the bound for a moment.
    pub(super) fn charge(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}
