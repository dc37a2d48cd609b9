//! The paths that need no token.

/// Whether clients need no token for this path. Probes have no token. A browser cannot send one for the API document,
/// which reveals nothing about this service in particular.
pub(in crate::http) fn is_open(path: &str) -> bool {
    const OPEN: [&str; 5] = ["/livez", "/readyz", "/openapi.json", "/openapi.yaml", "/docs"];
    OPEN.contains(&path) || path.starts_with("/docs/")
}
