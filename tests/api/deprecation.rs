//! Names that clients should no longer use: the service accepts them, and says until when.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::server::{TestServer, fresh_group, on_lo};

#[tokio::test]
async fn a_response_says_that_the_request_used_a_deprecated_name() {
    let server = TestServer::start().await;
    let body = || on_lo(&fresh_group(), json!({"payload": "x", "window_ms": 0}));
    let asked = |method, path: &str| server.request(method, path).header("prefer", "respond-async, wait=5");

    let sent = asked(Method::POST, "/v1/messages").json(body()).send().await;
    assert_eq!(sent.expect(200)["close_reason"], "window");
    assert_eq!(sent.header("preference-applied"), "wait=5");
    let message = sent.header("location").to_owned();
    let shown = asked(Method::GET, &message).send().await;
    assert_eq!(shown.expect(200)["responses"], json!([]));
    let refused = asked(Method::PUT, "/v1/messages/roll-1").json(json!({"payload": "x"})).send().await;
    refused.problem(422, "invalid-request", "/group");
    for reply in [sent, shown, refused] {
        assert_eq!(reply.header("deprecation"), "@1795737600");
        assert_eq!(reply.header("sunset"), "Tue, 30 Nov 2027 23:59:59 GMT");
        assert!(reply.header("link").contains("rel=\"deprecation\""), "{}", reply.header("link"));
    }
}

#[tokio::test]
async fn a_response_to_other_requests_names_nothing_deprecated() {
    let server = TestServer::start().await;
    let group = fresh_group();
    let body = on_lo(&group, json!({"payload": "x", "window_ms": 0}));
    server.put("/v1/messages/roll-1?wait_ms=5000", body).await.expect(200);
    server.put("/v1/memberships/monitor", on_lo(&group, json!({}))).await.expect(201);
    for (path, preference) in [
        ("/v1/messages/roll-1?wait_ms=5000", "respond-async"),
        ("/v1/messages/roll-1", "wait=soon"),
        // There it never had a meaning.
        ("/v1/memberships/monitor", "wait=1"),
        ("/v1/nothing", "wait=1"),
    ] {
        let reply = server.request(Method::GET, path).header("prefer", preference).send().await;
        assert!(
            !reply.headers.contains_key("deprecation") && !reply.headers.contains_key("sunset"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_wait_in_the_query_overrides_the_deprecated_one() {
    let server = TestServer::start().await;
    let body = on_lo(&fresh_group(), json!({"payload": "x", "window_ms": 60_000}));
    let request = server.request(Method::POST, "/v1/messages?wait_ms=0").header("prefer", "wait=60");
    let reply = request.json(body).send().await;
    assert_eq!(reply.expect(202)["state"], "collecting");
    assert!(!reply.headers.contains_key("preference-applied"));
}

/// What is deprecated in the document is accepted for a year at least, and the description says what to do.
#[test]
fn the_document_marks_what_is_deprecated() {
    let document = serde_json::to_value(rollcall::http::document()).expect("a document");
    let operations = document["paths"].as_object().expect("paths").values();
    let operations = operations.flat_map(|item| item.as_object().expect("operations").values());
    let parameters =
        operations.flat_map(|operation| operation["parameters"].as_array().into_iter().flatten());
    let deprecated: Vec<&Value> = parameters.filter(|parameter| parameter["deprecated"] == true).collect();
    assert_eq!(deprecated.len(), 3, "{deprecated:?}");
    for parameter in deprecated {
        let description = parameter["description"].as_str().expect("a description");
        assert!(description.contains("Deprecated: use `wait_ms`"), "{description}");
        assert!(description.ends_with("The service accepts it until 2027-11-30"), "{description}");
    }
}
