//! The rules by which a responder replies.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::pattern::{Pattern, Search};

/// How a responder replies; everything that can change without touching its membership.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponderRules {
    pub reply: Reply,
    pub matches: Match,
    pub delay: Delay,
    pub reply_from: Option<ReplyFrom>,
    /// Reply once when the same datagram arrives on several interfaces.
    pub dedupe: bool,
    /// None: the service's setting.
    #[serde(default)]
    pub reply_bytes: Option<ReplyBytes>,
}

/// The most bytes of replies to one source, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyBytes {
    /// This many times the bytes of each datagram; 0: no limit at all.
    pub factor: u32,
    /// And these beyond that, in each second.
    pub per_second: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Fixed(#[serde(with = "super::base64")] Bytes),
    /// The received payload itself.
    Echo,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    All,
    Exact(#[serde(with = "super::base64")] Bytes),
    Prefix(#[serde(with = "super::base64")] Bytes),
    /// Over bytes, not text: `(?-u)` patterns may match invalid UTF-8.
    Regex(Pattern),
}

impl Match {
    /// Comparing costs nothing beside receiving the payload; a pattern has to search it.
    pub fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Regex(pattern) => Some(pattern),
            Self::All | Self::Exact(_) | Self::Prefix(_) => None,
        }
    }

    pub fn search(&self, payload: &[u8]) -> Search {
        let compared = |matched| Search { matched, bytes: 0 };
        match self {
            Self::All => compared(true),
            Self::Exact(bytes) => compared(payload == bytes),
            Self::Prefix(bytes) => compared(payload.starts_with(bytes)),
            Self::Regex(pattern) => pattern.search(payload),
        }
    }
}

/// Milliseconds to wait before a reply, drawn at random for each; a fixed delay is a range of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay(pub RangeInclusive<u32>);

impl Delay {
    pub const NONE: Self = Self(0..=0);

    pub fn is_none(&self) -> bool {
        *self.0.end() == 0
    }
}

/// Where replies come from instead of `HOST:GROUP_PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplyFrom {
    /// One of the host's own addresses; none: the address of the interface that received the datagram.
    pub address: Option<IpAddr>,
    /// None: the group's port. 0: a free one that the kernel chooses when the responder starts.
    pub port: Option<u16>,
}
