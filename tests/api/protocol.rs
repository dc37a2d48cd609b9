//! Bytes that are no request of HTTP/1.1, or one that breaks its rules.

use std::net::SocketAddr;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::metrics::Metrics;
use crate::support::peer::Peer;
use crate::support::raw_connection::RawConnection;
use crate::support::server::{TestServer, fresh_group, on_lo};

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn bytes_that_are_no_request_get_a_problem_document() {
    let server = TestServer::start().await;
    let large = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(17_000));
    for (bytes, status, kind) in [
        (&b"GET /livez HTTP/9.9\r\n\r\n"[..], 400, "malformed-request"),
        (b"GET /livez\r\n\r\n", 400, "malformed-request"),
        (b"\x00\x01\x02\r\n\r\n", 400, "malformed-request"),
        (b"GET /livez HTTP/1.1\r\nhost localhost\r\n\r\n", 400, "malformed-request"),
        (b"GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: +1\r\n\r\n", 400, "malformed-request"),
        (large.as_bytes(), 431, "head-too-large"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400, "unsupported-protocol"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 400, "unsupported-protocol"),
    ] {
        let answers = exchange(server.address(), bytes).await;
        let [(head, problem)] = &answers[..] else { panic!("{kind}: {answers:?}") };
        assert_problem(head, problem, status, kind);
        if kind == "unsupported-protocol" {
            assert!(problem["detail"].as_str().unwrap().contains("plain HTTP/1.1"), "{problem}");
        }
    }
    let row = r#"rollcall_http_requests_total{route="unmatched",method="other",status="4xx"}"#;
    assert_eq!(Metrics::of(&server).await.count(row), 8);
}

/// A payload that looks like the parser's answer is not replaced.
#[tokio::test]
async fn an_answer_before_bytes_that_are_no_request_stays_whole() {
    let (server, group) = (TestServer::start().await, fresh_group());
    let membership = server.join(&group).await;
    let lookalike = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    Peer::at("127.0.0.1").send(&group, lookalike.repeat(500));
    server.wait_for_datagrams(&format!("{membership}/datagrams"), 1).await;
    let payload = format!("GET {membership}/datagrams/1/payload HTTP/1.1\r\nhost: localhost\r\n\r\n");

    for bad in ["GET /livez HTTP/9.9\r\n\r\n", "\0\0\r\n\r\n"] {
        let bytes = format!("{payload}{LIVEZ}{payload}{bad}");
        let mut connection = RawConnection::tcp(server.address()).await;
        assert!(connection.send(bytes.as_bytes()).await);
        let text = String::from_utf8(connection.rest().await).unwrap();
        assert_eq!(text.matches(&lookalike.repeat(500)).count(), 2);
        let last = text.rfind("HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json");
        assert!(
            last.is_some_and(|at| text[at..].contains("malformed-request")),
            "{}",
            &text[text.len() - 600..]
        );
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = TestServer::start().await;
    for (request, status, kind) in [
        ("GET /livez HTTP/1.1\r\n\r\n", 400, "malformed-request"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", 400, "malformed-request"),
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n", 400, "malformed-request"),
        ("GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, "malformed-request"),
        ("GET http://localhost/livez HTTP/1.1\r\nhost: evil.example\r\n\r\n", 400, "malformed-request"),
        ("GET http://evil.example/livez HTTP/1.1\r\nhost: evil.example\r\n\r\n", 403, "forbidden-host"),
        ("GET /livez HTTP/1.1\r\nhost:\r\n\r\n", 400, "malformed-request"),
        ("GET /livez HTTP/1.1\r\nhost: a b\r\n\r\n", 400, "malformed-request"),
        ("GET /livez HTTP/1.1\r\nhost: 127.0.0.1:8080/foo\r\n\r\n", 400, "malformed-request"),
    ] {
        let closing = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        let answers = exchange(server.address(), closing.as_bytes()).await;
        let [(head, problem)] = &answers[..] else { panic!("{request}: {answers:?}") };
        assert_problem(head, problem, status, kind);
    }
    for target in ["/livez", "http://localhost/livez"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answers = exchange(server.address(), request.as_bytes()).await;
        assert!(answers[0].0.starts_with("HTTP/1.1 200 "), "{answers:?}");
    }
}

#[tokio::test]
async fn a_malformed_chunk_is_called_so() {
    let server = TestServer::start().await;
    let request = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nnot-hex\r\n";
    let answers = exchange(server.address(), request.as_bytes()).await;
    assert!(answers[0].0.starts_with("HTTP/1.1 400 "), "{answers:?}");
    assert!(
        answers[0].1["detail"].as_str().unwrap().contains("a chunk of the body is malformed"),
        "{answers:?}"
    );
}

#[tokio::test]
async fn an_encoded_body_is_refused() {
    let server = TestServer::start().await;
    let body = on_lo(&fresh_group(), json!({"payload": "x", "window_ms": 0}));
    for path in ["/v1/messages", "/v1/memberships", "/v1/responders"] {
        for encoding in ["gzip", "identity, br"] {
            let request = server.request(Method::POST, path).header("content-encoding", encoding);
            let reply = request.json(body.clone()).send().await;
            let problem = reply.problem(415, "unsupported-content-encoding", "");
            assert!(problem["detail"].as_str().unwrap().contains(encoding), "{problem}");
            assert_eq!(reply.header("accept-encoding"), "identity");
        }
    }
    let plain = server.request(Method::POST, "/v1/messages").header("content-encoding", "identity");
    plain.json(body).send().await.expect(202);
}

/// Sends these bytes, and reads answers to the end of the connection: the head and the JSON of each.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<(String, Value)> {
    let mut connection = RawConnection::tcp(address).await;
    assert!(connection.send(bytes).await);
    let mut rest = String::from_utf8(connection.rest().await).expect("text");
    let mut answers = Vec::new();
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let (body, after) = after.split_at(length.parse().expect("a number"));
        answers.push((head.to_owned(), serde_json::from_str(body).expect("JSON")));
        rest = after.to_owned();
    }
    assert_eq!(rest, "");
    answers
}

#[track_caller]
fn assert_problem(head: &str, problem: &Value, status: u16, kind: &str) {
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.contains("\r\ncontent-type: application/problem+json"), "{head}");
    assert!(head.contains("\r\nconnection: close"), "{head}");
    assert!(head.contains("\r\ndate: "), "{head}");
    assert_eq!(problem["type"], format!("urn:rollcall:problem:{kind}"), "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    let id = problem["request_id"].as_str().expect("an id");
    assert!(head.contains(&format!("\r\nx-request-id: {id}")), "{head}");
}
