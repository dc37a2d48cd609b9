//! Errors as problem documents (RFC 9457).

mod control_error;
mod kind;

use std::num::NonZeroU32;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::json::json_line;
use super::resource::same_below;
use crate::contract::health::Check;
use crate::contract::{BodyError, FieldError};
use crate::control::{Done, ResourceKind};
pub(super) use kind::ProblemKind;

/// An error as clients see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(examples(json!({
    "type": "urn:rollcall:problem:invalid-request",
    "title": "The request has fields that cannot be accepted",
    "status": 422,
    "detail": "192.0.2.1 is not a multicast address: use one of 224.0.0.0/4 (239.0.0.0/8 is for private use) or ff00::/8",
    "errors": [{"pointer": "/group", "detail": "192.0.2.1 is not a multicast address: use one of 224.0.0.0/4 (239.0.0.0/8 is for private use) or ff00::/8"}],
    "request_id": "01996a3e-7d5c-7000-8000-2a1f4c5b6d7e"
})))]
pub(super) struct Problem {
    /// Identifies the kind of error: `urn:rollcall:problem:` and a stable name.
    #[serde(rename = "type", serialize_with = "urn")]
    #[schema(pattern = "^urn:rollcall:problem:[a-z-]+$")]
    kind: &'static str,
    /// The kind of error in words; the same for all errors of the `type`.
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The error, and what the client can do.
    detail: String,
    /// The invalid fields; absent if the error is not about fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<WrongField>,
    /// For `/readyz`: all checks, at least one of which has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<Check>, required = false)]
    checks: Option<Box<Checks>>,
    /// For `timeout`: what the service had done when the time was over. The same PUT or DELETE completes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    done: Option<DoneBefore>,
    /// For `timeout` with `done` `sent`: the number of copies sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u32, required = false)]
    sent: Option<NonZeroU32>,
    /// The request's id, also in the header `x-request-id` and in the service's log.
    pub(super) request_id: String,
    /// The kind of the resource that has the id, if the request names another kind; `detail` ends with its path.
    #[serde(skip)]
    #[schema(ignore)]
    elsewhere: Option<ResourceKind>,
}

/// Boxed, because problems are passed by value and hardly ever have checks.
#[derive(Debug, Clone, Serialize)]
struct Checks(Vec<Check>);

/// What a request had done when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = DoneBeforeTimeout)]
enum DoneBefore {
    Nothing,
    Created,
    Changed,
    Sent,
    DeletionUnderWay,
}

/// An error of one field.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = FieldError)]
struct WrongField {
    /// JSON pointer (RFC 6901) into the request's body; for a query parameter, `/` and its name.
    pointer: String,
    /// The error, and what the client can do.
    detail: String,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (name, status, title) = kind.row();
        Self {
            kind: name,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            checks: None,
            done: None,
            sent: None,
            request_id: String::new(),
            elsewhere: None,
        }
    }

    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.errors.push(WrongField { pointer: pointer.into(), detail: self.detail.clone() });
        self
    }

    /// Fields of a body.
    pub(super) fn of_fields(errors: Vec<FieldError>) -> Self {
        Self::wrong(ProblemKind::InvalidRequest, errors)
    }

    /// Parameters of the URL.
    pub(super) fn of_parameters(errors: Vec<FieldError>) -> Self {
        Self::wrong(ProblemKind::InvalidParameter, errors)
    }

    fn wrong(kind: ProblemKind, errors: Vec<FieldError>) -> Self {
        let wrong = |error: FieldError| WrongField { detail: error.to_string(), pointer: error.pointer };
        let errors: Vec<_> = errors.into_iter().map(wrong).collect();
        let detail = errors.iter().fold(String::new(), |detail, error| match detail.chars().last() {
            None => error.detail.clone(),
            Some('?') => detail + " " + &error.detail,
            Some(_) => detail + "; " + &error.detail,
        });
        Self { errors, ..Self::new(kind, detail) }
    }

    /// Adds what only the routes know: the path of the request, and the methods that it takes.
    pub(super) fn complete(&mut self, path: &str, methods: Option<&str>) {
        if let Some(rest) = self.elsewhere.and_then(|kind| same_below(path, kind)) {
            self.detail += &rest;
        }
        let (name, ..) = ProblemKind::MethodNotAllowed.row();
        if let Some(methods) = methods.filter(|_| self.kind == name) {
            let methods = methods
                .rsplit_once(", ")
                .map_or(methods.to_owned(), |(rest, last)| format!("{rest} and {last}"));
            self.detail += ": it supports ";
            self.detail += &methods;
        }
    }

    pub(super) fn with_checks(self, checks: Vec<Check>) -> Self {
        Self { checks: Some(Box::new(Checks(checks))), ..self }
    }

    /// The service exceeded a time limit.
    fn timeout(detail: String, done: Done) -> Self {
        let (done, sent) = match done {
            Done::Nothing => (DoneBefore::Nothing, None),
            Done::Created => (DoneBefore::Created, None),
            Done::Changed => (DoneBefore::Changed, None),
            Done::Sent(copies) => (DoneBefore::Sent, NonZeroU32::new(copies)),
            Done::DeletionUnderWay => (DoneBefore::DeletionUnderWay, None),
        };
        Self { done: Some(done), sent, ..Self::new(ProblemKind::Timeout, detail) }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The value of `www-authenticate` (RFC 6750 section 3). A client that sends no token learns only that one is
    /// needed.
    fn challenge(&self) -> Option<&'static str> {
        match self.kind {
            "token-required" => Some(r#"Bearer realm="rollcall""#),
            "unknown-token" | "token-expired" => Some(r#"Bearer realm="rollcall", error="invalid_token""#),
            "scope-missing" => {
                Some(r#"Bearer realm="rollcall", error="insufficient_scope", scope="control""#)
            }
            _ => None,
        }
    }

    /// Whether the problem concerns the whole service: the service logs it when it changes, and not with each request.
    pub(super) fn is_of_service(&self) -> bool {
        [ProblemKind::Stopping, ProblemKind::NotReady, ProblemKind::Overloaded]
            .into_iter()
            .any(|kind| kind.row().0 == self.kind)
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

fn urn<S: Serializer>(kind: &&'static str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:rollcall:problem:{kind}"))
}

/// The outermost layer writes the body, because it knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&self.status()) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.kind == "unsupported-content-encoding" {
            // RFC 9110 section 12.5.3.
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    pub(super) fn document(&self) -> Vec<u8> {
        json_line(self)
    }

    pub(super) fn write_into(&self, response: &mut Response) {
        *response.body_mut() = Body::from(self.document());
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Syntax(detail) => Self::new(ProblemKind::MalformedJson, detail),
            BodyError::Kind(detail) => Self::new(ProblemKind::InvalidRequest, detail),
            BodyError::Fields(errors) => Self::of_fields(errors),
        }
    }
}
