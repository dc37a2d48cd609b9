//! A message at work: the bookkeeping of its sends and responses, the sockets that receive the responses, and its log.
//!
//! A message is complete when it is created. Its sockets are opened before that, and registered once it is in the
//! registry: datagrams that arrive in between wait in the sockets, and nothing that arrives before the first send
//! counts as a response.

mod closing;
mod collection;
mod egress_interface;
#[cfg(test)]
mod model_tests;
mod opening;
mod operations;
mod persistence;
mod routing;
mod sending;
mod sink;
mod sockets;
mod spans;
mod state;

pub(super) use collection::TableBudget;
pub use collection::{EgressResult, ListedResponders, RespondingPeer, ResponseCounters};
pub(super) use operations::{delete_closed, delete_expired, drop_tables};
pub(super) use sockets::SharedSendSockets;
pub(super) use state::{ClosedMessages, MessageContext};
pub use state::{Message, MessageView};
