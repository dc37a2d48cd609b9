//! The budget of the tables of responders.

use crate::bounded_counter::BoundedCounter;

/// The bounds on the tables of responders: the rows of each, and the bytes of all.
pub(in crate::control) struct TableBudget {
    rows: usize,
    held: BoundedCounter,
}

impl TableBudget {
    pub(in crate::control) fn new(rows: usize, bytes: usize) -> Self {
        Self { rows, held: BoundedCounter::new(bytes) }
    }

    /// The most rows of one table.
    pub(in crate::control) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of all tables.
    pub(in crate::control) fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether tables of closed messages are emptied for those of messages that collect, until
    /// [`Self::has_room`].
    pub(in crate::control) fn is_short(&self) -> bool {
        self.held() > self.held.max() / 2
    }

    pub(in crate::control) fn has_room(&self) -> bool {
        self.held() <= self.held.max() / 8 * 3
    }

    /// Charges these bytes, unless that would exceed the bound.
    pub(super) fn try_charge(&self, bytes: usize) -> bool {
        self.held.try_add(bytes)
    }

    /// Charges the bytes of restored rows, which may exceed the bound for a moment.
    pub(super) fn charge(&self, bytes: usize) {
        self.held.add_beyond_max(bytes);
    }

    pub(super) fn release(&self, bytes: usize) {
        self.held.subtract(bytes);
    }
}
