//! Paths that not only the router knows.

/// The metrics.
pub(super) const METRICS: &str = "/metrics";
