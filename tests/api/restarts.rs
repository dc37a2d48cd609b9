//! Followers of a log while their connections and the service itself end and come back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;

use crate::support::peer::Peer;
use crate::support::program::Program;
use crate::support::server::fresh_group;
use crate::support::streaming::{Event, Streaming};

/// Datagrams that are read on one connection before it ends: they take some hundred milliseconds, and so several writes
/// to disk.
const PER_CONNECTION: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumed_across_restarts_reports_every_gap() {
    let (followed, kept) = follow_through_restarts("").await;
    // Datagrams right before the sudden end may have been seen, but are not kept.
    assert!(kept.is_subset(&followed.seen), "not seen: {:?}", kept.difference(&followed.seen));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_stream_shows_only_datagrams_that_survive() {
    let (followed, kept) = follow_through_restarts("?durable=true").await;
    assert_eq!(followed.seen, kept);
}

/// Follows a log by five connections before, between and after a sudden end and a clean end of the service; returns
/// the datagrams seen, and the numbers up to there that are kept at the end.
async fn follow_through_restarts(query: &str) -> (Followed, BTreeSet<u64>) {
    let (mut program, group) = (Program::start(), fresh_group());
    let membership = program.join(&group).await;
    let log = format!("{membership}/datagrams");
    let path = format!("{log}{query}");
    let sending = Sending::to(group);
    let mut followed = Followed::default();

    for signal in [None, None, Some("KILL"), None, Some("TERM"), None, None] {
        let mut stream = followed.resume(&program, &path).await;
        for _ in 0..PER_CONNECTION {
            followed.note(&stream.event().await.expect("datagrams go on"));
        }
        let Some(signal) = signal else { continue };
        // Events in transit to the follower still count.
        let (status, ()) = tokio::join!(program.restart(signal), followed.read_to_the_end(&mut stream));
        assert_eq!(status.code(), (signal == "TERM").then_some(0), "{status:?}");
    }
    sending.stop().await;
    assert_eq!(followed.gaps, 1, "only the sudden end makes one");

    let mut kept = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page = program.get(&format!("{log}?limit=1000{after}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        kept.extend(items.iter().map(|item| item["seq"].as_u64().unwrap()));
        if items.is_empty() {
            break;
        }
        after = format!("&after={}", page["next_cursor"].as_str().unwrap());
    }
    kept.retain(|number| *number <= followed.reached);
    (followed, kept)
}

/// The events that a follower has received.
#[derive(Default)]
struct Followed {
    /// The last number that an event covered, with its datagram or in a gap.
    reached: u64,
    seen: BTreeSet<u64>,
    gaps: usize,
    last_id: Option<String>,
    /// The payload of the last datagram: a number that increases with each send.
    output: u64,
}

impl Followed {
    async fn resume(&self, program: &Program, path: &str) -> Streaming {
        let mut request = program.request(Method::GET, path).header("accept", "text/event-stream");
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let stream = request.stream().await;
        assert_eq!(stream.status, 200);
        stream
    }

    /// The numbers increase by one, or by the size of a gap.
    fn note(&mut self, event: &Event) {
        match event.name.as_str() {
            "datagram" => {
                assert_eq!(event.data["seq"], self.reached + 1, "{event:?}");
                let output = event.data["payload"].as_str().unwrap().parse().unwrap();
                assert!(output > self.output, "{output} after {}", self.output);
                (self.reached, self.output) = (self.reached + 1, output);
                self.seen.insert(self.reached);
            }
            "gap" => {
                assert_eq!(event.data["reason"], "lost", "{event:?}");
                self.reached += event.data["missed"].as_u64().expect("how many");
                self.gaps += 1;
            }
            _ => panic!("{event:?}"),
        }
        self.last_id = Some(event.id.clone());
    }

    async fn read_to_the_end(&mut self, stream: &mut Streaming) {
        while let Ok(Some(event)) = stream.try_event().await {
            if event.name == "closed" {
                assert_eq!(event.data["reason"], "stopping");
                return;
            }
            self.note(&event);
        }
    }
}

/// A peer that sends numbers to a group all the time.
struct Sending {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Sending {
    fn to(group: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (peer, mut next) = (Peer::at("127.0.0.1"), 1_u64);
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                peer.send(&group, next.to_string());
                next += 1;
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("it sends");
    }
}
