//! Access control: host names and origins ([`OriginPolicy`]), and tokens ([`TokenAuth`]).

mod authorization;
mod cross_origin;
mod origin;
mod policy;
mod token_auth;

pub(super) use authorization::{Authorization, needed};
pub use origin::OriginPolicy;
pub use policy::Capacity;
pub(super) use policy::{AccessDecision, AccessPolicy, is_operational};
pub use token_auth::{Access, ListenerKind, RequireToken};
pub(super) use token_auth::{METRICS, is_open};
