//! Extractors of bodies, queries, path ids and preferences; their rejections are problem documents.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::access::Authorization;
use super::problem::{Problem, ProblemKind};
use super::request_bytes::{HeldBytes, OutOfRequestBytes, RequestBytes};
use crate::contract::{MergePatch, parse_json, parse_query};
use crate::model::{Id, parse_decimal};

/// The largest body: a full datagram in base64, or as JSON text with most of it escaped.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// How long a client that pauses in the middle of a body can hold a connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
    Arc<RequestBytes>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Content::of(request.headers()) {
            Content::Json => {}
            _ => return Err(wrong_type(request.headers(), "application/json")),
        }
        let body = read_body(request, &Arc::from_ref(state)).await?;
        Ok(Self(parse_json(&body.bytes)?))
    }
}

/// A JSON body, or none.
pub(super) struct OptionalJson<T>(pub(super) Option<T>);

impl<T, S> FromRequest<S> for OptionalJson<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
    Arc<RequestBytes>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = Content::of(request.headers()) == Content::Json;
        let wrong = wrong_type(request.headers(), "application/json, or no body");
        let body = read_body(request, &Arc::from_ref(state)).await?;
        match &*body.bytes {
            [] => Ok(Self(None)),
            bytes if is_json => Ok(Self(parse_json(bytes)?)),
            _ => Err(wrong),
        }
    }
}

/// The header that names the types of patches (RFC 5789 section 3.1), and these.
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
pub(super) const PATCH_TYPES: &str = "application/merge-patch+json, application/json";

/// A JSON merge patch.
pub(super) struct Patch(pub(super) MergePatch);

impl<S> FromRequest<S> for Patch
where
    S: Send + Sync,
    Arc<RequestBytes>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if !matches!(Content::of(request.headers()), Content::Json | Content::MergePatch) {
            // RFC 5789 section 2.2.
            let wrong = wrong_type(request.headers(), "application/merge-patch+json");
            return Err(([(ACCEPT_PATCH, PATCH_TYPES)], wrong).into_response());
        }
        let body = read_body(request, &Arc::from_ref(state)).await.map_err(Problem::into_response)?;
        let patch = MergePatch::parse(&body.bytes);
        patch.map(Self).map_err(|error| Problem::from(error).into_response())
    }
}

/// The content type of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Json,
    MergePatch,
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
            "application/merge-patch+json" => Self::MergePatch,
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

/// A body that has arrived; its bytes are held in the budget until it is dropped, because it is parsed next.
pub(super) struct ReceivedBody {
    pub(super) bytes: Bytes,
    _held: HeldBytes,
}

pub(super) async fn read_body(request: Request, budget: &Arc<RequestBytes>) -> Result<ReceivedBody, Problem> {
    refuse_encoding(request.headers())?;
    let authorization = Authorization::of(request.extensions());
    let too_large = || {
        let detail = format!("a body has at most {MAX_BODY} bytes: send less at once");
        Problem::new(ProblemKind::TooLarge, detail)
    };
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let body = collect(request.into_body(), budget.none());
    let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        let detail = format!("a body must arrive within {} s: send it faster", BODY_TIMEOUT.as_secs());
        return Err(Problem::new(ProblemKind::BodyTimeout, detail));
    };
    let body = body.map_err(|error| match error {
        BodyFailure::TooLarge => too_large(),
        BodyFailure::OutOfBytes => Problem::new(
            ProblemKind::Overloaded,
            "the bodies of all requests together are too large: send it again later",
        ),
        BodyFailure::Malformed => Problem::new(
            ProblemKind::InvalidParameter,
            "a chunk of the body is malformed: send its length in hexadecimal digits, and as many bytes as that (RFC 9112 section 7.1)",
        ),
        BodyFailure::Ended => Problem::new(
            ProblemKind::InvalidParameter,
            "the body ended before it was complete: send it again",
        ),
    })?;
    // The body may have taken its time.
    authorization.check()?;
    Ok(body)
}

/// Why a body did not arrive.
enum BodyFailure {
    TooLarge,
    OutOfBytes,
    Malformed,
    Ended,
}

async fn collect(body: axum::body::Body, mut held: HeldBytes) -> Result<ReceivedBody, BodyFailure> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(MAX_BODY);
    let mut bytes = BytesMut::with_capacity(declared);
    let mut body = Limited::new(body, MAX_BODY);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<LengthLimitError>() {
                BodyFailure::TooLarge
            } else if is_malformed(&*error) {
                BodyFailure::Malformed
            } else {
                BodyFailure::Ended
            }
        })?;
        let Ok(data) = frame.into_data() else { continue };
        held.grow(data.len()).map_err(|OutOfRequestBytes| BodyFailure::OutOfBytes)?;
        bytes.extend_from_slice(&data);
    }
    Ok(ReceivedBody { bytes: bytes.freeze(), _held: held })
}

/// Whether the parser could not read a chunk.
fn is_malformed(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

/// The service decodes no body.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    let Some(encoding) = encodings.iter().find(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    else {
        return Ok(());
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    let detail = format!(
        "the body has the content-encoding `{encoding}`: send it as it is, without that header field"
    );
    Err(Problem::new(ProblemKind::ContentEncoding, detail))
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

/// The header as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct PreferWait {
    /// `wait=N`: wait up to N seconds, at most 60
    #[param(nullable = false)]
    prefer: Option<String>,
}

impl Wait {
    const MAX_SECONDS: u64 = 60;

    fn of(headers: &HeaderMap) -> Self {
        let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        let wait = preferences.flat_map(|value| value.split(',')).find_map(|preference| {
            let preference = preference.split(';').next()?;
            let (name, value) = preference.split_once('=')?;
            let is_wait = name.trim().eq_ignore_ascii_case("wait");
            parse_decimal(value.trim().trim_matches('"')).filter(|_| is_wait)
        });
        Self(wait.map(|seconds: u64| seconds.min(Self::MAX_SECONDS)))
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
            (&["wait=+5"][..], None),
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
