//! Traces of requests and messages, as a collector gets them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hyper::Method;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rollcall::server::Config;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::collector::{Collector, Reaction, Seen};
use crate::support::lab::{Lab, spawn_here};
use crate::support::metrics::Metrics;
use crate::support::program::{BINARY, Program, Scratch, run};
use crate::support::raw_connection::{RawConnection, RequestOutcome};
use crate::support::server::{TestServer, fresh_group, on_lo};

const EXPORTED: &str = r#"rollcall_spans_total{outcome="exported"}"#;
const DROPPED: &str = r#"rollcall_spans_total{outcome="dropped"}"#;
/// Spans that wait for the collector at most.
const WAITING: u64 = 2_048;
/// Spans that the service holds at most: those that wait, and a batch that it is sending.
const HELD: u64 = WAITING + 512;

#[tokio::test]
async fn the_collect_span_is_a_child_of_the_request_span() {
    let mut collector = Collector::start().await;
    let server = TestServer::start_with(to(&collector)).await;
    let group = fresh_group();
    for address in ["127.0.0.2", "127.0.0.3"] {
        server.respond(&group, json!({"reply_from": {"address": address}})).await;
    }
    let message = server.call(&group, json!({"expect": 2, "payload": "present?"})).await;
    server.stop().await;

    let request = collector.span("POST /v1/messages").await;
    let collect = collector.span("collect").await;
    assert_eq!(request.span.kind(), SpanKind::Server);
    assert_eq!((&request.span.trace_id, request.span.parent_span_id.len()), (&collect.span.trace_id, 0));
    assert_eq!(collect.span.parent_span_id, request.span.span_id);
    assert!(request.begun() <= collect.begun() && collect.ended() <= request.ended());
    let mut attributes = request.attributes.clone();
    let request_id = attributes.remove("rollcall.request_id").expect("a request id");
    assert!(request_id.as_str().is_some_and(|id| id.len() == 36), "{request_id}");
    assert_eq!(
        Value::from(attributes),
        json!({
            "http.request.method": "POST", "http.route": "/v1/messages", "http.response.status_code": 200,
            "url.scheme": "http", "url.path": "/v1/messages", "url.query": "wait_ms=60000"
        })
    );
    assert_eq!(
        Value::from(collect.attributes),
        json!({
            "rollcall.message.id": message["id"], "rollcall.message.group": group,
            "rollcall.message.payload_bytes": 8, "rollcall.message.responders": 2,
            "rollcall.message.responses": 2, "rollcall.message.close_reason": "expected"
        })
    );
    assert_eq!(collect.resource["service.name"], "rollcall");
    assert_eq!(collect.resource["service.version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_collect_span_outlives_its_request_span() {
    let mut collector = Collector::start().await;
    let server = TestServer::start_with(to(&collector)).await;
    let message = server.send(&fresh_group(), json!({"window_ms": 60_000})).await;
    server.request(Method::POST, &format!("{message}/cancel")).send().await.expect(200);
    server.stop().await;

    let request = collector.span("POST /v1/messages").await;
    let collect = collector.span("collect").await;
    assert_eq!(collect.span.parent_span_id, request.span.span_id);
    assert_eq!(collect.attributes["rollcall.message.close_reason"], "cancelled");
    let cancel = collector.span("POST /v1/messages/{id}/cancel").await;
    assert_eq!(cancel.attributes["url.path"], format!("{message}/cancel"));
    assert!(request.ended() < collect.ended() && cancel.begun() < collect.ended());
    assert_ne!(cancel.span.trace_id, request.span.trace_id);
}

#[tokio::test]
async fn a_refused_message_is_an_error_in_the_trace() {
    let mut collector = Collector::start().await;
    let server = TestServer::start_with(to(&collector)).await;
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = json!({"payload": "x", "source_port": port.local_addr().unwrap().port()});
    let refused = server.post("/v1/messages", on_lo(&fresh_group(), taken)).await;
    let detail = refused.problem(409, "port-in-use", "/source_port")["detail"].clone();
    server.stop().await;

    let collect = collector.span("collect").await;
    let status = collect.span.status.expect("a status");
    assert_eq!((status.code(), Value::from(status.message)), (StatusCode::Error, detail));
    assert!(!collect.attributes.contains_key("rollcall.message.close_reason"), "{:?}", collect.attributes);
}

#[tokio::test]
async fn a_sampled_trace_of_the_caller_is_continued() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let mut collector = Collector::start().await;
    let server = TestServer::start_with(to(&collector)).await;
    let group = fresh_group();
    let post_message = async |traceparent: &str| {
        let request = server.request(Method::POST, "/v1/messages").header("traceparent", traceparent);
        request.json(on_lo(&group, json!({"payload": "x", "window_ms": 0}))).send().await.expect(202);
    };
    post_message(&format!("00-{TRACE}-b7ad6b7169203331-01")).await;
    post_message(&format!("00-{TRACE}-00f067aa0ba902b7-00")).await;
    post_message("00-nonsense-00f067aa0ba902b7-01").await;
    server.stop().await;

    let (continued, own): (Vec<_>, Vec<_>) =
        collector.rest().into_iter().partition(|seen| hex(&seen.span.trace_id) == TRACE);
    let named = |spans: &[Seen]| {
        let mut names: Vec<_> = spans.iter().map(|seen| seen.span.name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(named(&continued), ["POST /v1/messages", "collect"]);
    assert_eq!(named(&own), ["POST /v1/messages", "collect"]);
    let request = continued.iter().find(|seen| seen.span.name != "collect").unwrap();
    assert_eq!(hex(&request.span.parent_span_id), "b7ad6b7169203331");
    assert!(own.iter().any(|seen| seen.span.parent_span_id.is_empty()));
}

#[tokio::test]
async fn all_requests_but_probes_are_traced() {
    let mut collector = Collector::start().await;
    let server = TestServer::start_with(to(&collector)).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.get(path).await.status, 200);
    }
    server.get("/v1/groups?limit=5").await.expect(200);
    server.get("/nothing/here").await.expect(404);
    server.request(Method::from_bytes(b"BREW").unwrap(), "/v1/groups").send().await.expect(405);
    server.stop().await;

    let spans = collector.rest();
    let names: Vec<_> = spans.iter().map(|seen| seen.span.name.as_str()).collect();
    assert_eq!(names, ["GET /v1/groups", "GET", "HTTP /v1/groups"]);
    assert_eq!(spans[0].attributes["url.query"], "limit=5");
    assert_eq!(spans[1].attributes["http.response.status_code"], 404);
    assert!(!spans[1].attributes.contains_key("http.route"), "{:?}", spans[1].attributes);
    let brew = &spans[2].attributes;
    assert_eq!(
        (&brew["http.request.method"], &brew["http.request.method_original"]),
        (&json!("_OTHER"), &json!("BREW"))
    );
    // A client's error is not an error of the service.
    assert!(
        spans.iter().all(|seen| seen
            .span
            .status
            .as_ref()
            .is_some_and(|status| status.code() == StatusCode::Unset))
    );
}

#[tokio::test]
async fn a_stream_is_traced_until_its_body_ends() {
    let mut collector = Collector::start().await;
    let server = TestServer::start_with(to(&collector)).await;
    let membership = server.join(&fresh_group()).await;
    let log = format!("{membership}/datagrams?format=sse");
    let mut stream = server.request(Method::GET, &log).stream().await;
    server.delete(&membership).await.expect(204);
    while stream.event().await.is_some() {}
    server.stop().await;

    let stream = collector.span("GET /v1/memberships/{id}/datagrams").await;
    let delete = collector.span("DELETE /v1/memberships/{id}").await;
    assert!(stream.begun() < delete.begun() && delete.begun() < stream.ended());
}

#[tokio::test]
async fn a_failed_request_is_an_error_in_the_trace_and_its_log_line_has_the_trace_id() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut collector = Collector::start().await;
    let scratch = Scratch::new();
    let socket = scratch.path("socket");
    let serve = format!(
        "exec prlimit --nofile=48:48 setpriv --pdeathsig KILL {BINARY} serve --memory --listen unix:{} --otlp-endpoint {}",
        socket.display(),
        collector.url()
    );
    let process = spawn_here("sh", &["-c", &serve]);
    process.wait_for_line("listening");
    let client = Client::unix(socket);
    let failed = loop {
        let request = client.request(Method::POST, "/v1/memberships");
        let request = request.header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
        let reply = request.json(on_lo(&fresh_group(), json!({}))).send().await;
        if reply.status != 201 {
            break reply;
        }
    };
    let id = failed.problem(503, "out-of-descriptors", "")["request_id"].clone();
    let logged: Value = serde_json::from_str(&process.wait_for_line(id.as_str().unwrap())).unwrap();
    assert_eq!((&logged["message"], &logged["trace_id"]), (&json!("request failed"), &json!(TRACE)));

    loop {
        let seen = collector.span("POST /v1/memberships").await;
        if seen.attributes["rollcall.request_id"] != id {
            assert_eq!(seen.attributes["http.response.status_code"], 201);
            continue;
        }
        assert_eq!(hex(&seen.span.trace_id), TRACE);
        assert_eq!(seen.attributes["error.type"], "503");
        assert_eq!(seen.span.status.expect("a status").code(), StatusCode::Error);
        break;
    }
}

#[tokio::test]
async fn a_hanging_collector_slows_no_request_and_dropped_spans_are_counted() {
    // However often the service gives up waiting meanwhile.
    let mut collector = Collector::start_with([Reaction::Hang; 100]).await;
    let server = TestServer::start_with(to(&collector)).await;
    server.get("/v1/groups").await.expect(200);
    assert_eq!(collector.batch().await.len(), 1);
    send_requests(&server, HELD + 100).await;
    // One is on its way, and the queue is full.
    let dropped = Metrics::of(&server).await.count(DROPPED);
    assert_eq!(dropped, HELD + 100 - WAITING);
    assert_eq!(Metrics::of(&server).await.count(EXPORTED), 0);
}

#[tokio::test]
async fn an_unreachable_collector_breaks_no_request() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let server = TestServer::start_with(|config| config.otlp_endpoint = endpoint.parse().ok()).await;
    send_requests(&server, HELD + 100).await;
    let dropped = Metrics::of(&server).await.count(DROPPED);
    assert!(dropped >= 100, "{dropped}");
    let stopping = Instant::now();
    server.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(4), "{:?}", stopping.elapsed());
}

#[tokio::test]
async fn refused_spans_are_retried_or_counted_as_dropped() {
    let reactions = [Reaction::Refuse(503), Reaction::Take, Reaction::Refuse(400), Reaction::Reject(1)];
    let mut collector = Collector::start_with(reactions).await;
    let server = TestServer::start_with(to(&collector)).await;
    let counts = async || {
        let metrics = Metrics::of(&server).await;
        (metrics.count(EXPORTED), metrics.count(DROPPED))
    };
    server.get("/v1/groups").await.expect(200);
    let (first, again) = (collector.batch().await, collector.batch().await);
    assert_eq!(first[0].span, again[0].span);

    server.get("/v1/groups").await.expect(200);
    assert_eq!(collector.batch().await.len(), 1);
    while counts().await != (1, 1) {}

    send_requests(&server, 3).await;
    let mut sent = 0;
    while sent < 3 {
        sent += collector.batch().await.len();
    }
    while counts().await != (3, 2) {}
    server.stop().await;
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_service_ends() {
    let mut collector = Collector::start().await;
    let url = collector.url();
    let wrapper =
        ["env", "OTEL_SERVICE_NAME=roll", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test"];
    let mut program = Program::start_as(&wrapper, &["--otlp-endpoint", &url]);
    let message = program.send(&fresh_group(), json!({"window_ms": 60_000})).await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));

    let spans = collector.rest();
    let collect = spans.iter().find(|seen| seen.span.name == "collect").expect("a span");
    assert_eq!(collect.attributes["rollcall.message.close_reason"], "restarted");
    assert!(message.ends_with(collect.attributes["rollcall.message.id"].as_str().unwrap()));
    assert!(spans.iter().any(|seen| seen.span.name == "POST /v1/messages"));
    assert_eq!(collect.resource["service.name"], "roll");
    assert_eq!(collect.resource["deployment.environment.name"], "test");
}

#[tokio::test]
async fn the_service_does_not_wait_for_the_collector_beyond_the_grace_period() {
    let mut collector = Collector::start_with([Reaction::Hang]).await;
    let grace = Duration::from_millis(300);
    let server = TestServer::start_with(|config| {
        to(&collector)(config);
        config.grace = grace;
    })
    .await;
    server.get("/v1/groups").await.expect(200);
    assert_eq!(collector.batch().await.len(), 1);
    let stopping = Instant::now();
    server.stop().await;
    // With some tolerance for a busy machine; the collector would have 10 s for a batch.
    assert!((grace..grace * 10).contains(&stopping.elapsed()), "{:?}", stopping.elapsed());
}

/// getaddrinfo(3) waits 5 s for a response, and then sends another query.
#[tokio::test]
async fn silent_name_servers_do_not_delay_the_end_of_the_service() {
    const SILENT: &str = "import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 53))
print('bound', flush=True)
while server.recv(512):
    print('asked', flush=True)";
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host_off();
    let silent = host.spawn("python3", &["-c", SILENT]);
    silent.wait_for_line("bound");
    let scratch = Scratch::new();
    let (socket, resolv) = (scratch.path("socket"), scratch.path("resolv.conf"));
    std::fs::write(&resolv, "nameserver 127.0.0.1\n").expect("a file");
    let serve = format!(
        "mount --bind {} /etc/resolv.conf && exec {BINARY} serve --memory --listen unix:{} --grace-ms 100 \
         --otlp-endpoint http://collector.example:4318",
        resolv.display(),
        socket.display()
    );
    let process = host.spawn("unshare", &["-m", "sh", "-c", &serve]);
    process.wait_for_line("listening");
    Client::unix(socket).get("/v1/groups").await.expect(200);
    silent.wait_for_line("asked");

    let stopping = Instant::now();
    process.signal(15);
    let (ended, lines) = process.wait();
    assert_eq!(ended.code(), Some(0), "{lines:?}");
    assert!(stopping.elapsed() < Duration::from_secs(4), "{:?}", stopping.elapsed());
    assert!(
        lines.iter().any(|line| line.contains("before the collector has accepted all spans")),
        "{lines:?}"
    );
}

/// The standard variables of OpenTelemetry do not switch traces on.
#[tokio::test]
async fn without_the_setting_nothing_is_traced() {
    let mut collector = Collector::start().await;
    let standard = format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.url());
    let mut program = Program::start_as(&["env", &standard, "OTEL_TRACES_SAMPLER=always_on"], &[]);
    let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    program.request(Method::GET, "/v1/groups").header("traceparent", sampled).send().await.expect(200);
    program.send(&fresh_group(), json!({"window_ms": 0})).await;
    let metrics = Metrics::of(program.client()).await;
    assert!(!metrics.text.contains("rollcall_spans_total{"), "{}", metrics.text);
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(0));
    assert!(collector.rest().is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_not_plain_http_is_refused() {
    let checked = run(&["check-config", "--otlp-endpoint", "https://collector:4318"]).await;
    assert_eq!(checked.status.code(), Some(1));
    let output = String::from_utf8_lossy(&checked.stderr);
    assert!(output.contains("over plain http only"), "{output}");
}

fn to(collector: &Collector) -> impl FnOnce(&mut Config) + use<> {
    let endpoint = collector.endpoint();
    |config| config.otlp_endpoint = Some(endpoint)
}

/// Sends this many requests on one connection; each gets a response.
async fn send_requests(server: &TestServer, times: u64) {
    let mut connection = RawConnection::tcp(server.address()).await;
    for _ in 0..times {
        let outcome = connection.exchange("GET /v1/groups HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(outcome, RequestOutcome::Answered { status: 200, last: false });
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Seen {
    fn begun(&self) -> u64 {
        self.span.start_time_unix_nano
    }

    fn ended(&self) -> u64 {
        self.span.end_time_unix_nano
    }
}
