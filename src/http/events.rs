//! The events of all resources: as a stream, or as JSON pages.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::parse_query;
use super::fields::rfc3339;
use super::message_view::Reason;
use super::operations::Streamed;
use super::problem::{FieldErrors, Problem};
use super::reading::{After, EndReason, EventStream, Format, GapBody, HEARTBEAT, sse, streamed, varying};
use crate::control::{self, Control, EventKind, EventPage};
use crate::store::Cursor;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Which events to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// A `next_cursor`, or the `id` of an event: read what came after it. `latest`: only what is yet to come. Without
    /// it: from the oldest kept on.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many events a JSON page holds at most.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u64>,
    /// If there is nothing to read yet, wait with a JSON page this long, in milliseconds.
    #[param(nullable = false, minimum = 0, maximum = 60000, default = 0)]
    wait_ms: Option<u64>,
    /// The form, whatever `Accept` says.
    #[param(inline, nullable = false)]
    format: Option<EventFormat>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EventFormat {
    Json,
    Sse,
}

/// Something that happened to a resource.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "event": "joined", "at": "2026-01-02T03:04:05.678901234Z", "kind": "membership", "id": "monitor",
    "group": "239.1.2.3:10000", "interface": "eth0"
})))]
#[expect(clippy::struct_field_names, reason = "the field's name is the contract's")]
struct Event {
    /// What happened.
    event: Name,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// The kind of resource: `membership`, `responder` or `message`.
    kind: String,
    /// The resource.
    id: String,
    /// Its group.
    group: String,
    /// Where it happened; absent where it concerns the resource as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    interface: Option<String>,
    /// Why a message collects no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<Reason>,
    /// Of `not_hearing` and `failed`: why, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// `joined`, `pending` and `lost`: on an interface. `not_hearing`: it is joined on an interface, and nothing can arrive
/// there; `hearing`: now it can. What is `joined` hears unless `not_hearing` follows. `failed`: its sockets are closed
/// because of a fault of the service's own, and opened again after a pause. `left`: on an interface that is no longer wanted or, without
/// `interface`, altogether. `expired`: the lease ran out. `changed`: by a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventName)]
enum Name {
    Joined,
    Pending,
    Lost,
    Hearing,
    NotHearing,
    Failed,
    Changed,
    Left,
    Expired,
    MessageSent,
    MessageClosed,
    MessageDeleted,
}

/// Events in the order in which they happened.
#[derive(Debug, Serialize, ToSchema)]
struct EventList {
    items: Vec<Event>,
    /// Pass it as `after` to read on.
    #[schema(examples("1d60f7e7ade273a1-2"))]
    next_cursor: String,
    /// There if something before the first item is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gap: Option<GapBody>,
}

/// The parsed [`EventQuery`] and headers.
pub(super) struct EventReading {
    after: Option<After>,
    /// If none, a stream.
    page: Option<(usize, Duration)>,
}

/// Read what happens to resources
///
/// The service keeps the latest 10,000 events. Events of a stream have the names that `event` has in pages; each
/// one's id is its cursor.
#[utoipa::path(get, path = "/v1/events", tag = "overview", operation_id = "read_events",
    params(EventQuery,
        ("last-event-id" = Option<String>, Header, nullable = false, description = "Of a stream, the `id` of the last event that came: go on behind it. Goes before `after`", example = "1d60f7e7ade273a1-2")),
    responses(
        (status = 200, description = "Events",
            content((EventList = "application/json"), (EventStream = "text/event-stream")),
            headers(("vary" = String, description = "`accept`"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn events(State(control): State<Control>, reading: EventReading) -> Response {
    /// Events of all kinds of resources.
    const EVENTS: Streamed = Streamed { kind: None, format: Format::Sse };
    let after = reading.after.map(|after| after.place(|| control.events().latest()));
    varying(match reading.page {
        Some((limit, wait)) => Json(page(&control, after, limit, wait).await).into_response(),
        None => streamed(EVENTS, follow(control, after)),
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
        let query: EventQuery = parse_query(parts.uri.query().unwrap_or_default())?;
        let format = match query.format {
            Some(EventFormat::Json) => Format::Json,
            Some(EventFormat::Sse) => Format::Sse,
            None => Format::negotiate(&parts.headers, &[Format::Json, Format::Sse])?,
        };
        let mut errors = FieldErrors::default();
        let after = query.after.as_deref().and_then(|after| errors.keep("/after", After::parse(after)));
        if format == Format::Sse {
            for (given, pointer) in [(query.limit, "/limit"), (query.wait_ms, "/wait_ms")] {
                if given.is_some() {
                    errors.push(pointer, "this is for JSON pages, and `sse` is asked for");
                }
            }
        }
        let limit = errors.bounded("/limit", query.limit.unwrap_or(100), 1..=1_000);
        let wait = errors.bounded("/wait_ms", query.wait_ms.unwrap_or(0), 0..=60_000);
        errors.into_parameters()?;
        if format == Format::Sse {
            let resumed = sse::last_event_id(&parts.headers)?;
            return Ok(Self { after: resumed.map(After::Place).or(after), page: None });
        }
        let page = (usize::try_from(limit).unwrap_or(usize::MAX), Duration::from_millis(wait));
        Ok(Self { after, page: Some(page) })
    }
}

async fn page(control: &Control, after: Option<Cursor>, limit: usize, wait: Duration) -> EventList {
    let deadline = Instant::now() + wait;
    loop {
        let changed = control.events().changed();
        let page = control.events().read(after, limit);
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

/// As with logs, a client has a cursor and no queue.
fn follow(control: Control, after: Option<Cursor>) -> Body {
    const AT_ONCE: usize = 100;
    let mut begun = Vec::new();
    sse::begin(&mut begun, after);
    let begun = stream::iter((!begun.is_empty()).then_some(Ok(Bytes::from(begun))));
    Body::from_stream(begun.chain(stream::unfold(Some((control, after)), |state| async {
        let (control, after) = state?;
        let mut out = Vec::new();
        let changed = control.events().changed();
        let page = control.events().read(after, AT_ONCE);
        if control.stopping().is_cancelled() {
            sse::closed(&mut out, EndReason::Stopping);
            return Some((Ok::<_, std::convert::Infallible>(Bytes::from(out)), None));
        }
        render(&page, &mut out);
        if out.is_empty() {
            tokio::select! {
                () = control.stopping().cancelled() => {}
                () = changed => {}
                () = tokio::time::sleep(HEARTBEAT) => out.extend_from_slice(sse::COMMENT),
            }
        } else {
            drop(changed);
        }
        Some((Ok(Bytes::from(out)), Some((control, Some(page.next)))))
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

impl From<&control::Event> for Event {
    fn from(event: &control::Event) -> Self {
        Self {
            event: Name::of(&event.event),
            at: rfc3339(event.at),
            kind: event.kind.to_string(),
            id: event.id.to_string(),
            group: event.group.to_string(),
            interface: event.interface.as_deref().map(str::to_owned),
            reason: match event.event {
                EventKind::Closed(reason) => Some(reason.into()),
                _ => None,
            },
            detail: match &event.event {
                EventKind::NotHearing(detail) | EventKind::Failed(detail) => Some(detail.to_string()),
                _ => None,
            },
        }
    }
}

impl Name {
    fn of(event: &EventKind) -> Self {
        match event {
            EventKind::Joined => Self::Joined,
            EventKind::Pending => Self::Pending,
            EventKind::Lost => Self::Lost,
            EventKind::Hearing => Self::Hearing,
            EventKind::NotHearing(_) => Self::NotHearing,
            EventKind::Failed(_) => Self::Failed,
            EventKind::Changed => Self::Changed,
            EventKind::Left => Self::Left,
            EventKind::Expired => Self::Expired,
            EventKind::Sent => Self::MessageSent,
            EventKind::Closed(_) => Self::MessageClosed,
            EventKind::Deleted => Self::MessageDeleted,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Pending => "pending",
            Self::Lost => "lost",
            Self::Hearing => "hearing",
            Self::NotHearing => "not_hearing",
            Self::Failed => "failed",
            Self::Changed => "changed",
            Self::Left => "left",
            Self::Expired => "expired",
            Self::MessageSent => "message_sent",
            Self::MessageClosed => "message_closed",
            Self::MessageDeleted => "message_deleted",
        }
    }
}
