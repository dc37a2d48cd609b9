//! The HTTP contract: routes, bodies beside their handlers, problem documents, the API document.
//!
//! The core below knows nothing of this layer. The whole API is on this page.

mod door;
mod events;
mod extract;
mod fields;
mod joins;
mod lists;
mod memberships;
mod message_view;
mod messages;
mod overview;
mod problem;
mod reading;
mod responders;
mod rules;
mod sending;
mod service;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use tower::Service;
use tower_http::catch_panic::CatchPanic;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use door::Door;

use crate::control::Control;
use problem::{Kind, Problem};

/// Makes an answer out of a panic.
type Panicked = fn(Box<dyn Any + Send>) -> Response;

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Api {
    routes: CatchPanic<Router, Panicked>,
    door: Arc<Door>,
}

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Tcp,
    /// Where names mean nothing, and no browser comes from.
    Unix,
}

impl Api {
    pub fn new(control: Control, door: Door) -> Self {
        let (routes, document) = api().split_for_parts();
        let routes = routes
            .merge(service::documents(&document))
            .fallback(async |uri: Uri| {
                Problem::new(
                    Kind::NotFound,
                    format!("there is nothing at {}: /docs lists the paths", uri.path()),
                )
            })
            .method_not_allowed_fallback(async |method: Method| {
                let detail =
                    format!("this path does not take {method}: the header `allow` lists what it takes");
                Problem::new(Kind::MethodNotAllowed, detail)
            })
            .with_state(control);
        Self { routes: CatchPanic::custom(routes, panicked), door: Arc::new(door) }
    }

    /// Gives the request an id, asks the door, lets the routes answer, and writes problem documents, which name
    /// the id. Failures of our own are logged here, once.
    ///
    /// Stands around the routes, and not as a layer inside the router: there each layer costs every request a
    /// few allocations.
    pub async fn answer(&self, request: Request, way: Way) -> Response {
        let id = request_id(&request);
        let mut response = match self.door.admit(&request, way) {
            Ok(()) => {
                let Ok(response) = self.routes.clone().call(request).await;
                response.map(Body::new)
            }
            Err(problem) => problem.into_response(),
        };
        if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
            id.to_str().unwrap_or_default().clone_into(&mut problem.request_id);
            if problem.status().is_server_error() {
                let (status, detail) = (problem.status().as_u16(), problem.detail());
                tracing::error!(request_id = problem.request_id, status, detail, "request failed");
            }
            problem.write_into(&mut response);
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
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
        .merge(events::routes())
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

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The client's own id for the request, if it is a reasonable one, or a fresh one.
fn request_id(request: &Request) -> HeaderValue {
    const LONGEST: usize = 128;
    let given = request.headers().get(REQUEST_ID);
    let given = given.filter(|id| !id.is_empty() && id.len() <= LONGEST && id.to_str().is_ok());
    let fresh =
        || HeaderValue::from_str(crate::model::Id::generate().as_str()).expect("an id is visible ASCII");
    given.cloned().unwrap_or_else(fresh)
}

/// The cause goes to the log; the client learns only that it was not at fault.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let message =
        cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message = message.unwrap_or("no message"), "a handler panicked");
    Problem::new(Kind::Internal, "Internal Server Error").into_response()
}
