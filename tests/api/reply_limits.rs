//! A responder is no amplifier, and replies that wait hold bounded memory.

use std::time::Instant;

use rollcall::model::ReplyBytes;
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, on_lo};

/// IPv4 and UDP headers.
const HEADERS: usize = 28;

/// What becomes of a datagram that matches, where there is no other limit.
const HANDLED: &[&str] = &["replied", "limited_bytes"];

#[tokio::test]
async fn a_source_gets_three_times_the_bytes_that_it_sent_and_1500_a_second() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let reply = "r".repeat(1_400);
    let responder = server.respond(&group, json!({"reply": reply})).await;
    let start = Instant::now();

    for _ in 0..80 {
        peer.send(&group, "x");
    }

    assert_eq!(peer.receive().await.0, reply);
    let replies = settled(&server, &responder, HANDLED, 80).await;
    let allowed = 80 * 3 * (1 + HEADERS) + 1_500 * (2 + usize::try_from(start.elapsed().as_secs()).unwrap());
    let replied = usize::try_from(replies["replied"].as_u64().unwrap()).unwrap();
    assert!(replied > 0 && replied * (reply.len() + HEADERS) <= allowed, "{replies}");
    assert_eq!(replied as u64 + replies["limited_bytes"].as_u64().unwrap(), 80, "{replies}");
    let counted = Metrics::of(&server).await.count(r#"rollcall_replies_total{outcome="limited_bytes"}"#);
    assert_eq!(json!(counted), replies["limited_bytes"]);
}

#[tokio::test]
async fn what_a_datagram_leaves_counts_for_the_next() {
    let (server, group, peer) = (TestServer::start().await, fresh_group(), Peer::at("127.0.0.1"));
    let reply = "r".repeat(1_000);
    let responder = server.respond(&group, json!({"reply": reply})).await;
    for _ in 0..60 {
        peer.send(&group, "x".repeat(100));
    }
    let replied = settled(&server, &responder, HANDLED, 60).await["replied"].as_u64().unwrap();
    // Within one second; if it took longer, a part of a reply may be lost, and 1,500 bytes came.
    assert!((21..=26).contains(&replied), "{replied}");
}

#[tokio::test]
async fn usual_replies_pass_the_limit_in_bytes() {
    const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=1800\r\nEXT:\r\nLOCATION: http://192.168.178.20:49000/igddesc.xml\r\nSERVER: lamp UPnP/1.0 AVM FRITZ!Box 7590 154.07.57\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\nUSN: uuid:75802409-bccb-40e7-8e6c-fa095ecce13e::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n";
    let (server, peer) = (TestServer::start().await, Peer::at("127.0.0.1"));
    for (rules, datagram, count) in [
        (json!({"reply": ANSWER, "match": {"prefix": "M-SEARCH "}}), SEARCH, 6),
        (json!({}), "", 50),
        (json!({"reply": {"echo": true}}), "hello", 50),
    ] {
        let group = fresh_group();
        let responder = server.respond(&group, rules).await;
        for _ in 0..count {
            peer.send(&group, datagram);
            peer.receive().await;
        }
        let replies = settled(&server, &responder, HANDLED, count).await;
        assert_eq!((&replies["replied"], &replies["limited_bytes"]), (&json!(count), &json!(0)));
    }
}

#[tokio::test]
async fn the_limit_in_bytes_is_a_setting_and_each_responder_may_have_its_own() {
    let strict = ReplyBytes { factor: 1, per_second: 0 };
    let server = TestServer::start_with(|config| config.settings.reply_bytes = strict).await;
    let peer = Peer::at("127.0.0.1");
    let reply = "r".repeat(5_000);
    for (own, expected) in [
        (Value::Null, "limited_bytes"),
        (json!({"factor": 0, "per_second": 0}), "replied"),
        (json!({"factor": 200, "per_second": 0}), "replied"),
        (json!({"factor": 1, "per_second": 4_999}), "replied"),
        (json!({"factor": 1, "per_second": 4_998}), "limited_bytes"),
    ] {
        let group = fresh_group();
        let responder = server.respond(&group, json!({"reply": reply, "reply_bytes": own})).await;
        peer.send(&group, "x");
        assert_eq!(settled(&server, &responder, HANDLED, 1).await[expected], 1, "{own}");
        let shown = server.get(&responder).await.expect(200);
        assert_eq!(shown.get("reply_bytes").unwrap_or(&Value::Null), &own);
    }
}

#[tokio::test]
async fn delayed_replies_share_their_fixed_payload() {
    // Each responder may use a quarter.
    let server = TestServer::start_with(|config| config.settings.delayed_reply_bytes = 400_000).await;
    let (group, peer) = (fresh_group(), Peer::at("127.0.0.1"));
    let rules = json!({"reply": "r".repeat(60_000), "delay_ms": 60_000, "reply_bytes": {"factor": 0, "per_second": 0}});
    let responder = server.respond(&group, rules).await;

    for _ in 0..80 {
        peer.send(&group, "x");
    }

    let replies = settled(&server, &responder, &["received"], 80).await;
    assert_eq!((&replies["matched"], &replies["limited_delayed"]), (&json!(80), &json!(0)));
    let held = Metrics::of(&server).await.count("rollcall_delayed_reply_bytes");
    assert!((60_000..100_000).contains(&held), "{held}");
}

#[tokio::test]
async fn all_delayed_replies_together_hold_bounded_memory() {
    const MOST: usize = 400_000;
    let server = TestServer::start_with(|config| config.settings.delayed_reply_bytes = MOST).await;
    let peer = Peer::at("127.0.0.1");
    let mut dropped = 0;
    for _ in 0..8 {
        let group = fresh_group();
        let responder = server.respond(&group, json!({"reply": {"echo": true}, "delay_ms": 60_000})).await;
        for _ in 0..3 {
            peer.send(&group, "x".repeat(30_000));
        }
        let replies = settled(&server, &responder, &["received"], 3).await;
        dropped += replies["limited_delayed"].as_u64().unwrap();
        assert_eq!(replies["failed"], 0);
    }
    // 13 of 30 kB fit in.
    assert_eq!(dropped, 8 * 3 - 13);
    let metrics = Metrics::of(&server).await;
    assert!(metrics.count("rollcall_delayed_reply_bytes") <= MOST as u64);
    assert_eq!(metrics.count(r#"rollcall_replies_total{outcome="limited_delayed"}"#), dropped);
}

#[tokio::test]
async fn a_message_is_not_repeated_for_longer_than_a_week() {
    let server = TestServer::start().await;
    let send = async |count: u32, interval_ms: u32| {
        let repeat = json!({"count": count, "interval_ms": interval_ms});
        let body = json!({"payload": "x", "window_ms": 0, "repeat": repeat});
        server.post("/v1/messages", on_lo(&fresh_group(), body)).await
    };
    for count in [1_000_000, 169] {
        let problem = send(count, 3_600_000).await.problem(422, "invalid-request", "/repeat");
        assert!(problem["detail"].as_str().unwrap().contains("604800000 ms"), "{problem}");
    }
    let sent = send(168, 3_600_000).await;
    sent.expect(202);
    server.delete(sent.header("location")).await.expect(204);
}

/// The counts of a responder once some of them have reached a sum.
async fn settled(server: &TestServer, responder: &str, counters: &[&str], sum: u64) -> Value {
    loop {
        let replies = server.get(responder).await.expect(200)["replies"].clone();
        if counters.iter().map(|name| replies[name].as_u64().unwrap()).sum::<u64>() >= sum {
            return replies;
        }
        tokio::task::yield_now().await;
    }
}
