//! Metrics move as things happen, and counters never go down.

use std::time::Duration;

use hyper::Method;
use serde_json::json;

use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::server::{TestServer, fresh_group, on_lo};

/// The counts of one exchange between a message, two responders and a membership.
const EXCHANGE: [(&str, u64); 11] = [
    (r#"rollcall_received_datagrams_total{kind="membership"}"#, 1),
    (r#"rollcall_received_datagrams_total{kind="responder"}"#, 2),
    (r#"rollcall_received_datagrams_total{kind="message"}"#, 2),
    (r#"rollcall_received_bytes_total{kind="membership"}"#, 13),
    (r#"rollcall_received_bytes_total{kind="message"}"#, 6),
    (r#"rollcall_replies_total{outcome="replied"}"#, 2),
    (r#"rollcall_messages_total{close_reason="expected"}"#, 1),
    (r#"rollcall_messages_total{close_reason="window"}"#, 0),
    ("rollcall_message_sends_total", 1),
    ("rollcall_response_rtt_seconds_count", 2),
    (r#"rollcall_response_rtt_seconds_bucket{le="+Inf"}"#, 2),
];

#[tokio::test]
async fn the_counts_of_an_exchange_survive_the_deletion_of_its_resources() {
    let server = TestServer::start().await;
    let group = fresh_group();
    let membership = server.join(&group).await;
    let mut all = vec![membership.clone()];
    for address in ["127.0.0.2", "127.0.0.3"] {
        all.push(server.respond(&group, json!({"reply_from": {"address": address}})).await);
    }
    let message = server.call(&group, json!({"expect": 2})).await;
    all.push(format!("/v1/messages/{}", message["id"].as_str().unwrap()));
    server.wait_for_datagrams(&format!("{membership}/datagrams"), 1).await;

    let before = Metrics::of(&server).await;
    for (row, value) in EXCHANGE {
        assert_eq!(before.count(row), value, "{row}");
    }
    let rtt = before.seconds("rollcall_response_rtt_seconds_sum");
    assert!(rtt > 0.0 && rtt < 60.0, "{rtt}");
    assert_eq!(before.count(r#"rollcall_memberships{state="joined"}"#), 1);
    assert_eq!(before.count(r#"rollcall_responders{state="joined"}"#), 2);
    assert_eq!(before.count(r#"rollcall_log_datagrams{kind="message"}"#), 2);
    assert!(before.count(r#"rollcall_log_bytes{kind="responder"}"#) > 26);

    for path in all {
        server.delete(&path).await.expect(204);
    }
    let after = Metrics::of(&server).await;
    for (row, value) in EXCHANGE {
        assert_eq!(after.count(row), value, "{row}");
    }
    for row in [
        r#"rollcall_memberships{state="joined"}"#,
        r#"rollcall_responders{state="joined"}"#,
        r#"rollcall_log_datagrams{kind="message"}"#,
        r#"rollcall_log_bytes{kind="responder"}"#,
    ] {
        assert_eq!(after.count(row), 0, "{row}");
    }
}

#[tokio::test]
async fn messages_are_counted_by_close_reason() {
    let server = TestServer::start().await;
    let group = fresh_group();
    let message = server.send(&group, json!({"window_ms": 60_000})).await;
    assert_eq!(Metrics::of(&server).await.count("rollcall_messages_collecting"), 1);
    server.request(Method::POST, &format!("{message}/cancel")).send().await.expect(200);
    server.call(&group, json!({"window_ms": 1})).await;
    server.call(&group, json!({"window_ms": 60_000, "stall_ms": 1})).await;
    // A refused request is not a message.
    let body = json!({"group": group, "payload": "x", "interfaces": ["nosuch0"]});
    assert_eq!(server.post("/v1/messages", body).await.status, 422);

    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.count("rollcall_messages_collecting"), 0);
    for (reason, count) in
        [("cancelled", 1), ("window", 1), ("stalled", 1), ("expected", 0), ("restarted", 0), ("failed", 0)]
    {
        let row = format!(r#"rollcall_messages_total{{close_reason="{reason}"}}"#);
        assert_eq!(metrics.count(&row), count, "{row}");
    }
    assert_eq!(metrics.count("rollcall_message_sends_total"), 3);
}

#[tokio::test]
async fn rate_limited_replies_are_counted() {
    let server = TestServer::start_with(|config| config.settings.replies_per_source = 1).await;
    let group = fresh_group();
    let responder = server.respond(&group, json!({})).await;
    let peer = Peer::at("127.0.0.1");
    for _ in 0..3 {
        peer.send(&group, "again");
    }
    server.wait_for_datagrams(&format!("{responder}/datagrams"), 3).await;

    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.count(r#"rollcall_replies_total{outcome="replied"}"#), 1);
    assert_eq!(metrics.count(r#"rollcall_replies_total{outcome="limited"}"#), 2);
}

/// The runtime has one thread, so nothing is read while the test sends: the kernel has to drop.
#[tokio::test]
async fn drops_are_counted_by_cause_and_survive_a_change_of_group() {
    const SENT: u64 = 500;
    let server = TestServer::start_with(|config| {
        config.settings.receive_buffer = 4096;
        config.settings.log_limits.entries = 1;
    })
    .await;
    let group = fresh_group();
    let body = on_lo(&group, json!({"exact_drops": true}));
    server.put("/v1/memberships/flooded", body).await.expect(201);
    let peer = Peer::at("127.0.0.1");
    for _ in 0..SENT {
        peer.send(&group, [b'x'; 500]);
    }
    let row = |cause: &str| format!(r#"rollcall_drops_total{{cause="{cause}"}}"#);
    let received = r#"rollcall_received_datagrams_total{kind="membership"}"#;
    let flooded = loop {
        let metrics = Metrics::of(&server).await;
        if metrics.count(received) + metrics.count(&row("kernel")) >= SENT {
            break metrics;
        }
    };
    assert!(flooded.count(&row("kernel")) > 0);
    assert_eq!(flooded.count(&row("retention")), flooded.count(received) - 1);
    assert_eq!(flooded.count(&row("truncated")), 0);

    server.put("/v1/memberships/flooded", on_lo(&fresh_group(), json!({}))).await.expect(200);
    let moved = Metrics::of(&server).await;
    server.delete("/v1/memberships/flooded").await.expect(204);
    let gone = Metrics::of(&server).await;
    for row in [row("kernel"), row("retention"), received.to_owned()] {
        assert_eq!(moved.count(&row), flooded.count(&row), "{row}");
        assert_eq!(gone.count(&row), flooded.count(&row), "{row}");
    }
}

#[tokio::test]
async fn a_membership_on_a_missing_interface_counts_as_pending() {
    let server = TestServer::start().await;
    let body = json!({"group": fresh_group(), "interfaces": ["nosuch0"], "allow_missing": true});
    server.post("/v1/memberships", body).await.expect(201);
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.count(r#"rollcall_memberships{state="pending"}"#), 1);
    assert_eq!(metrics.count(r#"rollcall_memberships{state="joined"}"#), 0);
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_class() {
    let server = TestServer::start().await;
    server.get("/v1/memberships/nobody").await.expect(404);
    server.get("/v1/memberships/nobody-else").await.expect(404);
    server.get("/livez").await.expect(200);
    server.get("/no/such/path").await.expect(404);
    server.request(Method::PATCH, "/v1/messages").send().await.expect(405);
    server.request(Method::GET, "/livez").header("host", "example.com").send().await.expect(403);

    let metrics = Metrics::of(&server).await;
    let count = |labels: &str| metrics.count(&format!("rollcall_http_requests_total{{{labels}}}"));
    assert_eq!(count(r#"route="/v1/memberships/{id}",method="GET",status="4xx""#), 2);
    assert_eq!(count(r#"route="/livez",method="GET",status="2xx""#), 1);
    assert_eq!(count(r#"route="/livez",method="GET",status="4xx""#), 1);
    assert_eq!(count(r#"route="unmatched",method="GET",status="4xx""#), 1);
    assert_eq!(count(r#"route="/v1/messages",method="PATCH",status="4xx""#), 1);
    let duration =
        r#"rollcall_http_request_duration_seconds_count{route="/v1/memberships/{id}",method="GET"}"#;
    assert_eq!(metrics.count(duration), 2);
}

#[tokio::test]
async fn open_streams_are_counted() {
    let server = TestServer::start().await;
    let membership = server.join(&fresh_group()).await;
    let responder = server.respond(&fresh_group(), json!({})).await;
    let message = server.send(&fresh_group(), json!({"window_ms": 60_000})).await;
    let row =
        |kind: &str, format: &str| format!(r#"rollcall_http_streams{{kind="{kind}",format="{format}"}}"#);
    let paths = [
        (format!("{membership}/datagrams?format=sse"), row("membership", "sse")),
        (format!("{membership}/datagrams?format=ndjson&follow=true"), row("membership", "ndjson")),
        (format!("{responder}/datagrams?format=pcapng&follow=true"), row("responder", "pcapng")),
        (format!("{message}/responses?format=sse"), row("message", "sse")),
        ("/v1/events?format=sse".to_owned(), row("event", "sse")),
    ];
    let mut open = Vec::new();
    for (path, _) in paths.iter().chain(&paths[..1]) {
        open.push(server.request(Method::GET, path).stream().await);
    }
    // A response with an end is not a stream.
    server.get(&format!("{membership}/datagrams?format=json")).await.expect(200);
    assert_eq!(server.get(&format!("{membership}/datagrams?format=ndjson")).await.status, 200);

    let all = Metrics::of(&server).await;
    for (nth, (_, row)) in paths.iter().enumerate() {
        assert_eq!(all.count(row), if nth == 0 { 2 } else { 1 }, "{row}");
    }
    assert_eq!(all.count(&row("message", "ndjson")), 0);
    drop(open);
    // The service notices when the connection is closed.
    let gone = async {
        loop {
            let metrics = Metrics::of(&server).await;
            if paths.iter().all(|(_, row)| metrics.count(row) == 0) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("they end");
}

#[tokio::test]
async fn open_metrics_format_is_served_on_request() {
    let server = TestServer::start().await;
    let request = server.request(Method::GET, "/metrics");
    let reply =
        request.header("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").send().await;
    assert_eq!(reply.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(
        text.contains("# TYPE rollcall_message_sends counter\nrollcall_message_sends_total 0\n"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn the_format_of_metrics_is_the_one_that_accept_prefers() {
    const OPEN: &str = "application/openmetrics-text";
    let server = TestServer::start().await;
    for (accept, expected) in [
        ("*/*", Some("text/plain")),
        ("application/openmetrics-text;q=0, text/plain", Some("text/plain")),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", Some("text/plain")),
        ("text/plain;q=0.3, application/openmetrics-text;version=1.0.0;q=0.6, */*;q=0.1", Some(OPEN)),
        ("Application/OpenMetrics-Text", Some(OPEN)),
        ("text/plain;q=0, */*;q=0.1", Some(OPEN)),
        ("text/html", None),
    ] {
        let reply = server.request(Method::GET, "/metrics").header("accept", accept).send().await;
        match expected {
            Some(expected) => assert!(reply.header("content-type").starts_with(expected), "{accept}"),
            None => drop(reply.problem(406, "not-acceptable", "")),
        }
        assert_eq!(reply.header("vary"), "accept", "{accept}");
    }
}

/// Memberships come, hear and go while others look: no count is ever seen to go down, and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_never_go_down_while_resources_end() {
    const ROUNDS: u64 = 150;
    const PER_ROUND: usize = 5;
    /// Looked at first, because ids are in the order of their making: while they are, others end.
    const STANDING: usize = 200;
    let server = TestServer::start().await;
    for _ in 0..STANDING {
        server.join(&fresh_group()).await;
    }
    let row = r#"rollcall_received_datagrams_total{kind="membership"}"#;
    let churning = async {
        let peer = Peer::at("127.0.0.1");
        for _ in 0..ROUNDS {
            let group = fresh_group();
            let membership = server.join(&group).await;
            for _ in 0..PER_ROUND {
                peer.send(&group, "x");
            }
            server.wait_for_datagrams(&format!("{membership}/datagrams"), PER_ROUND).await;
            server.delete(&membership).await.expect(204);
        }
    };
    let watching = async {
        let mut last = 0;
        while last < ROUNDS * PER_ROUND as u64 {
            let now = Metrics::of(&server).await.count(row);
            assert!(now >= last, "{last} and then {now}");
            last = now;
        }
        last
    };
    let ((), seen) = tokio::join!(churning, watching);
    assert_eq!(seen, ROUNDS * PER_ROUND as u64);
    assert_eq!(Metrics::of(&server).await.count(row), seen);
}
