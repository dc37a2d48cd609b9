//! Messages as clients see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::datagrams::{GapBody, Response};
use super::fields::{RetentionBody, millis, rfc3339};
use super::labels::LabelsBody;
use super::message_body::RepeatBody;
use super::payload::{Encoding, Payload};
use crate::control::{EgressResult, MessageView, RespondingPeer};
use crate::model::{CloseReason, Interfaces, Repeat};

/// A message: its spec, its sends and its responders.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "roll-1", "revision": 1, "state": "collecting", "created_at": "2026-01-02T03:04:05.678901234Z",
    "group": "239.1.2.3:10000", "payload": "very important data", "interfaces": ["lo"], "ttl": 1, "loopback": true,
    "window_ms": 1000, "expect": 2, "track_attempts": false, "linger_ms": 2000,
    "sent": [{
        "interface": "lo", "source": "127.0.0.1:49152", "count": 1, "failed": 0,
        "first_sent_at": "2026-01-02T03:04:05.679012345Z", "last_sent_at": "2026-01-02T03:04:05.679012345Z"
    }],
    "counters": {
        "responses": 1, "responders": 1, "duplicates": 0, "untracked": 0, "late": 0, "strays": 0, "dropped_buffers": 0, "evicted": 0,
        "lost": 0
    },
    "responders": [{
        "source": "127.0.0.2:10000", "responses": 1, "first_seq": 1, "first_rtt_us": 181, "late": false
    }],
    "responders_complete": true
})))]
pub struct Message {
    /// The id, chosen by the client or by the service.
    id: String,
    /// The revision of the specification, which is always 1: a message never changes.
    revision: u64,
    /// Whether the message still collects responses.
    state: State,
    /// Why the message stopped collecting; absent while it collects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    close_reason: Option<Reason>,
    /// When the message stopped collecting; absent while it collects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    closed_at: Option<String>,
    /// When the service accepted the message.
    #[schema(format = DateTime)]
    created_at: String,
    /// The group that the message is sent to.
    group: String,
    #[serde(flatten)]
    payload: Payload<'static>,
    /// The requested interfaces; absent if the message names none, and in brief lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    interfaces: Option<Vec<String>>,
    /// TTL or hop limit.
    #[schema(minimum = 0, maximum = 255)]
    ttl: u8,
    /// Whether members on this host receive the message, too.
    loopback: bool,
    /// The requested source address; absent if the kernel chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// The requested UDP source port; absent if the kernel chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 65535)]
    source_port: Option<u16>,
    /// How long the message collects responses, from the first send.
    window_ms: u64,
    /// The number of responders after which the message stops collecting; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expect: Option<u64>,
    /// How long the message waits for another new responder; absent if it waits until the window has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stall_ms: Option<u64>,
    /// How often the message is sent; absent if once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    repeat: Option<RepeatBody>,
    /// Whether each attempt has a source port of its own.
    track_attempts: bool,
    /// How long the message accepts late responses after it is closed.
    linger_ms: u64,
    /// The limits of the log; absent if only the service's limits apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retention: Option<RetentionBody>,
    #[serde(skip_serializing_if = "LabelsBody::is_empty")]
    #[schema(required = false)]
    labels: LabelsBody,
    /// The sends on each interface; absent in brief lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sent: Option<Vec<SentBy>>,
    /// Counts of responses.
    counters: Counters,
    /// The first 1,000 responders, ordered by their first responses. Empty if the service dropped the list of a closed
    /// message, because all lists took too much memory: the responses have the responders, too. Absent in brief lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    responders: Option<Vec<MessageResponder>>,
    /// Whether `responders` lists all that `counters.responders` counts; absent in brief lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    responders_complete: Option<bool>,
}

/// `collecting`: the message is sent and collects responses. `closed`: it has stopped; its log stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageState)]
pub enum State {
    Collecting,
    Closed,
}

/// `window`: the window has passed. `expected`: `expect` responders have responded. `stalled`: no new responder has
/// responded for `stall_ms`. `cancelled`: a client cancelled the message. `restarted`: the service restarted in
/// the meantime. `failed`: an internal error occurred.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = CloseReason)]
pub enum Reason {
    Window,
    Expected,
    Stalled,
    Cancelled,
    Restarted,
    Failed,
}

/// The sends on one interface. A message that names none has an entry for each that its copies were sent on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InterfaceSends)]
struct SentBy {
    /// The name of the interface.
    interface: String,
    /// The source address and port, the latest if the interface's address changed; absent if no send succeeded. With
    /// `track_attempts`, those of the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    source: Option<String>,
    /// The number of successful sends.
    count: u32,
    /// The number of failed sends.
    failed: u32,
    /// The error of the last failed send.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// When the first successful send left; absent if none succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    first_sent_at: Option<String>,
    /// When the latest successful send left; absent if none succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    last_sent_at: Option<String>,
    /// Present, and true, if the request has `loopback: false`: on `lo`, the kernel loops datagrams back regardless.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    loopback_ignored: bool,
}

/// Counts of responses.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageCounters)]
struct Counters {
    /// All responses, including duplicates and late ones.
    responses: u64,
    /// Distinct responders, by address and port, that responded before the message was closed. A lower bound if
    /// `untracked` is not 0.
    responders: u64,
    /// Responses from responders that had responded before. A lower bound if `untracked` is not 0.
    duplicates: u64,
    /// Responses beyond the responders that the service tells apart: 10,000 of one message unless configured, and for
    /// one address as many as it leaves free. They are in the log with `duplicate: null`, and count neither for
    /// `expect` nor for `stall_ms`.
    untracked: u64,
    /// Responses that arrived after the message was closed.
    late: u64,
    /// Datagrams that arrived at the same port before the first send; they are not in the log.
    strays: u64,
    /// Responses that the kernel dropped before the service could read them.
    dropped_buffers: u64,
    /// Responses that the log evicted for later ones.
    evicted: u64,
    /// Responses that the service dropped from memory before they were on disk, or that were damaged there.
    lost: u64,
}

/// A responder of a message.
#[derive(Debug, Serialize, ToSchema)]
struct MessageResponder {
    /// Source address and port of its responses.
    source: String,
    /// The number of its responses.
    responses: u64,
    /// Sequence number of its first response in the log.
    first_seq: u64,
    /// Round-trip time of its first response in microseconds; null if the clock was set in between.
    #[schema(required)]
    first_rtt_us: Option<u64>,
    /// Whether all its responses arrived after the message was closed.
    late: bool,
}

/// A message and, if the request waited for it, its first 1,000 responses, or the first MiB of them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CollectedMessage, examples(json!({
    "id": "roll-1", "revision": 1, "state": "closed", "close_reason": "expected",
    "closed_at": "2026-01-02T03:04:05.679193345Z", "created_at": "2026-01-02T03:04:05.678901234Z",
    "group": "239.1.2.3:10000", "payload": "very important data", "interfaces": ["lo"], "ttl": 1, "loopback": true,
    "window_ms": 1000, "expect": 1, "track_attempts": false, "linger_ms": 2000,
    "sent": [{
        "interface": "lo", "source": "127.0.0.1:49152", "count": 1, "failed": 0,
        "first_sent_at": "2026-01-02T03:04:05.679012345Z", "last_sent_at": "2026-01-02T03:04:05.679012345Z"
    }],
    "counters": {
        "responses": 1, "responders": 1, "duplicates": 0, "untracked": 0, "late": 0, "strays": 0, "dropped_buffers": 0, "evicted": 0,
        "lost": 0
    },
    "responders": [{
        "source": "127.0.0.2:10000", "responses": 1, "first_seq": 1, "first_rtt_us": 181, "late": false
    }],
    "responders_complete": true,
    "responses": [{
        "seq": 1, "received_at": "2026-01-02T03:04:05.679193345Z", "source": "127.0.0.2:10000",
        "destination": "127.0.0.1:49152", "interface": "lo", "ttl": 64, "payload": "ack",
        "rtt_us": 181, "attempt": 1, "duplicate": false, "late": false
    }],
    "next_cursor": "1d60f7e7ade273a1-1"
})))]
pub struct Collected {
    #[serde(flatten)]
    pub message: Message,
    /// The responses in order of arrival; absent if the request did not wait, or the message still collects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub responses: Option<Vec<Response>>,
    /// The cursor after these responses: pass it as `after` to read further and late ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
    /// Present if responses before the first one here are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub gap: Option<GapBody>,
}

impl From<&MessageView> for Message {
    fn from(view: &MessageView) -> Self {
        let in_time = view.responders.iter().filter(|(_, peer)| !peer.late).count() as u64;
        let responders = view.responders.iter().map(|(source, peer)| MessageResponder::new(source, &peer));
        Self {
            payload: Payload::new(&view.spec.payload, Encoding::Auto).into_owned(),
            interfaces: match &view.spec.interfaces {
                Interfaces::Default => None,
                Interfaces::Named(names) => Some(names.iter().map(ToString::to_string).collect()),
            },
            sent: Some(view.results.iter().map(|result| SentBy::from(&**result)).collect()),
            responders_complete: Some(in_time == view.counters.responders),
            responders: Some(responders.collect()),
            ..Self::brief(view)
        }
    }
}

impl Message {
    /// Without the members that can be large.
    pub fn brief(view: &MessageView) -> Self {
        let spec = &view.spec;
        Self {
            id: view.id.to_string(),
            revision: view.revision.number(),
            state: if view.closed.is_some() { State::Closed } else { State::Collecting },
            close_reason: view.closed.map(|(reason, _)| reason.into()),
            closed_at: view.closed.map(|(_, at)| rfc3339(at)),
            created_at: rfc3339(view.created_at),
            group: spec.group.to_string(),
            payload: Payload::default(),
            interfaces: None,
            ttl: spec.hop_limit.0,
            loopback: spec.loopback,
            source: spec.source.map(|source| source.to_string()),
            source_port: spec.source_port,
            window_ms: millis(spec.window),
            expect: spec.expect,
            stall_ms: spec.stall.map(millis),
            repeat: (spec.repeat != Repeat::ONCE).then(|| RepeatBody {
                count: spec.repeat.count.into(),
                interval_ms: millis(spec.repeat.interval),
            }),
            track_attempts: spec.track_attempts,
            linger_ms: millis(spec.linger),
            retention: RetentionBody::of(&spec.retention),
            labels: LabelsBody::of(&spec.labels),
            sent: None,
            counters: Counters {
                responses: view.counters.responses,
                responders: view.counters.responders,
                duplicates: view.counters.duplicates,
                untracked: view.counters.untracked,
                late: view.counters.late,
                strays: view.counters.strays,
                dropped_buffers: view.dropped_buffers,
                evicted: view.log.evicted,
                lost: view.log.lost,
            },
            responders: None,
            responders_complete: None,
        }
    }
}

impl From<&EgressResult> for SentBy {
    fn from(result: &EgressResult) -> Self {
        Self {
            interface: result.interface.to_string(),
            source: result.source.map(|source| source.to_string()),
            count: result.sent,
            failed: result.failed,
            error: result.error.clone(),
            first_sent_at: result.first_sent_at.map(rfc3339),
            last_sent_at: result.last_sent_at.map(rfc3339),
            loopback_ignored: result.loopback_ignored,
        }
    }
}

impl MessageResponder {
    fn new(source: std::net::SocketAddr, peer: &RespondingPeer) -> Self {
        Self {
            source: source.to_string(),
            responses: peer.responses,
            first_seq: peer.first_sequence,
            first_rtt_us: peer.first_rtt_us,
            late: peer.late,
        }
    }
}

impl From<CloseReason> for Reason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Window => Self::Window,
            CloseReason::Expected => Self::Expected,
            CloseReason::Stalled => Self::Stalled,
            CloseReason::Cancelled => Self::Cancelled,
            CloseReason::Restarted => Self::Restarted,
            CloseReason::Failed => Self::Failed,
        }
    }
}
