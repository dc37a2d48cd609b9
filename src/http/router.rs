//! All routes of the API, each with its handlers.
//!
//! The methods are in the handlers' annotations, which make the API document.

use axum::http::{Method, Uri};
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::openapi::Document;
use super::operations::{configuration, health, metrics};
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use super::{events, memberships, messages, overview, responders};
use crate::contract::nearest;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    use {configuration as config, memberships as member, messages as message};

    OpenApiRouter::with_openapi(Document::openapi())
        // Send to a group, and collect the responses
        .at("/v1/messages", routes!(message::list, message::send))
        .at("/v1/messages/{id}", routes!(message::show, message::put, message::delete))
        .at("/v1/messages/{id}/cancel", routes!(message::cancel))
        .at("/v1/messages/{id}/responses", routes!(message::responses))
        .at("/v1/messages/{id}/responses/{seq}/payload", routes!(message::payload))
        // Join groups, and read their datagrams
        .at("/v1/memberships", routes!(member::list, member::create))
        .at("/v1/memberships/{id}", routes!(member::show, member::put, member::leave))
        .at("/v1/memberships/{id}/datagrams", routes!(member::datagrams))
        .at("/v1/memberships/{id}/datagrams/{seq}/payload", routes!(member::payload))
        // Join groups, and reply to datagrams
        .at("/v1/responders", routes!(responders::list, responders::create))
        .at("/v1/responders/{id}", routes!(responders::show, responders::put, responders::leave))
        .at("/v1/responders/{id}/datagrams", routes!(responders::datagrams))
        .at("/v1/responders/{id}/datagrams/{seq}/payload", routes!(responders::payload))
        // All resources
        .at("/v1/groups", routes!(overview::groups))
        .at("/v1/interfaces", routes!(overview::interfaces))
        .at("/v1/events", routes!(events::events))
        // The service itself
        .at("/v1/config", routes!(config::show))
        .at("/v1/log-filter", routes!(config::show_log_filter, config::put_log_filter))
        .at("/livez", routes!(health::livez))
        .at("/readyz", routes!(health::readyz))
        .at("/metrics", routes!(metrics::metrics))
}

/// The response if there is no route.
pub(super) async fn not_found(uri: Uri) -> Problem {
    let hint = likely_path(uri.path()).map(|path| format!("did you mean {path}?"));
    let hint = hint.unwrap_or_else(|| "/docs lists the paths".to_owned());
    Problem::new(ProblemKind::NotFound, format!("there is nothing at {}: {hint}", uri.path()))
}

/// The path that a client most likely means by one that does not exist.
fn likely_path(path: &str) -> Option<String> {
    const PATHS: [&str; 11] = [
        "/v1/messages",
        "/v1/memberships",
        "/v1/responders",
        "/v1/groups",
        "/v1/interfaces",
        "/v1/events",
        "/v1/config",
        "/v1/log-filter",
        "/livez",
        "/readyz",
        "/metrics",
    ];
    let given: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
    let names = |path: &'static str| path.split('/').skip(1);
    match given[..] {
        ["v1", "memberships" | "responders", id, "responses", ..] => {
            Some(format!("/v1/{}/{id}/datagrams", given[1]))
        }
        ["v1", "messages", id, "datagrams", ..] => Some(format!("/v1/messages/{id}/responses")),
        // Of the API in its version.
        ["v1", name, ..] | [name, ..] => {
            let last = nearest(name, PATHS.into_iter().filter_map(|path| names(path).last()))?;
            let known = PATHS.into_iter().find(|path| names(path).last() == Some(last))?;
            let rest = given.iter().skip(if given[0] == "v1" { 2 } else { 1 });
            let likely = rest.fold(known.to_owned(), |path, name| path + "/" + name);
            (likely != path).then_some(likely)
        }
        _ => None,
    }
}

/// The response if the route does not have the method.
pub(super) async fn method_not_allowed(method: Method) -> Problem {
    let detail =
        format!("this path does not support {method}: the header `allow` lists the supported methods");
    Problem::new(ProblemKind::MethodNotAllowed, detail)
}

/// Adds handlers whose annotations have this path.
trait At {
    fn at(self, path: &str, handlers: UtoipaMethodRouter<AppState>) -> Self;
}

impl At for OpenApiRouter<AppState> {
    fn at(self, path: &str, handlers: UtoipaMethodRouter<AppState>) -> Self {
        assert!(
            handlers.1.paths.keys().all(|annotated| annotated == path),
            "the annotations say so too: {path}"
        );
        self.routes(handlers)
    }
}
