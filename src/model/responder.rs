use std::net::IpAddr;
use std::ops::RangeInclusive;

use bytes::Bytes;

/// How a responder answers; everything that can change without touching its membership.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponderRules {
    pub reply: Reply,
    pub matches: Match,
    pub delay: Delay,
    pub reply_from: Option<ReplyFrom>,
    /// Answer once when the same datagram arrives on several interfaces.
    pub dedupe: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Fixed(Bytes),
    /// The received payload itself.
    Echo,
}

#[derive(Debug, Clone)]
pub enum Match {
    All,
    Exact(Bytes),
    Prefix(Bytes),
    /// Over bytes, not text: `(?-u)` patterns may match invalid UTF-8.
    Regex(regex::bytes::Regex),
}

/// Regular expressions are the same if they are written the same.
impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::Exact(one), Self::Exact(other)) | (Self::Prefix(one), Self::Prefix(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
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
            Self::Regex(regex) => regex.is_match(payload),
        }
    }
}

/// Milliseconds to wait before a reply, drawn anew for each; a fixed delay is a range of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay(pub RangeInclusive<u32>);

impl Delay {
    pub const NONE: Self = Self(0..=0);

    pub fn is_none(&self) -> bool {
        *self.0.end() == 0
    }
}

/// Where replies come from instead of `HOST:GROUP_PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyFrom {
    /// One of the host's own addresses; none: the address of the interface that heard the datagram.
    pub address: Option<IpAddr>,
    /// None: the group's port. 0: a fresh one, chosen by the kernel when the responder starts.
    pub port: Option<u16>,
}
