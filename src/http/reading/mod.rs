//! Reading logs of memberships, responders and messages, in all formats of [`crate::rendering`].

mod log_owner;
mod page;
mod payload;
mod request;
mod stream;

pub(super) use log_owner::{LogOwner, MAX_PAGE};
pub(super) use payload::DatagramPath;
pub(super) use request::{LastEventId, Reading, last_event_id, negotiate, varying};
pub(super) use stream::{HEARTBEAT, streamed};
