//! A responder's part of a membership: which datagrams get a reply, which reply, when, and from which socket.
//!
//! Runs on the receive thread, so that an immediate reply costs no task and no queue; a reply that must wait (a delay,
//! a full send buffer) goes to the timers.

mod active;
mod byte_budget;
mod counters;
mod decision;
mod limits;
mod matching;
mod recent;
mod replying;
mod state;

pub(super) use active::ActiveRules;
pub(super) use byte_budget::ByteBudget;
pub use counters::ReplyCounters;
pub(super) use limits::ReplyLimits;
pub(super) use matching::MatchBudget;
pub(super) use state::{Responder, ResponderContext};
