//! HTTP: routes, extractors, problem documents, access, streamed bodies; the only layer that knows axum.
//!
//! The core below does not know this layer. The whole API is on one page, [`router`].

mod accept;
mod access;
mod api;
mod compute;
mod conditions;
mod deletion;
mod deprecation;
mod docs;
mod documented_problems;
mod events;
mod extract;
#[doc(hidden)]
pub mod fuzzing;
mod guarded_body;
mod index;
mod joins;
mod json;
mod memberships;
mod messages;
mod misplaced;
mod openapi;
mod operations;
mod overview;
mod problem;
mod protocol_errors;
mod reading;
mod request_bytes;
mod resource;
mod responders;
mod responses;
mod router;
mod state;
mod turns;

pub use access::{Access, Capacity, ListenerKind, OriginPolicy, RequireToken};
pub use api::{Api, document};
pub use guarded_body::GuardedBody;
pub use operations::{AdminState, CloseCause, ConnectionCounts};
pub use protocol_errors::ProtocolError;
pub use request_bytes::{HeldBytes, OutOfRequestBytes, RequestBytes};
