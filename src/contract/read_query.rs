//! Which part of a log to read, and in which form.

use serde::Deserialize;
use utoipa::IntoParams;

use super::format::Format;
use super::payload::Encoding;
use crate::store::{Cursor, CursorError};

/// Where to read a log, how much, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadQuery {
    /// A `next_cursor`: read what came after it. `latest`: only what is yet to come. Without it, reading starts at the
    /// oldest datagram kept.
    #[param(nullable = false)]
    pub after: Option<String>,
    /// How many datagrams a JSON page holds at most.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u64>,
    /// If there is nothing to read yet, wait with a JSON page this long, in milliseconds.
    #[param(nullable = false, minimum = 0, maximum = 60000, default = 0)]
    pub wait_ms: Option<u64>,
    /// How to show payloads: `auto` as text where they are valid UTF-8, else as base64; `base64` always so.
    #[serde(default)]
    #[param(inline)]
    pub encoding: Encoding,
    /// The form, whatever `Accept` says.
    #[param(inline, nullable = false)]
    pub format: Option<Format>,
    /// With `ndjson` and `pcapng`: go on with what is yet to come. `sse` always does.
    #[param(nullable = false, default = false)]
    pub follow: Option<bool>,
    /// Only datagrams received at this time (RFC 3339) or later.
    #[param(nullable = false, format = DateTime, example = "2026-01-02T03:04:05Z")]
    pub since: Option<String>,
    /// Only datagrams received before this time (RFC 3339).
    #[param(nullable = false, format = DateTime, example = "2026-01-02T04:00:00Z")]
    pub until: Option<String>,
    /// Only datagrams from this address, this `ADDRESS:PORT`, or this prefix.
    #[param(nullable = false, example = "192.0.2.0/24")]
    pub source: Option<String>,
    /// Only what is on disk, and so survives a crash: what had come before the request is brought there first.
    #[param(nullable = false, default = false)]
    pub durable: Option<bool>,
}

/// The position after which to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Place(Cursor),
    /// Only later entries.
    Latest,
}

impl After {
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        if text == "latest" { Ok(Self::Latest) } else { Cursor::parse(text).map(Self::Place) }
    }

    /// Resolves to a cursor. `latest` gives the cursor after the newest entry.
    pub fn place(self, latest: impl FnOnce() -> Cursor) -> Cursor {
        match self {
            Self::Place(cursor) => cursor,
            Self::Latest => latest(),
        }
    }
}
