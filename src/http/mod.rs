//! The HTTP contract: routes, bodies beside their handlers, problem documents, the API document.
//!
//! The core below knows nothing of this layer. The whole API is on this page.

mod datagrams;
mod door;
mod extract;
mod fields;
mod joins;
mod lists;
mod memberships;
mod messages;
mod overview;
mod problem;
mod responders;
mod rules;
mod sending;
mod service;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use door::{Door, Local};

use crate::control::Control;
use problem::{Kind, Problem};

/// The service as a tower service.
pub fn router(control: Control, door: Door) -> Router {
    let (routes, document) = api().split_for_parts();
    routes
        .merge(service::documents(&document))
        .fallback(async |uri: Uri| {
            Problem::new(Kind::NotFound, format!("there is nothing at {}: /docs lists the paths", uri.path()))
        })
        .method_not_allowed_fallback(async |method: Method| {
            let detail = format!("this path does not take {method}: the header `allow` lists what it takes");
            Problem::new(Kind::MethodNotAllowed, detail)
        })
        .with_state(control)
        .layer(DefaultBodyLimit::max(extract::LARGEST_BODY))
        .layer(middleware::from_fn_with_state(Arc::new(door), door::guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(complete_problems))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(FreshId))
}

/// The API document, made from the code.
pub fn document() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

fn api() -> OpenApiRouter<Control> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(messages::routes())
        .merge(memberships::routes())
        .merge(responders::routes())
        .merge(overview::routes())
        .merge(service::routes())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "An HTTP control plane for UDP multicast: join groups, answer them, call them, and read who replied.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "http://127.0.0.1:8080", description = "Where `rollcall serve` listens unless told otherwise")),
    security(()),
    tags(
        (name = "messages", description = "Send to a group and collect the answers"),
        (name = "memberships", description = "Join groups and read what is heard there"),
        (name = "responders", description = "Answer groups"),
        (name = "overview", description = "Groups and interfaces"),
        (name = "service", description = "The service itself"),
    ),
)]
struct Document;

#[derive(Clone, Copy)]
struct FreshId;

impl MakeRequestId for FreshId {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(crate::model::Id::generate().as_str()).ok().map(RequestId::new)
    }
}

/// Writes problem documents, now that the request's id is known, and logs failures of our own, once.
async fn complete_problems(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let Some(mut problem) = problem else {
        return response;
    };
    let id = id.as_ref().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    id.clone_into(&mut problem.request_id);
    if problem.status().is_server_error() {
        tracing::error!(
            request_id = id,
            status = problem.status().as_u16(),
            detail = problem.detail(),
            "request failed"
        );
    }
    problem.write_into(&mut response);
    response
}

/// The cause goes to the log; the client learns only that it was not at fault.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let message =
        cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message = message.unwrap_or("no message"), "a handler panicked");
    Problem::new(Kind::Internal, "Internal Server Error").into_response()
}
