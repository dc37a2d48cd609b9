//! Times as RFC 3339, and durations as milliseconds.

use std::time::Duration;

use crate::model::Timestamp;

/// In UTC, with nanoseconds.
pub fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(time.0.into()).unwrap_or_default().to_string()
}

/// Parses an RFC 3339 time.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let explain = || format!("`{text}` is not a time: use RFC 3339, as in 2026-01-02T03:04:05.678Z");
    let time: jiff::Timestamp = text.parse().map_err(|_| explain())?;
    i64::try_from(time.as_nanosecond()).map(Timestamp).map_err(|_| explain())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
