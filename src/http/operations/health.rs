//! The routes of liveness and readiness.

use axum::Json;
use axum::extract::State;

use super::admin_state::AdminState;
use crate::contract::configuration::Configuration;
use crate::contract::health::{Check, CheckStatus, Health, Readiness};
use crate::control::{self, CheckOutcome, Control};
use crate::http::problem::{Problem, ProblemKind};

/// Whether the process lives
///
/// It answers as long as it can at all; `/readyz` tells whether to send it work.
#[utoipa::path(get, path = "/livez", tag = "service", operation_id = "livez",
    responses((status = 200, description = "It does", body = Health)))]
pub(in crate::http) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the service takes work
///
/// If a check has failed it does not, and the answer is 503: a problem document of the type `not-ready`, or
/// `stopping`, in which `checks` has all checks too. Warnings are no failures.
#[utoipa::path(get, path = "/readyz", tag = "service",
    responses(
        (status = 200, description = "It does", body = Readiness),
        (status = 503, description = "It does not: `checks` tells why", body = Problem, content_type = "application/problem+json"),
        Problem,
    ))]
pub(in crate::http) async fn readyz(
    State(control): State<Control>,
    State(admin): State<AdminState>,
) -> Result<Json<Readiness>, Problem> {
    let mut checks = control.health();
    checks.push(configuration(&admin.configuration()));
    readiness(checks, control.stopping().is_cancelled())
}

/// Not a failure: the previous configuration stays in force.
fn configuration(configuration: &Configuration) -> control::HealthCheck {
    let (verdict, detail) = match configuration.problems.len() {
        0 => (CheckOutcome::Ok, "what was read last is in force".to_owned()),
        count => (
            CheckOutcome::Warning,
            format!(
                "mistakes in what was read last: {count}; GET /v1/config shows them, mend them and send SIGHUP"
            ),
        ),
    };
    control::HealthCheck { name: "configuration", verdict, detail }
}

fn readiness(checks: Vec<control::HealthCheck>, stopping: bool) -> Result<Json<Readiness>, Problem> {
    let checks: Vec<_> = checks.into_iter().map(Check::from).collect();
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Failed)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    if failed.is_empty() {
        return Ok(Json(Readiness { status: "ok", checks }));
    }
    let kind = if stopping { ProblemKind::Stopping } else { ProblemKind::NotReady };
    Err(Problem::new(kind, failed.join("; ")).with_checks(checks))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::json;

    use super::*;

    fn checks(verdicts: [CheckOutcome; 2]) -> Vec<control::HealthCheck> {
        let check = |(name, verdict)| control::HealthCheck { name, verdict, detail: format!("of {name}") };
        ["lanes", "descriptors"].into_iter().zip(verdicts).map(check).collect()
    }

    #[test]
    fn a_warning_does_not_keep_work_away() {
        let Json(ready) = readiness(checks([CheckOutcome::Ok, CheckOutcome::Warning]), false).unwrap();
        let shown = serde_json::to_value(&ready).unwrap();
        assert_eq!(shown["checks"][1]["status"], "warning");
    }

    #[test]
    fn a_failure_does_and_is_shown_with_the_rest() {
        let problem = readiness(checks([CheckOutcome::Failed, CheckOutcome::Ok]), false).unwrap_err();
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        let shown = serde_json::to_value(&problem).unwrap();
        assert_eq!(shown["type"], "urn:rollcall:problem:not-ready");
        assert_eq!(shown["detail"], "lanes: of lanes");
        assert_eq!(
            shown["checks"],
            json!([
                {"name": "lanes", "status": "failed", "detail": "of lanes"},
                {"name": "descriptors", "status": "ok", "detail": "of descriptors"},
            ])
        );
    }
}
