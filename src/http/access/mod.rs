//! Access control: host names and origins ([`OriginPolicy`]), and tokens ([`TokenAuth`]).

mod authorization;
mod cross_origin;
mod listener;
mod origin;
mod paths;
mod policy;
mod token_auth;

pub(super) use authorization::{Authorization, needed};
pub use listener::ListenerKind;
pub use origin::OriginPolicy;
pub(super) use paths::{METRICS, is_open};
pub use policy::Capacity;
pub(super) use policy::{AccessDecision, AccessPolicy};
pub use token_auth::{Access, RequireToken};
