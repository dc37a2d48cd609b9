//! The contract with clients as types: bodies, queries and views, and errors of fields.
//!
//! It does not know HTTP: the configuration file declares memberships and responders by the same bodies.

pub mod configuration;
pub mod datagrams;
pub mod documented;
pub mod events;
mod field_errors;
mod fields;
pub mod health;
pub mod index;
mod join_bodies;
mod json_text;
pub mod labels;
pub mod lists;
pub mod memberships;
mod message_body;
pub mod messages;
mod mistakes;
mod notation;
pub mod overview;
mod parse;
mod patch;
mod payload;
mod read_query;
pub mod responders;
mod rules;
mod sources;
mod wait;

pub use datagrams::PageRoom;
pub use field_errors::{FieldError, FieldErrors, Refused, escaped};
pub use fields::{parse_time, rfc3339};
pub use join_bodies::{MembershipBody, ResponderBody, read_declared};
pub use message_body::{MessageBody, MessageRequest, RawOptions};
pub use mistakes::{misplaced_options, nearest, unknown_parameters};
pub use parse::{BodyError, Parsed, parse_json, parse_query};
pub use patch::{LogFilterPatch, MembershipPatch, MergePatch, RenewBody, ResponderPatch};
pub use payload::Encoding;
pub use read_query::{Format, ReadQuery, ReadStart};
pub use wait::WaitQuery;
