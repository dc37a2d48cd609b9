//! Many connections, unfinished requests and clients that do not read.

use std::time::{Duration, Instant};

use hyper::Method;
use rollcall::server::Listen;
use rollcall::tokens::Tokens;
use serde_json::json;
use tokio::net::UnixStream;

use crate::support::client::Client;
use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch};
use crate::support::raw_connection::RawConnection;
use crate::support::server::{TestServer, fresh_group, on_lo};
use crate::support::streaming::Streaming;

/// Longer than anything takes that is sure to come.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn idle_connections_do_not_keep_operators_out() {
    let program = Program::start_under(&["prlimit", "--nofile=100:100"]);
    let mut idle = Vec::new();
    for _ in 0..150 {
        idle.push(UnixStream::connect(program.socket()).await.expect("connected"));
    }

    let ready = tokio::time::timeout(Duration::from_secs(5), program.get("/readyz")).await;

    ready.expect("an answer comes").expect(200);
    let metrics = Metrics::of(&program).await;
    assert_eq!(metrics.count("rollcall_http_connections_limit"), 25);
    assert!(metrics.count(r#"rollcall_http_closed_connections_total{cause="head"}"#) > 100);
    assert!(metrics.count("rollcall_http_connections") <= 25 + 4);
}

#[tokio::test]
async fn beyond_the_limit_operators_and_tokens_get_through() {
    const TOKEN: &str = "the-token-of-the-ops";
    let server = TestServer::start_with(|config| {
        config.connection_limits.connections = Some(3);
        config.access.tokens = Some(Tokens::parse(&format!("ops control {TOKEN}")).unwrap());
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..3 {
        busy.push(follow_events(&server).await);
    }

    for _ in 0..5 {
        let refused = server.get("/v1/groups").await;
        refused.problem(503, "overloaded", "");
        assert_eq!(refused.header("retry-after"), "1");
        assert_eq!(refused.header("connection"), "close");
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
        let authorized = server.request(Method::GET, "/v1/groups");
        authorized.header("authorization", &format!("Bearer {TOKEN}")).send().await.expect(200);
    }
    let unknown = server.request(Method::GET, "/v1/groups").header("authorization", "Bearer not-known-here");
    unknown.send().await.problem(503, "overloaded", "");
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.count(r#"rollcall_http_refused_requests_total{limit="connections"}"#), 6);

    drop(busy.pop());
    until_served(&server).await;
}

#[tokio::test]
async fn a_new_connection_closes_the_one_that_waits_longest_for_a_head() {
    let server = TestServer::start_with(|config| config.connection_limits.connections = Some(2)).await;
    let mut idle = RawConnection::tcp(server.address()).await;
    assert!(idle.send(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
    idle.skip_to(b"}\n").await;
    let mut headless = RawConnection::tcp(server.address()).await;
    assert!(headless.send(b"GET /livez HTTP/1.1\r\n").await);
    // The service has read it: it answers whoever comes after.
    server.get("/livez").await.expect(200);

    assert_eq!(headless.rest().await, b"");
    // The idle one was not closed for it.
    assert!(idle.send(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
    idle.skip_to(b"}\n").await;
    // Where no head is awaited, the idle one is the next.
    let _busy = follow_events(&server).await;
    server.get("/livez").await.expect(200);
    assert_eq!(idle.rest().await, b"");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_has_a_second_for_a_small_head() {
    let server = TestServer::start_with(|config| config.connection_limits.connections = Some(1)).await;
    let _busy = follow_events(&server).await;

    let started = Instant::now();
    let mut slow = RawConnection::tcp(server.address()).await;
    assert!(slow.send(b"GET /livez HTTP/1.1\r\n").await);
    assert_eq!(slow.rest().await, b"");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());

    let mut large = RawConnection::tcp(server.address()).await;
    assert!(
        large
            .send(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(9_000)).as_bytes())
            .await
    );
    let answer = String::from_utf8(large.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn unfinished_heads_and_bodies_share_a_budget() {
    let server = TestServer::start_with(|config| config.connection_limits.request_bytes = 20_000).await;
    let body = |length: usize| on_lo(&fresh_group(), json!({"payload": "x".repeat(length), "window_ms": 0}));
    let refused = server.post("/v1/messages", body(30_000)).await;
    refused.problem(503, "overloaded", "");
    assert_eq!(refused.header("retry-after"), "1");
    server.post("/v1/messages", body(3_000)).await.expect(202);

    let mut heads = Vec::new();
    for _ in 0..3 {
        let mut head = RawConnection::tcp(server.address()).await;
        let unfinished = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(8_000));
        assert!(head.send(unfinished.as_bytes()).await);
        heads.push(head);
    }
    // The third has no room before the first one is gone.
    assert_eq!(heads.remove(0).rest().await, b"");
    let metrics = Metrics::of(&server).await;
    let held = metrics.count("rollcall_http_request_bytes");
    assert!((16_000..20_000).contains(&held), "{held}");
    assert!(metrics.count(r#"rollcall_http_refused_requests_total{limit="request_bytes"}"#) >= 2);

    // The others are not touched, and give back their bytes.
    for head in &mut heads {
        assert!(head.send(b"\r\n\r\n").await);
        head.skip_to(b"}\n").await;
    }
    assert_eq!(Metrics::of(&server).await.count("rollcall_http_request_bytes"), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let server = TestServer::start_with(|config| {
        // A unix socket has a buffer of some 200 kB, and TCP one of many megabytes.
        config.listen.push(Listen::Unix(socket.clone()));
        config.connection_limits.write_timeout = Duration::from_millis(200);
    })
    .await;
    let group = fresh_group();
    let log = format!("{}/datagrams", server.join(&group).await);
    let peer = Peer::at("127.0.0.1");
    for _ in 0..12 {
        peer.send(&group, vec![b'x'; 60_000]);
    }
    server.wait_for_datagrams(&log, 12).await;

    for (closed, query) in [(1, "limit=12"), (2, "format=sse"), (3, "format=pcapng&follow=true")] {
        let mut client = RawConnection::unix(&socket).await;
        let request = format!("GET {log}?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert!(client.send(request.as_bytes()).await);
        let started = Instant::now();
        while closed_readers(&server).await < closed {
            assert!(started.elapsed() < LIMIT, "it goes on: {query}");
        }
        let rest = client.rest().await;
        assert!(rest.len() < 500_000, "{query}: {}", rest.len());
    }
}

async fn closed_readers(client: &Client) -> u64 {
    Metrics::of(client).await.count(r#"rollcall_http_closed_connections_total{cause="reader"}"#)
}

/// A connection with a request under way.
async fn follow_events(client: &Client) -> Streaming {
    let stream = client.request(Method::GET, "/v1/events?format=sse").stream().await;
    assert_eq!(stream.status, 200);
    stream
}

/// Waits until a request without a token is served.
async fn until_served(client: &Client) {
    let started = Instant::now();
    while client.get("/v1/groups").await.status != 200 {
        assert!(started.elapsed() < LIMIT, "no room comes");
    }
}
