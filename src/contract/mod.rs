//! The contract with clients as types: bodies, queries and views, and errors of fields.
//!
//! It does not know HTTP: the configuration file declares memberships and responders by the same bodies.

pub mod configuration;
pub mod datagrams;
mod decimal;
mod declared;
pub mod documented;
pub mod events;
mod field_errors;
mod fields;
pub mod health;
mod join_bodies;
pub mod lists;
pub mod log_filter;
pub mod memberships;
mod message_body;
pub mod messages;
pub mod overview;
mod page_room;
mod parse;
mod payload;
mod read_query;
pub mod responders;
mod retention;
mod rules;
mod sources;
mod time;

pub use declared::read_declared;
pub use field_errors::{FieldError, FieldErrors, Refused};
pub use join_bodies::{MembershipBody, ResponderBody};
pub use message_body::{MessageBody, MessageRequest, RawOptions};
pub use page_room::PageRoom;
pub use parse::{BodyError, parse_json, parse_query};
pub use payload::Encoding;
pub use read_query::{After, Format, ReadQuery};
pub use time::{parse_time, rfc3339};
