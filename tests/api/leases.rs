//! Memberships that leave by themselves.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::server::{TestServer, fresh_group, on_lo};

/// Resolves when the membership or responder has left by itself.
async fn left(server: &TestServer, path: &str) {
    let log = format!("{path}/datagrams?wait_ms=60000");
    server.get(&log).await.problem(404, "not-found", "");
}

fn lease(group: &str, expires_in_ms: u64) -> Value {
    on_lo(group, json!({"expires_in_ms": expires_in_ms}))
}

#[tokio::test]
async fn an_expired_lease_leaves_the_group() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for kind in ["/v1/memberships", "/v1/responders"] {
        let reply = server.post(kind, lease(&group, 50)).await;
        assert!(reply.expect(201)["expires_at"].is_string());

        left(&server, reply.header("location")).await;

        server.get(reply.header("location")).await.problem(404, "not-found", "");
    }
    assert_eq!(server.get("/v1/groups").await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn a_renewed_lease_keeps_the_membership() {
    let (server, group) = (TestServer::start().await, fresh_group());
    for (id, renewal) in [("longer", json!({"expires_in_ms": 60000})), ("for-good", json!({}))] {
        let path = format!("/v1/memberships/{id}");
        server.put(&path, lease(&group, 1500)).await.expect(201);
        let renewed = server.put(&path, on_lo(&group, renewal.clone())).await.expect(200);
        assert_eq!(renewed.get("expires_at").is_some(), renewal != json!({}));
    }

    // By then, the first leases of the others have run out.
    server.put("/v1/memberships/clock", lease(&group, 1600)).await.expect(201);
    left(&server, "/v1/memberships/clock").await;

    for id in ["longer", "for-good"] {
        let membership = server.get(&format!("/v1/memberships/{id}")).await.expect(200);
        assert_eq!(membership["state"], "joined");
    }
}

#[tokio::test]
async fn a_lease_can_be_shortened() {
    let (server, group, path) = (TestServer::start().await, fresh_group(), "/v1/memberships/m");
    for before in [json!({"expires_in_ms": 2_592_000_000_u64}), json!({})] {
        server.put(path, on_lo(&group, before)).await.expect(201);
        server.put(path, lease(&group, 50)).await.expect(200);
        left(&server, path).await;
    }
}

#[tokio::test]
async fn a_lengthened_lease_expires_too() {
    let (server, group, path) = (TestServer::start().await, fresh_group(), "/v1/memberships/m");
    server.put(path, lease(&group, 1000)).await.expect(201);
    server.put(path, lease(&group, 1100)).await.expect(200);
    left(&server, path).await;
}

#[tokio::test]
async fn a_late_renewal_joins_again() {
    let (server, group, path) = (TestServer::start().await, fresh_group(), "/v1/memberships/m");
    server.put(path, lease(&group, 20)).await.expect(201);
    left(&server, path).await;

    let reply = server.put(path, lease(&group, 60000)).await;

    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.expect(201)["state"], "joined");
}
