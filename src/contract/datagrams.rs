//! Datagrams, responses and gaps, as all formats except capture files show them, and JSON pages of them.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Ref, RefBuilder, Schema, Type};
use utoipa::openapi::{Deprecated, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::fields::rfc3339;
use super::payload::{Encoding, Payload};
use crate::control::ResourceKind;
use crate::store::{Entry, Gap, GapReason};

/// Datagrams or events that a reader has missed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gap, examples(json!({"reason": "retention", "missed": 12})))]
pub struct GapBody {
    /// Why they are missing.
    pub reason: Reason,
    /// The number of missing datagrams or events; absent if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub missed: Option<u64>,
}

/// `retention`: the log evicted its oldest datagrams. `lost`: the service was killed before it had written the datagrams
/// to disk (then `missed` is an upper bound), it dropped them from memory before, or they were damaged on disk.
/// `log_replaced`: the cursor belongs to another log.
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
    /// Sequence number in the log, from 1; never reused.
    seq: u64,
    /// When the kernel received the datagram.
    #[schema(format = DateTime)]
    received_at: String,
    /// Source address and port.
    source: String,
    /// Destination address and port.
    destination: String,
    /// The interface that received the datagram.
    interface: String,
    /// TTL or hop limit on arrival.
    #[schema(required, minimum = 0, maximum = 255)]
    ttl: Option<u8>,
    #[serde(flatten)]
    payload: Payload<'static>,
    /// Present, and true, if the payload was longer than the service's buffers and is cut off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    truncated: bool,
}

/// A datagram that a message's socket received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageResponse, examples(json!({
    "seq": 1, "received_at": "2026-01-02T03:04:05.678901234Z", "source": "192.0.2.11:10000",
    "destination": "192.0.2.10:49152", "interface": "eth0", "ttl": 64, "payload": "ack",
    "rtt_us": 181, "attempt": 1, "duplicate": false, "late": false
})))]
pub struct Response {
    #[serde(flatten)]
    datagram: Datagram,
    /// Round-trip time in microseconds, since the latest send before the response, by the kernel's timestamps; null if
    /// the clock was set in between.
    #[schema(required)]
    rtt_us: Option<u64>,
    /// The attempt that the response belongs to, from 1; null if it is unknown.
    #[schema(required)]
    attempt: Option<u32>,
    /// Whether the responder had responded before; null if the service does not know, because the message has more
    /// responders than the service tells apart (10,000 unless configured). Such a response counts as `untracked`.
    #[schema(required)]
    duplicate: Option<bool>,
    /// Whether the response arrived after the message was closed.
    late: bool,
}

impl Datagram {
    pub fn of(entry: &Entry<'_>, encoding: Encoding) -> Self {
        Self {
            seq: entry.sequence,
            received_at: rfc3339(entry.metadata.received_at),
            source: entry.metadata.source.to_string(),
            destination: entry.metadata.destination.to_string(),
            interface: entry.metadata.interface.to_string(),
            ttl: entry.metadata.hop_limit,
            payload: Payload::new(entry.payload, encoding).into_owned(),
            truncated: entry.metadata.truncated,
        }
    }
}

impl Response {
    pub fn of(entry: &Entry<'_>, encoding: Encoding) -> Self {
        Self {
            datagram: Datagram::of(entry, encoding),
            rtt_us: entry.response.and_then(|response| response.rtt_us),
            attempt: entry.response.and_then(|response| response.attempt),
            duplicate: entry.response.map_or(Some(false), |response| response.duplicate),
            late: entry.response.is_some_and(|response| response.late),
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

/// The kind of entries in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    Datagrams,
    Responses,
}

/// A datagram as its owner shows it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Item {
    Datagram(Datagram),
    Response(Response),
}

impl ItemKind {
    pub fn of(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Membership | ResourceKind::Responder => Self::Datagrams,
            ResourceKind::Message => Self::Responses,
        }
    }

    /// The name of an entry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagram",
            Self::Responses => "response",
        }
    }

    pub fn show(self, entry: &Entry<'_>, encoding: Encoding) -> Item {
        match self {
            Self::Datagrams => Item::Datagram(Datagram::of(entry, encoding)),
            Self::Responses => Item::Response(Response::of(entry, encoding)),
        }
    }
}

/// A page of datagrams.
#[derive(Debug, Serialize)]
pub struct DatagramPage<T> {
    pub items: Vec<T>,
    pub next_cursor: String,
    pub dropped_buffers: u64,
    /// The deprecated name of the same.
    pub dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapBody>,
}

/// Implemented by hand, for a readable name in the API document: a page of `Datagram` is a `DatagramPage`.
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
        let items = Ref::from_schema_name(T::name()).to_array_builder().description(Some("The entries."));
        let cursor = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("The cursor after the last item: pass it as `after` to read the next page."))
            .examples(["1d60f7e7ade273a1-2"]);
        let count = || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64));
        let dropped_buffers = count().description(Some(
            "Buffers that the kernel has dropped before the service could read them, since the log began.",
        ));
        let dropped = count().deprecated(Some(Deprecated::True)).description(Some("Use `dropped_buffers`."));
        let gap = RefBuilder::new()
            .ref_location_from_schema_name(GapBody::name())
            .description(Some("Present if datagrams before the first item are missing."));
        ObjectBuilder::new()
            .description(Some("A page of a log, in order of arrival. A page ends after `limit` items, or with the item that fills 1 MiB. With a \
             filter, it can have fewer items, or none, although the log has more: read on from `next_cursor`."))
            .property("items", items)
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .property("dropped_buffers", dropped_buffers)
            .required("dropped_buffers")
            .property("dropped", dropped)
            .required("dropped")
            .property("gap", gap)
            .into()
    }
}

/// The room for items in a JSON page: the item that fills it is the page's last.
#[derive(Debug)]
pub struct PageRoom {
    left: usize,
}

impl PageRoom {
    /// Bytes of items in JSON, after which a page ends.
    pub const BYTES: usize = 1024 * 1024;

    /// Takes the room that an item needs; returns whether there is room for another one.
    pub fn take(&mut self, item: &impl Serialize) -> bool {
        let mut length = LengthCounter(0);
        // Counting does not fail, and an item that cannot be written fails with its page.
        let _ = serde_json::to_writer(&mut length, item);
        self.left = self.left.saturating_sub(length.0);
        !self.is_full()
    }

    pub fn is_full(&self) -> bool {
        self.left == 0
    }
}

impl Default for PageRoom {
    fn default() -> Self {
        Self { left: Self::BYTES }
    }
}

/// Counts the bytes that are written to it.
struct LengthCounter(usize);

impl io::Write for LengthCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
