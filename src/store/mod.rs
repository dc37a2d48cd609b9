//! Logs: what memberships, responders and messages keep of the datagrams that came to them.
//!
//! A [`Log`] is written by the socket side in batches and read by everybody else through a [`Cursor`];
//! no reader has a copy or a queue of its own. A reader that retention overtook is told so ([`Gap`]). What all logs
//! hold together is bounded by a [`Budget`].

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
