//! Logs of the datagrams that memberships, responders and messages have received.
//!
//! The receive threads append to a [`Log`] in batches; readers read it through a [`Cursor`], without a copy or a queue
//! of their own. A reader that retention has overtaken gets a [`Gap`]. A [`Budget`] bounds all logs together.
//!
//! `disk` does not know [`Log`]: its writer sees a `DurableLog`, which [`Log`] implements. Both stand on `durable_log`.
//! [`Log::persist`] brings the two together.

mod block;
mod budget;
mod disk;
mod durable_log;
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod page;
mod record;

pub use block::Entry;
pub use budget::{Budget, Limits};
pub use disk::{
    Archive, ArchivedLog, CheckReport, DiskError, LogHandle, SavedResource, Store, StoreSettings,
    StoreStatus, check, repair,
};
pub use durable_log::{LogCounters, Persist, SavedLog};
pub use log::Log;
pub use log::read_page::{ReadError, ReadRange};
pub use page::{Cursor, CursorError, Gap, GapReason, Page};
pub use record::RecordBatch;
