//! The operations: join, leave, respond, send. Owns all resources, their tasks and their lifetimes.
//!
//! Threads and tasks, all in one tracker and ended by one token: the receive threads ([`crate::net::ReceiveThreads`]),
//! the thread that follows the interfaces ([`crate::net::InterfaceWatch`]) and the thread that keeps memberships in
//! line with them ([`reconciler`]); the tasks of the timers, of retention and of [`recovery`], and one for each
//! message's first send and its repeats. Besides these, the store's writer and the [`watchdog`]. A task that panics is
//! started again; a thread that panics or is stuck ends the process.

mod claims;
mod condition;
mod deletion;
mod error;
mod events;
#[cfg(test)]
mod fixtures;
mod groups;
mod health;
mod histogram;
mod interfaces;
mod membership;
mod message;
mod metrics_snapshot;
mod reconciler;
mod recovery;
mod registry;
mod released_sockets;
mod resource_failures;
mod resource_kind;
mod responder;
mod restoring;
mod retention;
mod saved;
mod settings;
mod shared;
mod start;
mod timers;
mod totals;
mod views;
pub mod waiting;
mod watchdog;

pub use condition::{Condition, Revisions};
pub use error::{ControlError, Done, DurabilityError, Purpose, UnknownInterface};
pub use events::{Event, EventKind, EventPage, Events};
pub use groups::{GroupPage, GroupQuery, GroupView};
pub use health::{CheckOutcome, HealthCheck};
pub use histogram::{Distribution, Histogram};
pub use interfaces::InterfaceChoice;
pub use membership::{JoinRequest, Membership, RequestedLease};
pub use message::{EgressResult, ListedResponders, Message, MessageView, RespondingPeer, ResponseCounters};
pub use metrics_snapshot::MetricsSnapshot;
pub use registry::{ListEntry, ListOrder, ListPage, ListPosition, ListQuery, Outcome};
pub use resource_kind::ResourceKind;
pub use responder::ReplyCounters;
pub use saved::saved_group;
pub use settings::Settings;
pub use shared::Control;
pub use start::ControlStartError;
pub use totals::{CurrentState, LogUsage, ReceivedTotals, States, Totals};
pub use views::{InterfaceView, JoinState, Lease, MembershipView, ReceivedOn, ResponderView};
