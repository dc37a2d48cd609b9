//! Access control: host names and origins ([`OriginPolicy`]), and tokens ([`TokenAuth`]).

mod authorization;
mod cross_origin;
mod listener;
mod open_paths;
mod origin;
mod policy;
mod token_auth;

pub(super) use authorization::Authorization;
pub use listener::ListenerKind;
pub(super) use open_paths::is_open;
pub use origin::OriginPolicy;
pub(super) use policy::{AccessPolicy, Decision};
pub(super) use token_auth::needed;
pub use token_auth::{Access, RequireToken};
