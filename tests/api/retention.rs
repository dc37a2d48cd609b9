//! Retention by age and by size.

use std::time::Duration;

use serde_json::json;

use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, on_lo, payloads};

#[tokio::test]
async fn old_datagrams_are_evicted() {
    let age = Duration::from_millis(300);
    let server = TestServer::start_with(|config| config.settings.log_limits.age = Some(age)).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let log = format!("{membership}/datagrams");
    peer.send(&group, "old");
    server.wait_for_datagrams(&log, 1).await;

    while server.get(&membership).await.expect(200)["counters"]["evicted"] == 0 {}

    peer.send(&group, "new");
    let page = server.get(&format!("{log}?wait_ms=60000")).await.expect(200);
    assert_eq!(page["gap"], json!({"reason": "retention", "missed": 1}));
    if page["items"] == json!([]) {
        let rest = format!("{log}?wait_ms=60000&after={}", page["next_cursor"].as_str().unwrap());
        assert_eq!(payloads(server.get(&rest).await.expect(200)["items"].as_array().unwrap()), ["new"]);
    }
}

#[tokio::test]
async fn old_closed_messages_are_deleted() {
    let age = Duration::from_millis(300);
    let server = TestServer::start_with(|config| config.settings.message_age = age).await;
    let group = fresh_group();
    let collecting = server.send(&group, json!({"window_ms": 60000})).await;
    let closed = server.send(&group, json!({"window_ms": 1, "linger_ms": 0})).await;
    server.closed(&closed).await;

    while server.get(&closed).await.status == 200 {}

    server.get(&closed).await.problem(404, "not-found", "");
    assert_eq!(server.get(&collecting).await.expect(200)["state"], "collecting");
}

#[tokio::test]
async fn no_more_messages_are_kept_than_allowed_even_without_another_one() {
    let server = TestServer::start_with(|config| config.settings.kept_messages = 5).await;
    let group = fresh_group();
    for _ in 0..40 {
        server.send(&group, json!({"window_ms": 300, "linger_ms": 0})).await;
    }

    while server.get("/v1/messages").await.expect(200)["items"].as_array().unwrap().len() > 5 {}
}

#[tokio::test]
async fn the_total_limit_evicts_the_oldest_datagrams_of_all_logs() {
    const TOTAL: usize = 1 << 20;
    let server = TestServer::start_with(|config| config.settings.total_bytes = TOTAL).await;
    let (first, second) = (fresh_group(), fresh_group());
    let (old, new) = (server.join(&first).await, server.join(&second).await);
    let burst = |count: usize| json!({"payload": "x".repeat(1_000), "window_ms": 0, "repeat": {"count": count, "interval_ms": 0}});
    // Less than there is room for, and then as much as there is room for.
    server.closed(&server.send(&first, burst(500)).await).await;
    server.wait_for_datagrams(&format!("{old}/datagrams"), 500).await;
    for _ in 0..4 {
        server.closed(&server.send(&second, burst(250)).await).await;
    }

    while server.get(&old).await.expect(200)["counters"]["evicted"].as_u64().unwrap() < 400 {}

    let counters = server.get(&new).await.expect(200)["counters"].clone();
    assert_eq!((&counters["datagrams"], &counters["dropped_buffers"]), (&json!(1_000), &json!(0)));
    let page = server.get(&format!("{old}/datagrams")).await.expect(200);
    assert_eq!(page["gap"]["reason"], "retention");
}

/// The specification of a message counts, too.
#[tokio::test]
async fn the_total_limit_deletes_old_messages_before_newer_datagrams() {
    const TOTAL: usize = 1 << 20;
    let server = TestServer::start_with(|config| config.settings.total_bytes = TOTAL).await;
    let (unheard, group, peer) = (fresh_group(), fresh_group(), Peer::at("127.0.0.1"));
    let membership = server.join(&group).await;
    let large = json!({"payload": "x".repeat(60_000), "window_ms": 0});
    let mut messages = Vec::new();
    for _ in 0..10 {
        messages.push(server.send(&unheard, large.clone()).await);
    }
    // All fit, and then not any more.
    peer.send(&group, "newer");
    server.wait_for_datagrams(&format!("{membership}/datagrams"), 1).await;
    assert_eq!(server.get(&messages[0]).await.status, 200);
    for _ in 0..10 {
        messages.push(server.send(&unheard, large.clone()).await);
    }

    while server.get(&messages[4]).await.status == 200 {}

    assert_eq!(server.get(messages.last().unwrap()).await.status, 200);
    assert_eq!(server.get(&membership).await.expect(200)["counters"]["evicted"], 0);
}

#[tokio::test]
async fn a_resource_can_lower_the_limits_of_its_log() {
    let server = TestServer::start_with(|config| config.settings.log_limits.entries = 3).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let keep = |retention| on_lo(&group, json!({"retention": retention}));
    let path = "/v1/memberships/m";
    let log = format!("{path}/datagrams");
    let kept = async || {
        let page = server.get(&log).await.expect(200);
        payloads(page["items"].as_array().unwrap()).concat()
    };
    let membership = server.put(path, keep(json!({"datagrams": 2, "bytes": 65_536}))).await.expect(201);
    assert_eq!(membership["retention"], json!({"datagrams": 2, "bytes": 65_536}));
    for payload in ["1", "2", "3"] {
        peer.send(&group, payload);
    }
    server.wait_for_datagrams(&log, 2).await;
    while server.get(path).await.expect(200)["counters"]["datagrams"] != 3 {}
    assert_eq!(kept().await, "23");

    server.put(path, keep(json!({"datagrams": 1}))).await.expect(200);
    assert_eq!(kept().await, "3");

    let more = server.put(path, keep(json!({"datagrams": 1_000}))).await.expect(200);
    assert_eq!(more["retention"], json!({"datagrams": 1_000}));
    for payload in ["4", "5", "6"] {
        peer.send(&group, payload);
    }
    while server.get(path).await.expect(200)["counters"]["datagrams"] != 6 {}
    assert_eq!(kept().await, "456", "never more than the service keeps of any");

    let nothing = server.put(path, keep(json!({"bytes": 1}))).await;
    nothing.problem(422, "invalid-request", "/retention/bytes");
    let array = server.put(path, keep(json!([1, null, null]))).await;
    array.problem(422, "invalid-request", "/retention");
    let responder = server.post("/v1/responders", keep(json!({"age_ms": 60_000}))).await.expect(201);
    assert_eq!(responder["retention"], json!({"age_ms": 60_000}));
    let message = server.call(&group, json!({"window_ms": 1, "retention": {"datagrams": 5}})).await;
    assert_eq!(message["retention"], json!({"datagrams": 5}));
}
