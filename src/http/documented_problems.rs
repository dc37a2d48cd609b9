//! The problems that each operation can answer with, in the API document.

use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::access::is_open;
use super::problem::Problem;

/// Adds to each operation that lists any problem at all those that it can answer with, by what it takes. `default`
/// stays, for what the service says of requests that no operation has seen: their heads are too large, or not HTTP.
pub(super) fn describe_problems(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    for (status, name, description) in PROBLEMS {
        let content = Content::new(Some(Ref::from_schema_name(Problem::name())));
        let response = ResponseBuilder::new().description(description);
        let response: Response = response.content("application/problem+json", content).build();
        components.responses.insert(name.to_owned(), response.into());
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let responses = &mut operation.responses.responses;
                if !responses.contains_key("default") || responses.contains_key(status) {
                    continue;
                }
                if gives(status, path, method, operation) {
                    let response = RefOr::Ref(Ref::from_response_name(name));
                    operation.responses.responses.insert(status.to_owned(), response);
                }
            }
        }
    }
}

/// The methods of an item with their operations.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let operations = [
        ("GET", &mut item.get),
        ("HEAD", &mut item.head),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Status, name and description of each problem response.
const PROBLEMS: [(&str, &str, &str); 14] = [
    (
        "400",
        "BadRequest",
        "The service cannot read the request: a parameter, an id or a header is wrong, or the body is not JSON",
    ),
    ("401", "Unauthorized", "The request has no token that the service accepts"),
    (
        "403",
        "Forbidden",
        "The token does not allow the request, a web page of another origin sent it, or the service lacks a right on \
         its host",
    ),
    ("404", "NotFound", "There is no such resource"),
    ("406", "NotAcceptable", "There is no format that the client accepts"),
    ("408", "RequestTimeout", "The body took too long"),
    (
        "409",
        "Conflict",
        "The id stands for another message, the port is in use, or there is no lease to renew",
    ),
    ("412", "PreconditionFailed", "The condition of the request does not hold"),
    ("413", "ContentTooLarge", "The body is too large"),
    ("415", "UnsupportedMediaType", "The body is of a type, or encoded in a way, that is not taken here"),
    (
        "422",
        "UnprocessableContent",
        "The service can read the request, but refuses what it asks for: a field or the payload is wrong, or an \
         interface does not exist",
    ),
    ("429", "TooManyRequests", "The service has as many resources as its limits allow"),
    ("500", "InternalServerError", "The service's own code has failed"),
    (
        "503",
        "ServiceUnavailable",
        "The service has too many requests, took too long, cannot use its network or its data directory, or is \
         stopping",
    ),
];

/// Whether an operation can answer with a problem of this status.
fn gives(status: &str, path: &str, method: &str, operation: &Operation) -> bool {
    let has = |location: ParameterIn, name: &str| {
        let parameters = operation.parameters.iter().flatten();
        parameters.into_iter().any(|parameter| match parameter {
            RefOr::T(parameter) => parameter.name == name && parameter.parameter_in == location,
            RefOr::Ref(_) => false,
        })
    };
    let has_parameters = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    let has_body = operation.request_body.is_some();
    let names_one = path.contains("{id}") || path.contains("{group}");
    // Makes or changes a resource.
    let is_spec = has_body && path != "/v1/log-filter";
    let is_renewal = path.ends_with("/renew");
    match status {
        // The list of interfaces takes no parameter, and refuses all.
        "400" => has_parameters || has_body || path == "/v1/interfaces",
        "401" => !is_open(path),
        "404" => names_one && method != "PUT",
        "406" => has(ParameterIn::Query, "format"),
        "408" | "413" | "415" | "422" => has_body,
        "409" => is_spec,
        // What a POST creates does not exist before, and a list, of which a DELETE takes a part, has no tag.
        "412" => {
            has(ParameterIn::Header, "if-match")
                || (method == "POST" && has_body)
                || (method == "DELETE" && !names_one)
        }
        "429" => is_spec && !is_renewal,
        _ => true,
    }
}
