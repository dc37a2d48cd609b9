//! Which requests the service takes on when it has too many connections.

/// The path of the metrics.
pub(in crate::http) const METRICS: &str = "/metrics";

/// What the service can take on besides the requests under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// All requests.
    Normal,
    /// Requests of operators, and those with a token.
    Scarce,
    /// Requests of operators alone.
    Exhausted,
}

/// Whether operators need this path to see what is wrong.
pub(super) fn is_operational(path: &str) -> bool {
    ["/livez", "/readyz", METRICS].contains(&path)
}
