//! The routes of the configuration and of the log filter, which can be changed while the service runs.

use std::sync::{Arc, Mutex};

use axum::Json as JsonResponse;
use axum::extract::State;

use crate::contract::configuration::{Configuration, LogFilterBody, LogFilterView};
use crate::http::extract::Json;
use crate::http::problem::{Problem, ProblemKind};
use crate::logging::LogFilter;
use crate::sync::Lock;

/// Show the configuration
///
/// Each value in force with its source: a default, the file, the environment or a flag.
#[utoipa::path(get, path = "/v1/config", tag = "service", operation_id = "show_config",
    responses((status = 200, description = "The configuration", body = Configuration), Problem))]
pub(in crate::http) async fn show(State(admin): State<AdminState>) -> JsonResponse<Configuration> {
    JsonResponse(admin.configuration())
}

/// Show the log filter
#[utoipa::path(get, path = "/v1/log-filter", tag = "service", operation_id = "show_log_filter",
    responses((status = 200, description = "The filter", body = LogFilterView), Problem))]
pub(in crate::http) async fn show_log_filter(State(admin): State<AdminState>) -> JsonResponse<LogFilterView> {
    JsonResponse(admin.log_filter().into())
}

/// Set the log filter
///
/// The filter takes effect immediately, until the next change, a restart or SIGHUP.
#[utoipa::path(put, path = "/v1/log-filter", tag = "service", operation_id = "put_log_filter",
    request_body = LogFilterBody,
    responses((status = 200, description = "The filter", body = LogFilterView), Problem))]
pub(in crate::http) async fn put_log_filter(
    State(admin): State<AdminState>,
    Json(body, errors): Json<LogFilterBody>,
) -> Result<JsonResponse<LogFilterView>, Problem> {
    let body = errors.finish(Ok(body)).map_err(Problem::of_fields)?;
    let filter = admin.log_filter();
    let set = filter.set(&body.filter);
    set.map_err(|error| Problem::new(ProblemKind::InvalidRequest, error.to_string()).at("/filter"))?;
    Ok(JsonResponse(filter.into()))
}

/// The state of the running service that operators see; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AdminState {
    /// Std lock: held to copy or to replace the configuration.
    configuration: Arc<Mutex<Configuration>>,
    log_filter: LogFilter,
}

impl AdminState {
    pub fn new(log_filter: LogFilter) -> Self {
        Self { log_filter, ..Self::default() }
    }

    pub fn log_filter(&self) -> &LogFilter {
        &self.log_filter
    }

    pub fn configuration(&self) -> Configuration {
        self.configuration.lock_shared().clone()
    }

    /// Shows this configuration from now on.
    pub fn show(&self, configuration: Configuration) {
        *self.configuration.lock_shared() = configuration;
    }
}
