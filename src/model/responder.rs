use std::net::IpAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How a responder replies; everything that can change without touching its membership.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponderRules {
    pub reply: Reply,
    pub matches: Match,
    pub delay: Delay,
    pub reply_from: Option<ReplyFrom>,
    /// Reply once when the same datagram arrives on several interfaces.
    pub dedupe: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Fixed(#[serde(with = "super::base64")] Bytes),
    /// The received payload itself.
    Echo,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    All,
    Exact(#[serde(with = "super::base64")] Bytes),
    Prefix(#[serde(with = "super::base64")] Bytes),
    /// Over bytes, not text: `(?-u)` patterns may match invalid UTF-8.
    Regex(Pattern),
}

/// A regular expression of bounded size.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(regex::bytes::Regex);

/// Patterns are equal if their texts are.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Pattern {
    /// Compiled size that a pattern may reach; patterns come from clients.
    const LARGEST: usize = 1024 * 1024;

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        regex::bytes::RegexBuilder::new(&text).size_limit(Self::LARGEST).build().map(Self)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Exact(one), Self::Exact(other)) | (Self::Prefix(one), Self::Prefix(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one == other,
            _ => false,
        }
    }
}

impl Match {
    pub fn accepts(&self, payload: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Exact(bytes) => payload == bytes,
            Self::Prefix(bytes) => payload.starts_with(bytes),
            Self::Regex(pattern) => pattern.0.is_match(payload),
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
