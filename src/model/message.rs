//! Messages to send.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Family, Group, Interfaces, Labels, Retention, limits};

/// The TTL (IPv4) or hop limit (IPv6) of a message's datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopLimit(pub u8);

/// One payload to send to a group, and how to collect the responses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSpec {
    pub group: Group,
    pub interfaces: Interfaces,
    /// The address to send from; none: the kernel chooses.
    #[serde(default)]
    pub source: Option<IpAddr>,
    #[serde(with = "super::base64")]
    pub payload: Bytes,
    pub hop_limit: HopLimit,
    pub loopback: bool,
    pub source_port: Option<u16>,
    pub window: Duration,
    pub expect: Option<u64>,
    pub stall: Option<Duration>,
    pub repeat: Repeat,
    pub track_attempts: bool,
    pub linger: Duration,
    pub retention: Retention,
    #[serde(default)]
    pub labels: Labels,
}

impl MessageSpec {
    /// How many source ports the message takes on each interface; they tell tracked attempts apart.
    pub fn ports_per_interface(&self) -> u32 {
        if self.track_attempts { self.repeat.count } else { 1 }
    }
}

/// Whether one datagram to the group can carry this many bytes, and leave from this address.
pub fn check_datagram(group: &Group, length: usize, source: Option<IpAddr>) -> Result<(), SpecError> {
    let max = group.max_payload();
    if length > max {
        return Err(SpecError::PayloadTooLong { length, max });
    }
    match source.filter(|address| Family::of(*address) != group.family()) {
        Some(address) => Err(SpecError::SourceFamily { address, group: *group }),
        None => Ok(()),
    }
}

/// Whether the attempts fit into the window, and can be told apart if they are tracked.
pub fn check_attempts(
    window: Duration,
    repeat: Repeat,
    track_attempts: bool,
    source_port: Option<u16>,
) -> Result<(), SpecError> {
    if !window.is_zero() && repeat.span() >= window {
        return Err(SpecError::WindowWithinRepeats {
            window: window.as_millis(),
            span: repeat.span().as_millis(),
        });
    }
    if track_attempts {
        if repeat.count > limits::TRACKED_ATTEMPTS {
            return Err(SpecError::TooManyTracked);
        }
        if source_port.is_some() && repeat.count > 1 {
            return Err(SpecError::TrackedFixedPort);
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// How often the message is sent in all, at least 1.
    pub count: u32,
    pub interval: Duration,
}

impl CloseReason {
    pub const ALL: [Self; 6] =
        [Self::Window, Self::Expected, Self::Stalled, Self::Cancelled, Self::Restarted, Self::Failed];

    /// Its name in the API, in metrics and in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Expected => "expected",
            Self::Stalled => "stalled",
            Self::Cancelled => "cancelled",
            Self::Restarted => "restarted",
            Self::Failed => "failed",
        }
    }
}

impl Repeat {
    pub const ONCE: Self = Self { count: 1, interval: Duration::ZERO };

    /// Time from the first send to the last.
    pub fn span(&self) -> Duration {
        self.interval.saturating_mul(self.count.saturating_sub(1))
    }
}

/// Why a message no longer collects responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The window passed.
    Window,
    /// As many distinct responders as expected have responded.
    Expected,
    /// No new responder for `stall_ms`.
    Stalled,
    Cancelled,
    /// The service was stopped while the message collected.
    Restarted,
    /// The service's own code failed.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "the payload has {length} bytes, and one datagram carries at most {max}: shorten it or send several messages"
    )]
    PayloadTooLong { length: usize, max: usize },
    #[error("messages to {group} leave from an {} address, and {address} is not one", group.family())]
    SourceFamily { address: IpAddr, group: Group },
    #[error(
        "the repeats take {span} ms, which the window of {window} ms does not exceed: lengthen `window_ms`, or use 0 to collect nothing"
    )]
    WindowWithinRepeats { window: u128, span: u128 },
    #[error(
        "at most 8 attempts can be tracked, each with a source port of its own: lower `repeat.count` or leave `track_attempts` out"
    )]
    TooManyTracked,
    #[error(
        "tracked attempts are told apart by their source ports: leave `source_port` or `track_attempts` out"
    )]
    TrackedFixedPort,
}

impl SpecError {
    /// JSON pointer (RFC 6901) of the field to change.
    pub fn pointer(&self) -> &'static str {
        match self {
            Self::PayloadTooLong { .. } => "/payload",
            Self::SourceFamily { .. } => "/source",
            Self::WindowWithinRepeats { .. } => "/window_ms",
            Self::TooManyTracked => "/repeat/count",
            Self::TrackedFixedPort => "/source_port",
        }
    }
}
