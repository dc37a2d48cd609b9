//! Names that clients should no longer use. The service accepts them for a while; the API document and the headers of a
//! response say so (RFC 9745, RFC 8594).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{Deprecated, OpenApi, RefOr};

use super::documented_problems::operations;
use super::extract::PreferredWait;

/// A parameter under a deprecated name.
pub(super) struct DeprecatedName {
    name: &'static str,
    location: ParameterIn,
    /// What clients should do.
    instead: &'static str,
    /// Since when it is deprecated, as a structured field (RFC 9651).
    since: HeaderValue,
    /// Until when the service accepts it: the day, and an HTTP date.
    last_day: &'static str,
    sunset: HeaderValue,
    /// Whether a request that may have the parameter has it.
    is_used: fn(&Request) -> bool,
}

static DEPRECATED: [DeprecatedName; 1] = [DeprecatedName {
    name: "prefer",
    location: ParameterIn::Header,
    instead: "use `wait_ms`, which overrides it",
    // 2026-11-27
    since: HeaderValue::from_static("@1795737600"),
    last_day: "2027-11-30",
    sunset: HeaderValue::from_static("Tue, 30 Nov 2027 23:59:59 GMT"),
    is_used: |request| PreferredWait::of(request.headers()).0.is_some(),
}];

/// The operations that have deprecated parameters.
pub(super) struct Deprecations(Vec<(String, &'static str, &'static DeprecatedName)>);

impl Deprecations {
    pub(super) fn of(document: &mut OpenApi) -> Self {
        let mut deprecations = Vec::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let names = parameters(operation).filter_map(|parameter| deprecated(parameter));
                deprecations.extend(names.map(|name| (path.clone(), method, name)));
            }
        }
        Self(deprecations)
    }

    /// The deprecated name that a request uses. `route`: the path of its operation, if it has one.
    pub(super) fn used_by(&self, request: &Request, route: Option<&str>) -> Option<&'static DeprecatedName> {
        let is_of = |(path, method, name): &&(String, &str, &'static DeprecatedName)| {
            request.method() == *method && route == Some(path.as_str()) && (name.is_used)(request)
        };
        self.0.iter().find(is_of).map(|(_, _, name)| *name)
    }
}

impl DeprecatedName {
    /// Adds the headers to a response.
    pub(super) fn note_in(&self, headers: &mut HeaderMap) {
        headers.insert(HeaderName::from_static("deprecation"), self.since.clone());
        headers.insert(HeaderName::from_static("sunset"), self.sunset.clone());
        headers.append(
            header::LINK,
            HeaderValue::from_static(r#"</docs>; rel="deprecation"; type="text/html""#),
        );
    }
}

/// Marks the parameters.
pub(super) fn describe_deprecations(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for (_, operation) in operations(item) {
            for parameter in parameters(operation) {
                let Some(name) = deprecated(parameter) else { continue };
                let description = parameter.description.take().unwrap_or_default();
                let (instead, last_day) = (name.instead, name.last_day);
                parameter.description = Some(format!(
                    "{description}. Deprecated: {instead}. The service accepts it until {last_day}"
                ));
                parameter.deprecated = Some(Deprecated::True);
            }
        }
    }
}

fn parameters(operation: &mut Operation) -> impl Iterator<Item = &mut Parameter> {
    operation.parameters.iter_mut().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
}

fn deprecated(parameter: &Parameter) -> Option<&'static DeprecatedName> {
    DEPRECATED.iter().find(|name| name.name == parameter.name && name.location == parameter.parameter_in)
}
