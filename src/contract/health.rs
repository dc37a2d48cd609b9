//! Liveness and readiness as clients see them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::control::{self, CheckOutcome};

/// The service works.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Liveness, examples(json!({"status": "ok"})))]
pub struct Health {
    /// Always `ok`.
    #[schema(pattern = "^ok$")]
    pub status: &'static str,
}

/// The readiness of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "ok", "checks": [
    {"name": "accepting", "status": "ok", "detail": "the service takes requests"},
    {"name": "rights.low_ports", "status": "warning", "detail": "no groups on ports below 1024: they need CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start"}
]})))]
pub struct Readiness {
    /// Always `ok`: a service that is not ready answers with a problem document.
    #[schema(pattern = "^ok$")]
    pub status: &'static str,
    /// The checks, each with its outcome.
    pub checks: Vec<Check>,
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthCheck)]
pub struct Check {
    /// The name of the check; stable across versions.
    #[schema(pattern = "^[a-z_.]+$", examples("lanes"))]
    pub name: &'static str,
    /// The outcome.
    pub status: CheckStatus,
    /// The finding, and what to do about it.
    pub detail: String,
}

/// `warning`: a feature is unavailable on this host, and all others work. `failed`: clients should not send requests to
/// the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthCheckStatus)]
pub enum CheckStatus {
    Ok,
    Warning,
    Failed,
}

impl From<control::HealthCheck> for Check {
    fn from(check: control::HealthCheck) -> Self {
        Self {
            name: check.name,
            status: match check.verdict {
                CheckOutcome::Ok => CheckStatus::Ok,
                CheckOutcome::Warning => CheckStatus::Warning,
                CheckOutcome::Failed => CheckStatus::Failed,
            },
            detail: match setting(check.name).filter(|_| check.verdict != CheckOutcome::Ok) {
                Some(setting) => format!("{} (setting `{setting}`)", check.detail),
                None => check.detail,
            },
        }
    }
}

/// The setting that a check is about.
fn setting(check: &str) -> Option<&'static str> {
    match check {
        "store" => Some("total_bytes"),
        "rights.receive_buffers" => Some("receive_buffer"),
        _ => None,
    }
}
