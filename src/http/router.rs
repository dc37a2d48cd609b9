//! All routes of the API, each with its handlers.
//!
//! The methods are in the handlers' annotations, which make the API document.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::extract::{ACCEPT_PATCH, PATCH_TYPES};
use super::openapi::Document;
use super::operations::{configuration, health, metrics};
use super::problem::{Problem, ProblemKind};
use super::state::AppState;
use super::{events, index, memberships, messages, overview, responders};
use crate::contract::nearest;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    use {configuration as config, memberships as member, messages as message, responders as answer};

    OpenApiRouter::with_openapi(Document::openapi())
        // Send to a group, and collect the responses
        .at("/v1/messages", routes!(message::list, message::send, message::delete_selected))
        .at("/v1/messages/{id}", routes!(message::show, message::put, message::delete))
        .at("/v1/messages/{id}/cancel", routes!(message::cancel))
        .at("/v1/messages/{id}/responses", routes!(message::responses))
        .at("/v1/messages/{id}/responses/{seq}/payload", routes!(message::payload))
        // Join groups, and read their datagrams
        .at("/v1/memberships", routes!(member::list, member::create, member::delete_selected))
        .at("/v1/memberships/{id}", routes!(member::show, member::put, member::patch, member::leave))
        .at("/v1/memberships/{id}/renew", routes!(member::renew))
        .at("/v1/memberships/{id}/datagrams", routes!(member::datagrams))
        .at("/v1/memberships/{id}/datagrams/{seq}/payload", routes!(member::payload))
        // Join groups, and reply to datagrams
        .at("/v1/responders", routes!(answer::list, answer::create, answer::delete_selected))
        .at("/v1/responders/{id}", routes!(answer::show, answer::put, answer::patch, answer::leave))
        .at("/v1/responders/{id}/renew", routes!(answer::renew))
        .at("/v1/responders/{id}/datagrams", routes!(answer::datagrams))
        .at("/v1/responders/{id}/datagrams/{seq}/payload", routes!(answer::payload))
        // All resources
        .at("/v1/groups", routes!(overview::groups))
        .at("/v1/groups/{group}", routes!(overview::group))
        .at("/v1/interfaces", routes!(overview::interfaces))
        .at("/v1/events", routes!(events::events))
        // The service itself
        .at("/", routes!(index::begin))
        .at("/v1", routes!(index::index))
        .at("/v1/version", routes!(index::version))
        .at("/v1/config", routes!(config::show))
        .at(
            "/v1/log-filter",
            routes!(config::show_log_filter, config::put_log_filter, config::patch_log_filter),
        )
        .at("/livez", routes!(health::livez))
        .at("/readyz", routes!(health::readyz))
        .at("/metrics", routes!(metrics::metrics))
}

/// A path with slashes at its end means the same without them.
pub(super) fn trim_trailing_slashes(uri: &mut Uri) {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() || trimmed.len() == path.len() {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{trimmed}{query}").parse().ok();
    if let Ok(trimmed) = Uri::from_parts(parts) {
        *uri = trimmed;
    }
}

/// The response if there is no route.
pub(super) async fn not_found(method: Method, uri: Uri) -> Response {
    // About the service as a whole (RFC 9110 section 9.3.7).
    if method == Method::OPTIONS && uri.path() == "*" {
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE";
        return (StatusCode::NO_CONTENT, [(header::ALLOW, methods)]).into_response();
    }
    let hint = likely_path(uri.path()).map(|path| format!("did you mean {path}?"));
    let hint = hint.unwrap_or_else(|| "/docs lists the paths".to_owned());
    let detail = format!("there is nothing at {}: {hint}", uri.path());
    Problem::new(ProblemKind::NotFound, detail).into_response()
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

/// The response if the route does not have the method. Every route has OPTIONS; the router adds `allow`.
pub(super) async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(ProblemKind::MethodNotAllowed, format!("this path does not support {method}"))
        .into_response()
}

/// Completes the router's list of methods, and the problem by what the router knows.
pub(super) fn complete(response: &mut Response, path: &str) {
    complete_allow(response);
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        let methods = response.headers().get(header::ALLOW).and_then(|allow| allow.to_str().ok());
        problem.complete(path, methods);
        response.extensions_mut().insert(problem);
    }
}

fn complete_allow(response: &mut Response) {
    let headers = response.headers_mut();
    let Some(allow) = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()) else { return };
    let mut methods: Vec<_> = allow.split(',').map(str::trim).collect();
    methods.push("OPTIONS");
    let has_patch = methods.contains(&"PATCH");
    if let Ok(methods) = methods.join(", ").try_into() {
        headers.insert(header::ALLOW, methods);
    }
    if has_patch {
        headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCH_TYPES));
    }
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
