//! Counts of requests: by route, method and class of status.
//!
//! Every request is counted, so this takes no lock and allocates nothing. The route is known only inside the router,
//! where a layer would cost allocations; so the path is matched again here, by the same rules.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{Method, StatusCode};

use crate::control::{Distribution, Histogram};

/// Counters of requests and their durations.
pub(in crate::http) struct HttpMetrics {
    paths: matchit::Router<usize>,
    /// Indexed by the values of `paths`; the last is for unknown paths.
    routes: Vec<RouteLabel>,
}

struct RouteLabel {
    template: Box<str>,
    methods: [MethodCounters; METHODS.len()],
}

struct MethodCounters {
    /// Counts of responses from 1xx to 5xx.
    by_class: [AtomicU64; CLASSES.len()],
    durations: Histogram,
}

/// The counters that a request belongs to.
#[derive(Clone, Copy)]
pub(in crate::http) struct RequestKey {
    route: usize,
    method: usize,
}

/// The counts of one route and method, which had at least one request.
#[derive(Debug)]
pub(super) struct RouteCounts {
    pub(super) route: String,
    pub(super) method: &'static str,
    /// Counts by class of the status.
    pub(super) responses: [(&'static str, u64); CLASSES.len()],
    /// From the request's head to the response's head, including requested waits.
    pub(super) durations: Distribution,
}

/// All other methods count as the last.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A request to no known path.
const UNMATCHED: &str = "unmatched";
/// Paths that are served but not in the API document, with the template that they count as.
const DOCUMENTS: [(&str, &str); 5] = [
    ("/docs", "/docs"),
    ("/docs/", "/docs"),
    ("/docs/{*file}", "/docs"),
    ("/openapi.json", "/openapi.json"),
    ("/openapi.yaml", "/openapi.yaml"),
];

impl HttpMetrics {
    /// Counts requests on these paths, which are templates like `/v1/messages/{id}`.
    pub(in crate::http) fn on<'a>(templates: impl Iterator<Item = &'a str>) -> Self {
        let (mut paths, mut routes) = (matchit::Router::new(), Vec::<RouteLabel>::new());
        for (path, template) in templates.map(|path| (path, path)).chain(DOCUMENTS) {
            let known = routes.iter().position(|route| *route.template == *template);
            let at = known.unwrap_or_else(|| {
                routes.push(RouteLabel::new(template));
                routes.len() - 1
            });
            paths.insert(path, at).expect("the router takes the same paths");
        }
        routes.push(RouteLabel::new(UNMATCHED));
        Self { paths, routes }
    }

    pub(in crate::http) fn begin_request(&self, request: &Request) -> RequestKey {
        let unmatched = self.routes.len() - 1;
        let method = match *request.method() {
            Method::GET => 0,
            Method::POST => 1,
            Method::PUT => 2,
            Method::DELETE => 3,
            Method::HEAD => 4,
            Method::PATCH => 5,
            Method::OPTIONS => 6,
            _ => METHODS.len() - 1,
        };
        RequestKey {
            route: self.paths.at(request.uri().path()).map_or(unmatched, |matched| *matched.value),
            method,
        }
    }

    /// The counters of what was no request.
    pub(in crate::http) fn unmatched(&self) -> RequestKey {
        RequestKey { route: self.routes.len() - 1, method: METHODS.len() - 1 }
    }

    /// The template of the requested path, if it is known.
    pub(in crate::http) fn route(&self, key: RequestKey) -> Option<&str> {
        (key.route < self.routes.len() - 1).then(|| &*self.routes[key.route].template)
    }

    pub(in crate::http) fn note_response(&self, key: RequestKey, status: StatusCode, duration: Duration) {
        let counters = &self.routes[key.route].methods[key.method];
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len());
        counters.by_class[class - 1].fetch_add(1, Ordering::Relaxed);
        counters.durations.note(duration);
    }

    pub(super) fn report(&self) -> Vec<RouteCounts> {
        let routes = self.routes.iter().flat_map(|route| {
            METHODS.iter().zip(&route.methods).map(|(method, counters)| (&*route.template, *method, counters))
        });
        let all = routes.map(|(route, method, counters)| RouteCounts {
            route: route.to_owned(),
            method,
            durations: counters.durations.distribution(),
            responses: std::array::from_fn(|class| {
                (CLASSES[class], counters.by_class[class].load(Ordering::Relaxed))
            }),
        });
        all.filter(|counts| counts.durations.count > 0).collect()
    }
}

impl Default for HttpMetrics {
    fn default() -> Self {
        Self::on(std::iter::empty())
    }
}

impl RouteLabel {
    fn new(template: &str) -> Self {
        Self { template: template.into(), methods: std::array::from_fn(|_| MethodCounters::new()) }
    }
}

impl MethodCounters {
    fn new() -> Self {
        const fn ms(milliseconds: u64) -> Duration {
            Duration::from_millis(milliseconds)
        }
        /// From the time of a look-up to the longest wait.
        const BOUNDS: [Duration; 13] = [
            Duration::from_micros(50),
            Duration::from_micros(100),
            Duration::from_micros(250),
            ms(1),
            ms(5),
            ms(10),
            ms(50),
            ms(100),
            ms(500),
            ms(1_000),
            ms(5_000),
            ms(10_000),
            ms(60_000),
        ];
        Self { by_class: Default::default(), durations: Histogram::new(&BOUNDS) }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn every_path_of_the_document_counts_as_itself() {
        let document = crate::http::document();
        let templates: Vec<_> = document.paths.paths.keys().cloned().collect();
        let traffic = HttpMetrics::on(templates.iter().map(String::as_str));
        let found = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            &*traffic.routes[traffic.begin_request(&request).route].template
        };
        for template in &templates {
            assert_eq!(found(&template.replace("{id}", "abc")), template);
        }
        for (path, expected) in [
            ("/docs/", "/docs"),
            ("/docs/swagger-ui.css", "/docs"),
            ("/v1/messages/", UNMATCHED),
            ("/favicon.ico", UNMATCHED),
        ] {
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn the_service_counts_responses_by_class_of_status() {
        let traffic = HttpMetrics::on(["/v1/messages"].into_iter());
        let count = |method: Method, status| {
            let request = Request::builder().method(method).uri("/v1/messages?a=b").body(Body::empty());
            traffic.note_response(traffic.begin_request(&request.unwrap()), status, Duration::from_millis(2));
        };
        count(Method::POST, StatusCode::ACCEPTED);
        count(Method::POST, StatusCode::OK);
        count(Method::POST, StatusCode::NOT_FOUND);
        count(Method::TRACE, StatusCode::METHOD_NOT_ALLOWED);
        let report = traffic.report();
        let found: Vec<_> = report
            .iter()
            .map(|counts| (counts.route.as_str(), counts.method, counts.responses.map(|(_, count)| count)))
            .collect();
        assert_eq!(
            found,
            [("/v1/messages", "POST", [0, 2, 0, 1, 0]), ("/v1/messages", "other", [0, 0, 0, 1, 0])]
        );
        assert_eq!(report[0].durations.sum, Duration::from_millis(6));
    }
}
