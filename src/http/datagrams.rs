//! Reading logs: the same for memberships, responders and messages.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Ref, RefBuilder, Schema, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::fields::{Encoding, Payload, rfc3339};
use super::problem::{Kind, Problem};
use crate::store::{Closed, Cursor, Entry, Gap, GapReason, Log, Page};

/// Datagrams that one page holds at most.
pub(super) const LARGEST_PAGE: usize = 1_000;
const LONGEST_WAIT_MS: u64 = 60_000;

/// Where to read a log, and how much.
#[derive(Debug, Deserialize, IntoParams)]
#[expect(clippy::unsafe_derive_deserialize, reason = "the unsafe code is that of `tokio::select!`")]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// A `next_cursor`: read what came after it. Without it, reading starts at the oldest datagram kept.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many datagrams at most.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u64,
    /// If there is nothing to read yet, wait for it this long, in milliseconds.
    #[serde(default)]
    #[param(minimum = 0, maximum = 60000, default = 0)]
    wait_ms: u64,
    /// How to show payloads: `auto` as text where they are valid UTF-8, else as base64; `base64` always so.
    #[serde(default)]
    #[param(inline)]
    encoding: Encoding,
}

fn default_limit() -> u64 {
    100
}

/// What was read.
#[derive(Debug, Serialize)]
pub(super) struct DatagramPage<T> {
    pub(super) items: Vec<T>,
    pub(super) next_cursor: String,
    pub(super) dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gap: Option<GapBody>,
}

/// By hand, for a readable name in the document: a page of `Response` is a `ResponsePage`.
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
            .description(Some("A page of a log, in the order of arrival."))
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

/// What a reader has missed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gap, examples(json!({"reason": "retention", "missed": 12})))]
pub(super) struct GapBody {
    reason: Reason,
    /// How many datagrams are missing; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missed: Option<u64>,
}

/// `retention`: the oldest datagrams made room. `log_replaced`: the cursor is of another log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = GapReason)]
enum Reason {
    Retention,
    LogReplaced,
}

/// A datagram that was received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "seq": 1, "received_at": "2026-01-02T03:04:05.678901234Z", "source": "192.0.2.10:49152",
    "destination": "239.1.2.3:10000", "interface": "eth0", "ttl": 1, "payload": "very important data"
})))]
pub(super) struct Datagram {
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
pub(super) struct Response {
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
    pub(super) fn of(entry: &Entry<'_>, encoding: Encoding) -> Self {
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
    pub(super) fn of(entry: &Entry<'_>, encoding: Encoding) -> Self {
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
            GapReason::LogReplaced => Reason::LogReplaced,
        };
        Self { reason, missed: gap.missed }
    }
}

impl ReadQuery {
    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Reads a page; with nothing to read, waits for something as long as asked, or until the service stops.
    pub(super) async fn read(&self, log: &Log, stop: &CancellationToken) -> Result<Page, Problem> {
        let after = self.after.as_deref().map(Cursor::parse).transpose();
        let after = after.map_err(|error| invalid("/after", error.to_string()))?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(invalid("/limit", format!("{limit} is out of bounds: use 1 to {LARGEST_PAGE}")));
        }
        if self.wait_ms > LONGEST_WAIT_MS {
            return Err(invalid(
                "/wait_ms",
                format!("{} is out of bounds: use 0 to {LONGEST_WAIT_MS}", self.wait_ms),
            ));
        }
        let deadline = Instant::now() + Duration::from_millis(self.wait_ms);
        loop {
            let changed = log.changed();
            let page = log.read(after, limit).map_err(|Closed| gone())?;
            if !page.is_empty() || page.gap.is_some() || page.complete || Instant::now() >= deadline {
                return Ok(page);
            }
            tokio::select! {
                // First: when the service stops, its logs end too, and this reader is not to be told "gone".
                biased;
                () = stop.cancelled() => return Ok(page),
                () = changed => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

pub(super) fn page_of<T>(page: &Page, dropped: u64, item: impl Fn(&Entry<'_>) -> T) -> DatagramPage<T> {
    DatagramPage {
        items: page.entries().map(|entry| item(&entry)).collect(),
        next_cursor: page.next.to_string(),
        dropped,
        gap: page.gap.map(GapBody::from),
    }
}

fn invalid(pointer: &str, detail: String) -> Problem {
    Problem::new(Kind::InvalidParameter, detail).at(pointer)
}

fn gone() -> Problem {
    Problem::new(
        Kind::NotFound,
        "the log was deleted while it was read, or its membership moved to another group",
    )
}
