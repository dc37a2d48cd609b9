//! Events of resources as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::datagrams::GapBody;
use super::field_errors::{FieldErrors, Refused};
use super::fields::{decimal, rfc3339};
use super::labels::{LabelsBody, read_selector};
use super::messages::Reason;
use crate::control::{self, EventKind};
use crate::model::Selector;

/// Parameters for reading events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// A `next_cursor`, or the `id` of an event: read the events after it. `latest`: read future events only. Default:
    /// the oldest stored event.
    #[param(nullable = false, min_length = 1)]
    pub after: Option<String>,
    /// The most events in a JSON page.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    #[serde(default, deserialize_with = "decimal")]
    pub limit: Option<u64>,
    /// How long a JSON page waits for its first item, in milliseconds.
    #[param(nullable = false, minimum = 0, maximum = 60000, default = 0)]
    #[serde(default, deserialize_with = "decimal")]
    pub wait_ms: Option<u64>,
    /// A selector: show only events of resources whose labels matched it then, or before a change of them.
    #[param(nullable = false, min_length = 1, example = "site=lab,role!=test")]
    label: Option<String>,
    /// The format; overrides `Accept`.
    #[param(inline, nullable = false)]
    pub format: Option<EventFormat>,
}

impl EventQuery {
    pub fn selector(&self, errors: &mut FieldErrors) -> Result<Option<Selector>, Refused> {
        self.label.as_deref().map(|label| read_selector(errors, label)).transpose()
    }
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    Json,
    Sse,
}

/// A change of a resource's state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResourceEvent, examples(json!({
    "event": "joined", "at": "2026-01-02T03:04:05.678901234Z", "kind": "membership", "id": "monitor",
    "group": "239.1.2.3:10000", "interface": "eth0"
})))]
pub struct Event {
    /// What happened.
    pub event: Name,
    /// When the event happened.
    #[schema(format = DateTime)]
    at: String,
    /// The kind of resource: `membership`, `responder` or `message`.
    kind: String,
    /// The id of the resource.
    id: String,
    /// The group of the resource.
    group: String,
    /// The labels that the resource had then.
    #[serde(skip_serializing_if = "LabelsBody::is_empty")]
    #[schema(required = false)]
    labels: LabelsBody,
    /// The interface; absent if the event concerns the resource as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    interface: Option<String>,
    /// For `message_closed`: why the message stopped collecting.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<Reason>,
    /// For `pending` with an interface, `lost`, `not_hearing` and `failed`: the cause, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// `joined`, `pending` and `lost`: the new state on an interface. `not_hearing`: the resource is joined on an interface
/// where no datagram can arrive; `hearing`: datagrams can arrive there again. A joined resource hears unless
/// `not_hearing` follows. `failed`: the service closed the resource's sockets after an internal error, and opens them
/// again after a pause. `left`: the resource left an interface that it no longer names or, without `interface`, was
/// deleted. `expired`: its lease ran out. `changed`: a client changed its specification, or the duration of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventName)]
pub enum Name {
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

/// A page of events, in the order of their occurrence.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResourceEventPage)]
pub struct EventList {
    /// The events.
    pub items: Vec<Event>,
    /// The cursor after the last event: pass it as `after` to read the next page.
    #[schema(examples("1d60f7e7ade273a1-2"))]
    pub next_cursor: String,
    /// Present if events before the first item are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub gap: Option<GapBody>,
}

impl From<&control::Event> for Event {
    fn from(event: &control::Event) -> Self {
        Self {
            event: Name::of(&event.event),
            at: rfc3339(event.at),
            kind: event.kind.to_string(),
            id: event.id.to_string(),
            group: event.group.to_string(),
            labels: LabelsBody::of(&event.labels),
            interface: event.interface.as_deref().map(str::to_owned),
            reason: match event.event {
                EventKind::Closed(reason) => Some(reason.into()),
                _ => None,
            },
            detail: match &event.event {
                EventKind::Pending(detail) => detail.as_deref().map(str::to_owned),
                EventKind::Lost(detail) | EventKind::NotHearing(detail) | EventKind::Failed(detail) => {
                    Some(detail.to_string())
                }
                _ => None,
            },
        }
    }
}

impl Name {
    fn of(event: &EventKind) -> Self {
        match event {
            EventKind::Joined => Self::Joined,
            EventKind::Pending(_) => Self::Pending,
            EventKind::Lost(_) => Self::Lost,
            EventKind::Hearing => Self::Hearing,
            EventKind::NotHearing(_) => Self::NotHearing,
            EventKind::Failed(_) => Self::Failed,
            EventKind::Changed(_) => Self::Changed,
            EventKind::Left => Self::Left,
            EventKind::Expired => Self::Expired,
            EventKind::Sent => Self::MessageSent,
            EventKind::Closed(_) => Self::MessageClosed,
            EventKind::Deleted => Self::MessageDeleted,
        }
    }

    /// The name of a stream's event.
    pub fn name(self) -> &'static str {
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
