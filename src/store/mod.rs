//! Logs: the datagrams that memberships, responders and messages have received and keep.
//!
//! The receive threads append to a [`Log`] in batches; readers read it through a [`Cursor`], without a copy or a queue
//! of their own. A reader that retention has overtaken gets a [`Gap`]. A [`Budget`] bounds all logs together.

mod block;
mod budget;
mod cursor;
mod disk;
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod record;

pub use block::Entry;
pub use budget::Budget;
pub use cursor::{Cursor, CursorError, Gap, GapReason};
pub use disk::{
    Archive, ArchivedLog, Condition, DiskError, LogHandle, Persist, Saved, SavedLog, Store, StoreSettings,
};
pub use log::{Limits, Log, LogCounters, Page, ReadError, ReadRange};
pub use record::RecordBatch;
