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
use crate::contract::{After, Encoding, FieldError, FieldErrors, Format, ReadQuery, parse_query};
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

/// The parsed [`ReadQuery`] and headers.
pub(in crate::http) struct Reading {
    after: Option<After>,
    encoding: Encoding,
    filter: Filter,
    scope: ReadRange,
    form: Form,
    authorization: Authorization,
}

enum Form {
    Page { limit: usize, wait: Duration },
    Events,
    Lines { follow: bool },
    Capture { follow: bool },
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
        let format = match query.format {
            Some(format) => Ok(format),
            // The other parameters are not compared with an invalid one.
            None if errors.left_out("/format") => Err(errors.refused()),
            None => Ok(negotiate(headers, Format::LOGS)?),
        };
        let after = query.after.as_deref().map(|after| errors.read("/after", after, After::parse(after)));
        let after = after.transpose();
        let filter = Filter::read(&query, &mut errors);
        let form = format.map(|format| (format, Form::read(&query, format, &mut errors)));
        let accepted = after.and_then(|after| Ok((after, filter?, form?)));
        let (after, filter, (format, form)) = errors.finish(accepted).map_err(Problem::of_parameters)?;
        let resumed = if format == Format::Sse { last_event_id(headers)? } else { None };
        let scope = ReadRange { durable: query.durable == Some(true), since: filter.since, ..ReadRange::ALL };
        Ok(Self {
            after: resumed.map(After::Cursor).or(after),
            encoding: query.encoding,
            filter,
            scope,
            form,
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
        let owner = LogOwner::find(control, kind, id)?;
        let (filter, scope) = (self.filter, self.scope);
        let after = self.after.map(|after| after.resolve(|| owner.log().latest()));
        if scope.durable {
            owner.wait_durable(control).await?;
        }
        let stop = control.stopping();
        let kind = Some(kind);
        let params = |owner, follow| {
            let authorization = self.authorization.clone();
            StreamParams { owner, after, filter, scope, follow, stop: stop.clone(), authorization }
        };
        let response = match self.form {
            Form::Page { limit, wait } => {
                let request = PageRequest { after, limit, wait, encoding: self.encoding, filter, scope };
                let page = request.read(&owner, stop).await?;
                ([(header::CONTENT_TYPE, "application/json")], page).into_response()
            }
            Form::Events => {
                let form = SseEncoder { encoding: self.encoding };
                streamed(Streamed { kind, format: Format::Sse }, stream::body(params(owner, true), form))
            }
            Form::Lines { follow } => {
                let form = NdjsonEncoder::new(self.encoding);
                streamed(Streamed { kind, format: Format::Ndjson }, stream::body(params(owner, follow), form))
            }
            Form::Capture { follow } => {
                let name = format!("attachment; filename=\"{}.pcapng\"", owner.id());
                let body = stream::body(params(owner, follow), CaptureEncoder::default());
                (
                    [(header::CONTENT_DISPOSITION, name)],
                    streamed(Streamed { kind, format: Format::Pcapng }, body),
                )
                    .into_response()
            }
        };
        Ok(varying(response))
    }
}

impl Form {
    /// The format with its parameters; those of other formats are errors, because they would have no effect.
    fn read(query: &ReadQuery, format: Format, errors: &mut FieldErrors) -> Self {
        let mut only = |given: bool, pointer: &str, forms| {
            if given {
                let name = pointer.trim_start_matches('/');
                let fact = format!("`{name}` is for {forms}, and the request is for `{}`", format.name());
                errors.push(FieldError::new(pointer, fact).hint("leave it out, or choose another `format`"));
            }
        };
        if format == Format::Json {
            let forms = "`sse`, `ndjson` and `pcapng` (pages have `wait_ms`)";
            only(query.follow == Some(true), "/follow", forms);
            let limit = errors.bounded("/limit", query.limit.unwrap_or(100), 1..=MAX_PAGE as u64);
            let wait = errors.bounded("/wait_ms", query.wait_ms.unwrap_or(0), 0..=MAX_WAIT_MS);
            let limit = usize::try_from(limit).unwrap_or(MAX_PAGE);
            return Self::Page { limit, wait: Duration::from_millis(wait) };
        }
        only(query.limit.is_some(), "/limit", "JSON pages");
        only(query.wait_ms.is_some(), "/wait_ms", "JSON pages");
        let follow = query.follow.unwrap_or(format == Format::Sse);
        match format {
            Format::Ndjson => Self::Lines { follow },
            Format::Pcapng => Self::Capture { follow },
            Format::Sse | Format::Json => {
                only(!follow, "/follow", "`ndjson` and `pcapng`: events always follow");
                Self::Events
            }
        }
    }
}

/// The format of `among` that the client prefers.
pub(in crate::http) fn negotiate(headers: &HeaderMap, among: &[Format]) -> Result<Format, Problem> {
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
    /// The `id` of the last event that the client received: the stream resumes after it. Overrides `after`
    #[param(rename = "last-event-id", nullable = false)]
    id: Option<String>,
}

/// The client's last cursor; an empty id means none.
pub(in crate::http) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
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
