//! Extractors of bodies, queries, path ids and preferences; their rejections are problem documents.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};
use crate::contract::{parse_json, parse_query};
use crate::model::Id;

/// The largest body: a full datagram in base64, or as JSON text with most of it escaped.
pub(super) const LARGEST_BODY: usize = 1024 * 1024;

/// How long a client that pauses in the middle of a body can hold a connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match Content::of(request.headers()) {
            Content::Json => {}
            _ => return Err(wrong_type(request.headers(), "application/json")),
        }
        let bytes = read_body(request).await?;
        Ok(Self(parse_json(&bytes)?))
    }
}

/// The content type of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    /// `text/plain` or `application/octet-stream`: the body is the payload.
    Raw,
    Other,
}

impl Content {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Self::Json,
            "text/plain" | "application/octet-stream" => Self::Raw,
            _ => Self::Other,
        }
    }
}

pub(super) fn wrong_type(headers: &HeaderMap, accepted: &str) -> Problem {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.map_or_else(|| "no content-type".to_owned(), |given| format!("content-type `{given}`"));
    Problem::new(ProblemKind::ContentType, format!("the request has {given}: send {accepted}"))
}

pub(super) async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a body has at most {LARGEST_BODY} bytes: send less at once");
        Problem::new(ProblemKind::TooLarge, detail)
    };
    if request.body().size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), LARGEST_BODY).collect();
    let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        let detail = format!("a body must arrive within {} s: send it faster", BODY_TIMEOUT.as_secs());
        return Err(Problem::new(ProblemKind::BodyTimeout, detail));
    };
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Problem::new(
            ProblemKind::InvalidParameter,
            "the body ended before it was complete: send it again",
        )),
    }
}

/// The query; unknown parameters are errors, like unknown fields.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self).map_err(Problem::of_parameter)
    }
}

/// The id in the path.
pub(super) struct PathId(pub(super) Id);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let text = text
            .map(|Path(text)| text)
            .map_err(|error| Problem::new(ProblemKind::InvalidParameter, error.to_string()))?;
        let id = Id::parse(&text);
        id.map(Self).map_err(|error| Problem::new(ProblemKind::InvalidParameter, error.to_string()).at("/id"))
    }
}

/// `Prefer: wait=N` (RFC 7240 section 4.3), in seconds, at most 60. An invalid value is ignored, as section 2 requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Option<u64>);

impl Wait {
    const LONGEST: u64 = 60;

    fn of(headers: &HeaderMap) -> Self {
        let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let wait = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
            let preference = preference.split(';').next()?;
            let (name, value) = preference.split_once('=')?;
            let is_wait = name.trim().eq_ignore_ascii_case("wait");
            value.trim().trim_matches('"').parse().ok().filter(|_| is_wait)
        });
        Self(wait.map(|seconds: u64| seconds.min(Self::LONGEST)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Wait {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_reads_the_wait_preference() {
        for (values, expected) in [
            (&["wait=5"][..], Some(5)),
            (&["respond-async, wait=\"10\"; x=y"][..], Some(10)),
            (&["handling=lenient", "Wait = 7"][..], Some(7)),
            (&["wait=600"][..], Some(60)),
            (&["wait=soon"][..], None),
            (&[][..], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", value.parse().unwrap());
            }
            assert_eq!(Wait::of(&headers), Wait(expected), "{values:?}");
        }
    }
}
