//! Responders as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

use super::memberships::Membership;
use super::rules::{DelayBody, MatchBody, ReplyBody, ReplyBytesBody, ReplyFromBody};
use crate::control::MembershipView;

/// A responder: a membership that also replies.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({
    "id": "lamp", "group": "239.1.2.3:10000", "revision": 1, "state": "joined", "hears": true,
    "interfaces": [{"name": "lo", "named": true, "state": "joined", "hears": true, "datagrams": 1, "bytes": 19,
        "last_received_at": "2026-01-02T03:04:31.415926535Z", "receive_buffer": {"requested": 4_194_304, "granted": 4_194_304}, "dropped_buffers": 0}],
    "allow_missing": false, "exact_drops": false, "created_at": "2026-01-02T03:04:05.678901234Z",
    "counters": {"datagrams": 1, "bytes": 19, "dropped_buffers": 0, "truncated": 0, "evicted": 0, "lost": 0},
    "reply": {"payload": "ack"}, "reply_from": {"address": "127.0.0.2"}, "reply_addresses": ["127.0.0.2:10000"],
    "dedupe": true,
    "replies": {"received": 1, "matched": 1, "replied": 1, "failed": 0, "limited": 0, "suppressed": 0,
        "limited_bytes": 0, "limited_delayed": 0, "limited_matching": 0}
})))]
pub struct Responder {
    #[serde(flatten)]
    membership: Membership,
    /// The payload of replies; absent in brief lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reply: Option<ReplyBody>,
    /// The datagrams that the responder replies to; absent if all, and in brief lists.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    matches: Option<MatchBody>,
    /// The delay before a reply in milliseconds; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    delay_ms: Option<DelayBody>,
    /// The requested source of replies; absent if it is the interface's address and the group's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reply_from: Option<ReplyFromBody>,
    /// The source addresses and ports that `reply_from` resolved to; absent in brief lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    reply_addresses: Vec<String>,
    /// Whether the responder replies once if the same datagram arrives on several interfaces within 50 ms.
    dedupe: bool,
    /// The most bytes of replies to one source; absent if the service's settings apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reply_bytes: Option<ReplyBytesBody>,
    /// Counts of received datagrams and replies.
    replies: Replies,
}

/// Counts of received datagrams and replies.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplyCounters)]
struct Replies {
    /// Datagrams received.
    received: u64,
    /// Datagrams that `match` selects.
    matched: u64,
    /// Replies sent.
    replied: u64,
    /// Replies that the kernel could not send.
    failed: u64,
    /// Replies withheld by the rate limits, or because the datagram's source cannot receive a reply.
    limited: u64,
    /// Replies withheld because the responder handled the same datagram on another interface: it replied to it, or a
    /// limit withheld that reply.
    suppressed: u64,
    /// Replies withheld because their source would have got more bytes than `reply_bytes` allows.
    limited_bytes: u64,
    /// Replies not sent because too many bytes of delayed replies were waiting.
    limited_delayed: u64,
    /// Datagrams not matched, and without a reply, because all responders together had searched them for too long.
    limited_matching: u64,
}

impl From<&MembershipView> for Responder {
    fn from(view: &MembershipView) -> Self {
        let responder = view.responder.as_ref().expect("responders have rules");
        Self {
            membership: view.into(),
            reply: Some((&responder.rules.reply).into()),
            matches: MatchBody::of(&responder.rules.matches),
            reply_addresses: responder.reply_addresses.iter().map(ToString::to_string).collect(),
            ..Self::brief(view)
        }
    }
}

impl Responder {
    /// Without the members that can be large.
    pub fn brief(view: &MembershipView) -> Self {
        let responder = view.responder.as_ref().expect("responders have rules");
        let rules = &responder.rules;
        let counters = responder.counters;
        Self {
            membership: Membership::brief(view),
            reply: None,
            matches: None,
            delay_ms: DelayBody::of(&rules.delay),
            reply_from: rules.reply_from.map(Into::into),
            reply_addresses: Vec::new(),
            dedupe: rules.dedupe,
            reply_bytes: rules.reply_bytes.map(Into::into),
            replies: Replies {
                received: counters.received,
                matched: counters.matched,
                replied: counters.replied,
                failed: counters.failed,
                limited: counters.limited,
                suppressed: counters.suppressed,
                limited_bytes: counters.limited_bytes,
                limited_delayed: counters.limited_delayed,
                limited_matching: counters.limited_matching,
            },
        }
    }
}
