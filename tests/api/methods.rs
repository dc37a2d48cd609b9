//! Every method on every path of the API document, with every kind of condition (RFC 9110 sections 9 and 13).

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::{Client, Reply, Request};
use crate::support::raw_connection::RawConnection;
use crate::support::server::{TestServer, fresh_group, on_lo};

const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

/// A condition, and whether it holds for a resource that exists. `TAG` is the resource's.
const CONDITIONS: [(&str, &str, Holds); 14] = [
    ("", "", Holds::Yes),
    ("if-match", "*", Holds::Yes),
    ("if-match", "TAG", Holds::Yes),
    ("if-match", "\"1-ff\", \"a,b\",, TAG", Holds::Yes),
    ("if-match", "\"1-ff\"", Holds::No),
    ("if-match", "\"x\", W/\"y\"", Holds::No),
    ("if-match", "W/TAG", Holds::No),
    ("if-match", "1-ff", Holds::Malformed),
    ("if-match", "*, TAG", Holds::Malformed),
    ("if-none-match", "*", Holds::No),
    ("if-none-match", "TAG", Holds::No),
    ("if-none-match", "\"x\", W/TAG", Holds::No),
    ("if-none-match", "\"1-ff\", W/\"x\"", Holds::Yes),
    ("if-none-match", "\"x", Holds::Malformed),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Malformed,
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A resource, whose views change all the time: conditions are for changes, and If-Match for reading too.
    Resource,
    /// A change of a resource, such as `/renew`.
    Change,
    /// A text that depends on nothing else.
    Text,
    /// Creates resources, and has no tag of its own.
    List,
    /// Has no tag, and evaluates no condition.
    Untagged,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            "/" | "/v1" | "/v1/version" | "/v1/config" | "/v1/log-filter" | "/openapi.json"
            | "/openapi.yaml" | "/docs" => Self::Text,
            "/v1/messages" | "/v1/memberships" | "/v1/responders" => Self::List,
            path if path.ends_with("/{id}") => Self::Resource,
            path if path.ends_with("/renew") || path.ends_with("/cancel") => Self::Change,
            _ => Self::Untagged,
        }
    }

    /// The status for a request that is answered with `success` if it has no condition.
    fn expected(self, method: &str, (header, value, holds): (&str, &str, Holds), success: u16) -> u16 {
        let reads = ["GET", "HEAD"].contains(&method);
        let is_evaluated = match self {
            Self::Untagged => false,
            Self::List if reads => false,
            // It exists, and has no tag.
            Self::List if method == "DELETE" => {
                return match holds {
                    Holds::Malformed => 400,
                    _ if !header.is_empty() && (value == "*") != (header == "if-match") => 412,
                    _ => success,
                };
            }
            // What it creates does not exist before.
            Self::List => {
                return match holds {
                    Holds::Malformed => 400,
                    _ if header == "if-match" => 412,
                    _ => success,
                };
            }
            Self::Resource => !(reads && header == "if-none-match"),
            Self::Change | Self::Text => true,
        };
        match holds {
            Holds::Malformed if is_evaluated => 400,
            Holds::No if is_evaluated && reads && header == "if-none-match" => 304,
            Holds::No if is_evaluated => 412,
            _ => success,
        }
    }
}

/// The methods of each path, in the API document and beside it.
fn paths() -> Vec<(String, Vec<String>)> {
    let document = serde_json::to_value(rollcall::http::document()).expect("a document");
    let paths = document["paths"].as_object().expect("paths").iter();
    let documented = paths.map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        (path.clone(), methods.map(|method| method.to_uppercase()).collect())
    });
    let others = ["/openapi.json", "/openapi.yaml", "/docs"];
    documented.chain(others.map(|path| (path.to_owned(), vec!["GET".to_owned()]))).collect()
}

/// The status without a condition.
fn success(path: &str, method: &str, methods: &[String]) -> u16 {
    let has = |method: &str| methods.iter().any(|known| known == method);
    match method {
        "OPTIONS" => 204,
        // No datagram has come.
        "GET" | "HEAD" if path.ends_with("/payload") => 404,
        "GET" | "HEAD" if has("GET") => 200,
        "POST" if path == "/v1/messages" => 202,
        "POST" if ["/v1/memberships", "/v1/responders"].contains(&path) => 201,
        "DELETE" if has(method) && path.ends_with("/{id}") => 204,
        "POST" | "PUT" | "PATCH" | "DELETE" if has(method) => 200,
        _ => 405,
    }
}

/// The body that a resource of this path is created and changed with.
fn body(path: &str, method: &str, group: &str) -> Value {
    match path {
        "/v1/log-filter" => json!({"filter": "info"}),
        path if path.ends_with("/renew") => json!({"expires_in_ms": 70_000}),
        path if path.starts_with("/v1/messages") => on_lo(group, json!({"payload": "x", "window_ms": 0})),
        _ if method == "PATCH" => json!({"exact_drops": true}),
        _ => on_lo(group, json!({"expires_in_ms": 60_000})),
    }
}

fn allowed(reply: &Reply) -> Vec<String> {
    let mut allowed: Vec<_> = reply.header("allow").split(',').map(|name| name.trim().to_owned()).collect();
    allowed.sort_unstable();
    allowed
}

/// A request with the body that its path and method have.
fn request<'a>(client: &'a Client, method: &str, path: &str, at: &str, group: &str) -> Request<'a> {
    let request = client.request(method.parse::<Method>().expect("a method"), at);
    if ["POST", "PUT", "PATCH"].contains(&method) && !path.ends_with("/cancel") {
        request.json(body(path, method, group))
    } else {
        request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_and_condition_on_every_path_has_its_status() {
    let (server, group) = (TestServer::start().await, fresh_group());
    server.join(&group).await;
    let mut cases = 0;
    for (path, methods) in paths() {
        let kind = Kind::of(&path);
        for method in METHODS {
            let success = success(&path, method, &methods);
            for (header, value, holds) in CONDITIONS {
                cases += 1;
                // A resource of its own, so that no case changes what another one finds.
                let at = path.replace("{id}", &format!("case-{cases}")).replace("{seq}", "1");
                let at = if kind == Kind::List && method == "DELETE" { at + "?label=none" } else { at };
                let at = at.replace("{group}", &group);
                let mut tag = "\"x\"".to_owned();
                if let Some((list, _)) = path.split_once("/{id}") {
                    let created =
                        server.put(&format!("{list}/case-{cases}"), body(list, "PUT", &group)).await;
                    assert!(created.status.is_success(), "{}", created.json());
                    created.header("etag").clone_into(&mut tag);
                } else if kind == Kind::Text {
                    server.get(&path).await.header("etag").clone_into(&mut tag);
                }
                let what = format!("{method} {at} {header}: {value}");
                let mut request = request(&server, method, &path, &at, &group);
                if !header.is_empty() {
                    request = request.header(header, &value.replace("TAG", &tag));
                }
                let reply = request.send().await;
                let expected = match success {
                    404 | 405 => success,
                    _ if method == "OPTIONS" => success,
                    _ => kind.expected(method, (header, value, holds), success),
                };
                assert_eq!(reply.status.as_u16(), expected, "{what}");
                check(&reply, method, kind, &methods, &what);
            }
        }
    }
    assert!(cases > 1_500, "{cases}");
    server.stop().await;
}

fn check(reply: &Reply, method: &str, kind: Kind, methods: &[String], what: &str) {
    let status = reply.status.as_u16();
    if status == 405 || method == "OPTIONS" {
        let mut expected: Vec<_> = methods.to_vec();
        expected.push("OPTIONS".to_owned());
        if methods.contains(&"GET".to_owned()) {
            expected.push("HEAD".to_owned());
        }
        expected.sort_unstable();
        assert_eq!(allowed(reply), expected, "{what}");
    }
    if method == "HEAD" || [204, 304].contains(&status) {
        assert!(reply.body.is_empty(), "{what}");
    } else if status >= 400 {
        let name = match status {
            400 => "invalid-parameter",
            404 => "not-found",
            405 => "method-not-allowed",
            // If-None-Match: * asks for a resource that does not exist.
            _ if what.ends_with("if-none-match: *") && ![Kind::Text, Kind::List].contains(&kind) => {
                "already-exists"
            }
            _ => "precondition-failed",
        };
        assert_eq!(reply.json()["type"], format!("urn:rollcall:problem:{name}"), "{what}");
    }
    let cached = reply.header("cache-control");
    match kind {
        Kind::Text if method == "GET" && status < 400 => {
            assert_eq!(cached, "no-cache", "{what}");
            assert!(reply.headers.contains_key("etag"), "{what}");
        }
        Kind::Resource | Kind::Change if (200..300).contains(&status) && status != 204 => {
            assert_eq!(cached, "no-store", "{what}");
            assert!(reply.headers.contains_key("etag"), "{what}");
        }
        _ => {}
    }
}

#[tokio::test]
async fn a_put_with_if_match_creates_nothing() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for list in ["/v1/memberships", "/v1/responders", "/v1/messages"] {
        let path = format!("{list}/new");
        for value in ["*", "\"1-ff\""] {
            let put = request(&server, "PUT", list, &path, &group).header("if-match", value).send().await;
            put.problem(412, "precondition-failed", "");
            for method in ["DELETE", "GET"] {
                let reply = request(&server, method, list, &path, &group).header("if-match", value).send();
                reply.await.problem(404, "not-found", "");
            }
        }
        let put =
            request(&server, "PUT", list, &path, &group).header("if-none-match", "\"1-ff\"").send().await;
        assert!(put.status.is_success());
    }
}

#[tokio::test]
async fn head_of_a_stream_ends_at_once() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let membership = server.join(&group).await;
    let message = server.send(&group, json!({"window_ms": 60_000})).await;
    for log in [format!("{membership}/datagrams"), format!("{message}/responses")] {
        for (query, content_type) in [
            ("format=sse", "text/event-stream"),
            ("format=ndjson&follow=true", "application/x-ndjson"),
            ("format=pcapng&follow=true", "application/x-pcapng"),
        ] {
            let head = server.request(Method::HEAD, &format!("{log}?{query}")).send().await;
            assert_eq!((head.status.as_u16(), &*head.body), (200, &b""[..]));
            assert_eq!(head.header("content-type"), content_type);
        }
    }
    let events = server.request(Method::HEAD, "/v1/events").header("accept", "text/event-stream");
    assert_eq!(events.send().await.header("content-type"), "text/event-stream");
    server.stop().await;
}

#[tokio::test]
async fn encoded_bodies_are_refused_wherever_a_body_is_read() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let mut refused = 0;
    for (path, methods) in paths() {
        let reads_body = |method: &&String| ["POST", "PUT", "PATCH"].contains(&method.as_str());
        for method in methods.iter().filter(reads_body).filter(|_| !path.ends_with("/cancel")) {
            refused += 1;
            let at = path.replace("{id}", "m");
            let encoded = request(&server, method, &path, &at, &group).header("content-encoding", "gzip");
            let reply = encoded.send().await;
            reply.problem(415, "unsupported-content-encoding", "");
            assert_eq!(reply.header("accept-encoding"), "identity");
        }
    }
    assert_eq!(refused, 12);
}

#[tokio::test]
async fn no_put_takes_a_part() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for (path, _) in paths().into_iter().filter(|(_, methods)| methods.iter().any(|method| method == "PUT")) {
        let put = request(&server, "PUT", &path, &path.replace("{id}", "part"), &group);
        let reply = put.header("content-range", "bytes 0-9/20").send().await;
        reply.problem(400, "invalid-parameter", "/content-range");
    }
}

#[tokio::test]
async fn a_query_is_refused_where_a_resource_takes_none() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let takes_none = |path: &str| match path {
        "/v1/config" | "/v1/log-filter" => true,
        path if path.ends_with("/datagrams") || path.ends_with("/responses") => false,
        path => path.contains("{id}"),
    };
    let mut cases = 0;
    for (path, methods) in paths() {
        for method in methods.iter().filter(|_| takes_none(&path)) {
            cases += 1;
            let at = path.replace("{id}", "absent").replace("{seq}", "1");
            let at = at.replace("{group}", &group);
            if method == "PATCH" && path.contains("{id}") {
                server.put(&at, body(&path, "PUT", &group)).await.expect(201);
            }
            let reply = request(&server, method, &path, &format!("{at}?colour=red"), &group).send().await;
            assert_eq!(reply.status.as_u16(), 400, "{method} {path}: {}", reply.json());
            reply.problem(400, "invalid-parameter", "/colour");
        }
    }
    assert!(cases >= 20, "{cases}");
}

#[tokio::test]
async fn options_of_the_whole_service_is_answered() {
    let server = TestServer::start().await;
    let mut connection = RawConnection::tcp(server.address()).await;
    connection.send(b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let head = connection.head().await.expect("a response");
    assert!(head.starts_with("HTTP/1.1 204"), "{head}");
    assert!(head.to_lowercase().contains("allow: "), "{head}");
}
