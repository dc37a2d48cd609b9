//! Reading logs of memberships, responders and messages, in all formats of [`crate::rendering`].

mod log_owner;
mod page;
mod payload;
mod request;
mod stream;
mod tail;

pub(super) use log_owner::{LogOwner, MAX_PAGE};
pub(super) use payload::DatagramPath;
pub(super) use request::{LastEventId, ReadForm, ReadParams, Reading, varying};
pub(super) use stream::{HEARTBEAT, streamed};
