//! Who may call: by which name and from which page (the door), and with which token (the gate).

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

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// Over a TCP address that other hosts reach.
    Remote,
    /// Over a loopback address.
    Loopback,
    /// Where names mean nothing, and no browser comes from.
    Unix,
}

/// What stands before the routes.
pub(super) struct AccessPolicy {
    door: OriginPolicy,
    gate: TokenAuth,
}

impl AccessPolicy {
    pub(super) fn new(door: OriginPolicy, access: Access) -> Self {
        Self { door, gate: TokenAuth::new(access) }
    }

    /// From now on only these tokens are accepted.
    pub(super) fn replace_tokens(&self, tokens: Tokens) {
        self.gate.replace(tokens);
    }

    /// The page of another origin that the request comes from, if it may.
    pub(super) fn cross_origin(&self, request: &Request) -> Option<CrossOrigin> {
        CrossOrigin::of(request, &self.door)
    }

    /// Whether the request may go on to the routes; a browser's question whether it may has its answer here.
    pub(super) fn authorize(
        &self,
        request: &Request,
        way: ListenerKind,
        page: Option<&CrossOrigin>,
    ) -> Result<Option<Response>, Problem> {
        self.door.admit(request, way)?;
        if let Some(answer) = page.and_then(CrossOrigin::preflight) {
            return Ok(Some(answer));
        }
        self.gate.authorize(request, way).map(|()| None)
    }
}
