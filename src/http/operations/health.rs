//! The routes of liveness and readiness.

use axum::extract::State;

use super::configuration::AdminState;
use crate::contract::configuration::Configuration;
use crate::contract::health::{Check, CheckStatus, Health, Readiness};
use crate::control::{self, CheckOutcome, Control};
use crate::http::json::JsonResponse;
use crate::http::problem::{Problem, ProblemKind};

/// Check liveness
///
/// The service responds as long as its process works; `/readyz` says whether clients should send it requests.
#[utoipa::path(get, path = "/livez", tag = "service", operation_id = "get_liveness",
    responses((status = 200, description = "The process is alive", body = Health)))]
pub(in crate::http) async fn livez() -> JsonResponse<Health> {
    JsonResponse(Health { status: "ok" })
}

/// Check readiness
///
/// If a check has failed, the service responds with 503 and a problem document of the type `not-ready` or `stopping`,
/// whose `checks` lists all checks. Warnings are not failures.
#[utoipa::path(get, path = "/readyz", tag = "service", operation_id = "get_readiness",
    responses(
        (status = 200, description = "The service is ready", body = Readiness),
        (status = 503, description = "The service is not ready: `checks` says why", body = Problem, content_type = "application/problem+json"),
        Problem,
    ))]
pub(in crate::http) async fn readyz(
    State(control): State<Control>,
    State(admin): State<AdminState>,
) -> Result<JsonResponse<Readiness>, Problem> {
    let mut checks = control.health();
    checks.push(configuration(&admin.configuration()));
    readiness(checks, control.stopping().is_cancelled())
}

/// Not a failure: the previous configuration stays in force.
fn configuration(configuration: &Configuration) -> control::HealthCheck {
    let (verdict, detail) = match configuration.problems.len() {
        0 => (CheckOutcome::Ok, "the latest configuration is in force".to_owned()),
        count => (
            CheckOutcome::Warning,
            format!(
                "mistakes in the latest configuration: {count}; GET /v1/config shows them, correct them and send SIGHUP"
            ),
        ),
    };
    control::HealthCheck { name: "configuration", verdict, detail }
}

fn readiness(checks: Vec<control::HealthCheck>, stopping: bool) -> Result<JsonResponse<Readiness>, Problem> {
    let checks: Vec<_> = checks.into_iter().map(Check::from).collect();
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| check.status == CheckStatus::Failed)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    if failed.is_empty() {
        return Ok(JsonResponse(Readiness { status: "ok", checks }));
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
    fn a_service_with_a_warning_is_ready() {
        let JsonResponse(ready) =
            readiness(checks([CheckOutcome::Ok, CheckOutcome::Warning]), false).unwrap();
        let shown = serde_json::to_value(&ready).unwrap();
        assert_eq!(shown["checks"][1]["status"], "warning");
    }

    #[test]
    fn a_failed_check_makes_the_service_not_ready_and_is_listed_with_the_others() {
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
