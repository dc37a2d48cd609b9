//! Extractors of bodies, queries, path ids and preferences; their rejections are problem documents.

use std::any::Any;
use std::error::Error;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::access::Authorization;
use super::misplaced::MisplacedOptions;
use super::problem::{Problem, ProblemKind};
use super::request_bytes::{HeldBytes, OutOfRequestBytes, RequestBytes};
use crate::contract::{FieldErrors, MergePatch, Parsed, parse_json, parse_query, unknown_parameters};
use crate::model::{Id, parse_decimal};

/// The largest body: a full datagram in base64, or as JSON text with most of it escaped.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// How long a client that pauses in the middle of a body can hold a connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A JSON body without the mistakes in its structure, these mistakes, and those of the query.
pub(super) struct Json<T>(pub(super) T, pub(super) FieldErrors, pub(super) MisplacedOptions);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned + ToSchema + Any,
    S: Send + Sync,
    Arc<RequestBytes>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Content::of(request.headers()) {
            Content::Json => {}
            _ => return Err(wrong_type(request.headers(), "send application/json: with curl, use --json")),
        }
        let misplaced = MisplacedOptions::of::<T>(request.uri());
        let body = read_body(request, &Arc::from_ref(state)).await?;
        let (body, errors) = misplaced.with_parsed(parse_json(&body.bytes))?;
        Ok(Self(body, errors, misplaced))
    }
}

/// A JSON body, or none, and the mistakes of the query.
pub(super) struct OptionalJson<T>(pub(super) Option<Parsed<T>>, pub(super) MisplacedOptions);

impl<T, S> FromRequest<S> for OptionalJson<T>
where
    T: DeserializeOwned + ToSchema + Any,
    S: Send + Sync,
    Arc<RequestBytes>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = Content::of(request.headers()) == Content::Json;
        let wrong =
            wrong_type(request.headers(), "send application/json (with curl, use --json), or no body");
        let misplaced = MisplacedOptions::of::<T>(request.uri());
        let body = read_body(request, &Arc::from_ref(state)).await?;
        match &*body.bytes {
            [] => Ok(Self(None, misplaced)),
            bytes if is_json => Ok(Self(Some(misplaced.with_parsed(parse_json(bytes))?), misplaced)),
            _ => Err(wrong),
        }
    }
}

/// The header that names the types of patches (RFC 5789 section 3.1), and these.
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
pub(super) const PATCH_TYPES: &str = "application/merge-patch+json, application/json";

/// A JSON merge patch with this schema, and the mistakes of the query.
pub(super) struct Patch<T>(pub(super) MergePatch, pub(super) MisplacedOptions, pub(super) PhantomData<T>);

impl<T, S> FromRequest<S> for Patch<T>
where
    T: ToSchema + Any,
    S: Send + Sync,
    Arc<RequestBytes>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        if !matches!(Content::of(request.headers()), Content::Json | Content::MergePatch) {
            // RFC 5789 section 2.2.
            let wrong = wrong_type(
                request.headers(),
                "send application/merge-patch+json or application/json (`curl --json` sends the latter)",
            );
            return Err(([(ACCEPT_PATCH, PATCH_TYPES)], wrong).into_response());
        }
        let misplaced = MisplacedOptions::of::<T>(request.uri());
        let body = read_body(request, &Arc::from_ref(state)).await.map_err(Problem::into_response)?;
        let patch = misplaced.with_parsed(MergePatch::parse::<T>(&body.bytes));
        patch.map(|patch| Self(patch, misplaced, PhantomData)).map_err(Problem::into_response)
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

pub(super) fn wrong_type(headers: &HeaderMap, hint: &str) -> Problem {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let given = given.map_or_else(|| "no content-type".to_owned(), |given| format!("content-type `{given}`"));
    Problem::new(ProblemKind::ContentType, format!("the request has {given}: {hint}"))
}

/// A body that has arrived; its bytes are held in the budget until it is dropped, because it is parsed next.
pub(super) struct ReceivedBody {
    pub(super) bytes: Bytes,
    _held: HeldBytes,
}

pub(super) async fn read_body(request: Request, budget: &Arc<RequestBytes>) -> Result<ReceivedBody, Problem> {
    refuse_encoding(request.headers())?;
    refuse_part(&request)?;
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

/// A PUT of a part would replace the whole by it (RFC 9110 section 14.5).
fn refuse_part(request: &Request) -> Result<(), Problem> {
    if request.method() != Method::PUT || !request.headers().contains_key(header::CONTENT_RANGE) {
        return Ok(());
    }
    let detail = "the request has the header `content-range`, and a PUT takes no part: send all of the body, without that header, or PATCH what is to change";
    Err(Problem::new(ProblemKind::InvalidParameter, detail).at("/content-range"))
}

/// The query without the mistakes in its structure, and these mistakes; unknown parameters are some, like unknown
/// fields.
pub(super) struct Query<T>(pub(super) T, pub(super) FieldErrors);

impl<T: DeserializeOwned + IntoParams + Any, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let parsed = parse_query(parts.uri.query().unwrap_or_default());
        parsed.map(|(query, errors)| Self(query, errors)).map_err(Problem::of_parameters)
    }
}

/// The detail of a path that cannot be decoded.
pub(super) const NOT_UTF8: &str =
    "the path is not UTF-8: write each other byte as `%` and two hexadecimal digits of UTF-8";

/// Reads an id in a path.
pub(super) fn path_id(text: &str) -> Result<Id, Problem> {
    Id::parse(text).map_err(|error| {
        let detail = format!("`{}` cannot be an id: {error}", text.escape_debug());
        Problem::new(ProblemKind::InvalidParameter, detail).at("/id")
    })
}

/// A query that is empty.
pub(super) struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(query) => Err(Problem::of_parameters(unknown_parameters(query))),
        }
    }
}

/// The variable part of a path.
pub(super) struct PathText(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.map(|Path(text)| Self(text)).map_err(|_| Problem::new(ProblemKind::InvalidParameter, NOT_UTF8))
    }
}

/// The id in the path.
pub(super) struct PathId(pub(super) Id);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        path_id(&text).map(Self)
    }
}

/// `Prefer: wait=N` (RFC 7240 section 4.3), in seconds, at most 60: the deprecated form of `wait_ms`. An invalid value is
/// ignored, as section 2 requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreferredWait(pub(super) Option<u64>);

/// The header as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct PreferWait {
    /// `wait=N`: wait up to N seconds, at most 60
    #[param(nullable = false)]
    prefer: Option<String>,
}

impl PreferredWait {
    const MAX_SECONDS: u64 = 60;

    pub(super) fn of(headers: &HeaderMap) -> Self {
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

impl<S: Send + Sync> FromRequestParts<S> for PreferredWait {
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
            assert_eq!(PreferredWait::of(&headers), PreferredWait(expected), "{values:?}");
        }
    }
}
