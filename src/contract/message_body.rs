//! Requests for messages: a JSON body, or a raw payload with the options in the query.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::field_errors::{FieldError, FieldErrors, Refused};
use super::fields::{
    InterfaceName, RetentionBody, ViewMember, decimal, object, read_address, read_group, read_interfaces,
};
use super::labels::{LabelsBody, read_labels};
use super::payload::read_payload;
use super::wait::read_wait;
use crate::control::InterfaceChoice;
use crate::model::{
    HopLimit, Interfaces, Labels, MessageSpec, Repeat, SpecError, check_attempts, check_datagram, limits,
};

/// A request to send a message, with exactly one of `payload` and `payload_base64`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(
    json!({"group": "239.1.2.3:10000", "payload": "very important data", "interfaces": ["lo"], "window_ms": 500}),
    json!({
        "group": "239.1.2.3:10000", "payload_base64": "AAEC/w==", "interfaces": ["lo"], "window_ms": 500,
        "expect": 2, "repeat": {"count": 3, "interval_ms": 100}, "track_attempts": true
    }),
    json!({"group": "239.1.2.3:10000", "payload": "anyone?", "interfaces": ["lo"], "ttl": 0, "stall_ms": 100})
))]
pub struct MessageBody {
    /// `ADDRESS:PORT`, `[ADDRESS]:PORT` or `[ADDRESS%INTERFACE]:PORT`.
    #[schema(
        pattern = r"^(2(2[4-9]|3[0-9])(\.[0-9]{1,3}){3}|\[[Ff]{2}[0-9A-Fa-f:.]+(%[^\]]+)?\]):[0-9]{1,5}$",
        examples("239.1.2.3:10000")
    )]
    group: String,
    /// The payload as text. As UTF-8, at most 65,507 bytes for IPv4 and 65,527 for IPv6.
    payload: Option<String>,
    /// The payload as base64 (RFC 4648 section 4, padded).
    payload_base64: Option<String>,
    /// The interfaces to send on. Default: for IPv4 the interface of the route to the group, for IPv6 that of the
    /// default route; each repeat looks it up again.
    #[schema(min_items = 1, max_items = 1024)]
    interfaces: Option<Vec<InterfaceName>>,
    /// TTL or hop limit. With 0 the message stays on this host, with 1 on the local network.
    #[schema(minimum = 0, maximum = 255, default = 1)]
    ttl: Option<u64>,
    /// Also deliver the message to members on this host.
    #[schema(default = true)]
    loopback: Option<bool>,
    /// The source address: one of an interface in `interfaces`; without `interfaces`, the service sends on the interface
    /// that has the address, and repeats follow it to another one. Default: the kernel's choice.
    #[schema(examples("127.0.0.1"))]
    source: Option<String>,
    /// The UDP source port. Default: a free port.
    #[schema(minimum = 1, maximum = 65535)]
    source_port: Option<u64>,
    /// How long to collect responses, from the first send; with 0, the message collects none.
    #[schema(minimum = 0, maximum = 86_400_000_u64, default = 1000)]
    window_ms: Option<u64>,
    /// Stop collecting once this many distinct responders have responded; at most 10,000 unless configured.
    #[schema(minimum = 1)]
    expect: Option<u64>,
    /// Stop collecting when no new responder has responded for this long, counted from the last send.
    #[schema(minimum = 1, maximum = 86_400_000_u64)]
    stall_ms: Option<u64>,
    #[serde(default, deserialize_with = "object")]
    repeat: Option<RepeatBody>,
    /// Give each attempt a source port of its own, so that a response's `attempt` is exact; at most 8 attempts.
    #[schema(default = false)]
    track_attempts: Option<bool>,
    /// How long to accept late responses after the message is closed.
    #[schema(minimum = 0, maximum = 60000, default = 2000)]
    linger_ms: Option<u64>,
    #[serde(default, deserialize_with = "object")]
    retention: Option<RetentionBody>,
    #[serde(default, deserialize_with = "object")]
    labels: Option<LabelsBody>,
    /// Ignored: it is of the view.
    #[serde(default, rename = "id")]
    #[schema(value_type = Value)]
    _id: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "revision")]
    #[schema(value_type = Value)]
    _revision: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "state")]
    #[schema(value_type = Value)]
    _state: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "close_reason")]
    #[schema(value_type = Value)]
    _close_reason: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "closed_at")]
    #[schema(value_type = Value)]
    _closed_at: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "created_at")]
    #[schema(value_type = Value)]
    _created_at: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "sent")]
    #[schema(value_type = Value)]
    _sent: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "counters")]
    #[schema(value_type = Value)]
    _counters: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "responders")]
    #[schema(value_type = Value)]
    _responders: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "responders_complete")]
    #[schema(value_type = Value)]
    _responders_complete: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "responses")]
    #[schema(value_type = Value)]
    _responses: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "next_cursor")]
    #[schema(value_type = Value)]
    _next_cursor: ViewMember,
    /// Ignored: it is of the view.
    #[serde(default, rename = "gap")]
    #[schema(value_type = Value)]
    _gap: ViewMember,
}

/// Send the message several times.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Repeat, examples(json!({"count": 3, "interval_ms": 100})))]
pub(super) struct RepeatBody {
    /// The number of sends.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub(super) count: u64,
    /// Time between two sends; with 0, the service sends as fast as the kernel accepts.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 3_600_000, default = 0)]
    pub(super) interval_ms: u64,
}

/// The options of a message whose body is the payload. The members of `repeat` and `retention` have its name before
/// theirs, as in `repeat_count`.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RawOptions {
    /// The group to send to; required if the body is not JSON. A request with a JSON body accepts none of these
    /// options but `wait_ms`.
    #[param(nullable = false, min_length = 1)]
    group: Option<String>,
    /// Names of interfaces, separated by commas; this and the following options are as in a JSON body.
    #[param(nullable = false, min_length = 1)]
    interfaces: Option<String>,
    /// TTL or hop limit. Default: 1.
    #[param(nullable = false, minimum = 0, maximum = 255)]
    #[serde(default, deserialize_with = "decimal")]
    ttl: Option<u64>,
    /// Also deliver the message to members on this host. Default: true.
    #[param(nullable = false)]
    loopback: Option<bool>,
    /// The source address, one of an interface.
    #[param(nullable = false, min_length = 1)]
    source: Option<String>,
    /// The UDP source port.
    #[param(nullable = false, minimum = 1, maximum = 65535)]
    #[serde(default, deserialize_with = "decimal")]
    source_port: Option<u64>,
    /// How long to collect responses; with 0, the message collects none. Default: 1000.
    #[param(nullable = false, minimum = 0, maximum = 86_400_000_u64)]
    #[serde(default, deserialize_with = "decimal")]
    window_ms: Option<u64>,
    /// Stop collecting once this many distinct responders have responded; at most 10,000 unless configured.
    #[param(nullable = false, minimum = 1)]
    #[serde(default, deserialize_with = "decimal")]
    expect: Option<u64>,
    /// Stop collecting when no new responder has responded for this long.
    #[param(nullable = false, minimum = 1, maximum = 86_400_000_u64)]
    #[serde(default, deserialize_with = "decimal")]
    stall_ms: Option<u64>,
    /// The number of sends.
    #[param(nullable = false, minimum = 1, maximum = 1_000_000)]
    #[serde(default, deserialize_with = "decimal")]
    repeat_count: Option<u64>,
    /// Time between two sends; needs `repeat_count`. Default: 0.
    #[param(nullable = false, minimum = 0, maximum = 3_600_000)]
    #[serde(default, deserialize_with = "decimal")]
    repeat_interval_ms: Option<u64>,
    /// Give each attempt a source port of its own.
    #[param(nullable = false)]
    track_attempts: Option<bool>,
    /// How long to accept late responses after the message is closed. Default: 2000.
    #[param(nullable = false, minimum = 0, maximum = 60000)]
    #[serde(default, deserialize_with = "decimal")]
    linger_ms: Option<u64>,
    /// Labels, separated by commas, as in `site=lab,role=door`.
    #[param(nullable = false, min_length = 1)]
    labels: Option<String>,
    /// The most datagrams in the log.
    #[param(nullable = false, minimum = 1)]
    #[serde(default, deserialize_with = "decimal")]
    retention_datagrams: Option<u64>,
    /// The most bytes in the log, of payloads and metadata.
    #[param(nullable = false, minimum = 65_536)]
    #[serde(default, deserialize_with = "decimal")]
    retention_bytes: Option<u64>,
    /// The highest age of a datagram in the log, in milliseconds.
    #[param(nullable = false, minimum = 1, maximum = 31_536_000_000_u64)]
    #[serde(default, deserialize_with = "decimal")]
    retention_age_ms: Option<u64>,
    /// How long the request waits until the message is closed, in milliseconds. Then the response has the collected
    /// responses. Default: the request does not wait.
    #[param(nullable = false, minimum = 0, maximum = 60000)]
    #[serde(default, deserialize_with = "decimal")]
    pub wait_ms: Option<u64>,
}

/// A valid request for a message, whose interfaces are not resolved yet.
pub struct MessageRequest {
    pub interfaces: InterfaceChoice,
    spec: MessageSpec,
}

impl MessageRequest {
    pub fn on(self, interfaces: Interfaces) -> MessageSpec {
        MessageSpec { interfaces, ..self.spec }
    }
}

impl RawOptions {
    /// `errors`: those that were found before.
    pub fn read(self, payload: Bytes, mut errors: FieldErrors) -> Result<MessageRequest, Vec<FieldError>> {
        if self.group.is_none() && !errors.left_out("/group") {
            let fact = "`group` is missing, because the body is the payload";
            errors.push_missing(
                FieldError::new("/group", fact).hint("name it in the query, as in ?group=239.1.2.3:10000"),
            );
        }
        read_wait(&mut errors, self.wait_ms);
        let names = |list: String| list.split(',').map(InterfaceName::from_text).collect();
        let repeat = match (self.repeat_count, self.repeat_interval_ms) {
            (Some(count), interval_ms) => Some(RepeatBody { count, interval_ms: interval_ms.unwrap_or(0) }),
            (None, Some(_)) if !errors.left_out("/repeat_count") => {
                let error = FieldError::new("/repeat_interval_ms", "`repeat_interval_ms` stands alone");
                errors.push(error.hint("write `repeat_count` too, as in repeat_count=3"));
                None
            }
            (None, _) => None,
        };
        let body = MessageBody {
            // If it is missing, its error was collected.
            group: self.group.unwrap_or_default(),
            interfaces: self.interfaces.map(names),
            ttl: self.ttl,
            loopback: self.loopback,
            source: self.source,
            source_port: self.source_port,
            window_ms: self.window_ms,
            expect: self.expect,
            stall_ms: self.stall_ms,
            repeat,
            track_attempts: self.track_attempts,
            linger_ms: self.linger_ms,
            retention: RetentionBody::new(
                self.retention_datagrams,
                self.retention_bytes,
                self.retention_age_ms,
            ),
            ..MessageBody::default()
        };
        let labels = read_labels(&mut errors, self.labels.as_deref());
        let request = body.read_with(&mut errors, labels, Ok(payload), "/payload");
        errors.finish(request)
    }
}

impl MessageBody {
    /// `errors`: those that were found before.
    pub fn read(mut self, mut errors: FieldErrors) -> Result<MessageRequest, Vec<FieldError>> {
        let (text, base64) = (self.payload.take(), self.payload_base64.take());
        let pointers = ["/payload", "/payload_base64"];
        let given = pointers[usize::from(base64.is_some())];
        let payload = read_payload(&mut errors, pointers, text, base64);
        let labels = self.labels.take().unwrap_or_default().read(&mut errors);
        let request = self.read_with(&mut errors, labels, payload, given);
        errors.finish(request)
    }

    fn read_with(
        self,
        errors: &mut FieldErrors,
        labels: Result<Labels, Refused>,
        payload: Result<Bytes, Refused>,
        payload_pointer: &str,
    ) -> Result<MessageRequest, Refused> {
        let mut number = |pointer, value: Option<u64>, bounds: std::ops::RangeInclusive<u64>| {
            value.map(|value| errors.bounded(pointer, value, bounds))
        };
        let ttl = number("/ttl", self.ttl, 0..=255).unwrap_or(1);
        let source_port = number("/source_port", self.source_port, 1..=65_535);
        let window = number("/window_ms", self.window_ms, 0..=limits::WINDOW_MS).unwrap_or(1_000);
        let expect = number("/expect", self.expect, 1..=u64::MAX);
        let stall = number("/stall_ms", self.stall_ms, 1..=limits::WINDOW_MS);
        let linger = number("/linger_ms", self.linger_ms, 0..=limits::LINGER_MS).unwrap_or(2_000);
        let repeat = self.repeat.map_or(Repeat::ONCE, |repeat| repeat.read(errors));
        let retention = self.retention.map(|retention| retention.read(errors)).unwrap_or_default();
        let group = read_group(errors, &self.group);
        let zone = group.as_ref().ok().and_then(|(_, zone)| zone.clone());
        let interfaces = read_interfaces(errors, zone, self.interfaces);
        let source = self.source.map(|text| read_address(errors, "/source", &text)).transpose();
        let window = Duration::from_millis(window);
        let source_port = source_port.and_then(|port| u16::try_from(port).ok());
        let track_attempts = self.track_attempts.unwrap_or(false);
        // An invalid field is not compared with the group.
        let of_group = group.as_ref().map_or(Ok(()), |(group, _)| {
            let length = payload.as_ref().map_or(0, Bytes::len);
            check_datagram(group, length, source.ok().flatten())
        });
        let checked = of_group.and_then(|()| check_attempts(window, repeat, track_attempts, source_port));
        if let Err(error) = checked {
            let pointer = match error {
                SpecError::PayloadTooLong { .. } => payload_pointer,
                _ => error.pointer(),
            };
            errors.push(FieldError::new(pointer, error));
        }
        let (group, _) = group?;
        let spec = MessageSpec {
            source: source?,
            group,
            interfaces: Interfaces::Default,
            payload: payload?,
            hop_limit: HopLimit(u8::try_from(ttl).unwrap_or(u8::MAX)),
            loopback: self.loopback.unwrap_or(true),
            source_port,
            window,
            expect,
            stall: stall.map(Duration::from_millis),
            repeat,
            track_attempts,
            linger: Duration::from_millis(linger),
            retention,
            labels: labels?,
        };
        Ok(MessageRequest { interfaces, spec })
    }
}

impl RepeatBody {
    fn read(self, errors: &mut FieldErrors) -> Repeat {
        let count = errors.bounded("/repeat/count", self.count, 1..=limits::REPEAT_COUNT.into());
        let interval =
            errors.bounded("/repeat/interval_ms", self.interval_ms, 0..=limits::REPEAT_INTERVAL_MS);
        Repeat { count: u32::try_from(count).unwrap_or(1), interval: Duration::from_millis(interval) }
    }
}
