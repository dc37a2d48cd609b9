//! The heads of responses that have several formats, and of streams.

use axum::Extension;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::http::operations::Streamed;

pub(in crate::http) fn streamed(streamed: Streamed, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(streamed.format.media_type())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (Extension(streamed), headers, body).into_response()
}

/// Says that the response depends on `Accept`.
pub(in crate::http) fn varying(response: impl IntoResponse) -> Response {
    ([(header::VARY, "accept")], response).into_response()
}
