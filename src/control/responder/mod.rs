//! A responder's part of a membership: which datagrams get a reply, which reply, when, and from which socket.
//!
//! Runs on the receive thread, so that an immediate reply costs no task and no queue; a reply that must wait (a delay,
//! a full send buffer) goes to the timers.

mod active_rules;
mod byte_budget;
mod decision;
mod match_budget;
mod reply_limits;
mod replying;
mod state;

pub(super) use active_rules::ActiveRules;
pub(super) use byte_budget::ByteBudget;
pub(super) use match_budget::MatchBudget;
pub(super) use reply_limits::ReplyLimits;
pub use state::ReplyCounters;
pub(super) use state::{Responder, ResponderContext};
