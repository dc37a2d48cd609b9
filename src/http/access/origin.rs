//! Protection against web pages: a page in a visitor's browser must not control a service that needs no token.
//!
//! A page of another origin could do so directly (a `text/plain` POST needs no preflight) or by pointing its own host
//! name at this host (DNS rebinding). The header `Origin` reveals the first, `Host` the second.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{Method, Version, header};

use super::token_auth::ListenerKind;
use crate::http::problem::{Problem, ProblemKind};

/// The names and origins that are accepted besides the default ones.
#[derive(Debug, Clone, Default)]
pub struct OriginPolicy {
    /// Host names of the service, besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call, as `https://name:port`.
    pub origins: Vec<String>,
}

impl OriginPolicy {
    pub(super) fn allow(&self, request: &Request, listener: ListenerKind) -> Result<(), Problem> {
        let (headers, method) = (request.headers(), request.method());
        let text = |name| {
            headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or_default())
        };
        let host = host_of(request)?;
        if listener != ListenerKind::Unix && host.is_empty() {
            let detail = "the request has no `host` header: send one with the address of the service, as in `host: 127.0.0.1:8080`";
            return Err(Problem::new(ProblemKind::ForbiddenHost, detail));
        }
        if listener != ListenerKind::Unix && !self.knows(host) {
            let detail = format!(
                "`{}` is not a name of this service: use its address, or start it with --allow-host {}",
                host,
                name_of(host)
            );
            return Err(Problem::new(ProblemKind::ForbiddenHost, detail));
        }
        if let Some(origin) = text(header::ORIGIN)
            && !self.allows(origin)
            && !is_same_origin(origin, host)
        {
            let detail =
                format!("pages of `{origin}` may not call: start the service with --allow-origin {origin}");
            return Err(Problem::new(ProblemKind::ForbiddenOrigin, detail));
        }
        // Browsers send this also when they send no `Origin`. Following a link to a page is harmless.
        let site = headers.get("sec-fetch-site").map(axum::http::HeaderValue::as_bytes);
        let navigates =
            method == Method::GET && headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
        if matches!(site, Some(b"cross-site" | b"same-site")) && !navigates && text(header::ORIGIN).is_none()
        {
            return Err(Problem::new(
                ProblemKind::ForbiddenOrigin,
                "pages of other sites may not call the service",
            ));
        }
        Ok(())
    }

    /// Whether pages of this origin may call.
    pub(super) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// An address cannot be rebound, and `localhost` is never looked up elsewhere (RFC 6761 section 6.3).
    fn knows(&self, host: &str) -> bool {
        let name = name_of(host);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The host that a request names: in its target, or else in `Host` (RFC 9112 section 3.2).
fn host_of(request: &Request) -> Result<&str, Problem> {
    let malformed = |detail: String| Problem::new(ProblemKind::MalformedRequest, detail);
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(malformed("the request has several header fields `host`: send one".to_owned()));
    }
    if field.is_none() && request.version() == Version::HTTP_11 {
        return Err(malformed("the request has no header field `host`: HTTP/1.1 requires one".to_owned()));
    }
    let field = field.map(|value| value.to_str().unwrap_or_default());
    if let Some(field) = field
        && (field.parse::<Authority>().is_err() || field.contains('@'))
    {
        return Err(malformed(format!(
            "`{field}` in the header field `host` is not a host: send HOST or HOST:PORT"
        )));
    }
    let Some(target) = request.uri().authority().map(Authority::as_str) else {
        return Ok(field.unwrap_or_default());
    };
    match field {
        Some(field) if !field.eq_ignore_ascii_case(target) => Err(malformed(format!(
            "the request is for `{target}`, and its header field `host` names `{field}`: send the same host twice"
        ))),
        _ => Ok(target),
    }
}

/// The host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_same_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(origins: &OriginPolicy, method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        origins.allow(&request.body(axum::body::Body::empty()).unwrap(), ListenerKind::Loopback).is_ok()
    }

    #[test]
    fn the_policy_accepts_clients_and_own_pages_only() {
        let origins =
            OriginPolicy { hosts: vec!["rollcall".into()], origins: vec!["https://noc.example".into()] };
        for (headers, expected) in [
            (&[("host", "127.0.0.1:8080")][..], true),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "LOCALHOST:8080")], true),
            (&[("host", "rollcall:8080")], true),
            (&[("host", "evil.example:8080")], false),
            (&[("host", "127.0.0.1.evil.example")], false),
            (&[], false),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], true),
            (&[("host", "localhost:8080"), ("origin", "http://localhost:9090")], false),
            (&[("host", "localhost:8080"), ("origin", "null")], false),
            (&[("host", "localhost:8080"), ("origin", "https://noc.example")], true),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "same-origin")], true),
        ] {
            assert_eq!(admits(&origins, &Method::GET, headers), expected, "{headers:?}");
        }
        let navigation =
            [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert!(admits(&origins, &Method::GET, &navigation));
        assert!(!admits(&origins, &Method::POST, &navigation));
    }
}
