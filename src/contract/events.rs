//! Events of resources as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::datagrams::GapBody;
use super::field_errors::{FieldErrors, Refused};
use super::fields::{comma_separated, decimal, parse_group, rfc3339};
use super::labels::{LabelsBody, read_selector};
use super::messages::Reason;
use super::read_query::Format;
use crate::control::{self, EventKind, ResourceKind};
use crate::model::{Group, Id, Selector};

/// Parameters for reading events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// A `next_cursor`, or the `id` of an event: read the events after it. `latest`: read future events only. Default:
    /// the oldest stored event.
    #[param(nullable = false, min_length = 1)]
    pub after: Option<String>,
    /// Begin with the last so many events, or with all if there are fewer. With a filter: with the last that pass it. Not
    /// together with `after`.
    #[param(nullable = false, minimum = 1, maximum = 10000)]
    #[serde(default, deserialize_with = "decimal")]
    pub tail: Option<u64>,
    /// Show only events of this kind of resource; several kinds have commas between them.
    #[param(inline, nullable = false, style = Form, explode = false)]
    #[serde(default, deserialize_with = "comma_separated")]
    kind: Option<Vec<Kind>>,
    /// Show only events with this `event`; several have commas between them.
    #[param(inline, nullable = false, style = Form, explode = false)]
    #[serde(default, deserialize_with = "comma_separated")]
    event: Option<Vec<Name>>,
    /// Show only events of the resources with this id.
    #[param(nullable = false, min_length = 1)]
    id: Option<String>,
    /// Show only events of resources of this group.
    #[param(nullable = false, min_length = 1)]
    group: Option<String>,
    /// The most events in a JSON page. With `tail`, the default is that many, up to 1,000.
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

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    Json,
    Sse,
}

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ResourceKind)]
enum Kind {
    Membership,
    Responder,
    Message,
}

/// Conditions on events.
#[derive(Debug)]
pub struct EventFilter {
    kinds: Option<Vec<Kind>>,
    events: Option<Vec<Name>>,
    id: Option<Id>,
    group: Option<Group>,
    selector: Option<Selector>,
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
    close_reason: Option<Reason>,
    /// Use `close_reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, deprecated)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

impl From<EventFormat> for Format {
    fn from(format: EventFormat) -> Self {
        match format {
            EventFormat::Json => Self::Json,
            EventFormat::Sse => Self::Sse,
        }
    }
}

impl EventQuery {
    /// Reads the parameters of the filter.
    pub fn filter(&self, errors: &mut FieldErrors) -> Result<EventFilter, Refused> {
        let id = self.id.as_deref().map(|id| errors.read("/id", id, Id::parse(id))).transpose();
        let group = self.group.as_deref().map(|group| parse_group(errors, "/group", group)).transpose();
        let selector = self.label.as_deref().map(|label| read_selector(errors, label)).transpose();
        let (kinds, events) = (self.kind.clone(), self.event.clone());
        let group = group?.map(|(group, _)| group);
        Ok(EventFilter { kinds, events, id: id?, group, selector: selector? })
    }
}

impl EventFilter {
    pub fn wants(&self, event: &control::Event) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind.into()))
            && self.events.as_ref().is_none_or(|events| events.contains(&Name::of(&event.event)))
            && self.group.is_none_or(|group| event.group == group)
            && self.id.as_ref().is_none_or(|id| event.id == *id)
            && self.selector.as_ref().is_none_or(|selector| event.is_selected_by(selector))
    }
}

impl From<ResourceKind> for Kind {
    fn from(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Membership => Self::Membership,
            ResourceKind::Responder => Self::Responder,
            ResourceKind::Message => Self::Message,
        }
    }
}

impl From<&control::Event> for Event {
    fn from(event: &control::Event) -> Self {
        let close_reason = match event.event {
            EventKind::Closed(reason) => Some(reason.into()),
            _ => None,
        };
        Self {
            event: Name::of(&event.event),
            at: rfc3339(event.at),
            kind: event.kind.to_string(),
            id: event.id.to_string(),
            group: event.group.to_string(),
            labels: LabelsBody::of(&event.labels),
            interface: event.interface.as_deref().map(str::to_owned),
            close_reason,
            reason: close_reason,
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
