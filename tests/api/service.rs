//! The service itself: its documents, its end.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::program::{Program, Scratch};
use crate::support::server::{TestServer, fresh_group, kept_in, on_lo};

#[tokio::test]
async fn a_signal_stops_the_service_in_order() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start();
        let log = format!("{}/datagrams?wait_ms=60000", program.join(&fresh_group()).await);
        let group = fresh_group();

        let reading = program.get(&log);
        let calling = program.call(&group, json!({"window_ms": 60000}));
        let stopping = async {
            // The long poll has begun once the service shows the later message.
            while program.get("/v1/messages?state=collecting").await.expect(200)["items"] == json!([]) {}
            program.get("/livez").await.expect(200);
            program.signal(signal);
        };
        let (page, message, ()) = tokio::join!(reading, calling, stopping);

        assert_eq!(page.expect(200)["items"], json!([]));
        assert_eq!((&message["close_reason"], &message["responses"]), (&json!("restarted"), &json!([])));
        assert_eq!(program.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn stopping_waits_no_longer_than_the_grace_period() {
    let server = TestServer::start_with(|config| config.grace = Duration::from_millis(50)).await;
    // A client that never sends the body it has announced.
    let mut stuck = TcpStream::connect(server.address()).unwrap();
    let head = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n\
        content-type: application/json\r\ncontent-length: 9\r\n\r\n";
    stuck.write_all(head.as_bytes()).unwrap();
    server.get("/livez").await.expect(200);

    server.stop().await;
}

#[tokio::test]
async fn new_requests_are_refused_during_the_stop() {
    let server = TestServer::start().await;
    let body = on_lo(&fresh_group(), json!({"payload": "x"}));
    server.control().shutdown().await.unwrap();
    let refused = server.post("/v1/messages", body).await;
    refused.problem(503, "stopping", "");
    assert_eq!(refused.header("retry-after"), "1");
    server.get("/livez").await.expect(200);
}

#[tokio::test]
async fn a_stopping_service_allows_reads_and_refuses_changes() {
    let (scratch, group) = (Scratch::new(), fresh_group());
    let kept = async || {
        TestServer::start_with(|config| config.settings.store = Some(kept_in(&scratch.path("data")))).await
    };
    let server = kept().await;
    let membership = server.join(&group).await;
    let responder = server.respond(&group, json!({})).await;
    let message = server.send(&group, json!({"window_ms": 0})).await;
    let log = format!("{membership}/datagrams");
    server.wait_for_datagrams(&log, 1).await;
    while server.get(&responder).await.expect(200)["replies"]["replied"] != 1 {}
    let paths = [&membership, &responder, &message, &log];
    let mut before = Vec::new();
    for path in paths {
        before.push(server.get(path).await.expect(200));
    }

    server.control().shutdown().await.unwrap();

    for (path, before) in paths.into_iter().zip(&before) {
        assert_eq!(&server.get(path).await.expect(200), before, "{path}");
    }
    for path in [&membership, &responder, &message] {
        server.delete(path).await.problem(503, "stopping", "");
    }
    server.post(&format!("{message}/cancel"), json!({})).await.problem(503, "stopping", "");
    // All of it is on disk by now.
    assert_eq!(server.get(&format!("{log}?durable=true")).await.expect(200), before[3]);
    server.stop().await;
    let server = kept().await;
    for (path, before) in paths.into_iter().zip(&before) {
        assert_eq!(&server.get(path).await.expect(200), before, "{path}");
    }
}

#[tokio::test]
async fn the_service_stops_in_order_even_if_no_process_reads_its_log() {
    let mut program = Program::start_unread();
    program.get("/livez").await.expect(200);

    program.signal("TERM");

    assert_eq!(program.ended().await.code(), Some(0));
}
