//! The log filter, which can be changed while the service runs.

use axum::Json as JsonAnswer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AdminState;
use crate::control::Control;
use crate::http::extract::Json;
use crate::http::problem::{Problem, ProblemKind};
use crate::logging::LogFilter;

pub(super) fn routes(operations: AdminState) -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(show, put)).with_state(operations)
}

/// What is to be logged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug"})))]
struct LogFilterBody {
    /// `error`, `warn`, `info`, `debug` or `trace`, for all or per module, the closest wins:
    /// `info,rollcall::net=debug`.
    #[schema(min_length = 1, max_length = 4096)]
    filter: String,
}

/// What is logged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"filter": "info,rollcall::net=debug", "configured": "info"})))]
struct LogFilterView {
    filter: String,
    /// What `--log` says: in force again after SIGHUP.
    configured: String,
}

impl From<&LogFilter> for LogFilterView {
    fn from(filter: &LogFilter) -> Self {
        Self { filter: filter.current(), configured: filter.configured() }
    }
}

/// Show what is logged
#[utoipa::path(get, path = "/v1/log-filter", tag = "service", operation_id = "show_log_filter",
    responses(
        (status = 200, description = "The filter", body = LogFilterView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn show(State(operations): State<AdminState>) -> JsonAnswer<LogFilterView> {
    JsonAnswer(operations.log_filter().into())
}

/// Log more, or less
///
/// At once, and until it is set again, or the service starts anew or gets SIGHUP.
#[utoipa::path(put, path = "/v1/log-filter", tag = "service", operation_id = "put_log_filter",
    request_body = LogFilterBody,
    responses(
        (status = 200, description = "The filter", body = LogFilterView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn put(
    State(operations): State<AdminState>,
    Json(body): Json<LogFilterBody>,
) -> Result<JsonAnswer<LogFilterView>, Problem> {
    let filter = operations.log_filter();
    let set = filter.set(&body.filter);
    set.map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()).at("/filter"))?;
    Ok(JsonAnswer(filter.into()))
}
