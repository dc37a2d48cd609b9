//! Tokens: which requests need one, and what its scope allows.

use hyper::Method;
use rollcall::http::RequireToken;
use rollcall::server::{Config, Listen, Server};
use rollcall::tokens::Tokens;
use serde_json::{Value, json};

use crate::support::client::{Client, Reply};
use crate::support::program::Scratch;
use crate::support::server::{TestServer, config, fresh_group, on_lo};

const READ: &str = "a-token-that-may-read";
const CONTROL: &str = "a-token-that-may-do-all";

#[tokio::test]
async fn every_operation_requires_the_documented_scope() {
    let server = guarded(|_| {}).await;
    let document = serde_json::to_value(rollcall::http::document()).unwrap();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", "nobody");
            let call = |token| with_token(&server, &method, &path, token);
            let security = operation["security"].as_array().unwrap();
            if security.len() == 1 {
                assert!(["/", "/livez", "/readyz"].contains(&path.as_str()), "{method} {path} is open");
                call(None).await.expect(200);
                continue;
            }
            checked += 1;
            let reads = method == Method::GET;
            assert_eq!(
                security[1],
                json!({"token": [if reads { "read" } else { "control" }]}),
                "{method} {path}"
            );

            assert_challenge(&call(None).await, "token-required", r#"Bearer realm="rollcall""#);
            let unknown = r#"Bearer realm="rollcall", error="invalid_token""#;
            assert_challenge(&call(Some("a-token-of-nobody-here")).await, "unknown-token", unknown);
            let reply = call(Some(READ)).await;
            if reads {
                assert_let_in(&reply);
            } else {
                let problem = reply.problem(403, "scope-missing", "");
                assert!(problem["detail"].as_str().unwrap().contains("`dash`"), "{problem}");
                assert!(reply.header("www-authenticate").contains(r#"scope="control""#));
            }
            assert_let_in(&call(Some(CONTROL)).await);
        }
    }
    assert!(checked > 15, "{checked} operations");
    for path in ["/nothing", "/v1", "/v1/messages/", "//livez", "/docs/../v1/messages", "/metrics"] {
        let status = server.get(path).await.status;
        assert!(status == 401 || (path.starts_with("/docs") && status == 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn a_token_authorizes_requests() {
    let server = guarded(|_| {}).await;
    let body = on_lo(&fresh_group(), json!({}));
    let put = server.request(Method::PUT, "/v1/memberships/watched").json(body);
    put.header("authorization", &format!("bEARER  {CONTROL}")).send().await.expect(201);

    let head = with_token(&server, &Method::HEAD, "/v1/memberships/watched", Some(READ)).await;
    assert_eq!(head.status, 200);
    let shown = with_token(&server, &Method::GET, "/v1/memberships/watched", Some(READ)).await;
    assert_eq!(shown.expect(200)["state"], "joined");
    let basic = server.request(Method::GET, "/v1/groups").header("authorization", "Basic ZGFzaDp4");
    basic.send().await.problem(401, "token-required", "");
}

#[tokio::test]
async fn health_and_documentation_need_no_token() {
    let server = guarded(|_| {}).await;
    for path in ["/", "/livez", "/readyz", "/openapi.json", "/openapi.yaml", "/docs", "/docs/viewer.js"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    server.get("/metrics").await.problem(401, "token-required", "");
    let open = guarded(|config| config.access.open_metrics = true).await;
    assert_let_in(&open.get("/metrics").await);
    open.get("/v1/groups").await.problem(401, "token-required", "");
}

#[tokio::test]
async fn the_listener_decides_whether_a_token_is_required() {
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    for (require, local) in [(RequireToken::Remote, 200), (RequireToken::Always, 401)] {
        let server = guarded(|config| {
            config.access.require_token = require;
            config.listen.push(Listen::Tcp(([127, 0, 0, 1], 0).into()));
            config.listen.push(Listen::Unix(socket.clone()));
        });
        let server = server.await;
        // All of them from this host: over the first address, too.
        server.get("/v1/groups").await.problem(401, "token-required", "");
        let [_, Listen::Tcp(loopback), _] = server.listening() else { panic!("three listeners") };
        for client in [Client::tcp(*loopback), Client::unix(&socket)] {
            assert_eq!(client.get("/v1/groups").await.status, local, "{require:?} {client:?}");
            with_token(&client, &Method::GET, "/v1/groups", Some(READ)).await.expect(200);
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn contradictory_settings_are_refused_at_start() {
    let refused = async |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        Server::bind(config).await.err().expect("it is refused").to_string()
    };
    let both = refused(|config| {
        config.access.tokens = Some(tokens());
        config.allow_anonymous = true;
    });
    assert!(both.await.contains("anonymous requests are allowed"));
    let none = refused(|config| config.access.require_token = RequireToken::Always);
    assert!(none.await.contains("there are no tokens"));
}

/// A service that other hosts reach, with both tokens.
async fn guarded(change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start_with(|config| {
        config.listen = vec![Listen::Tcp(([0, 0, 0, 0], 0).into())];
        config.access.tokens = Some(tokens());
        change(config);
    })
    .await
}

fn tokens() -> Tokens {
    Tokens::parse(&format!("dash read {READ}\nops control {CONTROL}")).expect("tokens")
}

async fn with_token(client: &Client, method: &Method, path: &str, token: Option<&str>) -> Reply {
    let mut request = client.request(method.clone(), path);
    if let Some(token) = token {
        request = request.header("authorization", &format!("Bearer {token}"));
    }
    request.send().await
}

#[track_caller]
fn assert_challenge(reply: &Reply, kind: &str, challenge: &str) {
    let problem: Value = reply.problem(401, kind, "");
    assert_eq!(reply.header("www-authenticate"), challenge, "{problem}");
}

#[track_caller]
fn assert_let_in(reply: &Reply) {
    assert!(reply.status != 401 && reply.status != 403, "{reply:?}");
}
