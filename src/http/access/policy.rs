//! The checks before the routes, in their order.

use axum::extract::Request;
use axum::response::Response;

use super::cross_origin::CrossOrigin;
use super::listener::ListenerKind;
use super::origin::OriginPolicy;
use super::token_auth::{Access, TokenAuth};
use crate::http::problem::Problem;
use crate::tokens::Tokens;

/// The checks before the routes.
pub(in crate::http) struct AccessPolicy {
    door: OriginPolicy,
    gate: TokenAuth,
}

impl AccessPolicy {
    pub(in crate::http) fn new(door: OriginPolicy, access: Access) -> Self {
        Self { door, gate: TokenAuth::new(access) }
    }

    /// Accepts only these tokens from now on.
    pub(in crate::http) fn replace_tokens(&self, tokens: Tokens) {
        self.gate.replace(tokens);
    }

    /// The request's other origin, if that is allowed.
    pub(in crate::http) fn cross_origin(&self, request: &Request) -> Option<CrossOrigin> {
        CrossOrigin::of(request, &self.door)
    }

    /// Decides whether the request may go on to the routes. Answers preflights itself.
    pub(in crate::http) fn authorize(
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
