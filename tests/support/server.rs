use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rollcall::control::{Control, Settings};
use rollcall::http::{Access, AdminState, Api, OriginPolicy};
use rollcall::model::ReplyBytes;
use rollcall::server::{Config, ConnectionLimits, Listen, Server};
use rollcall::store::{DiskError, Limits, StoreSettings};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Reply};

/// A service of the test's own, on a port of its own.
pub(crate) struct TestServer {
    client: Client,
    address: SocketAddr,
    listening: Vec<Listen>,
    api: Api,
    control: Control,
    stop: CancellationToken,
    running: JoinHandle<Result<(), DiskError>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let server = Server::bind(config).await.expect("the service starts");
        let address = server.tcp_addr().expect("a TCP address");
        let listening = server.listening();
        let client = Client::tcp(address);
        let (api, control) = (server.api().clone(), server.control().clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { client, address, listening, api, control, stop, running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listeners, in the configured order.
    pub(crate) fn listening(&self) -> &[Listen] {
        &self.listening
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// Tells the service to stop, as a signal does.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the service in order and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.expect("the service ends in order").expect("all is on disk");
    }
}

/// Short forms of common requests.
impl Client {
    /// Joins on lo and gives the membership's path.
    pub(crate) async fn join(&self, group: &str) -> String {
        let reply = self.post("/v1/memberships", on_lo(group, json!({}))).await;
        reply.expect(201);
        reply.header("location").to_owned()
    }

    /// Starts a responder on lo and gives its path.
    pub(crate) async fn respond(&self, group: &str, rules: Value) -> String {
        let reply = self.post("/v1/responders", on_lo(group, rules)).await;
        reply.expect(201);
        reply.header("location").to_owned()
    }

    /// Sends by lo and waits until the collecting has ended.
    pub(crate) async fn call(&self, group: &str, options: Value) -> Value {
        let body = on_lo(group, with(json!({"payload": "who is there?"}), options));
        self.post("/v1/messages?wait_ms=60000", body).await.expect(200)
    }

    /// Sends by lo, waits for nothing and gives the message's path.
    pub(crate) async fn send(&self, group: &str, options: Value) -> String {
        let body = on_lo(group, with(json!({"payload": "who is there?"}), options));
        let reply = self.post("/v1/messages", body).await;
        reply.expect(202);
        reply.header("location").to_owned()
    }

    /// Waits until the collecting has ended.
    pub(crate) async fn closed(&self, message: &str) -> Value {
        let reply = self.get(&format!("{message}?wait_ms=60000")).await;
        let message = reply.expect(200);
        assert_eq!(message["state"], "closed", "{message}");
        message
    }

    /// The first so many datagrams of a log, once they are there.
    pub(crate) async fn wait_for_datagrams(&self, log: &str, count: usize) -> Vec<Value> {
        let mut received = Vec::new();
        let mut after = String::new();
        while received.len() < count {
            let page = self.get(&format!("{log}?wait_ms=20000{after}")).await.expect(200);
            let items = page["items"].as_array().expect("items");
            // A gap is reported before any later datagram.
            assert!(!items.is_empty() || page["gap"].is_object(), "{log}: heard only {received:?}");
            received.extend(items.iter().cloned());
            after = format!("&after={}", page["next_cursor"].as_str().expect("a cursor"));
        }
        received
    }
}

impl Reply {
    /// Asserts a problem document in full and gives it; `pointer` is empty where no field is wrong.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str, pointer: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json", "{problem}");
        assert_eq!(problem["type"], format!("urn:rollcall:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        let pointers: Vec<_> =
            problem["errors"].as_array().into_iter().flatten().map(|error| &error["pointer"]).collect();
        let expected: Vec<_> = Some(pointer).filter(|pointer| !pointer.is_empty()).into_iter().collect();
        assert_eq!(pointers, expected, "{problem}");
        problem
    }
}

impl std::ops::Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The default configuration of tests.
pub(crate) fn config() -> Config {
    Config {
        listen: vec![Listen::Tcp(([127, 0, 0, 1], 0).into())],
        allow_anonymous: false,
        access: Access::default(),
        origin_policy: OriginPolicy::default(),
        connection_limits: ConnectionLimits {
            connections: None,
            request_bytes: 64 << 20,
            write_timeout: Duration::from_secs(30),
        },
        socket_mode: 0o660,
        grace: Duration::from_secs(5),
        settings: Settings {
            receive_threads: 2,
            receive_buffer: 1 << 20,
            log_limits: Limits { entries: 1_000_000, bytes: 32 << 20, age: None },
            total_bytes: 1 << 30,
            store: None,
            message_age: std::time::Duration::from_hours(1),
            kept_messages: 10_000,
            max_memberships: 10_000,
            max_responders: 10_000,
            membership_bytes: 256 << 20,
            max_collecting: 10_000,
            message_responders: 10_000,
            responder_table_bytes: 64 << 20,
            replies_per_source: 100,
            replies_total: 10_000,
            reply_bytes: ReplyBytes { factor: 3, per_second: 1_500 },
            delayed_reply_bytes: 64 << 20,
            pattern_bytes: 64 << 20,
            match_time: Duration::from_millis(10),
            longest_repeat: Duration::from_hours(7 * 24),
        },
        admin_state: AdminState::default(),
        otlp_endpoint: None,
    }
}

/// A store in this directory.
pub(crate) fn kept_in(directory: &Path) -> StoreSettings {
    StoreSettings {
        directory: directory.to_owned(),
        flush: Duration::from_millis(20),
        memory_bytes: 64 << 20,
    }
}

/// The body of a request about this group on lo.
pub(crate) fn on_lo(group: &str, options: Value) -> Value {
    with(json!({"group": group, "interfaces": ["lo"]}), options)
}

/// The payloads of datagrams.
pub(crate) fn payloads(datagrams: &[Value]) -> Vec<&str> {
    datagrams.iter().map(|datagram| datagram["payload"].as_str().expect("text")).collect()
}

/// A port below the ephemeral range that no other test uses.
pub(crate) fn fresh_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., c, d] = std::process::id().to_be_bytes();
    12_000 + (u16::from_be_bytes([c, d]) % 2_000) * 10 + nth
}

/// A group that no other test uses, on a port below the ephemeral range.
pub(crate) fn fresh_group() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let [a, b] = nth.to_be_bytes();
    let [_, _, c, d] = std::process::id().to_be_bytes();
    format!("239.{}.{c}.{d}:{}", a.wrapping_add(b).wrapping_add(1), 10_000 + nth % 20_000)
}

fn with(mut body: Value, options: Value) -> Value {
    let (Value::Object(fields), Value::Object(options)) = (&mut body, options) else {
        panic!("objects are merged");
    };
    fields.extend(options);
    body
}
