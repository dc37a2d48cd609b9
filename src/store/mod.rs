//! Logs: what memberships, responders and messages keep of the datagrams that came to them.
//!
//! A [`Log`] is written by the socket side in batches and read by everybody else through a [`Cursor`];
//! no reader has a copy or a queue of its own. A reader that retention overtook is told so ([`Gap`]).

mod chunk;
mod cursor;
mod log;

pub use chunk::{Entry, Run};
pub use cursor::{Cursor, CursorError, Gap, GapReason};
pub use log::{Closed, Limits, Log, LogCounters, Page};
