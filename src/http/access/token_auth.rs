//! Token authorization: requires a bearer token (RFC 6750) on some listeners, after the [`super::origin`] checks.
//!
//! The listener that a request came in through decides, never its source address: a proxy on this host makes all
//! clients look local.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use tokio::sync::watch;

use super::authorization::{Authorization, needed};
use crate::http::problem::{Problem, ProblemKind};
use crate::logging::log_throttled;
use crate::model::Timestamp;
use crate::tokens::Tokens;

/// The configured tokens, and where clients need one.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// If none, no request needs a token.
    pub tokens: Option<Tokens>,
    pub require_token: RequireToken,
    /// Clients need no token for metrics.
    pub open_metrics: bool,
}

/// The listeners on which clients need a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequireToken {
    /// Listeners that other hosts reach: TCP beyond loopback.
    #[default]
    Remote,
    /// All listeners, including loopback and unix sockets; for a service behind a proxy.
    Always,
}

pub(super) struct TokenAuth {
    /// Watched by the requests that were authorized.
    tokens: watch::Sender<Option<Arc<Tokens>>>,
    require_token: RequireToken,
    open_metrics: bool,
}

impl TokenAuth {
    pub(super) fn new(access: Access) -> Self {
        Self {
            tokens: watch::Sender::new(access.tokens.map(Arc::new)),
            require_token: access.require_token,
            open_metrics: access.open_metrics,
        }
    }

    /// Accepts only these tokens from now on.
    pub(super) fn replace(&self, tokens: Tokens) {
        self.tokens.send_replace(Some(Arc::new(tokens)));
    }

    /// Whether the request has a token that the service accepts, needed or not.
    pub(super) fn knows(&self, request: &Request) -> bool {
        let (Some(tokens), Some(given)) = (self.tokens.borrow().clone(), bearer(request.headers())) else {
            return false;
        };
        tokens.find(given).is_some_and(|token| {
            token.allows(needed(request.method())) && !token.has_expired(Timestamp::now())
        })
    }

    pub(super) fn authorize(
        &self,
        request: &Request,
        listener: ListenerKind,
    ) -> Result<Authorization, Problem> {
        if listener != ListenerKind::Remote && self.require_token == RequireToken::Remote {
            return Ok(Authorization::default());
        }
        let path = request.uri().path();
        if is_open(path) || (self.open_metrics && path == METRICS) {
            return Ok(Authorization::default());
        }
        let tokens = self.tokens.borrow().clone();
        let Some(tokens) = tokens else {
            return Ok(Authorization::default());
        };
        let Some(given) = bearer(request.headers()) else {
            let detail = "send a token of this service: `Authorization: Bearer TOKEN`";
            return Err(Problem::new(ProblemKind::TokenRequired, detail));
        };
        let Some(token) = tokens.find(given) else {
            // A client with an outdated token, or an attacker who guesses.
            log_throttled!(WARN, method = %request.method(), path, "the service refused a request with an unknown token");
            let detail = "this is not a token of this service: it is mistyped, or was replaced by another";
            return Err(Problem::new(ProblemKind::UnknownToken, detail));
        };
        Authorization::by(token, request.method(), self.tokens.subscribe())
    }
}

/// The token of `Authorization: Bearer`; the scheme is case-insensitive (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The path of the metrics.
pub(in crate::http) const METRICS: &str = "/metrics";

/// Whether clients need no token for this path. Probes have no token. A browser cannot send one for the API document,
/// which reveals nothing about this service in particular.
pub(in crate::http) fn is_open(path: &str) -> bool {
    const OPEN: [&str; 6] = ["/", "/livez", "/readyz", "/openapi.json", "/openapi.yaml", "/docs"];
    OPEN.contains(&path) || path.starts_with("/docs/")
}

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
