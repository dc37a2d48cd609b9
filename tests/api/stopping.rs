//! How the service stops while it is at work.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use rollcall::server::Listen;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::program::{Program, Scratch};
use crate::support::raw_connection::{RawConnection, RequestOutcome};
use crate::support::server::{TestServer, fresh_group, fresh_port};

const REQUEST: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// The runtime has one thread: until the test waits for something, the service does nothing.
#[tokio::test]
async fn queued_connections_get_responses_during_the_stop() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let server = TestServer::start_with(|config| config.listen.push(Listen::Unix(path.clone()))).await;
    server.get("/livez").await.expect(200);

    let mut queued = Vec::new();
    for _ in 0..20 {
        let mut tcp = std::net::TcpStream::connect(server.address()).expect("connected");
        tcp.write_all(REQUEST.as_bytes()).expect("sent");
        queued.push(RawConnection::from_tcp(tcp));
        let mut unix = UnixStream::connect(&path).expect("connected");
        unix.write_all(REQUEST.as_bytes()).expect("sent");
        queued.push(RawConnection::from_unix(unix));
    }
    server.begin_to_stop();

    for mut connection in queued {
        assert_eq!(connection.outcome().await, RequestOutcome::Answered { status: 200, last: true });
        assert!(connection.ends().await);
    }
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_keep_alive_connection_ends_after_its_last_response() {
    let server = TestServer::start().await;
    let mut connection = RawConnection::tcp(server.address()).await;
    assert_eq!(connection.exchange(REQUEST).await, RequestOutcome::Answered { status: 200, last: false });

    // Sent, but not yet read by the service, when the stop begins.
    assert!(connection.send(REQUEST.as_bytes()).await);
    server.begin_to_stop();

    assert_eq!(connection.outcome().await, RequestOutcome::Answered { status: 200, last: true });
    assert!(connection.ends().await);
    server.stop().await;
}

/// However long the rest takes, within the grace period.
#[tokio::test]
async fn a_partially_received_request_gets_a_response_during_the_stop() {
    let server = TestServer::start().await;
    let (mut first, mut second) =
        (RawConnection::tcp(server.address()).await, RawConnection::tcp(server.address()).await);
    let mut silent = RawConnection::tcp(server.address()).await;
    for connection in [&mut second, &mut silent] {
        assert_eq!(connection.exchange(REQUEST).await, RequestOutcome::Answered { status: 200, last: false });
    }
    let body = "{\"group\": \"239.1.2.3:10000\", \"payload\": \"x\", \"interfaces\": [\"lo\"]}";
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // In the middle of the first request's body, and of the second request's head.
    assert!(first.send(head.as_bytes()).await);
    let (begun, rest) = REQUEST.split_at(9);
    assert!(second.send(begun.as_bytes()).await);
    server.begin_to_stop();
    // Connections without a request are closed by now.
    assert!(silent.ends().await);

    assert_eq!(second.complete(rest).await, RequestOutcome::Answered { status: 200, last: true });
    assert_eq!(first.complete(body).await, RequestOutcome::Answered { status: 503, last: true });
    assert!(first.ends().await && second.ends().await);
    server.stop().await;
}

/// About a thousand requests a second on keep-alive connections, over TCP and a unix socket, some of them in pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_under_load_loses_no_request_and_ends_every_stream() {
    const GRACE: Duration = Duration::from_secs(5);
    const CONNECTIONS: usize = 8;
    const PACE: Duration = Duration::from_millis(5);
    let tcp = format!("127.0.0.1:{}", fresh_port());
    let mut program = Program::start_with(&["--listen", &tcp, "--grace-ms", "5000"]);
    let log = format!("{}/datagrams", program.join(&fresh_group()).await);
    let follow = async |query: &str| program.request(Method::GET, query).stream().await;
    let mut events = follow(&format!("{log}?format=sse")).await;
    let mut happenings = follow("/v1/events?format=sse").await;
    let mut lines = follow(&format!("{log}?format=ndjson&follow=true")).await;
    let mut capture = follow(&format!("{log}?format=pcapng&follow=true")).await;
    let client = program.clone();
    let poll = tokio::spawn(async move { client.get(&format!("{log}?wait_ms=60000")).await });

    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let connection = if nth % 2 == 0 {
            RawConnection::tcp(tcp.parse().unwrap()).await
        } else {
            RawConnection::unix(program.socket()).await
        };
        let in_pieces = nth % 4 == 1;
        clients.spawn(load.clone().run(connection, PACE, in_pieces));
    }
    load.busy.notified().await;
    program.signal("TERM");
    let reported = Instant::now();

    let outcomes = clients.join_all().await;
    for outcome in &outcomes {
        let proper =
            matches!(outcome, RequestOutcome::Answered { last: true, .. } | RequestOutcome::Untouched);
        assert!(proper, "{outcomes:?}");
    }
    assert_eq!(poll.await.unwrap().expect(200)["items"], json!([]));
    assert_eq!(lines.line().await, Some(json!({"closed": {"reason": "stopping"}})));
    assert_eq!(lines.line().await, None);
    for stream in [&mut events, &mut happenings] {
        let mut last = None;
        while let Some(event) = stream.event().await {
            last = Some(event);
        }
        let last = last.expect("a last event");
        assert_eq!((last.name.as_str(), &last.data), ("closed", &json!({"reason": "stopping"})));
    }
    assert!(capture.rest().await.is_ok_and(|length| length > 0));
    assert_eq!(program.ended().await.code(), Some(0));
    assert!(reported.elapsed() < GRACE, "{:?}", reported.elapsed());
}

/// Clients that send one request after another.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    /// Notified once the service has served the clients for a while.
    busy: Notify,
}

impl Load {
    const BUSY: usize = 600;

    /// Returns the outcome of the last request.
    async fn run(
        self: Arc<Self>,
        mut connection: RawConnection,
        pace: Duration,
        in_pieces: bool,
    ) -> RequestOutcome {
        let body = "{\"group\": \"239.1.2.3:10000\", \"payload\": \"x\", \"interfaces\": [\"lo\"], \"window_ms\": 0}";
        let message = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let requests = [REQUEST, "GET /v1/memberships HTTP/1.1\r\nhost: localhost\r\n\r\n", message.as_str()];
        let mut ticks = tokio::time::interval(pace);
        for request in requests.iter().cycle() {
            ticks.tick().await;
            let outcome = if in_pieces {
                let (begun, rest) = request.split_at(20);
                if !connection.send(begun.as_bytes()).await {
                    return RequestOutcome::Untouched;
                }
                ticks.tick().await;
                connection.complete(rest).await
            } else {
                connection.exchange(request).await
            };
            match outcome {
                RequestOutcome::Answered { status, last: false } => {
                    assert!(status < 300, "{status}");
                    if self.answered.fetch_add(1, Ordering::Relaxed) == Self::BUSY {
                        self.busy.notify_one();
                    }
                }
                RequestOutcome::Answered { last: true, .. } if !connection.ends().await => {
                    return RequestOutcome::Lost("something behind the last answer".to_owned());
                }
                outcome => return outcome,
            }
        }
        unreachable!("it asks until the connection is closed")
    }
}
