//! Who may call: under which host name and from which origin ([`OriginPolicy`]), and with which token ([`TokenAuth`]).

mod cross_origin;
mod origin;
mod token_auth;
mod tokens;

use axum::extract::Request;
use axum::response::Response;

use super::problem::Problem;
use token_auth::TokenAuth;

pub(super) use cross_origin::CrossOrigin;
pub use origin::OriginPolicy;
pub use token_auth::{Access, RequireToken};
pub(super) use token_auth::{is_open, needed};
pub use tokens::{LineError, Scope, Tokens};

/// The kind of listener that a request came in through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// A TCP address that other hosts reach.
    Remote,
    /// A loopback address.
    Loopback,
    /// A unix socket, where host names mean nothing, and no browser connects.
    Unix,
}

/// The checks before the routes.
pub(super) struct AccessPolicy {
    door: OriginPolicy,
    gate: TokenAuth,
}

impl AccessPolicy {
    pub(super) fn new(door: OriginPolicy, access: Access) -> Self {
        Self { door, gate: TokenAuth::new(access) }
    }

    /// Accepts only these tokens from now on.
    pub(super) fn replace_tokens(&self, tokens: Tokens) {
        self.gate.replace(tokens);
    }

    /// The request's other origin, if that is allowed.
    pub(super) fn cross_origin(&self, request: &Request) -> Option<CrossOrigin> {
        CrossOrigin::of(request, &self.door)
    }

    /// Decides whether the request may go on to the routes. Answers preflights itself.
    pub(super) fn authorize(
        &self,
        request: &Request,
        way: ListenerKind,
        page: Option<&CrossOrigin>,
    ) -> Result<Option<Response>, Problem> {
        self.door.allow(request, way)?;
        if let Some(answer) = page.and_then(CrossOrigin::preflight) {
            return Ok(Some(answer));
        }
        self.gate.authorize(request, way).map(|()| None)
    }
}
