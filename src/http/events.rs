//! The route of events: as a stream, or as JSON pages.

use std::convert::Infallible;

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
use super::reading::{HEARTBEAT, LastEventId, ReadForm, ReadParams, streamed, varying};
use crate::contract::datagrams::GapBody;
use crate::contract::documented::EventStream;
use crate::contract::events::{Event, EventFilter, EventList, EventQuery};
use crate::contract::{Format, ReadStart, parse_query};
use crate::control::{Control, EventPage};
use crate::rendering::{EndReason, sse};
use crate::store::Cursor;

/// The parsed [`EventQuery`] and headers.
pub(super) struct EventReading {
    form: ReadForm,
    filter: EventFilter,
    authorization: Authorization,
}

/// Read events of resources
///
/// The service stores the latest 10,000 events. In a stream, the name of an event is the value of `event` in pages, and
/// its id is its cursor.
#[utoipa::path(get, path = "/v1/events", tag = "overview", operation_id = "read_events",
    params(EventQuery, LastEventId),
    responses(
        (status = 200, description = "Events",
            content((EventList = "application/json"), (EventStream = "text/event-stream")),
            headers(("vary" = String, description = "`accept`"))),
        Problem,
    ))]
pub(super) async fn events(State(control): State<Control>, reading: EventReading) -> Response {
    let EventReading { form, filter, authorization } = reading;
    let after = form.start.map(|start| match start {
        ReadStart::After(cursor) => cursor,
        ReadStart::Latest => control.events().latest(),
        ReadStart::Last(count) => control.events().before_last(count, |event| filter.wants(event)),
    });
    varying(if form.format == Format::Json {
        JsonResponse(page(&control, after, &form, &filter).await).into_response()
    } else {
        // Events of all kinds of resources.
        let events = Streamed { kind: None, format: Format::Sse };
        streamed(events, follow(EventStreamState { control, filter, after, authorization }))
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
        let params = ReadParams {
            after: query.after.as_deref(),
            tail: query.tail,
            limit: query.limit,
            wait_ms: query.wait_ms,
            format: query.format.map(Format::from),
        };
        let form = params.read(&parts.headers, &[Format::Json, Format::Sse], &mut errors)?;
        let filter = query.filter(&mut errors);
        let accepted = form.and_then(|form| Ok((form, filter?)));
        let (form, filter) = errors.finish(accepted).map_err(Problem::of_parameters)?;
        let form = form.resumed(&parts.headers)?;
        Ok(Self { form, filter, authorization: Authorization::of(&parts.extensions) })
    }
}

async fn page(
    control: &Control,
    mut after: Option<Cursor>,
    form: &ReadForm,
    filter: &EventFilter,
) -> EventList {
    let deadline = Instant::now() + form.wait;
    let mut items = Vec::new();
    loop {
        let changed = control.events().changed();
        let left = form.limit - items.len();
        let page = control.events().read(after, left, |event| filter.wants(event));
        let overtaken = page.gap.is_some() && !items.is_empty();
        if !overtaken {
            items.extend(page.events.iter().map(Event::from));
            after = Some(page.next);
        }
        let goes_on = page.more && page.gap.is_none() && items.len() < form.limit;
        if goes_on {
            continue;
        }
        let some = !items.is_empty() || page.gap.is_some();
        if some || Instant::now() >= deadline || control.stopping().is_cancelled() {
            return EventList {
                items,
                next_cursor: after.unwrap_or(page.next).to_string(),
                // The next page reports the gap of a reader that was overtaken.
                gap: page.gap.filter(|_| !overtaken).map(GapBody::from),
            };
        }
        tokio::select! {
            () = control.stopping().cancelled() => {}
            () = changed => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// A stream of events. As with logs, a client has a cursor and no queue.
struct EventStreamState {
    control: Control,
    filter: EventFilter,
    after: Option<Cursor>,
    authorization: Authorization,
}

fn follow(state: EventStreamState) -> Body {
    let mut begun = Vec::new();
    sse::begin(&mut begun, state.after);
    let begun = stream::iter((!begun.is_empty()).then_some(Ok::<_, Infallible>(Bytes::from(begun))));
    Body::from_stream(begun.chain(stream::unfold(Some(state), |state| async {
        let mut state = state?;
        let (chunk, goes_on) = state.next_chunk().await;
        Some((Ok(Bytes::from(chunk)), goes_on.then_some(state)))
    })))
}

impl EventStreamState {
    /// The next events that the filter passes, or the end of the stream; and whether it goes on.
    async fn next_chunk(&mut self) -> (Vec<u8>, bool) {
        const MAX_READ: usize = 100;
        let mut out = Vec::new();
        // Counted from the last bytes that the client got, whatever its filter drops.
        let silent_until = Instant::now() + HEARTBEAT;
        loop {
            let changed = self.control.events().changed();
            let page = self.control.events().read(self.after, MAX_READ, |event| self.filter.wants(event));
            let ended = if self.control.stopping().is_cancelled() {
                Some(EndReason::Stopping)
            } else {
                self.authorization.check().err().map(|_| EndReason::Unauthorized)
            };
            if let Some(reason) = ended {
                sse::closed(&mut out, reason);
                return (out, false);
            }
            self.after = Some(page.next);
            render(&page, &mut out);
            if !out.is_empty() {
                return (out, true);
            }
            if Instant::now() >= silent_until {
                out.extend_from_slice(sse::COMMENT);
                sse::begin(&mut out, self.after);
                return (out, true);
            }
            if page.more {
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = self.control.stopping().cancelled() => {}
                _ = self.authorization.ended() => {}
                () = changed => {}
                () = tokio::time::sleep_until(silent_until) => {}
            }
        }
    }
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
