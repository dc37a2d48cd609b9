//! The HTTP contract: routes, bodies beside their handlers, problem documents, the API document.
//!
//! The core below does not know this layer. The whole API is on this page.

mod access;
mod declared;
mod documents;
mod events;
mod extract;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
mod joins;
mod lists;
mod memberships;
mod message_view;
mod messages;
mod operations;
mod overview;
mod problem;
mod reading;
mod responders;
mod rules;
mod sending;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use tower::Service;
use tower_http::catch_panic::CatchPanic;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

pub use access::{Access, LineError, ListenerKind, OriginPolicy, RequireToken, Scope, Tokens};
pub use declared::read_declared;
pub use fields::rfc3339;
pub use operations::{
    AdminState, Configuration, ConfigurationProblem, Setting, SettingSource, SettingValue, TokenName,
};
pub use problem::FieldError;
pub use reading::{ExportWriter, Filter, SourceRange, parse_time};

use crate::control::{Control, waiting};
use crate::logging::rarely;
use crate::traces::Traces;
use access::AccessPolicy;
use operations::{HttpMetrics, Streams, spans};
use problem::{Problem, ProblemKind};

/// The path of the metrics.
const METRICS: &str = "/metrics";

/// Turns a panic into an answer.
type Panicked = fn(Box<dyn Any + Send>) -> Response;

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Api {
    routes: CatchPanic<Router, Panicked>,
    admission: Arc<AccessPolicy>,
    traffic: Arc<HttpMetrics>,
    streams: Arc<Streams>,
    traces: Traces,
    control: Control,
}

impl Api {
    pub fn new(
        control: Control,
        door: OriginPolicy,
        access: Access,
        operations: AdminState,
        traces: Traces,
    ) -> Self {
        let traffic = Arc::new(HttpMetrics::on(document().paths.paths.keys().map(String::as_str)));
        let streams = Arc::default();
        let (routes, document) = api(operations, &traffic, &streams, &traces).split_for_parts();
        let routes = routes
            .merge(documents::routes(&document))
            .fallback(async |uri: Uri| {
                Problem::new(
                    ProblemKind::NotFound,
                    format!("there is nothing at {}: /docs lists the paths", uri.path()),
                )
            })
            .method_not_allowed_fallback(async |method: Method| {
                let detail =
                    format!("this path does not take {method}: the header `allow` lists what it takes");
                Problem::new(ProblemKind::MethodNotAllowed, detail)
            })
            .with_state(control.clone());
        let admission = Arc::new(AccessPolicy::new(door, access));
        Self { routes: CatchPanic::custom(routes, panicked), admission, traffic, streams, traces, control }
    }

    /// Accepts only these tokens from now on.
    pub fn replace_tokens(&self, tokens: Tokens) {
        self.admission.replace_tokens(tokens);
    }

    /// Call it when the body of an answer has panicked after its head was sent.
    pub fn note_panic(&self) {
        self.control.note_panic();
    }

    /// Gives the request an id, checks the access policy, lets the routes answer, and writes problem documents, which
    /// contain the id. Server errors are logged here, once. If the request is traced, its work is too.
    ///
    /// This wraps the routes, and is not a layer inside the router, because each layer there costs every request a few
    /// allocations.
    pub async fn answer(&self, request: Request, way: ListenerKind) -> Response {
        let started = Instant::now();
        let asked = self.traffic.begin_request(&request);
        let id = request_id(&request);
        let span = spans::begin(&self.traces, &request, self.traffic.route(asked), &id);
        let page = self.admission.cross_origin(&request);
        let mut response = match self.admission.authorize(&request, way, page.as_ref()) {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let answering = waiting::one_request(self.routes.clone().call(request));
                let Ok(response) = match &span {
                    Some(span) => span.around(answering).await,
                    None => answering.await,
                };
                response.map(Body::new)
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
                    None => rarely!(ERROR, request_id, trace_id, status, detail, "request failed"),
                }
            }
            problem.write_into(&mut response);
        }
        if let Some(page) = page {
            page.allow(&mut response);
        }
        if let Some(span) = &span {
            spans::answered(span, response.status());
        }
        self.streams.count(&mut response, span);
        response.headers_mut().insert(REQUEST_ID, id);
        self.traffic.answered(asked, response.status(), started.elapsed());
        response
    }
}

/// The API document, generated from the code.
pub fn document() -> utoipa::openapi::OpenApi {
    api(AdminState::default(), &Arc::default(), &Arc::default(), &Traces::default()).into_openapi()
}

fn api(
    operations: AdminState,
    traffic: &Arc<HttpMetrics>,
    streams: &Arc<Streams>,
    traces: &Traces,
) -> OpenApiRouter<Control> {
    let mut api = OpenApiRouter::with_openapi(Document::openapi())
        .merge(messages::routes())
        .merge(memberships::routes())
        .merge(responders::routes())
        .merge(overview::routes())
        .merge(events::routes())
        .merge(operations::routes(operations, traffic, streams, traces));
    describe_tokens(api.get_openapi_mut());
    api
}

/// Adds to each operation the token scope that it may ask for; whether it does depends on the listener.
fn describe_tokens(document: &mut utoipa::openapi::OpenApi) {
    const SCHEME: &str = "token";
    let description = "A token of `--tokens-file`, asked for over TCP beyond loopback, or everywhere with \
        `--require-token always`. GET needs the scope `read`, everything else `control`.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (path, item) in &mut document.paths.paths {
        let open = access::is_open(path);
        let read = [&mut item.get, &mut item.head].map(|operation| (operation, Method::GET));
        let write = [&mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for (operation, method) in read.into_iter().chain(write.map(|operation| (operation, Method::POST))) {
            let Some(operation) = operation else { continue };
            let token = SecurityRequirement::new(SCHEME, [access::needed(&method).as_str()]);
            let asked = (!open).then_some(token);
            operation.security = Some([SecurityRequirement::default()].into_iter().chain(asked).collect());
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "An HTTP control plane for UDP multicast: join groups, answer them, call them, and read who replied.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "http://127.0.0.1:8080", description = "Where `rollcall serve` listens unless told otherwise")),
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

/// The client's id for the request, if it is a valid one, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    const LONGEST: usize = 128;
    let given = request.headers().get(REQUEST_ID);
    let given = given.filter(|id| !id.is_empty() && id.len() <= LONGEST && id.to_str().is_ok());
    let fresh =
        || HeaderValue::from_str(crate::model::Id::generate().as_str()).expect("an id is visible ASCII");
    given.cloned().unwrap_or_else(fresh)
}

/// Why a handler panicked.
#[derive(Clone)]
struct Panic(String);

/// The cause goes to the log; the client learns only that it was a server error.
#[expect(clippy::needless_pass_by_value, reason = "the layer calls it so")]
fn panicked(cause: Box<dyn Any + Send>) -> Response {
    let message =
        cause.downcast_ref::<&str>().copied().or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message").to_owned();
    let mut response = Problem::new(ProblemKind::Internal, "Internal Server Error").into_response();
    response.extensions_mut().insert(Panic(message));
    response
}
