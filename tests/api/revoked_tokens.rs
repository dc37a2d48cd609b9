//! Tokens that are revoked, lose a scope or expire while requests of theirs are under way.

use hyper::Method;
use rollcall::http::RequireToken;
use rollcall::tokens::Tokens;
use serde_json::{Value, json};

use crate::support::client::{Reply, Request};
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch};
use crate::support::server::{TestServer, fresh_group, on_lo};
use crate::support::streaming::Streaming;

const DASH: &str = "dash read the-token-of-the-dash";
const OPS: &str = "ops control the-token-of-the-ops";
const BOSS: &str = "boss control the-token-of-the-boss";

#[tokio::test]
async fn a_revoked_token_ends_its_streams() {
    let server = guarded(&[DASH, BOSS]).await;
    let group = fresh_group();
    let log = joined(&server, &group).await;
    let stream = async |path: String, token| by(server.request(Method::GET, &path), token).stream().await;
    let mut log_events = stream(format!("{log}?format=sse"), DASH).await;
    let mut events = stream("/v1/events?format=sse&after=latest".to_owned(), DASH).await;
    let mut lines = stream(format!("{log}?format=ndjson&follow=true"), DASH).await;
    let mut capture = stream(format!("{log}?format=pcapng&follow=true"), DASH).await;
    let mut of_the_boss = stream(format!("{log}?format=sse"), BOSS).await;

    accept(&server, &[BOSS]);
    Peer::at("127.0.0.1").send(&group, "secret");

    assert_eq!(closed(&mut log_events).await, "unauthorized");
    assert_eq!(closed(&mut events).await, "unauthorized");
    assert_eq!(lines.line().await, Some(json!({"closed": {"reason": "unauthorized"}})));
    assert_eq!(lines.line().await, None);
    let header_blocks_only = 512;
    assert!(capture.rest().await.expect("a proper end") < header_blocks_only);
    assert_eq!(of_the_boss.event().await.expect("a datagram").data["payload"], "secret");
}

#[tokio::test]
async fn a_revoked_token_ends_its_waits() {
    let server = guarded(&[DASH, OPS, BOSS]).await;
    let log = joined(&server, &fresh_group()).await;
    let collecting = by(server.request(Method::POST, "/v1/messages"), BOSS);
    let collecting =
        collecting.json(on_lo(&fresh_group(), json!({"payload": "x", "window_ms": 60_000}))).send().await;
    let message = collecting.header("location").to_owned();
    let seen = async |path: &str, token| by(server.request(Method::GET, path), token).send().await;
    let log_end = seen(&log, BOSS).await.expect(200)["next_cursor"].as_str().unwrap().to_owned();

    let page = format!("{log}?wait_ms=60000&after={log_end}");
    let shown = by(server.request(Method::GET, &format!("{message}?wait_ms=60000")), DASH);
    let sent = by(server.request(Method::POST, "/v1/messages?wait_ms=60000"), OPS);
    let sent = sent.json(on_lo(&fresh_group(), json!({"payload": "y", "window_ms": 60_000})));
    let revoke = async {
        // The message of `sent` is the second one: all requests before it have begun as well.
        loop {
            let list = seen("/v1/messages", BOSS).await.expect(200);
            if list["items"].as_array().is_some_and(|messages| messages.len() == 2) {
                break;
            }
        }
        accept(&server, &[BOSS]);
    };
    let (page, shown, sent, ()) = tokio::join!(seen(&page, DASH), shown.send(), sent.send(), revoke);

    for reply in [page, shown] {
        assert_revoked(&reply, "dash");
    }
    assert_revoked(&sent, "ops");
    // Its message exists and continues.
    assert_eq!(seen(sent.header("location"), BOSS).await.expect(200)["state"], "collecting");
}

#[tokio::test]
async fn a_revoked_token_ends_its_wait_for_events() {
    let server = guarded(&[DASH, BOSS]).await;
    let events = by(server.request(Method::GET, "/v1/events?format=json&wait_ms=60000&after=latest"), DASH);
    let revoke = async {
        // The other connection came before that of the last request.
        for count in 1..=3 {
            let metrics = by(server.request(Method::GET, "/metrics"), BOSS).send().await;
            let metrics = String::from_utf8(metrics.body.to_vec()).expect("text");
            assert!(count < 3 || metrics.contains("rollcall_http_connections 2\n"), "{metrics}");
        }
        accept(&server, &[BOSS]);
    };
    let (events, ()) = tokio::join!(events.send(), revoke);

    assert_revoked(&events, "dash");
}

#[tokio::test]
async fn a_lost_scope_ends_the_waits_that_need_it() {
    let server = guarded(&[OPS, BOSS]).await;
    let group = fresh_group();
    let log = joined(&server, &group).await;
    let mut stream = by(server.request(Method::GET, &format!("{log}?format=sse")), OPS).stream().await;
    let sent = by(server.request(Method::PUT, "/v1/messages/roll-1?wait_ms=60000"), OPS);
    let sent = sent.json(on_lo(&group, json!({"payload": "z", "window_ms": 60_000})));
    let narrow = async {
        let heard = stream.event().await.expect("the message");
        accept(&server, &["ops read the-token-of-the-ops", BOSS]);
        heard
    };
    let (sent, heard) = tokio::join!(sent.send(), narrow);

    assert_eq!(heard.data["payload"], "z");
    sent.problem(403, "scope-missing", "");
    Peer::at("127.0.0.1").send(&group, "still read");
    assert_eq!(stream.event().await.expect("a datagram").data["payload"], "still read");
}

#[tokio::test]
async fn a_token_ends_at_its_time() {
    let server = guarded(&[BOSS]).await;
    let log = joined(&server, &fresh_group()).await;
    // Longer than it takes to begin to wait.
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    accept(&server, &[&format!("{DASH} until={until}"), BOSS]);
    let mut stream = by(server.request(Method::GET, &format!("{log}?format=sse")), DASH).stream().await;
    let page = by(server.request(Method::GET, &format!("{log}?wait_ms=60000")), DASH).send().await;

    let problem = page.problem(401, "token-expired", "");
    assert!(jiff::Timestamp::now() >= until, "{problem}");
    assert_eq!(page.header("www-authenticate"), r#"Bearer realm="rollcall", error="invalid_token""#);
    assert_eq!(closed(&mut stream).await, "unauthorized");
    by(server.request(Method::GET, "/v1/groups"), DASH).send().await.problem(401, "token-expired", "");
}

#[tokio::test]
async fn a_reload_ends_the_streams_of_a_removed_token() {
    let scratch = Scratch::new();
    let file = scratch.path("tokens");
    std::fs::write(&file, format!("{DASH}\n{BOSS} until=2199-01-01T00:00:00Z\n")).unwrap();
    let program =
        Program::start_with(&["--tokens-file", file.to_str().unwrap(), "--require-token", "always"]);
    let mut stream =
        by(program.request(Method::GET, "/v1/events?format=sse&after=latest"), DASH).stream().await;
    assert_eq!(stream.status, 200);

    std::fs::write(&file, format!("{BOSS} until=2199-01-01T00:00:00Z\n")).unwrap();
    program.signal("HUP");

    assert_eq!(closed(&mut stream).await, "unauthorized");
    let end = "2199-01-01T00:00:00Z";
    let boss = json!([{"name": "boss", "scope": "control", "expires_at": end, "until": end}]);
    // The reload goes on after it has replaced the tokens.
    while by(program.request(Method::GET, "/v1/config"), BOSS).send().await.expect(200)["tokens"] != boss {}
}

/// A service on which all clients need one of these tokens.
async fn guarded(lines: &[&str]) -> TestServer {
    TestServer::start_with(|config| {
        config.access.require_token = RequireToken::Always;
        config.access.tokens = Some(tokens(lines));
    })
    .await
}

fn tokens(lines: &[&str]) -> Tokens {
    Tokens::parse(&lines.join("\n")).expect("tokens")
}

/// Accepts only these from now on.
fn accept(server: &TestServer, lines: &[&str]) {
    server.api().replace_tokens(tokens(lines));
}

/// The request with the token of this line.
fn by<'a>(request: Request<'a>, line: &str) -> Request<'a> {
    let token = line.split(' ').nth(2).expect("a token");
    request.header("authorization", &format!("Bearer {token}"))
}

/// The log of a new membership.
async fn joined(server: &TestServer, group: &str) -> String {
    let joined = by(server.request(Method::POST, "/v1/memberships"), BOSS).json(on_lo(group, json!({})));
    let joined = joined.send().await;
    joined.expect(201);
    format!("{}/datagrams", joined.header("location"))
}

async fn closed(stream: &mut Streaming) -> Value {
    let last = stream.event().await.expect("a last event");
    assert_eq!((last.name.as_str(), stream.event().await), ("closed", None));
    last.data["reason"].clone()
}

#[track_caller]
fn assert_revoked(reply: &Reply, name: &str) {
    let problem = reply.problem(401, "unknown-token", "");
    assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}` was revoked")), "{problem}");
}
