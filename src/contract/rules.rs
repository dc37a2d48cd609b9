//! A responder's rules as JSON.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::field_errors::{FieldError, FieldErrors, Refused};
use super::fields::{only_object, read_address};
use super::payload::{Encoding, Payload, read_base64, read_payload};
use crate::model::{
    Delay, Family, Match, Pattern, Reply, ReplyBytes, ReplyFrom, ResponderRules, limits, max_payload,
};

/// The payload of replies: text, or an object with exactly one of `payload`, `payload_base64` and `echo`.
/// Default: `ack`.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "a text, or an object with one of `payload`, `payload_base64` and `echo`")]
#[schema(as = Reply, examples("ack", json!({"payload_base64": "BgA="}), json!({"echo": true})))]
pub(super) enum ReplyBody {
    Text(String),
    Object(#[serde(deserialize_with = "only_object")] ReplyObject),
}

/// An object with exactly one of the three fields.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplyContent, min_properties = 1)]
pub(super) struct ReplyObject {
    /// The payload as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// The payload as base64 (RFC 4648 section 4, padded).
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// Reply with the payload of the received datagram.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>, default = false)]
    echo: bool,
}

/// The datagrams to reply to; exactly one field. Default: all.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DatagramMatch, min_properties = 1, examples(json!({"prefix": "M-SEARCH "}), json!({"exact_base64": "AAE="}), json!({"regex": "^probe [0-9]+$"})))]
pub(super) struct MatchBody {
    /// The whole payload, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<String>,
    /// The whole payload, as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    exact_base64: Option<String>,
    /// The beginning of the payload, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// The beginning of the payload, as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_base64: Option<String>,
    /// A regular expression, which matches anywhere in the payload; `(?-u)` lets it match bytes that are not valid
    /// UTF-8. Refused if its table of states would take more than 128 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    regex: Option<String>,
}

/// The delay before a reply in milliseconds, at most 60000: a number, or a range for a random delay per reply.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "milliseconds as a number, or `{\"min\": …, \"max\": …}`")]
#[schema(as = ReplyDelay, examples(100, json!({"min": 10, "max": 50})))]
pub(super) enum DelayBody {
    Fixed(u64),
    Range(#[serde(deserialize_with = "only_object")] DelayRange),
}

/// A random delay, in milliseconds.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplyDelayRange, examples(json!({"min": 10, "max": 50})))]
pub(super) struct DelayRange {
    /// The shortest delay.
    #[schema(minimum = 0, maximum = 60000)]
    min: u64,
    /// The longest delay.
    #[schema(minimum = 0, maximum = 60000)]
    max: u64,
}

/// The source of replies, instead of the interface's address and the group's port. It allows several responders of a
/// group on one host, because senders distinguish responders by address and port.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplyFrom, min_properties = 1, examples(json!({"address": "127.0.0.2"}), json!({"port": 0})))]
pub(super) struct ReplyFromBody {
    /// One of the host's own addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// A port other than the group's; 0 for a free port, shown in `reply_addresses`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 65535)]
    port: Option<u64>,
}

/// The most bytes of replies to one source, IP and UDP headers included, so that a sender with a forged source
/// address cannot multiply its traffic. Replies beyond it are not sent, and counted as `limited_bytes`. Default: the
/// service's settings, which are 3 and 1500 unless changed.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplyBytes, examples(json!({"factor": 3, "per_second": 1500})))]
pub(super) struct ReplyBytesBody {
    /// Replies may have this many times the bytes that the source sent in one second; with 0, there is no limit in bytes.
    #[schema(minimum = 0, maximum = 1_000_000)]
    factor: u64,
    /// The bytes beyond that which all replies to a source may have in each second. A single reply that is longer by
    /// more is not sent.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    per_second: u64,
}

/// The fields of a responder that a membership does not have.
pub(super) struct RuleFields {
    pub(super) reply: Option<ReplyBody>,
    pub(super) matches: Option<MatchBody>,
    pub(super) delay: Option<DelayBody>,
    pub(super) reply_from: Option<ReplyFromBody>,
    pub(super) dedupe: bool,
    pub(super) reply_bytes: Option<ReplyBytesBody>,
}

impl RuleFields {
    pub(super) fn read(self, errors: &mut FieldErrors) -> Result<ResponderRules, Refused> {
        let reply = read_reply(errors, self.reply);
        let matches = self.matches.map_or(Ok(Match::All), |matches| matches.read(errors));
        let delay = self.delay.map_or(Delay::NONE, |delay| delay.read(errors));
        let reply_from = self.reply_from.map(|from| from.read(errors)).transpose();
        Ok(ResponderRules {
            reply: reply?,
            matches: matches?,
            delay,
            reply_from: reply_from?,
            dedupe: self.dedupe,
            reply_bytes: self.reply_bytes.map(|limit| limit.read(errors)),
        })
    }
}

/// The default reply is `ack`.
fn read_reply(errors: &mut FieldErrors, reply: Option<ReplyBody>) -> Result<Reply, Refused> {
    const DEFAULT: &[u8] = b"ack";
    let object = match reply {
        None => return Ok(Reply::Fixed(Bytes::from_static(DEFAULT))),
        Some(ReplyBody::Text(text)) => ReplyObject { payload: Some(text), ..ReplyObject::default() },
        Some(ReplyBody::Object(object)) => object,
    };
    if object.echo {
        if object.payload.is_some() || object.payload_base64.is_some() {
            let error = FieldError::new("/reply", "`reply` has `echo` and a payload");
            return Err(errors.push(error.hint("write `payload`, `payload_base64` or `echo`")));
        }
        return Ok(Reply::Echo);
    }
    let pointers = ["/reply/payload", "/reply/payload_base64"];
    let bytes = read_payload(errors, pointers, object.payload, object.payload_base64)?;
    let longest = max_payload(Family::V4);
    if bytes.len() > longest {
        let error = FieldError::new("/reply", format!("`reply` has {} bytes", bytes.len()));
        return Err(errors.push(error.hint(format!("write at most {longest}"))));
    }
    Ok(Reply::Fixed(bytes))
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
    const MAX_REGEX: usize = 4_096;

    fn read(self, errors: &mut FieldErrors) -> Result<Match, Refused> {
        const ONE: &str = "`exact`, `exact_base64`, `prefix`, `prefix_base64` or `regex`";
        let Self { exact, exact_base64, prefix, prefix_base64, regex } = self;
        match (exact, exact_base64, prefix, prefix_base64, regex) {
            (Some(text), None, None, None, None) => Ok(Match::Exact(text.into())),
            (None, Some(text), None, None, None) => {
                read_base64(errors, "/match/exact_base64", &text).map(Match::Exact)
            }
            (None, None, Some(text), None, None) => Ok(Match::Prefix(text.into())),
            (None, None, None, Some(text), None) => {
                read_base64(errors, "/match/prefix_base64", &text).map(Match::Prefix)
            }
            (None, None, None, None, Some(pattern)) => {
                if pattern.len() > Self::MAX_REGEX {
                    let error =
                        FieldError::new("/match/regex", format!("`match.regex` has {} bytes", pattern.len()));
                    return Err(errors.push(error.hint(format!("write at most {}", Self::MAX_REGEX))));
                }
                errors.keep("/match/regex", Pattern::new(pattern)).map(Match::Regex)
            }
            (None, None, None, None, None) => {
                let error = FieldError::new("/match", "`match` is empty");
                Err(errors.push(error.hint(format!("write {ONE}, or leave `match` out to match all"))))
            }
            _ => {
                let error = FieldError::new("/match", "`match` has several conditions");
                Err(errors.push(error.hint(format!("write {ONE}"))))
            }
        }
    }

    pub(super) fn has_pattern(&self) -> bool {
        self.regex.is_some()
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
                    let fact = format!("`delay_ms.min` is {min}, more than `max`, which is {max}");
                    errors.push(FieldError::new("/delay_ms/min", fact).hint("swap them"));
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

impl ReplyBytesBody {
    fn read(self, errors: &mut FieldErrors) -> ReplyBytes {
        let factor = errors.bounded("/reply_bytes/factor", self.factor, 0..=1_000_000);
        let per_second = errors.bounded("/reply_bytes/per_second", self.per_second, 0..=1_000_000_000);
        let narrowed = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        ReplyBytes { factor: narrowed(factor), per_second: narrowed(per_second) }
    }
}

impl From<ReplyBytes> for ReplyBytesBody {
    fn from(limit: ReplyBytes) -> Self {
        Self { factor: limit.factor.into(), per_second: limit.per_second.into() }
    }
}

impl ReplyFromBody {
    fn read(self, errors: &mut FieldErrors) -> Result<ReplyFrom, Refused> {
        if self.address.is_none() && self.port.is_none() {
            let error = FieldError::new("/reply_from", "`reply_from` is empty");
            return Err(errors.push(error.hint("write an `address`, a `port`, or both")));
        }
        let pointer = "/reply_from/address";
        let address = self.address.map(|text| read_address(errors, pointer, &text)).transpose();
        if let Ok(Some(address)) = address
            && (address.is_unspecified() || address.is_multicast())
        {
            let error = FieldError::new(pointer, format!("`reply_from.address` is {address}"));
            errors.push(
                error.hint("write one of the host's own (unicast) addresses: GET /v1/interfaces lists them"),
            );
        }
        let port = self.port.map(|port| errors.bounded("/reply_from/port", port, 0..=65_535));
        Ok(ReplyFrom { address: address?, port: port.and_then(|port| u16::try_from(port).ok()) })
    }
}

impl From<ReplyFrom> for ReplyFromBody {
    fn from(from: ReplyFrom) -> Self {
        Self { address: from.address.map(|address| address.to_string()), port: from.port.map(u64::from) }
    }
}
