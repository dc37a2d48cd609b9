//! Where a client finds what: the index and the version, as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

/// What the service is, and where its resources are.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceIndex, examples(json!({
    "name": "rollcall", "version": "0.1.0", "links": {
        "messages": "/v1/messages", "memberships": "/v1/memberships", "responders": "/v1/responders",
        "groups": "/v1/groups", "interfaces": "/v1/interfaces", "events": "/v1/events", "config": "/v1/config",
        "log_filter": "/v1/log-filter", "version": "/v1/version", "liveness": "/livez", "readiness": "/readyz",
        "metrics": "/metrics", "openapi": "/openapi.json", "docs": "/docs"
    }
})))]
pub struct Index {
    #[serde(flatten)]
    version: Version,
    /// The paths.
    links: Links,
}

/// The version of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceVersion, examples(json!({"name": "rollcall", "version": "0.1.0"})))]
pub struct Version {
    /// Always `rollcall`.
    #[schema(pattern = "^rollcall$")]
    name: &'static str,
    /// The version of the program (Semantic Versioning 2.0.0).
    #[schema(examples("0.1.0"))]
    version: &'static str,
}

/// The paths of what the service has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceLinks)]
struct Links {
    /// Messages.
    messages: &'static str,
    /// Memberships.
    memberships: &'static str,
    /// Responders.
    responders: &'static str,
    /// Groups with their members.
    groups: &'static str,
    /// The interfaces of the host.
    interfaces: &'static str,
    /// Events of resources.
    events: &'static str,
    /// The configuration in force.
    config: &'static str,
    /// The log filter.
    log_filter: &'static str,
    /// The version of the service.
    version: &'static str,
    /// Whether the process works.
    liveness: &'static str,
    /// Whether clients should send requests.
    readiness: &'static str,
    /// Metrics for Prometheus.
    metrics: &'static str,
    /// The API document.
    openapi: &'static str,
    /// The API document in a viewer that executes requests.
    docs: &'static str,
}

impl Version {
    pub const CURRENT: Self = Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
}

impl Index {
    pub const CURRENT: Self = Self {
        version: Version::CURRENT,
        links: Links {
            messages: "/v1/messages",
            memberships: "/v1/memberships",
            responders: "/v1/responders",
            groups: "/v1/groups",
            interfaces: "/v1/interfaces",
            events: "/v1/events",
            config: "/v1/config",
            log_filter: "/v1/log-filter",
            version: "/v1/version",
            liveness: "/livez",
            readiness: "/readyz",
            metrics: "/metrics",
            openapi: "/openapi.json",
            docs: "/docs",
        },
    };
}
