//! The right of a request under way, which ends when its token is revoked, loses the scope or expires.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, Method};
use tokio::sync::watch;

use crate::http::problem::{Problem, ProblemKind};
use crate::model::Timestamp;
use crate::tokens::{Scope, Token, Tokens};

/// The right of a request under way; the default one needs no token, and never ends.
#[derive(Clone, Default)]
pub(in crate::http) struct Authorization(Option<Arc<ByToken>>);

struct ByToken {
    token: Token,
    method: Method,
    /// The tokens that the service accepts now.
    accepted: watch::Receiver<Option<Arc<Tokens>>>,
}

impl Authorization {
    pub(super) fn by(
        token: &Token,
        method: &Method,
        accepted: watch::Receiver<Option<Arc<Tokens>>>,
    ) -> Result<Self, Problem> {
        let by_token = ByToken { token: token.clone(), method: method.clone(), accepted };
        by_token.allowed_by(token)?;
        Ok(Self(Some(Arc::new(by_token))))
    }

    /// The authorization of the request with these extensions.
    pub(in crate::http) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Puts it where [`Self::of`] finds it. The default one is not attached, which saves an allocation.
    pub(in crate::http) fn attach(&self, extensions: &mut Extensions) {
        if self.0.is_some() {
            extensions.insert(self.clone());
        }
    }

    /// Whether the service still accepts the token for this request.
    pub(in crate::http) fn check(&self) -> Result<(), Problem> {
        self.0.as_ref().map_or(Ok(()), |by_token| by_token.check())
    }

    /// Waits until the service no longer accepts the token for this request.
    pub(in crate::http) async fn ended(&self) -> Problem {
        match &self.0 {
            Some(by_token) => by_token.ended().await,
            None => std::future::pending().await,
        }
    }
}

impl ByToken {
    fn check(&self) -> Result<(), Problem> {
        let accepted = self.accepted.borrow().clone();
        let Some(token) = accepted.as_ref().and_then(|tokens| tokens.find_again(&self.token)) else {
            let detail = format!("the token `{}` was revoked: use another token", self.token.name());
            return Err(Problem::new(ProblemKind::UnknownToken, detail));
        };
        self.allowed_by(token)
    }

    fn allowed_by(&self, token: &Token) -> Result<(), Problem> {
        if token.has_expired(Timestamp::now()) {
            let detail = format!("the token `{}` has expired: use another token", token.name());
            return Err(Problem::new(ProblemKind::TokenExpired, detail));
        }
        let needed = needed(&self.method);
        if !token.allows(needed) {
            let detail = format!(
                "the token `{}` may only read, and {} needs the scope `{}`: use another token, or give this one that scope",
                token.name(),
                self.method,
                needed.as_str()
            );
            return Err(Problem::new(ProblemKind::ScopeMissing, detail));
        }
        Ok(())
    }

    async fn ended(&self) -> Problem {
        let mut accepted = self.accepted.clone();
        loop {
            let until = accepted
                .borrow_and_update()
                .as_ref()
                .and_then(|tokens| tokens.find_again(&self.token)?.until());
            if let Err(problem) = self.check() {
                return problem;
            }
            tokio::select! {
                changed = accepted.changed() => if changed.is_err() {
                    // The service is gone, and this request soon too.
                    std::future::pending::<()>().await;
                },
                () = reached(until) => {}
            }
        }
    }
}

/// Waits until this time, or a while less: the clock may be set meanwhile.
async fn reached(until: Option<Timestamp>) {
    const A_WHILE: Duration = Duration::from_secs(10);
    match until {
        Some(until) => {
            tokio::time::sleep(until.since(Timestamp::now()).unwrap_or_default().min(A_WHILE)).await;
        }
        None => std::future::pending().await,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Authorization {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The scope that a request with this method needs.
pub(in crate::http) fn needed(method: &Method) -> Scope {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) { Scope::Read } else { Scope::Control }
}
