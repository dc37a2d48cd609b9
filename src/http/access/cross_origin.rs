//! The response headers that let web pages of an allowed origin call the service and read its responses (CORS, the Fetch
//! standard section 3.2). [`OriginPolicy`] decides which origins are allowed.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::origin::OriginPolicy;

/// A request from a page of an allowed origin.
pub(in crate::http) struct CrossOrigin {
    origin: HeaderValue,
    /// A preflight: the browser asks whether it may send the actual request.
    is_preflight: bool,
}

impl CrossOrigin {
    /// None for all other requests.
    pub(super) fn of(request: &Request, origins: &OriginPolicy) -> Option<Self> {
        let origin = request.headers().get(header::ORIGIN)?;
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let is_preflight = request.method() == Method::OPTIONS && asks;
        origins.allows(origin.to_str().ok()?).then(|| Self { origin: origin.clone(), is_preflight })
    }

    /// The response to a preflight, which has no token and is not for a route.
    pub(super) fn preflight(&self) -> Option<Response> {
        const ANSWER: [(HeaderName, &str); 3] = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, content-type, if-match, if-none-match, last-event-id, prefer, traceparent, tracestate, x-request-id",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ];
        self.is_preflight.then(|| (StatusCode::NO_CONTENT, ANSWER).into_response())
    }

    /// Lets the page read the response.
    pub(in crate::http) fn allow(self, response: &mut Response) {
        const EXPOSED: HeaderValue = HeaderValue::from_static(
            "accept-patch, allow, deprecation, etag, link, location, preference-applied, retry-after, sunset, www-authenticate, x-request-id",
        );
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}
