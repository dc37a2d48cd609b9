//! Reading logs of memberships, responders and messages, in all formats of [`crate::rendering`].

mod accept;
mod last_event_id;
mod log_owner;
mod page;
mod payload;
mod request;
mod stream;

pub(super) use accept::{negotiate, varying};
pub(super) use last_event_id::last_event_id;
pub(super) use log_owner::{LogOwner, MAX_PAGE};
pub(super) use payload::DatagramPath;
pub(super) use request::Reading;
pub(super) use stream::{HEARTBEAT, streamed};
