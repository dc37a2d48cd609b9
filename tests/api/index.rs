//! What leads to everything else: the index, the API document and its viewer.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::Reply;
use crate::support::program::run;
use crate::support::server::{TestServer, fresh_group, on_lo};

#[tokio::test]
async fn the_index_leads_to_all_that_there_is() {
    let server = TestServer::start().await;
    let index = server.get("/v1").await.expect(200);
    assert_eq!(index, server.get("/").await.expect(200));
    assert_eq!(index["version"], server.get("/v1/version").await.expect(200)["version"]);
    assert_eq!(index["version"], env!("CARGO_PKG_VERSION"));
    let links = index["links"].as_object().unwrap();
    for path in links.values() {
        assert_eq!(server.get(path.as_str().unwrap()).await.status, 200, "{path}");
    }
    let document = server.get("/openapi.json").await.expect(200);
    for path in document["paths"].as_object().unwrap().keys().filter(|path| !path.contains('{')) {
        let is_index = ["/", "/v1"].contains(&path.as_str());
        assert!(is_index || links.values().any(|link| link == path), "the index lacks {path}");
    }
}

#[tokio::test]
async fn a_browser_is_led_to_the_documentation() {
    let server = TestServer::start().await;
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let led = server.request(Method::GET, "/").header("accept", accept).send().await;
    assert_eq!((led.status.as_u16(), led.header("location"), led.header("vary")), (303, "/docs", "accept"));
    for accept in ["*/*", "application/json", "application/json, text/html;q=0.5", "text/html;q=0, */*"] {
        let index = server.request(Method::GET, "/").header("accept", accept).send().await;
        assert_eq!(index.expect(200)["name"], "rollcall", "{accept}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_changes_nothing() {
    let server = TestServer::start().await;
    let body = on_lo(&fresh_group(), json!({}));
    server.put("/v1/memberships/slashed/", body).await.expect(201);
    assert_eq!(server.get("/v1/memberships/slashed///").await.expect(200)["id"], "slashed");
    let list = server.get("/v1/memberships/?limit=1").await.expect(200);
    assert_eq!(list["items"][0]["id"], "slashed");
    server.delete("/v1/memberships/slashed/").await.expect(204);
    server.get("//v1/memberships/").await.problem(404, "not-found", "");
    for path in ["/livez/", "/docs/"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn json_ends_with_a_newline() {
    let server = TestServer::start().await;
    let log = format!("{}/datagrams", server.join(&fresh_group()).await);
    for path in ["/v1", "/v1/memberships", "/v1/config", "/v1/absent", "/openapi.json", "/livez", &log] {
        let reply = server.get(path).await;
        assert!(reply.header("content-type").contains("json"), "{path}");
        assert_eq!(reply.body.iter().position(|byte| *byte == b'\n'), Some(reply.body.len() - 1), "{path}");
    }
}

#[tokio::test]
async fn the_api_document_is_served_as_json_and_yaml() {
    let server = TestServer::start().await;
    let json = server.get("/openapi.json").await;
    assert_eq!(json.header("content-type"), "application/json");
    let document = json.expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    assert!(document["paths"]["/v1/messages"]["post"].is_object());
    assert_eq!(document["servers"][0]["url"], "/");

    let yaml = server.get("/openapi.yaml").await;
    assert_eq!((yaml.status.as_u16(), yaml.header("content-type")), (200, "application/yaml"));
    let printed = run(&["openapi"]).await;
    assert!(printed.status.success());
    assert_eq!(printed.stdout, yaml.body);
}

#[tokio::test]
async fn the_viewer_loads_nothing_from_other_hosts() {
    let server = TestServer::start().await;
    let page = server.get("/docs").await;
    let html = text(&page);
    assert!(!html.contains("//"), "{html}");
    let mut loaded = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            let (target, _) = rest.split_once('"').unwrap();
            let reply = server.get(target).await;
            assert_eq!(reply.status, 200, "{target}");
            loaded.push((target, reply));
        }
    }
    assert_eq!(loaded.len(), 4);
    loaded.push(("/docs", page));
    for (name, reply) in &loaded {
        let policy = reply.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{name}");
        assert_eq!(
            (reply.header("x-frame-options"), reply.header("x-content-type-options")),
            ("DENY", "nosniff"),
            "{name}"
        );
        let text = text(reply);
        let elsewhere = ["url(http", "url(//", "@import"].into_iter().find(|found| text.contains(found));
        assert_eq!(elsewhere, None, "{name}");
    }
    for path in ["/docs/absent.js", "/docs/swagger-ui-es-bundle.js", "/docs/oauth2-redirect.html"] {
        server.get(path).await.problem(404, "not-found", "");
    }
}

#[tokio::test]
async fn a_client_loads_documents_compressed_and_once() {
    let server = TestServer::start().await;
    for path in ["/docs/swagger-ui-bundle.js", "/openapi.json", "/openapi.yaml"] {
        let plain = server.get(path).await;
        assert_eq!(
            (plain.headers.get("content-encoding"), plain.header("cache-control")),
            (None, "no-cache"),
            "{path}"
        );
        let packed = server.request(Method::GET, path).header("accept-encoding", "gzip").send().await;
        assert_eq!(
            (packed.header("content-encoding"), packed.header("vary")),
            ("gzip", "accept-encoding"),
            "{path}"
        );
        assert!(packed.body.len() < plain.body.len() * 2 / 5, "{path}: {} bytes", packed.body.len());
        assert_eq!(packed.header("etag"), format!("W/{}", plain.header("etag")), "{path}");
        let again = server.request(Method::GET, path).header("if-none-match", packed.header("etag"));
        let again = again.header("accept-encoding", "gzip").send().await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
        for name in ["etag", "vary", "cache-control"] {
            assert_eq!(again.header(name), packed.header(name), "{path}");
        }
        assert_eq!(again.headers.get("content-encoding"), None, "{path}");
    }
}

#[tokio::test]
async fn what_a_client_has_is_told_without_a_length() {
    let server = TestServer::start().await;
    for path in ["/v1", "/v1/log-filter", "/openapi.json", "/docs"] {
        let plain = server.get(path).await;
        for method in [Method::GET, Method::HEAD] {
            let again = server.request(method.clone(), path).header("if-none-match", plain.header("etag"));
            let again = again.send().await;
            assert_eq!(again.status.as_u16(), 304, "{method} {path}");
            assert_eq!(again.headers.get("content-length"), None, "{method} {path}");
            assert_eq!(again.header("etag"), plain.header("etag"), "{method} {path}");
            assert_eq!(again.headers.get("vary"), plain.headers.get("vary"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_client_that_refuses_the_plain_document_gets_it_compressed_or_none() {
    let server = TestServer::start().await;
    for (accepted, status) in [("identity;q=0, gzip", 200), ("identity;q=0", 406), ("*;q=0", 406)] {
        let request = server.request(Method::GET, "/openapi.json").header("accept-encoding", accepted);
        let reply = request.send().await;
        assert_eq!(reply.header("vary"), "accept-encoding", "{accepted}");
        match status {
            200 => assert_eq!((reply.status.as_u16(), reply.header("content-encoding")), (200, "gzip")),
            _ => drop(reply.problem(406, "not-acceptable", "")),
        }
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

/// Views are small, and the same request may have another answer a moment later.
#[tokio::test]
async fn views_are_not_compressed() {
    let server = TestServer::start().await;
    let request = server.request(Method::GET, "/v1/interfaces").header("accept-encoding", "gzip");
    let reply = request.send().await;
    assert_eq!(reply.headers.get("content-encoding"), None);
    assert_ne!(reply.expect(200), Value::Null);
}
