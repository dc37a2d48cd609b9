//! The paths that need no token, and those that operators need.

/// The path of the metrics.
pub(in crate::http) const METRICS: &str = "/metrics";

/// Whether clients need no token for this path. Probes have no token. A browser cannot send one for the API document,
/// which reveals nothing about this service in particular.
pub(in crate::http) fn is_open(path: &str) -> bool {
    const OPEN: [&str; 5] = ["/livez", "/readyz", "/openapi.json", "/openapi.yaml", "/docs"];
    OPEN.contains(&path) || path.starts_with("/docs/")
}

/// Whether operators need this path to see what is wrong.
pub(super) fn is_operational(path: &str) -> bool {
    ["/livez", "/readyz", METRICS].contains(&path)
}
