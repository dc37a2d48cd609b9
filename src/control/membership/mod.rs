//! A membership at work: its specification, its state on each interface, its log and its lease. A responder is a
//! membership that also replies.
//!
//! Two locks: `updating` serializes the tasks that open sockets or change them, which can take a while; `state` is held
//! for bookkeeping alone, so that views, metrics and lists never wait. A task that opens sockets plans under `state`,
//! opens them without it, and adopts them under `state` if nothing has changed meanwhile. Whoever closes sockets (a
//! DELETE, the end of a lease, a failure, a stop) takes `state` alone, and does not wait for such a task.

mod changing;
mod charging;
mod events;
mod following;
mod interface_membership;
mod joining;
mod leaving;
#[cfg(test)]
mod model_tests;
mod opening;
mod operations;
mod persistence;
mod renewing;
mod retries;
mod sink;
mod state;
#[cfg(test)]
mod waiting_tests;

pub(super) use interface_membership::{JoinedSocket, SocketId};
pub use joining::{JoinRequest, RequestedLease};
pub(super) use operations::arm;
pub use state::Membership;
pub(super) use state::MembershipContext;
