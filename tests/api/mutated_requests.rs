//! Requests with random mistakes: the service answers each with success or with a problem document.

use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use rollcall::server::Listen;
use serde_json::Value;

use super::mistakes::assert_plain;
use crate::support::program::Scratch;
use crate::support::raw_connection::RawConnection;
use crate::support::server::{TestServer, fresh_group};

const REQUESTS: usize = 50_000;
const AT_ONCE: usize = 32;
/// Another seed finds other mistakes; a failure shows its request.
const SEED: u64 = 0x0726_0f1e;

/// The 5xx that clients are told of: the service itself, its host or its network is the cause.
const DOCUMENTED: [&str; 7] =
    ["timeout", "store", "overloaded", "network-failure", "out-of-descriptors", "not-ready", "stopping"];

#[tokio::test]
async fn mutated_requests_get_success_or_a_problem_document() {
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let server = TestServer::start_with(|config| config.listen.push(Listen::Unix(socket.clone()))).await;
    let valid = valid_requests(&fresh_group(), &fresh_group());
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..AT_ONCE {
        let (socket, valid) = (socket.clone(), valid.clone());
        let mut random = Rng::with_seed(SEED + worker as u64);
        workers.spawn(async move {
            let mut answered = 0;
            for _ in 0..REQUESTS.div_ceil(AT_ONCE) {
                answered += usize::from(check(&socket, &mutated(&valid, &mut random)).await);
            }
            answered
        });
    }
    let answered: usize = workers.join_all().await.into_iter().sum();

    // Of the others, the service still awaits the rest.
    assert!(answered > REQUESTS / 2, "{answered}");
    server.get("/livez").await.expect(200);
    assert_eq!(server.get("/readyz").await.expect(200)["checks"][6]["status"], "ok", "nothing has failed");
}

/// Sends one request and checks the answer; false if none comes, because the request is not complete.
async fn check(socket: &Path, request: &[u8]) -> bool {
    /// An answer that takes longer is not checked.
    const A_WHILE: Duration = Duration::from_millis(50);
    let mut connection = RawConnection::unix(socket).await;
    if !connection.send(request).await {
        return false;
    }
    let Ok(Some(head)) = tokio::time::timeout(A_WHILE, connection.head()).await else { return false };
    let shown = || format!("{head}\nanswers\n{}", String::from_utf8_lossy(request));
    let status: u16 =
        head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{}", shown()));
    if status < 400 {
        return true;
    }
    assert!(head.contains("content-type: application/problem+json"), "{}", shown());
    if request.starts_with(b"HEAD ") {
        return true;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.unwrap_or_else(|| panic!("no length: {}", shown())).parse().expect("a number");
    let body = connection.body(length).await;
    let problem: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {}", shown()));
    let kind = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:rollcall:problem:"));
    let kind = kind.unwrap_or_else(|| panic!("no type: {problem}: {}", shown()));
    assert_eq!(problem["status"], status, "{}", shown());
    assert_plain(&without_quoted(problem["detail"].as_str().unwrap_or_default(), request));
    assert!(status < 500 || DOCUMENTED.contains(&kind), "{problem}: {}", shown());
    true
}

/// What the service says in its own words, and not in those of the request.
fn without_quoted(detail: &str, request: &[u8]) -> String {
    let request = String::from_utf8_lossy(request);
    let of_service = |nth: usize, part: &&str| nth.is_multiple_of(2) || !request.contains(*part);
    let parts = detail.split('`').enumerate().filter(|(nth, part)| of_service(*nth, part));
    parts.map(|(_, part)| part).collect::<Vec<_>>().join("`")
}

/// A valid request with up to four mistakes.
fn mutated(valid: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    const INSERTED: [&[u8]; 16] = [
        b"\0",
        b"\r\n",
        b"\r\n\r\n",
        b"\"",
        b"{",
        b"]",
        b"%",
        b"%00",
        b"+1",
        b"-1",
        b"99999999999999999999",
        b"\xff\xfe",
        b"../",
        b"null",
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
    ];
    let mut request = valid[random.usize(..valid.len())].clone();
    for _ in 0..random.usize(1..=4) {
        if request.is_empty() {
            break;
        }
        let at = random.usize(..request.len());
        let end = (at + random.usize(1..=24)).min(request.len());
        match random.u8(..7) {
            0 => request[at] = random.u8(..),
            1 => request[at] ^= 1 << random.u8(..8),
            2 => drop(request.drain(at..end)),
            3 => {
                let again = request[at..end].to_vec();
                drop(request.splice(at..at, again));
            }
            4 => {
                let inserted = INSERTED[random.usize(..INSERTED.len())];
                drop(request.splice(at..at, inserted.iter().copied()));
            }
            5 => {
                let other = &valid[random.usize(..valid.len())];
                let from = random.usize(..other.len());
                drop(request.splice(at.., other[from..].iter().copied()));
            }
            _ => request.truncate(at),
        }
    }
    request
}

/// One request for each kind of route, none of which makes more than one resource.
fn valid_requests(group: &str, other: &str) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let bodies = [
        (
            "PUT",
            "/v1/memberships/m-1".to_owned(),
            format!(
                r#"{{"group":"{group}","interfaces":["lo"],"expires_in_ms":60000,"sources":{{"exclude":["192.0.2.1"]}},"retention":{{"datagrams":10}},"labels":{{"site":"lab"}}}}"#
            ),
        ),
        (
            "PUT",
            "/v1/responders/r-1".to_owned(),
            format!(
                r#"{{"group":"{group}","interfaces":["lo"],"reply":{{"payload":"on"}},"match":{{"prefix":"x"}},"delay_ms":{{"min":1,"max":2}}}}"#
            ),
        ),
        (
            "POST",
            "/v1/messages".to_owned(),
            format!(r#"{{"group":"{other}","interfaces":["lo"],"payload":"x","window_ms":0,"ttl":1}}"#),
        ),
        (
            "PUT",
            "/v1/messages/roll-1".to_owned(),
            format!(r#"{{"group":"{other}","interfaces":["lo"],"payload_base64":"eA==","window_ms":0}}"#),
        ),
        ("PUT", "/v1/log-filter".to_owned(), r#"{"filter":"info"}"#.to_owned()),
        ("POST", "/v1/messages/roll-1/cancel".to_owned(), String::new()),
    ];
    for (method, path, body) in bodies {
        let length = body.len();
        requests.push(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"));
    }
    let raw = format!("/v1/messages?group={other}&interfaces=lo&window_ms=0&ttl=1&labels=site=lab,role=door");
    requests.push(format!("POST {raw} HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    for path in [
        "/v1/memberships?limit=10&state=joined&after=m-0",
        "/v1/messages?limit=10&state=closed",
        "/v1/memberships/m-1/datagrams?limit=10&after=latest&encoding=base64&source=127.0.0.1",
        "/v1/memberships/m-1/datagrams?format=ndjson&since=2026-01-02T03:04:05Z",
        "/v1/memberships/m-1/datagrams/1/payload",
        "/v1/responders/r-1/datagrams?format=sse",
        "/v1/messages/roll-1/responses?format=pcapng",
        "/v1/events?format=json&limit=5&after=latest",
        "/v1/memberships?label=site=lab,role!=test,rack%20in%20(a,b)",
        "/v1/groups",
        "/v1/interfaces",
        "/v1/config",
        "/readyz",
        "/metrics",
        "/docs/",
        "/openapi.json",
    ] {
        let accept = "accept: application/json;q=0.5, text/event-stream, */*;q=0.1";
        requests.push(format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\n{accept}\r\nprefer: wait=0\r\nlast-event-id: 0\r\n\r\n"
        ));
    }
    requests.push("HEAD /v1/memberships/m-1 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned());
    requests.push(
        "DELETE /v1/memberships/m-1 HTTP/1.1\r\nhost: localhost\r\nif-none-match: *\r\n\r\n".to_owned(),
    );
    requests.push(
        "DELETE /v1/memberships?label=site=lab,role%20notin%20(a,b) HTTP/1.1\r\nhost: localhost\r\n\r\n"
            .to_owned(),
    );
    requests.push("OPTIONS /v1/groups HTTP/1.1\r\nhost: localhost\r\norigin: http://localhost\r\naccess-control-request-method: PUT\r\n\r\n".to_owned());
    requests.into_iter().map(String::into_bytes).collect()
}
