//! The route of events: as a stream, or as JSON pages.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::access::Authorization;
use super::json::JsonResponse;
use super::operations::Streamed;
use super::problem::Problem;
use super::reading::{HEARTBEAT, last_event_id, negotiate, streamed, varying};
use crate::contract::datagrams::GapBody;
use crate::contract::documented::EventStream;
use crate::contract::events::{Event, EventFormat, EventList, EventQuery};
use crate::contract::{After, FieldError, Format, parse_query};
use crate::control::{self, Control, EventPage};
use crate::model::Selector;
use crate::rendering::{EndReason, sse};
use crate::store::Cursor;

/// The parsed [`EventQuery`] and headers.
pub(super) struct EventReading {
    after: Option<After>,
    selector: Option<Selector>,
    /// If none, a stream.
    page: Option<(usize, Duration)>,
    authorization: Authorization,
}

/// Read events of resources
///
/// The service stores the latest 10,000 events. In a stream, the name of an event is the value of `event` in pages, and
/// its id is its cursor.
#[utoipa::path(get, path = "/v1/events", tag = "overview", operation_id = "read_events",
    params(EventQuery,
        ("last-event-id" = Option<String>, Header, nullable = false, description = "The `id` of the last event that the client received: the stream resumes after it. Overrides `after`")),
    responses(
        (status = 200, description = "Events",
            content((EventList = "application/json"), (EventStream = "text/event-stream")),
            headers(("vary" = String, description = "`accept`"))),
        Problem,
    ))]
pub(super) async fn events(State(control): State<Control>, reading: EventReading) -> Response {
    /// Events of all kinds of resources.
    const EVENTS: Streamed = Streamed { kind: None, format: Format::Sse };
    let after = reading.after.map(|after| after.resolve(|| control.events().latest()));
    let reader = Reader { control, after, selector: reading.selector };
    varying(match reading.page {
        Some((limit, wait)) => JsonResponse(page(reader, limit, wait).await).into_response(),
        None => streamed(EVENTS, follow(reader, reading.authorization)),
    })
}

impl<S: Send + Sync> FromRequestParts<S> for EventReading {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        Self::parse(parts).map_err(varying)
    }
}

impl EventReading {
    fn parse(parts: &Parts) -> Result<Self, Problem> {
        let parsed = parse_query::<EventQuery>(parts.uri.query().unwrap_or_default());
        let (query, mut errors) = parsed.map_err(Problem::of_parameters)?;
        let format = match query.format {
            Some(EventFormat::Json) => Format::Json,
            Some(EventFormat::Sse) => Format::Sse,
            // The other parameters are not compared with an invalid one.
            None if errors.left_out("/format") => Format::Json,
            None => negotiate(&parts.headers, &[Format::Json, Format::Sse])?,
        };
        let after = query.after.as_deref().map(|after| errors.read("/after", after, After::parse(after)));
        if format == Format::Sse {
            for (given, pointer) in [(query.limit, "/limit"), (query.wait_ms, "/wait_ms")] {
                if given.is_some() {
                    let name = pointer.trim_start_matches('/');
                    let fact = format!("`{name}` is for JSON pages, and the request is for `sse`");
                    errors.push(
                        FieldError::new(pointer, fact).hint("leave it out, or choose another `format`"),
                    );
                }
            }
        }
        let limit = errors.bounded("/limit", query.limit.unwrap_or(100), 1..=1_000);
        let wait = errors.bounded("/wait_ms", query.wait_ms.unwrap_or(0), 0..=60_000);
        let selector = query.selector(&mut errors);
        let read = after.transpose().and_then(|after| Ok((after, selector?)));
        let (after, selector) = errors.finish(read).map_err(Problem::of_parameters)?;
        let authorization = Authorization::of(&parts.extensions);
        if format == Format::Sse {
            let resumed = last_event_id(&parts.headers)?;
            let after = resumed.map(After::Cursor).or(after);
            return Ok(Self { after, selector, page: None, authorization });
        }
        let page = (usize::try_from(limit).unwrap_or(usize::MAX), Duration::from_millis(wait));
        Ok(Self { after, selector, page: Some(page), authorization })
    }
}

/// A client that reads events: it has a cursor and no queue, as with logs.
struct Reader {
    control: Control,
    after: Option<Cursor>,
    selector: Option<Selector>,
}

impl Reader {
    fn read(&mut self, limit: usize) -> EventPage {
        let selects = |event: &control::Event| {
            self.selector.as_ref().is_none_or(|selector| event.is_selected_by(selector))
        };
        let page = self.control.events().read_selected(self.after, limit, selects);
        self.after = Some(page.next);
        page
    }
}

async fn page(mut reader: Reader, limit: usize, wait: Duration) -> EventList {
    let control = reader.control.clone();
    let deadline = Instant::now() + wait;
    loop {
        let changed = control.events().changed();
        let page = reader.read(limit);
        let some = !page.events.is_empty() || page.gap.is_some();
        if some || Instant::now() >= deadline || control.stopping().is_cancelled() {
            return EventList {
                items: page.events.iter().map(Event::from).collect(),
                next_cursor: page.next.to_string(),
                gap: page.gap.map(GapBody::from),
            };
        }
        tokio::select! {
            () = control.stopping().cancelled() => {}
            () = changed => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

fn follow(reader: Reader, authorization: Authorization) -> Body {
    const MAX_READ: usize = 100;
    let mut begun = Vec::new();
    sse::begin(&mut begun, reader.after);
    let begun = stream::iter((!begun.is_empty()).then_some(Ok(Bytes::from(begun))));
    let state = Some((reader, authorization));
    Body::from_stream(begun.chain(stream::unfold(state, |state| async {
        let (mut reader, authorization) = state?;
        let control = reader.control.clone();
        let mut out = Vec::new();
        let changed = control.events().changed();
        let page = reader.read(MAX_READ);
        let ended = if control.stopping().is_cancelled() {
            Some(EndReason::Stopping)
        } else {
            authorization.check().err().map(|_| EndReason::Unauthorized)
        };
        if let Some(reason) = ended {
            sse::closed(&mut out, reason);
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from(out)), None));
        }
        render(&page, &mut out);
        if out.is_empty() {
            tokio::select! {
                () = control.stopping().cancelled() => {}
                _ = authorization.ended() => {}
                () = changed => {}
                () = tokio::time::sleep(HEARTBEAT) => out.extend_from_slice(sse::COMMENT),
            }
        } else {
            drop(changed);
        }
        Some((Ok(Bytes::from(out)), Some((reader, authorization))))
    })))
}

fn render(page: &EventPage, out: &mut Vec<u8>) {
    let cursor = |sequence| Cursor { sequence, ..page.next };
    if let Some(gap) = page.gap {
        let before = page.events.first().map_or(page.next.sequence, |event| event.sequence - 1);
        sse::event(out, "gap", Some(&cursor(before)), &GapBody::from(gap));
    }
    for event in &page.events {
        let shown = Event::from(event);
        sse::event(out, shown.event.name(), Some(&cursor(event.sequence)), &shown);
    }
}
