//! About the service itself: whether it lives, and its API document.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problem::{Kind, Problem};
use crate::control::Control;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(livez)).routes(routes!(readyz))
}

/// The document as JSON and YAML, and a viewer that loads nothing from elsewhere.
pub(super) fn documents(document: &OpenApi) -> axum::Router<Control> {
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
        .merge(axum::Router::from(SwaggerUi::new("/docs").config(config)).layer(map_response(missing)))
}

/// The viewer has no problem documents of its own.
async fn missing(response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        return Problem::new(Kind::NotFound, "the documentation has no such file: see /docs/")
            .into_response();
    }
    response
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(examples(json!({"status": "ok"})))]
struct Health {
    status: &'static str,
}

/// Whether the process lives
///
/// It answers as long as it can at all; `/readyz` tells whether to send it work.
#[utoipa::path(get, path = "/livez", tag = "service", operation_id = "livez",
    responses((status = 200, description = "It does", body = Health)))]
async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the service takes requests
///
/// Not while it stops: 503.
#[utoipa::path(get, path = "/readyz", tag = "service",
    responses(
        (status = 200, description = "It does", body = Health),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ))]
async fn readyz(State(control): State<Control>) -> Result<Json<Health>, Problem> {
    if control.stopping().is_cancelled() {
        return Err(Problem::new(Kind::Stopping, "the service is stopping"));
    }
    Ok(Json(Health { status: "ok" }))
}
