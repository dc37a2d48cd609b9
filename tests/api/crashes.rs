//! `kill -9` at random moments, again and again, while datagrams arrive and clients are busy.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::peer::Peer;
use crate::support::program::Program;
use crate::support::server::{fresh_group, on_lo};

/// How many times; CI sets more.
const ROUNDS: &str = "TEST_CRASH_ROUNDS";
const FEW_ROUNDS: u32 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_no_durable_datagram_and_reuse_no_number() {
    let rounds = std::env::var(ROUNDS).map_or(FEW_ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut program = Program::start_with(&["--flush-ms", "20", "--log-entries", "5000"]);
    let sender = Sender::start(fresh_group());
    let mut log = Record::default();
    let mut resources = Resources { group: sender.group.clone(), ..Resources::default() };
    program.put(MEMBERSHIP, on_lo(&sender.group, json!({}))).await.expect(201);
    program
        .put("/v1/responders/r", on_lo(&sender.group, json!({"match": {"exact": "call"}})))
        .await
        .expect(201);

    for round in 0..rounds {
        let lifetime = Duration::from_micros(u64::from(fastrand::u32(1_000..150_000)));
        let client = program.client().clone();
        let stop = AtomicBool::new(false);
        let killing = async {
            tokio::time::sleep(lifetime).await;
            program.signal("KILL");
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(killing, log.follow(&client, &stop), resources.keep_busy(&client, &stop),);
        let status = program.ended().await;
        assert_eq!(status.code(), None, "round {round}: {status:?}");
        // With nothing new, retention takes nothing either.
        sender.pause(true);
        program.start_again();

        log.check(&program, round).await;
        resources.check(&program, round).await;
        sender.pause(false);
    }
    assert!(!log.durable.is_empty(), "nothing was ever seen as durable");
    sender.stop().await;
}

/// At most the counts of the last `--flush-ms` are lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_counts_of_sent_copies_survive_a_kill() {
    let mut program = Program::start_with(&["--flush-ms", "20"]);
    let repeat = json!({"count": 10_000, "interval_ms": 10});
    for (path, window_ms) in [("/v1/messages/one-way", 0), ("/v1/messages/collecting", 80_000_000)] {
        let body = json!({"payload": "x", "window_ms": window_ms, "repeat": repeat});
        program.put(path, on_lo(&fresh_group(), body)).await.expect(202);
        let sent = |message: &Value| message["sent"][0]["count"].as_u64().unwrap();
        program.until(path, |message| sent(message) >= 20).await;
        // The counts until now get to disk with the next change.
        program.put("/v1/memberships/later", on_lo(&fresh_group(), json!({}))).await.expect(201);
        program.restart("KILL").await;
        assert!(sent(&program.get(path).await.expect(200)) >= 20);
        program.delete("/v1/memberships/later").await.expect(204);
    }
}

const MEMBERSHIP: &str = "/v1/memberships/kept";
const LOG: &str = "/v1/memberships/kept/datagrams";

/// The datagrams that readers have seen, by number.
#[derive(Default)]
struct Record {
    seen: BTreeMap<u64, Value>,
    /// Those that were durable when they were seen.
    durable: BTreeSet<u64>,
    after: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Durable,
    /// Perhaps taken back by a crash, but its number is used up.
    Once,
}

impl Record {
    /// Reads until the service is killed: the durable datagrams, and those after them.
    async fn follow(&mut self, client: &Client, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let durable = self.read(client, self.after.clone(), Seen::Durable).await;
            let ControlFlow::Continue(next) = durable else { return };
            let latest = self.read(client, Some(next.clone()), Seen::Once).await;
            let ControlFlow::Continue(_) = latest else { return };
            self.after = Some(next);
        }
    }

    /// Reads one page and gives its cursor.
    async fn read(&mut self, client: &Client, after: Option<String>, seen: Seen) -> ControlFlow<(), String> {
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        let durable = seen == Seen::Durable;
        let path = format!("{LOG}?limit=1000&durable={durable}{after}");
        let Ok(reply) = client.request(Method::GET, &path).try_send().await else {
            return ControlFlow::Break(());
        };
        let page = reply.expect(200);
        for item in page["items"].as_array().expect("items") {
            let number = self.note(item);
            if durable {
                self.durable.insert(number);
            }
        }
        ControlFlow::Continue(page["next_cursor"].as_str().expect("a cursor").to_owned())
    }

    /// A number belongs to one datagram only.
    fn note(&mut self, item: &Value) -> u64 {
        let number = item["seq"].as_u64().expect("a number");
        let known = self.seen.entry(number).or_insert_with(|| item.clone());
        assert_eq!(known, item, "number {number} was given twice");
        number
    }

    /// After a crash, all durable datagrams must be there, and each datagram must have its number.
    async fn check(&mut self, client: &Client, round: u32) {
        let mut there = BTreeMap::new();
        let mut after = String::new();
        loop {
            let page = client.get(&format!("{LOG}?limit=1000{after}")).await.expect(200);
            let items = page["items"].as_array().expect("items");
            for item in items {
                there.insert(self.note(item), item.clone());
            }
            after = format!("&after={}", page["next_cursor"].as_str().expect("a cursor"));
            if items.is_empty() && page.get("gap").is_none() {
                break;
            }
        }
        // Datagrams that retention evicted are not missing.
        let first = there.keys().next().copied().unwrap_or(1);
        (self.seen, self.durable) = (self.seen.split_off(&first), self.durable.split_off(&first));
        for number in &self.durable {
            assert_eq!(there.get(number), self.seen.get(number), "round {round}: {number} was durable");
        }
    }
}

/// Memberships that come and go, and messages that are sent.
#[derive(Default)]
struct Resources {
    group: String,
    next: u64,
    /// Memberships that exist, by the service's responses.
    there: Vec<String>,
    gone: Vec<String>,
    sent: Vec<String>,
}

impl Resources {
    const MOST: usize = 5;

    async fn keep_busy(&mut self, client: &Client, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if self.step(client).await.is_none() {
                return;
            }
        }
    }

    /// None: the service ended meanwhile, and the request may or may not have taken effect.
    async fn step(&mut self, client: &Client) -> Option<()> {
        self.next += 1;
        let id = format!("m{}", self.next);
        let path = format!("/v1/memberships/{id}");
        let put = client.request(Method::PUT, &path).json(on_lo(&self.group, json!({})));
        put.try_send().await.ok()?.expect(201);
        self.there.push(id);
        let message = format!("/v1/messages/s{}", self.next);
        let body = on_lo(&self.group, json!({"payload": "call", "expect": 1, "window_ms": 5_000}));
        let sent = client.request(Method::PUT, &format!("{message}?wait_ms=5000")).json(body);
        sent.try_send().await.ok()?.expect(200);
        self.sent.push(message);
        if self.there.len() > Self::MOST {
            let id = self.there.remove(0);
            let left = client.request(Method::DELETE, &format!("/v1/memberships/{id}"));
            left.try_send().await.ok()?.expect(204);
            self.gone.push(id);
        }
        Some(())
    }

    /// Every response still holds; all messages are closed.
    async fn check(&mut self, client: &Client, round: u32) {
        for id in &self.there {
            let membership = client.get(&format!("/v1/memberships/{id}")).await.expect(200);
            assert_eq!(membership["state"], "joined", "round {round}: {membership}");
        }
        for id in self.gone.drain(..) {
            assert_eq!(client.get(&format!("/v1/memberships/{id}")).await.status, 404, "round {round}: {id}");
        }
        for message in self.sent.drain(..) {
            let reply = client.get(&message).await;
            // Of the last ones, nothing or not all may have been on disk yet.
            if reply.status == 404 {
                continue;
            }
            let message = reply.expect(200);
            assert_eq!(message["state"], "closed", "round {round}: {message}");
            match message["close_reason"].as_str() {
                Some("expected") => {
                    assert_eq!(message["counters"]["responders"], 1, "round {round}: {message}");
                }
                reason => assert_eq!(reason, Some("restarted"), "round {round}: {message}"),
            }
        }
    }
}

/// Sends texts that differ, all the time.
struct Sender {
    group: String,
    stop: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Sender {
    fn start(group: String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        const AT_ONCE: u32 = 5;
        let stop = Arc::new(AtomicBool::new(false));
        let paused = Arc::new(AtomicBool::new(false));
        let (stopped, pausing, to) = (stop.clone(), paused.clone(), group.clone());
        let task = tokio::spawn(async move {
            let peer = Peer::at("127.0.0.1");
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                if pausing.load(Ordering::Relaxed) {
                    continue;
                }
                for _ in 0..AT_ONCE {
                    peer.send(&to, format!("datagram {}", NEXT.fetch_add(1, Ordering::Relaxed)));
                }
            }
        });
        Self { group, stop, paused, task }
    }

    fn pause(&self, pause: bool) {
        self.paused.store(pause, Ordering::Relaxed);
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("it sends");
    }
}
