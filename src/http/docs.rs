//! The API document: as files, and in a viewer.

use axum::http::{StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problem::{Problem, ProblemKind};
use super::state::AppState;

/// The document as JSON and YAML, and a viewer that loads nothing from other hosts.
pub(super) fn routes(document: &OpenApi) -> axum::Router<AppState> {
    let json = document.to_json().unwrap_or_default();
    let yaml = document.to_yaml().unwrap_or_default();
    let config = Config::new(["/openapi.json"]).validator_url("none");
    axum::Router::new()
        .route(
            "/openapi.json",
            get(async move || ([(header::CONTENT_TYPE, "application/json")], json).into_response()),
        )
        .route(
            "/openapi.yaml",
            get(async move || ([(header::CONTENT_TYPE, "application/yaml")], yaml).into_response()),
        )
        .merge(axum::Router::from(SwaggerUi::new("/docs").config(config)).layer(map_response(viewed)))
}

/// Lets no other page show the viewer in a frame, and turns its 404 into a problem document.
async fn viewed(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::new(ProblemKind::NotFound, "the documentation has no such file: see /docs/")
            .into_response();
    }
    let unframed =
        [(header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"), (header::X_FRAME_OPTIONS, "DENY")];
    (unframed, response).into_response()
}
