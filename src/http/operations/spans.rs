//! The spans of requests, with the attributes of OpenTelemetry's semantic conventions for HTTP servers.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode};

use crate::http::access::METRICS;
use crate::traces::{Description, KeyValue, Span, Traces};

/// The span of a request to this route, if it is traced.
pub(in crate::http) fn begin(
    traces: &Traces,
    request: &Request,
    route: Option<&str>,
    request_id: &HeaderValue,
) -> Option<Span> {
    /// Probes and scrapers request these paths every few seconds.
    const PROBES: [&str; 3] = ["/livez", "/readyz", METRICS];
    if traces.are_off() || route.is_some_and(|route| PROBES.contains(&route)) {
        return None;
    }
    traces.serve(request.headers(), || {
        let (method, uri) = (known(request.method()), request.uri());
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.unwrap_or("_OTHER")),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("url.path", uri.path().to_owned()),
            KeyValue::new("rollcall.request_id", request_id.to_str().unwrap_or_default().to_owned()),
        ];
        if method.is_none() {
            attributes.push(KeyValue::new("http.request.method_original", request.method().to_string()));
        }
        attributes.extend(uri.query().map(|query| KeyValue::new("url.query", query.to_owned())));
        attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        let method = method.unwrap_or("HTTP");
        let name = route.map_or_else(|| method.into(), |route| format!("{method} {route}").into());
        Description { name, attributes }
    })
}

/// Sets the result of the request.
pub(in crate::http) fn note_response(span: &Span, status: StatusCode) {
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set("error.type", status.as_str().to_owned());
        span.fail("");
    }
}

/// The method's name if it is a known one, because clients can invent others.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
