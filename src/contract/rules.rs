//! A responder's rules as JSON.

use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{self, Encoding, Payload};
use super::problem::FieldErrors;
use crate::model::{
    Delay, Family, Match, Pattern, Reply, ReplyFrom, ResponderRules, largest_payload, limits,
};

/// What to answer: a text, or an object with exactly one of `payload`, `payload_base64` and `echo`.
/// Without it: `ack`.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a text, or an object with one of `payload`, `payload_base64` and `echo`"
)]
#[schema(as = Reply, examples("ack", json!({"payload_base64": "BgA="}), json!({"echo": true})))]
pub(super) enum ReplyBody {
    Text(String),
    Object(ReplyObject),
}

/// Exactly one of the three.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1)]
pub(super) struct ReplyObject {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Send back what was received.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    echo: bool,
}

/// Which datagrams to answer; exactly one field. Without it: all.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Match, min_properties = 1, examples(json!({"prefix": "M-SEARCH "}), json!({"exact_base64": "AAE="}), json!({"regex": "^probe [0-9]+$"})))]
pub(super) struct MatchBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_base64: Option<String>,
    /// Matched anywhere in the bytes; `(?-u)` lets it match bytes that are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    regex: Option<String>,
}

/// Milliseconds to wait before a reply, at most 60000: a number, or a range from which each is drawn.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "expected milliseconds as a number, or `{\"min\": …, \"max\": …}`")]
#[schema(as = Delay, examples(100, json!({"min": 10, "max": 50})))]
pub(super) enum DelayBody {
    Fixed(u64),
    Range(DelayRange),
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DelayRange {
    #[schema(minimum = 0, maximum = 60000)]
    min: u64,
    #[schema(minimum = 0, maximum = 60000)]
    max: u64,
}

/// Where replies come from, instead of the address of the interface and the port of the group. It lets two
/// responders of one group live on one host, because senders tell responders apart by address and port.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplyFrom, min_properties = 1, examples(json!({"address": "127.0.0.2"}), json!({"port": 0})))]
pub(super) struct ReplyFromBody {
    /// One of the host's own addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Another port than the group's; 0 for a fresh one, shown in `reply_addresses`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 65535)]
    port: Option<u64>,
}

pub(super) fn read_rules(
    errors: &mut FieldErrors,
    reply: Option<ReplyBody>,
    matches: Option<MatchBody>,
    delay: Option<DelayBody>,
    reply_from: Option<ReplyFromBody>,
    dedupe: bool,
) -> ResponderRules {
    ResponderRules {
        reply: read_reply(errors, reply).unwrap_or(Reply::Echo),
        matches: matches.and_then(|matches| matches.read(errors)).unwrap_or(Match::All),
        delay: delay.map_or(Delay::NONE, |delay| delay.read(errors)),
        reply_from: reply_from.and_then(|from| from.read(errors)),
        dedupe,
    }
}

fn read_reply(errors: &mut FieldErrors, reply: Option<ReplyBody>) -> Option<Reply> {
    const DEFAULT: &[u8] = b"ack";
    let object = match reply {
        None => return Some(Reply::Fixed(Bytes::from_static(DEFAULT))),
        Some(ReplyBody::Text(text)) => ReplyObject { payload: Some(text), ..ReplyObject::default() },
        Some(ReplyBody::Object(object)) => object,
    };
    if object.echo {
        if object.payload.is_some() || object.payload_base64.is_some() {
            errors.push("/reply", "give exactly one of `payload`, `payload_base64` and `echo`");
        }
        return Some(Reply::Echo);
    }
    let names = ["/reply/payload", "/reply/payload_base64"];
    let bytes = fields::read_payload(errors, names, object.payload, object.payload_base64)?;
    let longest = largest_payload(Family::V4);
    if bytes.len() > longest {
        errors.push("/reply", format!("a reply has at most {longest} bytes, and this has {}", bytes.len()));
    }
    Some(Reply::Fixed(bytes))
}

impl From<&Reply> for ReplyBody {
    fn from(reply: &Reply) -> Self {
        let object = match reply {
            Reply::Echo => ReplyObject { echo: true, ..ReplyObject::default() },
            Reply::Fixed(bytes) => {
                let (payload, payload_base64) = Payload::new(bytes, Encoding::Auto).into_parts();
                ReplyObject { payload, payload_base64, echo: false }
            }
        };
        Self::Object(object)
    }
}

impl MatchBody {
    const LONGEST_REGEX: usize = 4_096;

    fn read(self, errors: &mut FieldErrors) -> Option<Match> {
        let text = |text: Option<String>| text.map(|text| ("", Some(text), None));
        let base64 = |pointer, text: Option<String>| text.map(|text| (pointer, None, Some(text)));
        let mut found: Vec<_> = [
            text(self.exact).map(|given| (given, Match::Exact as fn(Bytes) -> Match)),
            base64("/match/exact_base64", self.exact_base64)
                .map(|given| (given, Match::Exact as fn(Bytes) -> Match)),
            text(self.prefix).map(|given| (given, Match::Prefix as fn(Bytes) -> Match)),
            base64("/match/prefix_base64", self.prefix_base64)
                .map(|given| (given, Match::Prefix as fn(Bytes) -> Match)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if found.len() + usize::from(self.regex.is_some()) != 1 {
            errors.push(
                "/match",
                "give exactly one of `exact`, `exact_base64`, `prefix`, `prefix_base64` and `regex`",
            );
            return None;
        }
        if let Some(((pointer, text, base64), make)) = found.pop() {
            return fields::read_payload(errors, [pointer, pointer], text, base64).map(make);
        }
        let pattern = self.regex?;
        if pattern.len() > Self::LONGEST_REGEX {
            errors.push("/match/regex", format!("a pattern has at most {} characters", Self::LONGEST_REGEX));
            return None;
        }
        errors.keep("/match/regex", Pattern::try_from(pattern)).map(Match::Regex)
    }

    pub(super) fn of(matches: &Match) -> Option<Self> {
        let parts = |bytes: &Bytes| Payload::new(bytes, Encoding::Auto).into_parts();
        match matches {
            Match::All => None,
            Match::Exact(bytes) => {
                let (exact, exact_base64) = parts(bytes);
                Some(Self { exact, exact_base64, ..Self::default() })
            }
            Match::Prefix(bytes) => {
                let (prefix, prefix_base64) = parts(bytes);
                Some(Self { prefix, prefix_base64, ..Self::default() })
            }
            Match::Regex(regex) => Some(Self { regex: Some(regex.as_str().to_owned()), ..Self::default() }),
        }
    }
}

impl DelayBody {
    fn read(self, errors: &mut FieldErrors) -> Delay {
        let longest = u64::from(limits::REPLY_DELAY_MS);
        let (min, max) = match self {
            Self::Fixed(delay) => {
                let delay = errors.bounded("/delay_ms", delay, 0..=longest);
                (delay, delay)
            }
            Self::Range(DelayRange { min, max }) => {
                if min > max {
                    errors.push(
                        "/delay_ms/min",
                        format!("{min} is more than `max`, which is {max}: swap them"),
                    );
                }
                let max = errors.bounded("/delay_ms/max", max, 0..=longest);
                (min.min(max), max)
            }
        };
        let bounded = |ms| u32::try_from(ms).unwrap_or(limits::REPLY_DELAY_MS);
        Delay(bounded(min)..=bounded(max))
    }

    pub(super) fn of(delay: &Delay) -> Option<Self> {
        let (min, max) = (u64::from(*delay.0.start()), u64::from(*delay.0.end()));
        match (min, max) {
            (0, 0) => None,
            (min, max) if min == max => Some(Self::Fixed(min)),
            (min, max) => Some(Self::Range(DelayRange { min, max })),
        }
    }
}

impl ReplyFromBody {
    fn read(self, errors: &mut FieldErrors) -> Option<ReplyFrom> {
        if self.address.is_none() && self.port.is_none() {
            errors.push("/reply_from", "give an `address`, a `port`, or both");
            return None;
        }
        let address = self.address.and_then(|text| {
            let parsed = text.parse::<IpAddr>().map_err(|_| format!("`{text}` is not an IP address"));
            errors.keep("/reply_from/address", parsed)
        });
        if address.is_some_and(|address| address.is_unspecified() || address.is_multicast()) {
            errors.push("/reply_from/address", "replies come from one of the host's own (unicast) addresses");
        }
        let port = self.port.map(|port| errors.bounded("/reply_from/port", port, 0..=65_535));
        Some(ReplyFrom { address, port: port.and_then(|port| u16::try_from(port).ok()) })
    }
}

impl From<ReplyFrom> for ReplyFromBody {
    fn from(from: ReplyFrom) -> Self {
        Self { address: from.address.map(|address| address.to_string()), port: from.port.map(u64::from) }
    }
}
