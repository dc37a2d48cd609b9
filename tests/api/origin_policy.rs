//! Requests that the origin policy accepts or refuses, by their host name and their origin.

use hyper::Method;
use rollcall::server::Listen;
use serde_json::json;

use crate::support::client::Client;
use crate::support::program::Scratch;
use crate::support::server::{TestServer, fresh_group};
#[tokio::test]
async fn unknown_host_names_are_refused() {
    let server =
        TestServer::start_with(|config| config.origin_policy.hosts = vec!["rollcall.lan".into()]).await;
    for host in ["127.0.0.1:8080", "[::1]", "localhost", "192.0.2.1:80", "rollcall.lan:8080"] {
        server.request(Method::GET, "/v1/messages").header("host", host).send().await.expect(200);
    }
    for host in ["evil.example", "127.0.0.1.evil.example:8080"] {
        let reply = server.request(Method::GET, "/v1/messages").header("host", host).send().await;
        let problem = reply.problem(403, "forbidden-host", "");
        assert!(problem["detail"].as_str().unwrap().contains("--allow-host"), "{problem}");
    }
}

#[tokio::test]
async fn pages_of_an_allowed_origin_can_use_the_api() {
    let allowed = "https://noc.example";
    let server = TestServer::start_with(|config| config.origin_policy.origins = vec![allowed.into()]).await;
    let preflight = server.request(Method::OPTIONS, "/v1/memberships/m").header("origin", allowed);
    let preflight = preflight.header("access-control-request-method", "PUT");
    let response = preflight.header("access-control-request-headers", "content-type").send().await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), allowed);
    assert!(response.header("access-control-allow-methods").contains("PUT"));
    assert!(response.header("access-control-allow-headers").contains("content-type"));
    for path in ["/v1/groups", "/v1/memberships/none"] {
        let read = server.request(Method::GET, path).header("origin", allowed).send().await;
        assert_eq!(read.header("access-control-allow-origin"), allowed, "{path}");
        assert!(read.header("vary").contains("origin"), "{path}");
    }
    // Other origins get no permission.
    let preflight = server.request(Method::OPTIONS, "/v1/groups").header("origin", "https://evil.example");
    let response = preflight.header("access-control-request-method", "GET").send().await;
    response.problem(403, "forbidden-origin", "");
    assert!(!response.headers.contains_key("access-control-allow-origin"));
    assert!(!server.get("/v1/groups").await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn requests_of_other_origins_are_refused() {
    let allowed = "https://noc.example";
    let server = TestServer::start_with(|config| config.origin_policy.origins = vec![allowed.into()]).await;
    // Requests that a page can send without a preflight: a form, or fetch() in the mode no-cors.
    let path = format!("/v1/messages?group={}&interfaces=lo&window_ms=0", fresh_group());
    let post = |name, value| {
        server.request(Method::POST, &path).header(name, value).body("text/plain", "hello").send()
    };

    for origin in ["https://evil.example", "http://localhost:9090", "null"] {
        post("origin", origin).await.problem(403, "forbidden-origin", "");
    }
    post("sec-fetch-site", "cross-site").await.problem(403, "forbidden-origin", "");
    assert_eq!(server.get("/v1/messages").await.expect(200)["items"], json!([]));

    for origin in [allowed, "http://localhost"] {
        post("origin", origin).await.expect(202);
    }
}

#[tokio::test]
async fn a_cross_site_link_to_the_documentation_works() {
    let server = TestServer::start().await;
    let request = server.request(Method::GET, "/openapi.yaml");
    let request = request.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
    assert_eq!(request.send().await.status, 200);
}

#[tokio::test]
async fn a_unix_socket_accepts_every_host_name() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let _server = TestServer::start_with(|config| config.listen.push(Listen::Unix(path.clone()))).await;
    let local = Client::unix(&path);
    local.request(Method::GET, "/livez").header("host", "any.example").send().await.expect(200);
    let page = local.request(Method::GET, "/livez").header("origin", "https://evil.example");
    page.send().await.problem(403, "forbidden-origin", "");
}
