//! The domain's types, valid by construction: past this layer no code checks whether a value is allowed.
//!
//! Nothing here knows sockets, logs or HTTP.

mod base64;
mod datagram;
mod group;
mod hearing;
mod id;
mod interface;
mod labels;
pub mod limits;
mod membership;
mod message;
mod number;
mod pattern;
mod responder;
mod retention;
mod revision;
mod selector;
mod sources;
mod time;

pub use datagram::{DatagramMeta, ResponseMeta};
pub use group::{Family, Group, GroupError, max_payload};
pub use hearing::NotHearing;
pub use id::{Id, IdError};
pub use interface::{
    Interface, InterfaceRef, InterfaceTable, Interfaces, Ipv6Status, Unusable, can_appear, is_interface_name,
    is_link_local, socket_addr_on,
};
pub use labels::{LabelError, Labels, check_key, check_value};
pub use membership::MembershipSpec;
pub use message::{CloseReason, HopLimit, MessageSpec, Repeat, SpecError, check_attempts, check_datagram};
pub use number::parse_decimal;
pub use pattern::{Pattern, PatternError, Search};
pub use responder::{Delay, Match, Reply, ReplyBytes, ReplyFrom, ResponderRules};
pub use retention::Retention;
pub use revision::Revision;
pub use selector::{Selector, SelectorError};
pub use sources::{SourceError, SourceFilter};
pub use time::{ClockReading, Timestamp};
