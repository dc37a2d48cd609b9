//! Responses with a JSON body.

use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;

use super::json_line::json_line;
use super::problem::{Problem, ProblemKind};

/// A JSON body. It ends with a newline, so that the prompt of a terminal has a line of its own.
#[derive(Debug)]
pub(super) struct JsonResponse<T>(pub(super) T);

impl<T: Serialize> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> axum::response::Response {
        const TYPE: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
        match json_line(&self.0) {
            Ok(line) => (TYPE, line).into_response(),
            Err(error) => Problem::new(ProblemKind::Internal, error.to_string()).into_response(),
        }
    }
}
