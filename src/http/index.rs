//! The routes that lead to all others.

use axum::http::header::VARY;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};

use super::accept::preferred;
use super::conditions::{IfMatch, IfNoneMatchOfGet, Text};
use super::problem::Problem;
use crate::contract::index::{Index, Version};

/// Begin here
///
/// A browser is led to `/docs`; a program gets the same as at `/v1`.
#[utoipa::path(get, path = "/", tag = "service", operation_id = "get_root", params(IfNoneMatchOfGet, IfMatch),
    responses(
        (status = 200, description = "The index", body = Index,
            headers(("vary" = String, description = "`accept`"), ("etag" = String, description = "The tag of the body"))),
        (status = 304, description = "The client has it", headers(("vary" = String, description = "`accept`"))),
        (status = 303, description = "To the documentation, if `Accept` prefers `text/html`",
            headers(("location" = String, description = "The path"), ("vary" = String, description = "`accept`"))),
        Problem,
    ))]
pub(super) async fn begin(headers: HeaderMap) -> Result<Response, Problem> {
    let is_browser = preferred(&headers, &["application/json", "text/html"]) == Ok(1);
    let mut response =
        if is_browser { Redirect::to("/docs").into_response() } else { index(headers).await? };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Find the resources
#[utoipa::path(get, path = "/v1", tag = "service", operation_id = "get_index", params(IfNoneMatchOfGet, IfMatch),
    responses(
        (status = 200, description = "The index", body = Index,
            headers(("etag" = String, description = "The tag of the body"))),
        (status = 304, description = "The client has it"),
        Problem,
    ))]
pub(super) async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    Text::json(&Index::CURRENT).respond(&headers)
}

/// Show the version
#[utoipa::path(get, path = "/v1/version", tag = "service", operation_id = "get_version", params(IfNoneMatchOfGet, IfMatch),
    responses(
        (status = 200, description = "The version", body = Version,
            headers(("etag" = String, description = "The tag of the body"))),
        (status = 304, description = "The client has it"),
        Problem,
    ))]
pub(super) async fn version(headers: HeaderMap) -> Result<Response, Problem> {
    Text::json(&Version::CURRENT).respond(&headers)
}
