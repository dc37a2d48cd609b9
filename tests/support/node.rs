//! The service as users run it: the program itself, on a host of the lab.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::client::Client;
use super::lab::{Host, Process, until};

/// Reached by a unix socket: those do not belong to a network namespace.
pub(crate) struct Node {
    client: Client,
    process: Process,
    _directory: Directory,
}

impl Node {
    /// Starts `rollcall serve` and waits until it is ready.
    pub(crate) async fn start(host: &Host, flags: &[&str]) -> Self {
        let directory = Directory::new();
        let socket = directory.0.join("http");
        let listen = format!("unix:{}", socket.display());
        let args = [&["serve", "--memory", "--listen", &listen], flags].concat();
        let process = host.spawn(env!("CARGO_BIN_EXE_rollcall"), &args);
        block_in_place(|| process.wait_for_line("listening"));
        let client = Client::unix(socket);
        client.get("/readyz").await.expect(200);
        Self { client, process, _directory: directory }
    }

    /// Makes a membership; gives its path.
    pub(crate) async fn join(&self, membership: Value) -> String {
        let reply = self.post("/v1/memberships", membership).await;
        reply.expect(201);
        reply.header("location").to_owned()
    }

    /// Makes a responder; gives its path.
    pub(crate) async fn respond(&self, responder: Value) -> String {
        let reply = self.post("/v1/responders", responder).await;
        reply.expect(201);
        reply.header("location").to_owned()
    }

    /// Sends a message and waits until it collects no longer.
    pub(crate) async fn call(&self, message: Value) -> Value {
        self.post("/v1/messages?wait_ms=60000", message).await.expect(200)
    }

    /// Sends a message and collects nothing.
    pub(crate) async fn say(&self, mut message: Value) -> Value {
        message["window_ms"] = json!(0);
        self.post("/v1/messages", message).await.expect(202)
    }

    /// All datagrams that the membership or responder at `path` has received, once `marker` is among them.
    ///
    /// A socket returns datagrams in the order of their arrival: a datagram that is missing when a later
    /// marker is there has not been received.
    pub(crate) async fn receive_until(&self, path: &str, marker: &str) -> Vec<Value> {
        let (mut received, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}/datagrams?wait_ms=20000{after}")).await.expect(200);
            let items = page["items"].as_array().expect("a list");
            assert!(!items.is_empty(), "{path} does not hear {marker:?}, only {received:?}");
            received.extend_from_slice(items);
            if items.iter().any(|item| item["payload"] == marker) {
                return received;
            }
            after = format!("&after={}", page["next_cursor"].as_str().expect("a cursor"));
        }
    }

    /// The resource at `path`, once it is as awaited. The service has one second from now, plus the time for which
    /// this test itself waited for a processor.
    pub(crate) async fn soon(&self, path: &str, awaited: impl Fn(&Value) -> bool) -> Value {
        const PROMISED: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_millis(5);
        let (start, mut late) = (Instant::now(), Duration::ZERO);
        loop {
            let now = self.get(path).await.expect(200);
            if awaited(&now) {
                return now;
            }
            assert!(start.elapsed() < PROMISED + late, "after a second, {path} is still {now:#}");
            let pause = Instant::now();
            tokio::time::sleep(PAUSE).await;
            late += pause.elapsed().saturating_sub(PAUSE);
        }
    }

    /// The events of the resource at `path`, in order.
    pub(crate) async fn events_of(&self, path: &str) -> Vec<Value> {
        let events = self.get("/v1/events?limit=1000").await.expect(200);
        let mut events = events["items"].as_array().expect("a list").clone();
        events.retain(|event| path.ends_with(event["id"].as_str().expect("an id")));
        events
    }

    /// One of the checks of `/readyz`, whether all is well or not.
    pub(crate) async fn check(&self, name: &str) -> Value {
        let ready = self.get("/readyz").await.json();
        let found = ready["checks"].as_array().into_iter().flatten().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {ready:#}")).clone()
    }

    /// Stops the service with a signal while `act` runs, as if a busy host gave it no processor. The service sees
    /// the result, and reads the kernel's announcements, only afterwards.
    pub(crate) fn while_stopped<T>(&self, act: impl FnOnce() -> T) -> T {
        const SIGCONT: i32 = 18;
        const SIGSTOP: i32 = 19;
        block_in_place(|| {
            self.process.signal(SIGSTOP);
            let status = format!("/proc/{}/status", self.process.pid());
            until("the service has stopped", || {
                std::fs::read_to_string(&status).is_ok_and(|status| status.contains("\nState:\tT"))
            });
            let result = act();
            self.process.signal(SIGCONT);
            result
        })
    }

    /// Asks it to stop, as a service manager does, and waits for its end.
    pub(crate) fn stop(self) -> (ExitStatus, Vec<String>) {
        block_in_place(|| {
            self.process.signal(15);
            self.process.wait()
        })
    }
}

impl Deref for Node {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The payloads of datagrams or responses, in order.
pub(crate) fn payloads(items: &[Value]) -> Vec<&str> {
    texts(items, "payload")
}

/// One field of every item, in order.
pub(crate) fn texts<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap_or_else(|| panic!("no {field} in {item}"))).collect()
}

/// A directory of the node's own, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rollcall-{}-{nth}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory for the socket");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
