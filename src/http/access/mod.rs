//! Access control: host names and origins ([`OriginPolicy`]), and tokens ([`TokenAuth`]).

mod authorization;
mod capacity;
mod cross_origin;
mod listener;
mod open_paths;
mod origin;
mod policy;
mod token_auth;

pub(super) use authorization::{Authorization, needed};
pub use capacity::Capacity;
pub(super) use capacity::METRICS;
pub use listener::ListenerKind;
pub(super) use open_paths::is_open;
pub use origin::OriginPolicy;
pub(super) use policy::{AccessDecision, AccessPolicy};
pub use token_auth::{Access, RequireToken};
