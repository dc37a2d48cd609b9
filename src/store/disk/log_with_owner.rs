//! A log on disk and its owner, as the writer sees them.

use std::sync::{Arc, Weak};

use crate::store::saved::{RowId, UnsavedPart};

/// The owner of a log on disk.
pub trait Persist: Send + Sync {
    /// Its spec, from which the next start restores it.
    fn spec(&self) -> String;
    /// Its status, beside what the log counts.
    fn status(&self) -> String;
}

/// A log, as the writer uses it.
pub(in crate::store) trait DurableLog: Send + Sync {
    /// The part of the log that is not on disk yet, up to `max` bytes; none if the log is closed or broken. `rows`
    /// gives new row numbers. `last`: no writes follow, so the log reserves no numbers.
    fn unsaved(&self, rows: &mut dyn FnMut() -> RowId, max: usize, last: bool) -> Option<UnsavedPart>;

    /// Notes that this part is on disk.
    fn note_saved(&self, unsaved: &UnsavedPart);

    /// Notes that the writer could not write the log. Readers now see datagrams that were hidden for lack of reserved
    /// numbers: the mark in the data directory makes the next start skip more numbers.
    fn note_not_saved(&self);

    fn is_closed(&self) -> bool;
}

/// A log that the writer writes from now on, and its owner.
pub(in crate::store) struct LogWithOwner {
    pub(in crate::store) kind: String,
    pub(in crate::store) id: String,
    pub(in crate::store) log: Arc<dyn DurableLog>,
    pub(in crate::store) owner: Weak<dyn Persist>,
    /// It is not on disk yet.
    pub(in crate::store) is_new: bool,
}

impl LogWithOwner {
    /// The spec of the owner; empty if that is gone.
    pub(super) fn spec(&self) -> String {
        self.owner.upgrade().map(|owner| owner.spec()).unwrap_or_default()
    }

    /// The status of the owner; empty if that is gone.
    pub(super) fn status(&self) -> String {
        self.owner.upgrade().map(|owner| owner.status()).unwrap_or_default()
    }
}
