//! The API document beyond what the handlers' annotations say.

use axum::http::Method;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::access::{is_open, needed};
use super::deprecation::describe_deprecations;
use super::documented_problems::describe_problems;
use super::problem::Problem;
use crate::contract::datagrams::{self, Datagram, DatagramPage};
use crate::contract::documented::{Capture, EventStream, Lines};

type Datagrams = DatagramPage<Datagram>;
type Responses = DatagramPage<datagrams::Response>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rollcall",
        description = "An HTTP control plane for UDP multicast: join groups, reply to datagrams, send messages and collect the responses. \
            Every path also has OPTIONS, and HEAD where it has GET. Requests can be conditional (RFC 9110 section 13). Views of \
            resources have counters: they have `cache-control: no-store`, and are never 304.\n\n\
            A request with mistakes is refused with a problem document (RFC 9457); its `errors` are all mistakes at once. \
            The status is 400 if the service cannot read the request: a parameter, an id or a header is wrong, or the body \
            is not JSON. It is 422 if the service can read the request, but refuses what it asks for: a field or the \
            payload is wrong, or an interface does not exist. If both apply, the status is 400. A field that does not \
            exist is a mistake; so is a parameter, where a request takes some or has a body. In the body of a POST or \
            PUT, `null` is the same as leaving the field out. In a PATCH, leaving a field out keeps its value, and \
            `null` resets it to the default. So a field that is required cannot be `null`, and neither can an entry of \
            a list. A parameter that is given needs a value.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(
        Problem, Datagrams, Responses, EventStream, Lines, Capture,
    )),
    servers((url = "/", description = "The service that serves this document")),
    tags(
        (name = "messages", description = "Send to a group and collect the responses"),
        (name = "memberships", description = "Join groups and read their datagrams"),
        (name = "responders", description = "Join groups and reply to datagrams"),
        (name = "overview", description = "Groups and interfaces"),
        (name = "service", description = "The service itself"),
    ),
)]
pub(super) struct Document;

/// Adds what the annotations do not say.
pub(super) fn complete_document(document: &mut utoipa::openapi::OpenApi) {
    describe_tokens(document);
    describe_problems(document);
    describe_deprecations(document);
}

/// Adds to each operation the token scope that it may require, depending on the listener.
fn describe_tokens(document: &mut utoipa::openapi::OpenApi) {
    const SCHEME: &str = "token";
    let description = "A token of `--tokens-file`, required over TCP beyond loopback, or on all listeners with \
        `--require-token always`. GET, HEAD and OPTIONS need the scope `read`, all other methods `control`.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    for (path, item) in &mut document.paths.paths {
        let open = is_open(path);
        let read = [&mut item.get, &mut item.head].map(|operation| (operation, Method::GET));
        let write = [&mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for (operation, method) in read.into_iter().chain(write.map(|operation| (operation, Method::POST))) {
            let Some(operation) = operation else { continue };
            let token = SecurityRequirement::new(SCHEME, [needed(&method).as_str()]);
            let required = (!open).then_some(token);
            operation.security = Some([SecurityRequirement::default()].into_iter().chain(required).collect());
        }
    }
}
