//! Reading logs of memberships, responders and messages, in all formats.
//!
//! JSON pages and waiting are in `page`; streams in `stream`, with their encoders in `sse`, `ndjson` and `pcapng`; one
//! payload in `payload`. `export_writer` writes logs without a service.

mod accept;
mod after;
mod datagram;
mod documented;
mod export_writer;
mod filter;
mod ndjson;
mod page;
mod payload;
mod pcapng;
mod source;
pub(super) mod sse;
mod stream;

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response as Answer};
use axum::{Extension, Json};
use serde::Deserialize;
use utoipa::IntoParams;

pub(super) use accept::Format;
pub(super) use after::After;
pub(super) use datagram::{Datagram, GapBody, Response};
pub(super) use documented::{Capture, EventStream, Lines, RawBytes};
pub use export_writer::ExportWriter;
pub use filter::{Filter, SourceRange, parse_time};
pub(super) use page::{DatagramPage, LARGEST_PAGE, page_of};
pub(super) use payload::DatagramPath;
pub(super) use source::Source;
pub(super) use stream::{EndReason, HEARTBEAT};

use super::extract::parse_query;
use super::fields::Encoding;
use super::operations::Streamed;
use super::problem::{FieldErrors, Problem, ProblemKind};
use crate::control::waiting::within;
use crate::control::{Control, Done, DurabilityError};
use crate::store::{Cursor, DiskError, Log, Page, ReadError, ReadRange};
use page::PageRequest;
use stream::StreamParams;

const LONGEST_WAIT_MS: u64 = 60_000;

/// Where to read a log, how much, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// A `next_cursor`: read what came after it. `latest`: only what is yet to come. Without it, reading starts at the
    /// oldest datagram kept.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many datagrams a JSON page holds at most.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u64>,
    /// If there is nothing to read yet, wait with a JSON page this long, in milliseconds.
    #[param(nullable = false, minimum = 0, maximum = 60000, default = 0)]
    wait_ms: Option<u64>,
    /// How to show payloads: `auto` as text where they are valid UTF-8, else as base64; `base64` always so.
    #[serde(default)]
    #[param(inline)]
    encoding: Encoding,
    /// The form, whatever `Accept` says.
    #[param(inline, nullable = false)]
    format: Option<Format>,
    /// With `ndjson` and `pcapng`: go on with what is yet to come. `sse` always does.
    #[param(nullable = false, default = false)]
    follow: Option<bool>,
    /// Only datagrams received at this time (RFC 3339) or later.
    #[param(nullable = false, format = DateTime, example = "2026-01-02T03:04:05Z")]
    since: Option<String>,
    /// Only datagrams received before this time (RFC 3339).
    #[param(nullable = false, format = DateTime, example = "2026-01-02T04:00:00Z")]
    until: Option<String>,
    /// Only datagrams from this address, this `ADDRESS:PORT`, or this prefix.
    #[param(nullable = false, example = "192.0.2.0/24")]
    source: Option<String>,
    /// Only what is on disk, and so survives a crash: what had come before the request is brought there first.
    #[param(nullable = false, default = false)]
    durable: Option<bool>,
}

/// The parsed [`ReadQuery`] and headers.
pub(super) struct Reading {
    after: Option<After>,
    encoding: Encoding,
    filter: Filter,
    scope: ReadRange,
    form: Form,
}

enum Form {
    Page { limit: usize, wait: Duration },
    Events,
    Lines { follow: bool },
    Capture { follow: bool },
}

impl<S: Send + Sync> FromRequestParts<S> for Reading {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Answer> {
        let query = parse_query(parts.uri.query().unwrap_or_default());
        query.and_then(|query| Self::parse(&query, &parts.headers)).map_err(varying)
    }
}

impl Reading {
    fn parse(query: &ReadQuery, headers: &HeaderMap) -> Result<Self, Problem> {
        let format = query.format.map_or_else(|| Format::negotiate(headers, Format::LOGS), Ok)?;
        let mut errors = FieldErrors::default();
        let after = query.after.as_deref().and_then(|after| errors.keep("/after", After::parse(after)));
        let filter = Filter::parse(
            query.since.as_deref(),
            query.until.as_deref(),
            query.source.as_deref(),
            &mut errors,
        );
        let form = query.form(format, &mut errors);
        errors.into_parameters()?;
        let resumed = if format == Format::Sse { sse::last_event_id(headers)? } else { None };
        let scope = ReadRange { durable: query.durable == Some(true), since: filter.since };
        Ok(Self { after: resumed.map(After::Place).or(after), encoding: query.encoding, filter, scope, form })
    }

    /// Answers with the log in the requested format.
    pub(super) async fn answer(
        self,
        source: impl Into<Source>,
        control: &Control,
    ) -> Result<Answer, Problem> {
        let (source, filter, scope) = (source.into(), self.filter, self.scope);
        let after = self.after.map(|after| after.place(|| source.log().latest()));
        if scope.durable {
            control.wait_durable(source.log()).await.map_err(unsettled)?;
        }
        let stop = control.stopping();
        let kind = Some(source.kind());
        let course =
            |source, follow| StreamParams { source, after, filter, scope, follow, stop: stop.clone() };
        let answer = match self.form {
            Form::Page { limit, wait } => {
                let wanted = PageRequest { after, limit, wait, encoding: self.encoding, filter, scope };
                Json(wanted.read(&source, stop).await?).into_response()
            }
            Form::Events => {
                let form = sse::SseEncoder { encoding: self.encoding };
                streamed(Streamed { kind, format: Format::Sse }, stream::body(course(source, true), form))
            }
            Form::Lines { follow } => {
                let form = ndjson::NdjsonEncoder::new(self.encoding);
                streamed(
                    Streamed { kind, format: Format::Ndjson },
                    stream::body(course(source, follow), form),
                )
            }
            Form::Capture { follow } => {
                let name = format!("attachment; filename=\"{}.pcapng\"", source.id());
                let body = stream::body(course(source, follow), pcapng::CaptureEncoder::default());
                (
                    [(header::CONTENT_DISPOSITION, name)],
                    streamed(Streamed { kind, format: Format::Pcapng }, body),
                )
                    .into_response()
            }
        };
        Ok(varying(answer))
    }
}

impl ReadQuery {
    /// The format with its parameters; those of other formats are refused, because they would have no effect.
    fn form(&self, format: Format, errors: &mut FieldErrors) -> Form {
        let mut only = |given: bool, pointer, forms| {
            if given {
                errors.push(pointer, format!("this is for {forms}, and `{}` is asked for", format.name()));
            }
        };
        if format == Format::Json {
            only(self.follow == Some(true), "/follow", "`sse`, `ndjson` and `pcapng` (pages have `wait_ms`)");
            let limit = errors.bounded("/limit", self.limit.unwrap_or(100), 1..=LARGEST_PAGE as u64);
            let wait = errors.bounded("/wait_ms", self.wait_ms.unwrap_or(0), 0..=LONGEST_WAIT_MS);
            let limit = usize::try_from(limit).unwrap_or(LARGEST_PAGE);
            return Form::Page { limit, wait: Duration::from_millis(wait) };
        }
        only(self.limit.is_some(), "/limit", "JSON pages");
        only(self.wait_ms.is_some(), "/wait_ms", "JSON pages");
        let follow = self.follow.unwrap_or(format == Format::Sse);
        match format {
            Format::Ndjson => Form::Lines { follow },
            Format::Pcapng => Form::Capture { follow },
            Format::Sse | Format::Json => {
                only(!follow, "/follow", "`ndjson` and `pcapng`: events always follow");
                Form::Events
            }
        }
    }
}

/// The first datagrams of a log, at most [`LARGEST_PAGE`]. `done`: what the request has done so far.
pub(super) async fn first_page(log: &Log, done: Done) -> Result<Page, Problem> {
    let reading = log.read(None, LARGEST_PAGE, ReadRange::ALL);
    within(done, reading).await?.map_err(unreadable)
}

/// Reads a log for a request that changes nothing.
async fn read(log: &Log, after: Option<Cursor>, limit: usize, scope: ReadRange) -> Result<Page, Problem> {
    within(Done::Nothing, log.read(after, limit, scope)).await?.map_err(unreadable)
}

/// The problem of a log that could not be read.
#[expect(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn unreadable(error: ReadError) -> Problem {
    let kind = match &error {
        ReadError::Closed => ProblemKind::NotFound,
        ReadError::Disk(_) => ProblemKind::Store,
    };
    Problem::new(kind, error.to_string())
}

fn unsettled(reason: DurabilityError) -> Problem {
    match reason {
        DurabilityError::NoStore => {
            let detail = "nothing is on disk, as the service runs with --memory: leave this out";
            Problem::new(ProblemKind::InvalidParameter, detail).at("/durable")
        }
        DurabilityError::TimedOut(refusal) => Problem::from(*refusal),
        DurabilityError::Fault(DiskError::Closed) => {
            Problem::new(ProblemKind::Stopping, "the service is stopping")
        }
        DurabilityError::Fault(fault) => Problem::new(ProblemKind::Store, fault.to_string()),
    }
}

pub(super) fn streamed(streamed: Streamed, body: Body) -> Answer {
    let headers = [
        (header::CONTENT_TYPE, streamed.format.media_type()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (Extension(streamed), headers, body).into_response()
}

/// Says that the answer depends on `Accept`.
pub(super) fn varying(answer: impl IntoResponse) -> Answer {
    ([(header::VARY, "accept")], answer).into_response()
}
