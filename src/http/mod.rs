//! HTTP: routes, extractors, problem documents, access, streamed bodies; the only layer that knows axum.
//!
//! The core below does not know this layer. The whole API is on one page, [`router`].

mod access;
mod api;
mod docs;
mod events;
mod extract;
#[doc(hidden)]
pub mod fuzzing;
mod joins;
mod memberships;
mod messages;
mod openapi;
mod operations;
mod overview;
mod parameters;
mod paths;
mod problem;
mod reading;
mod resource;
mod responders;
mod responses;
mod router;
mod state;

pub use access::{Access, ListenerKind, OriginPolicy, RequireToken};
pub use api::{Api, document};
pub use operations::AdminState;
