//! The heads of answers that have several forms, and of streams.

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

/// Says that the answer depends on `Accept`.
pub(in crate::http) fn varying(answer: impl IntoResponse) -> Response {
    ([(header::VARY, "accept")], answer).into_response()
}
