//! Handles requests: checks access, calls the routes, and logs, counts and traces.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::Service;
use tower_http::catch_panic::CatchPanic;

use super::access::{
    Access, AccessDecision, AccessPolicy, Authorization, Capacity, ListenerKind, OriginPolicy, is_operational,
};
use super::deprecation::Deprecations;
use super::openapi::complete_document;
use super::operations::{AdminState, ConnectionCounts, HttpMetrics, Streams, spans};
use super::problem::{Problem, ProblemKind};
use super::request_bytes::RequestBytes;
use super::state::{AppParts, AppState};
use super::turns::Turns;
use super::{docs, router};
use crate::control::{Control, waiting};
use crate::logging::log_throttled;
use crate::model::Id;
use crate::tokens::Tokens;
use crate::traces::Traces;

/// Turns a panic into a response.
type Panicked = fn(Box<dyn Any + Send>) -> Response;

/// Handles requests; cheap to clone.
#[derive(Clone)]
pub struct Api {
    routes: CatchPanic<Router, Panicked>,
    access: Arc<AccessPolicy>,
    deprecations: Arc<Deprecations>,
    metrics: Arc<HttpMetrics>,
    streams: Arc<Streams>,
    connection_counts: Arc<ConnectionCounts>,
    request_bytes: Arc<RequestBytes>,
    turns: Arc<Turns>,
    traces: Traces,
    control: Control,
}

impl Api {
    pub fn new(
        control: Control,
        origins: OriginPolicy,
        access: Access,
        admin: AdminState,
        traces: Traces,
        request_bytes: usize,
    ) -> Self {
        let (routes, mut document) = router::routes().split_for_parts();
        complete_document(&mut document);
        let metrics = Arc::new(HttpMetrics::on(document.paths.paths.keys().map(String::as_str)));
        let deprecations = Arc::new(Deprecations::of(&mut document));
        let streams = Arc::<Streams>::default();
        let connection_counts = Arc::<ConnectionCounts>::default();
        let request_bytes = Arc::new(RequestBytes::new(request_bytes));
        let state = AppState::new(AppParts {
            control: control.clone(),
            admin,
            metrics: metrics.clone(),
            streams: streams.clone(),
            connection_counts: connection_counts.clone(),
            request_bytes: request_bytes.clone(),
            traces: traces.clone(),
        });
        let routes = routes
            .merge(docs::routes(&document))
            .fallback(router::not_found)
            .method_not_allowed_fallback(router::method_not_allowed)
            .with_state(state);
        let access = Arc::new(AccessPolicy::new(origins, access));
        let routes = CatchPanic::custom(routes, panicked as Panicked);
        let turns = Arc::new(Turns::new());
        Self {
            routes,
            access,
            deprecations,
            metrics,
            streams,
            connection_counts,
            request_bytes,
            turns,
            traces,
            control,
        }
    }

    /// Accepts only these tokens from now on.
    pub fn replace_tokens(&self, tokens: Tokens) {
        self.access.replace_tokens(tokens);
    }

    /// The counts of connections, which the server keeps.
    pub fn connection_counts(&self) -> &Arc<ConnectionCounts> {
        &self.connection_counts
    }

    /// The bytes of unfinished requests: the server holds those of heads, and handlers those of bodies.
    pub fn request_bytes(&self) -> &Arc<RequestBytes> {
        &self.request_bytes
    }

    pub(super) fn metrics(&self) -> &HttpMetrics {
        &self.metrics
    }

    /// Call it when the body of a response has panicked after its head was sent.
    pub fn note_panic(&self) {
        self.control.note_panic();
    }

    /// Gives the request an id, checks the access policy, calls the routes, and writes problem documents, which
    /// contain the id. Responses are not to be cached, unless their handlers say otherwise. Server errors are logged
    /// here, once. If the request is traced, its work is too.
    ///
    /// This wraps the routes, and is not a layer inside the router, because each layer there costs every request a few
    /// allocations.
    pub async fn respond(
        &self,
        mut request: Request,
        listener: ListenerKind,
        capacity: Capacity,
    ) -> Response {
        let started = Instant::now();
        router::trim_trailing_slashes(request.uri_mut());
        let key = self.metrics.begin_request(&request);
        let id = request_id(&request);
        let span = spans::begin(&self.traces, &request, self.metrics.route(key), &id);
        let cross_origin = self.access.cross_origin(&request);
        let deprecated = self.deprecations.used_by(&request, self.metrics.route(key));
        let decision = if self.access.has_capacity(&request, capacity) {
            self.access.authorize(&request, listener, cross_origin.as_ref())
        } else {
            Err(self.overloaded())
        };
        let mut response = match decision {
            Ok(AccessDecision::Preflight(response)) => response,
            Ok(AccessDecision::Authorized(authorization)) => {
                authorization.attach(request.extensions_mut());
                if !is_operational(request.uri().path()) {
                    self.turns.wait().await;
                }
                let handling = waiting::one_request(self.route(request, authorization));
                match &span {
                    Some(span) => span.around(handling).await,
                    None => handling.await,
                }
            }
            Err(problem) => problem.into_response(),
        };
        if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
            id.to_str().unwrap_or_default().clone_into(&mut problem.request_id);
            if problem.status().is_server_error() {
                let (status, detail) = (problem.status().as_u16(), problem.detail());
                let panic = response.extensions_mut().remove::<Panic>().map(|Panic(message)| message);
                let request_id = &*problem.request_id;
                let trace_id = span.as_ref().map(|span| span.trace_id().to_string());
                match panic {
                    Some(panic) => {
                        self.control.note_panic();
                        tracing::error!(request_id, trace_id, status, detail, panic, "request failed");
                    }
                    None if problem.is_of_service() => {}
                    None => log_throttled!(ERROR, request_id, trace_id, status, detail, "request failed"),
                }
            }
            problem.write_into(&mut response);
        }
        if let Some(deprecated) = deprecated {
            deprecated.note_in(response.headers_mut());
        }
        if let Some(cross_origin) = cross_origin {
            cross_origin.allow(&mut response);
        }
        if let Some(span) = &span {
            spans::note_response(span, response.status());
        }
        self.streams.count(&mut response, span);
        let is_known = response.status() == StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        if is_known {
            // The router writes the length of no body, which would be that of the client's (RFC 9110 section 8.6).
            headers.remove(header::CONTENT_LENGTH);
        }
        headers.insert(REQUEST_ID, id);
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        self.metrics.note_response(key, response.status(), started.elapsed());
        response
    }

    fn overloaded(&self) -> Problem {
        self.connection_counts.refused_request();
        let detail = "all connections have requests under way: try again later, or with a token";
        Problem::new(ProblemKind::Overloaded, detail)
    }

    /// Calls the route. A request that only reads ends, whatever it waits for, when its token is no longer accepted; one
    /// that changes something waits on its own, because the change continues.
    async fn route(&self, request: Request, authorization: Authorization) -> Response {
        let only_reads = request.method().is_safe();
        // Cheap: it shares the bytes.
        let uri = request.uri().clone();
        tokio::select! {
            biased;
            handled = self.routes.clone().call(request) => {
                let Ok(response) = handled;
                let mut response = response.map(Body::new);
                router::complete(&mut response, uri.path());
                response
            }
            problem = authorization.ended(), if only_reads => problem.into_response(),
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The client's id for the request, if it is a valid one, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    const MAX_LENGTH: usize = 128;
    let given = request.headers().get(REQUEST_ID);
    let given = given.filter(|id| !id.is_empty() && id.len() <= MAX_LENGTH && id.to_str().is_ok());
    given.cloned().unwrap_or_else(fresh_request_id)
}

pub(super) fn fresh_request_id() -> HeaderValue {
    HeaderValue::from_str(Id::generate().as_str()).expect("an id is visible ASCII")
}

/// Why a handler panicked.
#[derive(Clone)]
struct Panic(String);

/// The cause goes to the log; the client sees only that an internal error occurred.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let message =
        cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message").to_owned();
    let mut response = Problem::new(ProblemKind::Internal, "Internal Server Error").into_response();
    response.extensions_mut().insert(Panic(message));
    response
}

/// The API document, generated from the code.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = router::routes().into_openapi();
    complete_document(&mut document);
    document
}
