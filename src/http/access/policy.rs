//! The checks before the routes, in their order.

use axum::extract::Request;
use axum::response::Response;

use super::authorization::Authorization;
use super::cross_origin::CrossOrigin;
use super::origin::OriginPolicy;
use super::token_auth::{Access, ListenerKind, METRICS, TokenAuth};
use crate::http::problem::Problem;
use crate::tokens::Tokens;

/// Decides which requests reach the routes: by capacity, by origin, and by token.
pub(in crate::http) struct AccessPolicy {
    origins: OriginPolicy,
    tokens: TokenAuth,
}

impl AccessPolicy {
    pub(in crate::http) fn new(origins: OriginPolicy, access: Access) -> Self {
        Self { origins, tokens: TokenAuth::new(access) }
    }

    /// Accepts only these tokens from now on.
    pub(in crate::http) fn replace_tokens(&self, tokens: Tokens) {
        self.tokens.replace(tokens);
    }

    /// The request's other origin, if that is allowed.
    pub(in crate::http) fn cross_origin(&self, request: &Request) -> Option<CrossOrigin> {
        CrossOrigin::of(request, &self.origins)
    }

    /// Whether the service takes on a request with what it has left.
    pub(in crate::http) fn has_capacity(&self, request: &Request, capacity: Capacity) -> bool {
        match capacity {
            Capacity::Normal => true,
            _ if is_operational(request.uri().path()) => true,
            Capacity::Scarce => self.tokens.knows(request),
            Capacity::Exhausted => false,
        }
    }

    /// Decides whether the request may reach the routes, and for how long.
    pub(in crate::http) fn authorize(
        &self,
        request: &Request,
        listener: ListenerKind,
        page: Option<&CrossOrigin>,
    ) -> Result<AccessDecision, Problem> {
        self.origins.allow(request, listener)?;
        if let Some(response) = page.and_then(CrossOrigin::preflight) {
            return Ok(AccessDecision::Preflight(response));
        }
        self.tokens.authorize(request, listener).map(AccessDecision::Authorized)
    }
}

/// Which requests the service takes on besides those under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// All requests.
    Normal,
    /// Requests of operators, and those with a token.
    Scarce,
    /// Requests of operators alone.
    Exhausted,
}

/// What to do with a request that is not refused.
pub(in crate::http) enum AccessDecision {
    /// Respond so, without the routes.
    Preflight(Response),
    /// Call the routes.
    Authorized(Authorization),
}

/// Whether operators need this path to see what is wrong.
pub(in crate::http) fn is_operational(path: &str) -> bool {
    ["/livez", "/readyz", METRICS].contains(&path)
}
