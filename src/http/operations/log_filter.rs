//! The routes of the log filter, which can be changed while the service runs.

use axum::Json as JsonResponse;
use axum::extract::State;

use super::admin_state::AdminState;
use crate::contract::log_filter::{LogFilterBody, LogFilterView};
use crate::http::extract::Json;
use crate::http::problem::{Problem, ProblemKind};

/// Show the log filter
#[utoipa::path(get, path = "/v1/log-filter", tag = "service", operation_id = "show_log_filter",
    responses((status = 200, description = "The filter", body = LogFilterView), Problem))]
pub(in crate::http) async fn show(State(admin): State<AdminState>) -> JsonResponse<LogFilterView> {
    JsonResponse(admin.log_filter().into())
}

/// Set the log filter
///
/// The filter takes effect immediately, until the next change, a restart or SIGHUP.
#[utoipa::path(put, path = "/v1/log-filter", tag = "service", operation_id = "put_log_filter",
    request_body = LogFilterBody,
    responses((status = 200, description = "The filter", body = LogFilterView), Problem))]
pub(in crate::http) async fn put(
    State(admin): State<AdminState>,
    Json(body): Json<LogFilterBody>,
) -> Result<JsonResponse<LogFilterView>, Problem> {
    let filter = admin.log_filter();
    let set = filter.set(&body.filter);
    set.map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()).at("/filter"))?;
    Ok(JsonResponse(filter.into()))
}
