//! Conditional requests (RFC 9110 section 13): `If-Match` and `If-None-Match`, and entity tags.
//!
//! The tag of a membership, a responder or a message is that of its specification: counters and states are in the same
//! view, and change all the time. So the tag is for changes, and no view is ever answered with 304. A document that
//! depends on nothing but its text has a tag of that text, and is.

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use twox_hash::XxHash3_64;
use utoipa::IntoParams;

use super::json::json_line;
use super::problem::{Problem, ProblemKind};
use super::resource::location;
use crate::control::{Condition, ResourceKind, Revisions};
use crate::model::{Id, Revision};

/// The condition of a request that changes a resource.
pub(super) struct Conditions(pub(super) Condition);

/// The condition of a request that creates a resource under a new id: no `If-Match` holds, and every `If-None-Match` does.
pub(super) struct NewConditions {
    has_match: bool,
}

impl NewConditions {
    pub(super) fn check(&self) -> Result<(), Problem> {
        if !self.has_match {
            return Ok(());
        }
        let detail = "`if-match` is given, and the request creates what does not exist: leave it out, or PUT to change what exists";
        Err(Problem::new(ProblemKind::PreconditionFailed, detail))
    }
}

/// The condition of a request that changes a list, which exists and has no tag.
pub(super) struct ListConditions {
    holds: bool,
}

impl ListConditions {
    pub(super) fn check(&self) -> Result<(), Problem> {
        let detail = "a list has no `etag`: leave `if-match` and `if-none-match` out";
        let failed = || Problem::new(ProblemKind::PreconditionFailed, detail);
        self.holds.then_some(()).ok_or_else(failed)
    }
}

/// The condition of a request that reads a resource: `If-Match` alone, because a view is always sent.
pub(super) struct ReadCondition(pub(super) Condition);

/// `If-Match` as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct IfMatch {
    /// The `etag` that the resource must have, several of them, or `*` for any; else the service responds with 412. Weak
    /// tags never match
    #[param(
        rename = "if-match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#
    )]
    tags: Option<String>,
}

/// `If-None-Match` as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct IfNoneMatch {
    /// `*`: only create; the service responds with 412 if the resource exists. With tags, it does so if the resource has
    /// one of them
    #[param(
        rename = "if-none-match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#
    )]
    tags: Option<String>,
}

/// `If-None-Match` of a GET, as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(super) struct IfNoneMatchOfGet {
    /// The `etag` of a response that the client has: the service responds with 304 if it is still the same
    #[param(
        rename = "if-none-match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#
    )]
    tags: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Conditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let at = Tags::of(&parts.headers, &header::IF_MATCH)?.map(|tags| tags.revisions(false));
        let not_at = Tags::of(&parts.headers, &header::IF_NONE_MATCH)?.map(|tags| tags.revisions(true));
        Ok(Self(Condition { at, not_at }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NewConditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let TextCondition { at, .. } = TextCondition::of(&parts.headers)?;
        Ok(Self { has_match: at.is_some() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ListConditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let TextCondition { at, not_at } = TextCondition::of(&parts.headers)?;
        Ok(Self { holds: at.is_none_or(|tags| tags == Tags::Any) && not_at != Some(Tags::Any) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ReadCondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let at = Tags::of(&parts.headers, &header::IF_MATCH)?.map(|tags| tags.revisions(false));
        Ok(Self(Condition { at, not_at: None }))
    }
}

/// The headers with the path of a resource and the tag of its specification.
pub(super) fn identity(kind: ResourceKind, id: &Id, revision: Revision) -> [(HeaderName, String); 2] {
    let ([location], [tag]) = (location(kind, id), tagged(revision));
    [location, tag]
}

/// The header with the tag of a specification.
pub(super) fn tagged(revision: Revision) -> [(HeaderName, String); 1] {
    [(header::ETAG, format!("\"{revision}\""))]
}

/// A text that depends on nothing else, as a document. A cache may keep it, and asks each time whether it is still the
/// same.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Text {
    content_type: &'static str,
    body: Bytes,
    /// Without the quotes.
    tag: String,
}

impl Text {
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::new("application/json", json_line(value))
    }

    pub(super) fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        // Fast, because the service makes the tags of megabytes when it starts.
        let tag = format!("{:016x}", XxHash3_64::oneshot(&body));
        Self { content_type, body, tag }
    }

    /// The text, 304 to a client that has it, or 412 to one that wants another.
    pub(super) fn respond(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        self.whole(headers).map(without_known_body)
    }

    /// The same, but 304 has the body too: what follows from it, such as how it is encoded, is in the header.
    pub(super) fn whole(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        let condition = TextCondition::of(headers)?;
        let unchanged = condition.not_at.as_ref().is_some_and(|tags| tags.name(&self.tag, true));
        TextCondition { not_at: None, ..condition }.check(self)?;
        let validators =
            [(header::ETAG, format!("\"{}\"", self.tag)), (header::CACHE_CONTROL, "no-cache".to_owned())];
        let status = if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let content_type = [(header::CONTENT_TYPE, self.content_type)];
        Ok((status, validators, content_type, self.body.clone()).into_response())
    }
}

/// Takes from 304 the body and what describes it, because the client has it (RFC 9110 section 15.4.5).
pub(super) fn without_known_body(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            response.headers_mut().remove(name);
        }
    }
    response
}

/// What a request requires of a text.
pub(super) struct TextCondition {
    at: Option<Tags>,
    not_at: Option<Tags>,
}

impl TextCondition {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let at = Tags::of(headers, &header::IF_MATCH)?;
        Ok(Self { at, not_at: Tags::of(headers, &header::IF_NONE_MATCH)? })
    }

    pub(super) fn check(&self, text: &Text) -> Result<(), Problem> {
        let holds = self.at.as_ref().is_none_or(|tags| tags.name(&text.tag, false))
            && self.not_at.as_ref().is_none_or(|tags| !tags.name(&text.tag, true));
        let detail = match self.not_at {
            // Only the log filter can be changed.
            Some(Tags::Any) => "the log filter always exists: leave `if-none-match` out to change it",
            _ => {
                "it has another `etag` than the request allows: GET it, and make the change to what it is now"
            }
        };
        holds.then_some(()).ok_or_else(|| Problem::new(ProblemKind::PreconditionFailed, detail))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TextCondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

/// An entity tag (RFC 9110 section 8.8.3).
#[derive(Debug, PartialEq, Eq)]
struct Tag {
    is_weak: bool,
    /// Without the quotes.
    opaque: String,
}

impl Tags {
    /// None without this header.
    fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Problem> {
        let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let value = lines.join(&b","[..]);
        Self::parse(&value).map(Some).ok_or_else(|| {
            let value = String::from_utf8_lossy(&value);
            let value = value.escape_debug();
            let detail =
                format!("`{name}` is {value}: send the `etag` of a response, with its quotes, or `*`");
            Problem::new(ProblemKind::InvalidParameter, detail).at(format!("/{name}"))
        })
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let mut rest = value.trim_ascii();
        if rest == b"*" {
            return Some(Self::Any);
        }
        let mut list = Vec::new();
        loop {
            // Empty elements of a list are allowed (RFC 9110 section 5.6.1.2).
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            if rest.is_empty() {
                return (!list.is_empty()).then_some(Self::List(list));
            }
            let weak = rest.strip_prefix(b"W/");
            let quoted = weak.unwrap_or(rest).strip_prefix(b"\"")?;
            let end = quoted.iter().position(|byte| *byte == b'"')?;
            let opaque = &quoted[..end];
            if !opaque.iter().all(|byte| matches!(byte, 0x21..=0x7e | 0x80..)) {
                return None;
            }
            let opaque = String::from_utf8_lossy(opaque).into_owned();
            list.push(Tag { is_weak: weak.is_some(), opaque });
            rest = quoted[end + 1..].trim_ascii_start();
            if !matches!(rest, [] | [b',', ..]) {
                return None;
            }
        }
    }

    /// Whether they name this strong tag. Compared weakly, a weak tag names it too (RFC 9110 section 8.8.3.2).
    fn name(&self, opaque: &str, weakly: bool) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| (weakly || !tag.is_weak) && tag.opaque == opaque),
        }
    }

    /// The revisions that they name. No revision has any other tag.
    fn revisions(self, weakly: bool) -> Revisions {
        match self {
            Self::Any => Revisions::Any,
            Self::List(tags) => {
                let named = tags.iter().filter(|tag| weakly || !tag.is_weak);
                Revisions::OneOf(named.filter_map(|tag| Revision::parse(&tag.opaque)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_have_one_grammar() {
        let tag = |is_weak, opaque: &str| Tag { is_weak, opaque: opaque.to_owned() };
        for (value, expected) in [
            ("*", Some(Tags::Any)),
            (" * ", Some(Tags::Any)),
            (r#""a""#, Some(Tags::List(vec![tag(false, "a")]))),
            (r#""""#, Some(Tags::List(vec![tag(false, "")]))),
            (r#"W/"a,b" ,, "c\","#, Some(Tags::List(vec![tag(true, "a,b"), tag(false, "c\\")]))),
            ("", None),
            (",", None),
            ("a", None),
            (r#""a"#, None),
            (r#""a" "b""#, None),
            (r#""a b""#, None),
            (r#"w/"a""#, None),
            (r#"*, "a""#, None),
        ] {
            assert_eq!(Tags::parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_document_is_sent_to_clients_that_do_not_have_it() {
        let document = Text::new("text/plain", "text");
        let tag = format!("\"{}\"", document.tag);
        let weak = format!("W/{tag}");
        for (if_match, if_none_match, expected) in [
            (None, None, 200),
            (None, Some(&*tag), 304),
            (None, Some(&*weak), 304),
            (None, Some("*"), 304),
            (None, Some("\"x\""), 200),
            (None, Some("x"), 400),
            (Some(&*tag), None, 200),
            (Some(&*tag), Some(&*tag), 304),
            (Some(&*weak), None, 412),
            (Some("\"x\""), Some(&*tag), 412),
            (Some("*"), None, 200),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::IF_MATCH, if_match), (header::IF_NONE_MATCH, if_none_match)] {
                headers.extend(value.map(|value| (name, HeaderValue::from_str(value).unwrap())));
            }
            let status = match document.respond(&headers) {
                Ok(response) => response.status(),
                Err(problem) => problem.status(),
            };
            assert_eq!(status.as_u16(), expected, "{headers:?}");
        }
    }
}
