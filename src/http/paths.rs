//! Paths that the router shares with other modules.

use crate::control::ResourceKind;

/// The metrics.
pub(super) const METRICS: &str = "/metrics";

/// The list of the resources of a kind; each is below it, by its id.
pub(super) fn of(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Membership => "/v1/memberships",
        ResourceKind::Responder => "/v1/responders",
        ResourceKind::Message => "/v1/messages",
    }
}
