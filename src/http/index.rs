//! The routes that lead to all others.

use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};

use super::problem::Problem;
use super::responses::JsonResponse;
use crate::contract::index::{Index, Version};

/// Begin here
///
/// A browser is led to `/docs`; a program gets the same as at `/v1`.
#[utoipa::path(get, path = "/", tag = "service", operation_id = "begin",
    responses(
        (status = 200, description = "The index", body = Index, headers(("vary" = String, description = "`accept`"))),
        (status = 303, description = "To the documentation, if `Accept` has `text/html`",
            headers(("location" = String, description = "The path"), ("vary" = String, description = "`accept`"))),
        Problem,
    ))]
pub(super) async fn begin(headers: HeaderMap) -> Response {
    let is_browser = headers
        .get_all(ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")));
    let mut response = if is_browser { Redirect::to("/docs").into_response() } else { index().await.into_response() };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

/// Find the resources
#[utoipa::path(get, path = "/v1", tag = "service", operation_id = "show_index",
    responses((status = 200, description = "The index", body = Index), Problem))]
pub(super) async fn index() -> JsonResponse<Index> {
    JsonResponse(Index::CURRENT)
}

/// Show the version
#[utoipa::path(get, path = "/v1/version", tag = "service", operation_id = "show_version",
    responses((status = 200, description = "The version", body = Version), Problem))]
pub(super) async fn version() -> JsonResponse<Version> {
    JsonResponse(Version::CURRENT)
}
