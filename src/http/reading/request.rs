//! A request that reads a log, by its query and headers, and its response in the requested format.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::log_owner::{LogOwner, MAX_PAGE};
use super::page::PageRequest;
use super::stream::{self, StreamParams, streamed};
use super::tail::before_last;
use crate::contract::{
    Encoding, FieldError, FieldErrors, Format, ReadQuery, ReadStart, Refused, parse_query,
};
use crate::control::{Control, ResourceKind};
use crate::http::accept::preferred;
use crate::http::access::Authorization;
use crate::http::operations::Streamed;
use crate::http::problem::{Problem, ProblemKind};
use crate::model::Id;
use crate::rendering::sse::SseEncoder;
use crate::rendering::{CaptureEncoder, Filter, NdjsonEncoder};
use crate::store::{Cursor, ReadRange};

const MAX_WAIT_MS: u64 = 60_000;

/// The parameters that logs and events have in common.
pub(in crate::http) struct ReadParams<'a> {
    pub(in crate::http) after: Option<&'a str>,
    pub(in crate::http) tail: Option<u64>,
    pub(in crate::http) limit: Option<u64>,
    pub(in crate::http) wait_ms: Option<u64>,
    pub(in crate::http) format: Option<Format>,
}

/// The parsed [`ReadParams`] and headers: where to begin, and in which form.
pub(in crate::http) struct ReadForm {
    /// If none, with the oldest entry.
    pub(in crate::http) start: Option<ReadStart>,
    pub(in crate::http) format: Format,
    /// The most entries of a JSON page.
    pub(in crate::http) limit: usize,
    /// How long a JSON page waits for its first entry.
    pub(in crate::http) wait: Duration,
}

impl ReadParams<'_> {
    /// Reads them, in one of these formats; the parameters of others are errors, because they would have no effect.
    pub(in crate::http) fn read(
        self,
        headers: &HeaderMap,
        formats: &[Format],
        errors: &mut FieldErrors,
    ) -> Result<Result<ReadForm, Refused>, Problem> {
        let format = match self.format {
            Some(format) => Ok(format),
            // The other parameters are not compared with an invalid one.
            None if errors.left_out("/format") => Err(errors.refused()),
            None => Ok(negotiate(headers, formats)?),
        };
        let start = ReadStart::read(self.after, self.tail, errors);
        let mut of_pages = |pointer, given: Option<u64>, default, bounds| match format {
            Ok(format) if format != Format::Json && given.is_some() => {
                push_useless(errors, pointer, "JSON pages", format);
                default
            }
            _ => errors.bounded(pointer, given.unwrap_or(default), bounds),
        };
        let most = self.tail.unwrap_or(100).clamp(1, MAX_PAGE as u64);
        let limit = of_pages("/limit", self.limit, most, 1..=MAX_PAGE as u64);
        let wait = of_pages("/wait_ms", self.wait_ms, 0, 0..=MAX_WAIT_MS);
        let (limit, wait) = (usize::try_from(limit).unwrap_or(MAX_PAGE), Duration::from_millis(wait));
        Ok(start.and_then(|start| Ok(ReadForm { start, format: format?, limit, wait })))
    }
}

impl ReadForm {
    /// If the client resumes a stream of events, begins after the last that it received.
    pub(in crate::http) fn resumed(self, headers: &HeaderMap) -> Result<Self, Problem> {
        let resumed = if self.format == Format::Sse { last_event_id(headers)? } else { None };
        Ok(Self { start: resumed.map(ReadStart::After).or(self.start), ..self })
    }
}

/// Collects the error of a parameter that is for other formats.
fn push_useless(errors: &mut FieldErrors, pointer: &str, formats: &str, format: Format) {
    let (name, format) = (pointer.trim_start_matches('/'), format.name());
    let fact = format!("`{name}` is for {formats}, and the request is for `{format}`");
    errors.push(FieldError::new(pointer, fact).hint("leave it out, or choose another `format`"));
}

/// The parsed [`ReadQuery`] and headers.
pub(in crate::http) struct Reading {
    form: ReadForm,
    follow: bool,
    encoding: Encoding,
    filter: Filter,
    scope: ReadRange,
    authorization: Authorization,
}

impl<S: Send + Sync> FromRequestParts<S> for Reading {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        Self::parse(parts).map_err(varying)
    }
}

impl Reading {
    fn parse(parts: &Parts) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let parsed = parse_query::<ReadQuery>(parts.uri.query().unwrap_or_default());
        let (query, mut errors) = parsed.map_err(Problem::of_parameters)?;
        let params = ReadParams {
            after: query.after.as_deref(),
            tail: query.tail,
            limit: query.limit,
            wait_ms: query.wait_ms,
            format: query.format,
        };
        let form = params.read(headers, Format::LOGS, &mut errors)?;
        let filter = Filter::read(&query, &mut errors);
        match (form.as_ref().map(|form| form.format), query.follow) {
            (Ok(format @ Format::Json), Some(true)) => {
                let formats = "`sse`, `ndjson` and `pcapng` (pages have `wait_ms`)";
                push_useless(&mut errors, "/follow", formats, format);
            }
            (Ok(format @ Format::Sse), Some(false)) => {
                let formats = "`ndjson` and `pcapng`: events always follow";
                push_useless(&mut errors, "/follow", formats, format);
            }
            _ => {}
        }
        let accepted = form.and_then(|form| Ok((form, filter?)));
        let (form, filter) = errors.finish(accepted).map_err(Problem::of_parameters)?;
        let form = form.resumed(headers)?;
        Ok(Self {
            follow: query.follow.unwrap_or(form.format == Format::Sse),
            form,
            encoding: query.encoding,
            filter,
            scope: ReadRange { durable: query.durable == Some(true), since: filter.since, ..ReadRange::ALL },
            authorization: Authorization::of(&parts.extensions),
        })
    }

    /// Responds with the log in the requested format.
    pub(in crate::http) async fn respond(
        self,
        control: &Control,
        kind: ResourceKind,
        id: &Id,
    ) -> Result<Response, Problem> {
        let Self { form, follow, encoding, filter, scope, authorization } = self;
        let owner = LogOwner::find(control, kind, id)?;
        let latest = owner.log().latest();
        if scope.durable {
            owner.wait_durable(control).await?;
        }
        let after = match form.start {
            None => None,
            Some(ReadStart::After(cursor)) => Some(cursor),
            Some(ReadStart::Latest) => Some(latest),
            Some(ReadStart::Last(count)) => Some(before_last(&owner, count, &filter, scope).await?),
        };
        let (stop, format) = (control.stopping().clone(), form.format);
        if format == Format::Json {
            let request = PageRequest { after, limit: form.limit, wait: form.wait, encoding, filter, scope };
            let page = request.read(&owner, &stop).await?;
            return Ok(varying(([(header::CONTENT_TYPE, "application/json")], page)));
        }
        let name = format!("attachment; filename=\"{}.pcapng\"", owner.id());
        let params = StreamParams { owner, after, filter, scope, follow, stop, authorization };
        let body = match format {
            Format::Json | Format::Sse => stream::body(params, SseEncoder { encoding }),
            Format::Ndjson => stream::body(params, NdjsonEncoder::new(encoding)),
            Format::Pcapng => stream::body(params, CaptureEncoder::default()),
        };
        let streamed = streamed(Streamed { kind: Some(kind), format }, body);
        Ok(varying(if format == Format::Pcapng {
            ([(header::CONTENT_DISPOSITION, name)], streamed).into_response()
        } else {
            streamed
        }))
    }
}

/// The format of `among` that the client prefers.
fn negotiate(headers: &HeaderMap, among: &[Format]) -> Result<Format, Problem> {
    let available: Vec<_> = among.iter().map(|format| format.media_type()).collect();
    preferred(headers, &available).map(|place| among[place]).map_err(|accept| {
        let detail = format!(
            "`accept: {accept}` names no available format: send one of {}, or add ?format=json",
            available.join(", ")
        );
        Problem::new(ProblemKind::NotAcceptable, detail)
    })
}

/// Says that the response depends on `Accept`.
pub(in crate::http) fn varying(response: impl IntoResponse) -> Response {
    ([(header::VARY, "accept")], response).into_response()
}

/// The header as the API document shows it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "the handler reads the headers; this is the documentation")]
pub(in crate::http) struct LastEventId {
    /// The `id` of the last event that the client received: the stream resumes after it. Overrides `after` and
    /// `tail`
    #[param(rename = "last-event-id", nullable = false)]
    id: Option<String>,
}

/// The client's last cursor; an empty id means none.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(id.as_bytes());
    Cursor::parse(&text).map(Some).map_err(|_| {
        let text = text.escape_debug();
        let detail = format!(
            "`last-event-id` is {text}: send the `id` of the last event that you received, or leave the header out"
        );
        Problem::new(ProblemKind::InvalidParameter, detail).at("/last-event-id")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_selects_the_format_with_the_highest_weight() {
        for (accept, expected) in [
            (&[][..], Some(Format::Json)),
            (&[""], Some(Format::Json)),
            (&["*/*"], Some(Format::Json)),
            (&["application/*"], Some(Format::Json)),
            (&["text/*"], Some(Format::Sse)),
            (&["Text/Event-Stream"], Some(Format::Sse)),
            (&["*/*, application/x-ndjson;q=0.5"], Some(Format::Json)),
            (&["*/*;q=0.1, application/x-ndjson;q=0.5"], Some(Format::Ndjson)),
            (
                &["application/x-ndjson;q=0.5, text/event-stream;Q=0.8", "application/json;q=0.7"],
                Some(Format::Sse),
            ),
            (&["application/x-ndjson, text/event-stream"], Some(Format::Ndjson)),
            (&["application/*, application/json;q=0"], Some(Format::Ndjson)),
            (&["application/*;q=0, */*;q=0.1"], Some(Format::Sse)),
            (&["*/*;q=0"], None),
            (&["application/json;q=0.000, application/x-ndjson;q=0.001"], Some(Format::Ndjson)),
            (&["application/json; charset=utf-8"], Some(Format::Json)),
            (&["text/html, *; q=.2, */*; q=0.2"], Some(Format::Json)),
            (&["text/html, application/xml;q=0.9, */*;q=0.8"], Some(Format::Json)),
            (&["text/html", "application/x-pcapng; x=y"], Some(Format::Pcapng)),
            (&["text/html"], None),
            (&["text/html, application/json;q=0"], None),
            (&["application"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            assert_eq!(negotiate(&headers, Format::LOGS).ok(), expected, "{accept:?}");
        }
    }
}
