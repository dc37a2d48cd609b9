//! Datagrams, responses and gaps, as all formats except capture files show them, and JSON pages of them.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Ref, RefBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::payload::{Encoding, Payload};
use super::time::rfc3339;
use crate::store::{Entry, Gap, GapReason};

/// What a reader has missed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gap, examples(json!({"reason": "retention", "missed": 12})))]
pub struct GapBody {
    pub reason: Reason,
    /// How many datagrams are missing; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub missed: Option<u64>,
}

/// `retention`: the oldest datagrams made room. `lost`: datagrams that were not on disk yet when the service was
/// killed, `missed` at most, or that had to leave memory before. `log_replaced`: the cursor is of another log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = GapReason)]
pub enum Reason {
    Retention,
    Lost,
    LogReplaced,
}

impl Reason {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Lost => "lost",
            Self::LogReplaced => "log_replaced",
        }
    }
}

/// A datagram that was received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "seq": 1, "received_at": "2026-01-02T03:04:05.678901234Z", "source": "192.0.2.10:49152",
    "destination": "239.1.2.3:10000", "interface": "eth0", "ttl": 1, "payload": "very important data"
})))]
pub struct Datagram {
    /// Its place in the log, from 1; never used twice.
    seq: u64,
    /// When the kernel received it.
    #[schema(format = DateTime)]
    received_at: String,
    /// Who sent it: address and port.
    source: String,
    /// Where it was sent to: address and port.
    destination: String,
    /// Where it came in.
    interface: String,
    /// TTL or hop limit that was left on arrival.
    #[schema(required, minimum = 0, maximum = 255)]
    ttl: Option<u8>,
    #[serde(flatten)]
    payload: Payload<'static>,
    /// There, and true, if the payload was longer than any buffer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

/// A datagram that came back to a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "seq": 1, "received_at": "2026-01-02T03:04:05.678901234Z", "source": "192.0.2.11:10000",
    "destination": "192.0.2.10:49152", "interface": "eth0", "ttl": 64, "payload": "ack",
    "rtt_us": 181, "attempt": 1, "duplicate": false, "late": false
})))]
pub struct Response {
    #[serde(flatten)]
    datagram: Datagram,
    /// Microseconds since the latest send before it, both ends in kernel time; null when the clock was
    /// set in between.
    #[schema(required)]
    rtt_us: Option<u64>,
    /// The attempt it answers, from 1; null where that cannot be told.
    #[schema(required)]
    attempt: Option<u32>,
    /// This responder had answered before.
    duplicate: bool,
    /// It came after the message was closed.
    late: bool,
}

impl Datagram {
    pub fn of(entry: &Entry<'_>, encoding: Encoding) -> Self {
        Self {
            seq: entry.sequence,
            received_at: rfc3339(entry.heard.received_at),
            source: entry.heard.source.to_string(),
            destination: entry.heard.destination.to_string(),
            interface: entry.heard.interface.to_string(),
            ttl: entry.heard.hop_limit,
            payload: Payload::new(entry.payload, encoding).into_owned(),
            truncated: entry.heard.truncated,
        }
    }
}

impl Response {
    pub fn of(entry: &Entry<'_>, encoding: Encoding) -> Self {
        Self {
            datagram: Datagram::of(entry, encoding),
            rtt_us: entry.answer.and_then(|answer| answer.rtt_us),
            attempt: entry.answer.and_then(|answer| answer.attempt),
            duplicate: entry.answer.is_some_and(|answer| answer.duplicate),
            late: entry.answer.is_some_and(|answer| answer.late),
        }
    }
}

impl From<Gap> for GapBody {
    fn from(gap: Gap) -> Self {
        let reason = match gap.reason {
            GapReason::Retention => Reason::Retention,
            GapReason::Lost => Reason::Lost,
            GapReason::LogReplaced => Reason::LogReplaced,
        };
        Self { reason, missed: gap.missed }
    }
}

/// A page of datagrams.
#[derive(Debug, Serialize)]
pub struct DatagramPage<T> {
    pub items: Vec<T>,
    pub next_cursor: String,
    pub dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapBody>,
}

/// Written by hand, for a readable name in the document: a page of `Response` is a `ResponsePage`.
impl<T: ToSchema> ToSchema for DatagramPage<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        schemas.push((GapBody::name().into_owned(), GapBody::schema()));
        T::schemas(schemas);
        GapBody::schemas(schemas);
    }
}

impl<T: ToSchema> PartialSchema for DatagramPage<T> {
    fn schema() -> RefOr<Schema> {
        let cursor = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Pass it as `after` to read on."))
            .examples(["1d60f7e7ade273a1-2"]);
        let dropped = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64)).description(Some(
            "Buffers that the kernel has dropped before they could be read, since the log began.",
        ));
        let gap = RefBuilder::new()
            .ref_location_from_schema_name(GapBody::name())
            .description(Some("There if something before the first item is missing."));
        ObjectBuilder::new()
            .description(Some("A page of a log, in the order of arrival. With a filter it may hold fewer than `limit`, or nothing, while \
             `next_cursor` moves on."))
            .property("items", Ref::from_schema_name(T::name()).to_array_builder())
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .property("dropped", dropped)
            .required("dropped")
            .property("gap", gap)
            .into()
    }
}
