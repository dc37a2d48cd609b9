//! JSON as the service writes it: with a newline at its end, so that the prompt of a terminal has a line of its own.

use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A JSON body.
#[derive(Debug)]
pub(super) struct JsonResponse<T>(pub(super) T);

impl<T: Serialize> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> Response {
        const TYPE: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json")];
        (TYPE, json_line(&self.0)).into_response()
    }
}

/// The value as JSON, with a newline.
pub(super) fn json_line(value: &impl Serialize) -> Vec<u8> {
    // Most views fit, so that the buffer does not have to grow.
    let mut line = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut line, value).expect("all values have a JSON form");
    line.push(b'\n');
    line
}
