//! The route of the configuration.

use axum::Json;
use axum::extract::State;

use super::admin_state::AdminState;
use crate::contract::configuration::Configuration;
use crate::http::problem::Problem;

/// Show the configuration
///
/// Each value in force with its source: a default, the file, the environment or a flag.
#[utoipa::path(get, path = "/v1/config", tag = "service", operation_id = "show_config",
    responses((status = 200, description = "The configuration", body = Configuration), Problem))]
pub(in crate::http) async fn show(State(admin): State<AdminState>) -> Json<Configuration> {
    Json(admin.configuration())
}
