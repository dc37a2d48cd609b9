//! Logs of the datagrams that memberships, responders and messages have received.
//!
//! The receive threads append to a [`Log`] in batches; readers read it through a [`Cursor`], without a copy or a queue
//! of their own. A reader that retention has overtaken gets a [`Gap`]. A [`Budget`] bounds all logs together.
//!
//! `disk` does not know [`Log`]: its writer sees a `DurableLog`, which [`Log`] implements. Both stand on the rows in
//! `saved`. [`Log::persist`] brings the two together.

mod block;
mod budget;
mod counters;
mod cursor;
mod disk;
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod page;
mod record;
mod saved;

pub use block::Entry;
pub use budget::Budget;
pub use counters::LogCounters;
pub use cursor::{Cursor, CursorError, Gap, GapReason};
pub use disk::{
    Archive, ArchivedLog, CheckReport, DiskError, LogHandle, Persist, SavedResource, Store, StoreSettings,
    StoreStatus, check, repair,
};
pub use log::read_page::{ReadError, ReadRange};
pub use log::{Limits, Log};
pub use page::Page;
pub use record::RecordBatch;
pub use saved::SavedLog;
