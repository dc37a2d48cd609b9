//! The cost of a request, compared with a bare handler.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::Client;
use crate::peer::{Service, cpu_ns};
use crate::table::{Bound, ROUNDS, Table};

pub(crate) fn rows(table: &mut Table) {
    let message = |window: u64| move |_: usize| json!({"group": "239.7.2.1:7003", "payload": "hello", "interfaces": ["lo"], "window_ms": window});
    requests(
        table,
        "POST /v1/messages, window_ms 0: CPU per request",
        "/v1/messages",
        5_000,
        Bound::AtMost(1.6, 1.2),
        message(0),
    );
    requests(
        table,
        "POST /v1/messages, window_ms 1000: CPU per request",
        "/v1/messages",
        5_000,
        Bound::AtMost(2.5, 1.5),
        message(1_000),
    );
    requests(
        table,
        "10,000 memberships: CPU per join",
        "/v1/memberships",
        10_000,
        Bound::AtMost(2.0, 1.3),
        |nth: usize| json!({"group": format!("239.8.{}.{}:7004", nth / 250, nth % 250), "interfaces": ["lo"]}),
    );
    views(table);
    latency(table);
}

/// The view of a message that has ended, on four keep-alive connections.
fn views(table: &mut Table) {
    let name = "GET /v1/messages/{id}: CPU per request";
    if !table.wants(name) {
        return;
    }
    let body = json!({"group": "239.7.2.1:7003", "payload": "hello", "interfaces": ["lo"], "window_ms": 0});
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let service = Service::start(&[]);
        let message = service.client.post("/v1/messages", &body);
        let path = format!("/v1/messages/{}", message["id"].as_str().expect("an id"));
        let requests = vec![String::new(); 20_000];
        let ours = per_request(service.pid(), &service.client, "GET", &path, &requests);
        drop(service);
        let bare = BareHttp::start();
        pairs.push((ours, per_request(bare.child.id(), &bare.client, "GET", &path, &requests)));
    }
    table.pairs(name, "ns", Bound::AtMost(1.6, 1.2), &pairs);
}

/// The same requests to both, on four keep-alive connections.
fn requests(
    table: &mut Table,
    name: &str,
    path: &str,
    count: usize,
    bound: Bound,
    body: impl Fn(usize) -> serde_json::Value,
) {
    if !table.wants(name) {
        return;
    }
    let bodies: Vec<String> = (0..count).map(|nth| body(nth).to_string()).collect();
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let service = Service::start(&[]);
        let ours = per_request(service.pid(), &service.client, "POST", path, &bodies);
        drop(service);
        let bare = BareHttp::start();
        pairs.push((ours, per_request(bare.child.id(), &bare.client, "POST", path, &bodies)));
    }
    table.pairs(name, "ns", bound, &pairs);
}

pub(crate) fn per_request(
    pid: u32,
    client: &Client,
    method: &'static str,
    path: &str,
    bodies: &[String],
) -> f64 {
    let cpu = cpu_ns(pid);
    std::thread::scope(|scope| {
        for part in bodies.chunks(bodies.len().div_ceil(4)) {
            let mut connection = client.connect().expect("a connection");
            scope.spawn(move || {
                for body in part {
                    let (status, answer) = connection.request(method, path, body);
                    assert!(status < 300, "{}", String::from_utf8_lossy(&answer));
                }
            });
        }
    });
    // The windows, and the cost of closing them, belong to the request.
    if bodies[0].contains("\"window_ms\":1000") {
        std::thread::sleep(Duration::from_millis(3_500));
    }
    (cpu_ns(pid) - cpu) as f64 / bodies.len() as f64
}

pub(crate) struct BareHttp {
    child: Child,
    client: Client,
    pub(crate) socket: PathBuf,
}

impl BareHttp {
    pub(crate) fn start() -> Self {
        let socket = std::env::temp_dir().join(format!("rollcall-bench-bare-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let program = std::env::current_exe().expect("this program");
        let child =
            Command::new(program).arg("--bare-http").arg(&socket).spawn().expect("the bare server starts");
        let client = Client::new(&socket);
        while client.connect().is_err() {
            std::thread::yield_now();
        }
        Self { child, client, socket }
    }
}

impl Drop for BareHttp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// From the request to the datagram, and from a datagram to the long poll's response.
fn latency(table: &mut Table) {
    let out = "latency: HTTP in to datagram out";
    let back = "latency: datagram in to long poll answered";
    if !table.wants(out) && !table.wants(back) {
        return;
    }
    let group = "239.7.2.9:7009".parse().expect("a group");
    let receiver = crate::bare::join(group, false).expect("a socket");
    receiver.set_nonblocking(false).expect("a blocking socket");
    let sender = crate::bare::sender(group).expect("a sender");
    let service = Service::start(&[]);
    let membership =
        service.client.post("/v1/memberships", &json!({"group": "239.7.2.9:7009", "interfaces": ["lo"]}));
    let path = format!("/v1/memberships/{}/datagrams", membership["id"].as_str().expect("an id"));
    let body =
        json!({"group": "239.7.2.9:7009", "payload": "x", "interfaces": ["lo"], "window_ms": 0}).to_string();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
    let (mut outs, mut backs) = (Vec::new(), Vec::new());
    let mut connection = service.client.connect().expect("a connection");
    let mut poller = service.client.connect().expect("a connection");
    let mut cursor: Option<String> = None;
    for _ in 0..200 {
        let begun = Instant::now();
        let through = std::thread::scope(|scope| {
            let requesting = scope.spawn(|| connection.request("POST", "/v1/messages", &body));
            receiver.recv(&mut buffer).expect("a datagram");
            let through = begun.elapsed();
            requesting.join().expect("an answer");
            through
        });
        let begun = Instant::now();
        let bare_path = std::thread::scope(|scope| {
            scope.spawn(|| crate::bare::send(&sender, &[group], b"x", 1, 1));
            receiver.recv(&mut buffer).expect("a datagram");
            begun.elapsed()
        });
        outs.push((through.as_secs_f64() * 1e6, bare_path.as_secs_f64() * 1e6));
        let after = cursor.as_ref().map_or_else(String::new, |cursor| format!("&after={cursor}"));
        let (_, answer) = poller.get(&format!("{path}?limit=1000{after}"));
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let next = answer["next_cursor"].as_str().expect("a cursor").to_owned();
        let waiting = format!("{path}?wait_ms=5000&after={next}");
        let (took, bare_took) = std::thread::scope(|scope| {
            let polling = scope.spawn(|| {
                poller.get(&waiting);
                Instant::now()
            });
            std::thread::sleep(Duration::from_millis(3));
            let begun = Instant::now();
            crate::bare::send(&sender, &[group], b"x", 1, 1);
            receiver.recv(&mut buffer).expect("a datagram");
            let bare_took = begun.elapsed();
            (polling.join().expect("an answer").duration_since(begun), bare_took)
        });
        backs.push((took.as_secs_f64() * 1e6, bare_took.as_secs_f64() * 1e6));
        cursor = Some(next);
    }
    table.pairs(out, "µs", Bound::Report, &outs);
    table.pairs(back, "µs", Bound::Report, &backs);
}
