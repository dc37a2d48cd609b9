//! Parameters for reading a log: from where, how much, and in which format.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::field_errors::{FieldError, FieldErrors, Refused};
use super::fields::decimal;
use super::payload::Encoding;
use crate::pcapng::CaptureWriter;
use crate::store::Cursor;

/// Parameters for reading a log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadQuery {
    /// A `next_cursor`: read the datagrams after it. `latest`: read future datagrams only. Default: the oldest stored
    /// datagram.
    #[param(nullable = false, min_length = 1)]
    pub after: Option<String>,
    /// Begin with the last so many datagrams, or with all if there are fewer. With a filter: with the last that pass it,
    /// among the latest 100,000. Not together with `after`.
    #[param(nullable = false, minimum = 1, maximum = 10000)]
    #[serde(default, deserialize_with = "decimal")]
    pub tail: Option<u64>,
    /// The most datagrams in a JSON page. With `tail`, the default is that many, up to 1,000.
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100)]
    #[serde(default, deserialize_with = "decimal")]
    pub limit: Option<u64>,
    /// How long a JSON page waits for its first item, in milliseconds.
    #[param(nullable = false, minimum = 0, maximum = 60000, default = 0)]
    #[serde(default, deserialize_with = "decimal")]
    pub wait_ms: Option<u64>,
    /// The encoding of payloads: with `auto`, text if they are valid UTF-8, else base64; with `base64`, always base64.
    #[serde(default)]
    #[param(inline)]
    pub encoding: Encoding,
    /// The format; overrides `Accept`.
    #[param(inline, nullable = false)]
    pub format: Option<Format>,
    /// With `ndjson` and `pcapng`: continue with future datagrams. `sse` always does.
    #[param(nullable = false, default = false)]
    pub follow: Option<bool>,
    /// Show only datagrams received at this time (RFC 3339) or later.
    #[param(nullable = false, min_length = 1, format = DateTime)]
    pub since: Option<String>,
    /// Show only datagrams received before this time (RFC 3339).
    #[param(nullable = false, min_length = 1, format = DateTime)]
    pub until: Option<String>,
    /// Show only datagrams from this address, `ADDRESS:PORT` or prefix.
    #[param(nullable = false, min_length = 1)]
    pub source: Option<String>,
    /// Show only datagrams on disk, which survive a crash; the service first writes those that arrived before the
    /// request.
    #[param(nullable = false, default = false)]
    pub durable: Option<bool>,
}

/// A format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Sse,
    Ndjson,
    Pcapng,
}

impl Format {
    pub const LOGS: &[Self] = &[Self::Json, Self::Sse, Self::Ndjson, Self::Pcapng];

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::Pcapng => CaptureWriter::CONTENT_TYPE,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Pcapng => "pcapng",
        }
    }
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStart {
    After(Cursor),
    /// Only later entries.
    Latest,
    /// The last so many entries, and later ones.
    Last(usize),
}

impl ReadStart {
    const MAX_LAST: u64 = 10_000;

    /// Reads `after` and `tail`. Without them, reading begins with the oldest entry.
    pub fn read(
        after: Option<&str>,
        tail: Option<u64>,
        errors: &mut FieldErrors,
    ) -> Result<Option<Self>, Refused> {
        match (after, tail) {
            (Some(_), Some(_)) => {
                let error = FieldError::new("/tail", "`after` and `tail` are both given");
                Err(errors.push(error.hint("write one of them")))
            }
            (Some("latest"), None) => Ok(Some(Self::Latest)),
            (Some(text), None) => {
                let cursor = errors.read("/after", text, Cursor::parse(text))?;
                Ok(Some(Self::After(cursor)))
            }
            (None, Some(count)) => {
                let count = errors.bounded("/tail", count, 1..=Self::MAX_LAST);
                Ok(Some(Self::Last(usize::try_from(count).unwrap_or(usize::MAX))))
            }
            (None, None) => Ok(None),
        }
    }
}
