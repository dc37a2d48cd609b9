//! Sending bursts, and collecting floods of responses.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bare;
use crate::load::{Load, Receiver, highest};
use crate::peer::{Bare, Service};
use crate::table::{Bound, ROUNDS, Table};

const BURST: usize = 100_000;

pub(crate) fn rows(table: &mut Table) {
    burst(table);
    flood(table);
}

fn burst(table: &mut Table) {
    let name = "unpaced burst of 100,000 datagrams of 64 B";
    if !table.wants(name) {
        return;
    }
    let group: SocketAddr = "239.7.1.1:7001".parse().expect("a group");
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let service = Service::start(&[]);
        let message = service.client.post(
            "/v1/messages",
            &json!({"group": group.to_string(), "payload": "x".repeat(64), "interfaces": ["lo"], "window_ms": 0,
                "repeat": {"count": BURST, "interval_ms": 0}}),
        );
        let path = format!("/v1/messages/{}", message["id"].as_str().expect("an id"));
        let closed = loop {
            let message = service.client.get(&path);
            if message["state"] == "closed" {
                break message;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(closed["sent"][0]["count"], BURST);
        let at = |value: &serde_json::Value| {
            value.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time")
        };
        let took = at(&closed["closed_at"]).duration_since(at(&closed["sent"][0]["first_sent_at"]));
        let ours = BURST as f64 / took.as_secs_f64();
        drop(service);
        let sender = bare::sender(group).expect("a sender");
        let begun = Instant::now();
        bare::send(&sender, &[group], &[b'x'; 64], 64, BURST / 64);
        pairs.push((ours, (BURST / 64 * 64) as f64 / begun.elapsed().as_secs_f64()));
    }
    table.pairs(name, "1/s", Bound::AtLeast(0.8, 0.95), &pairs);
}

/// 100,000 responses to one message: the highest rate that loses none, against the bare loop's.
fn flood(table: &mut Table) {
    let name = "100,000 responses to one message: lossless rate";
    if !table.wants(name) {
        return;
    }
    let group = "239.7.1.2:7002";
    let ceiling = 400_000.0;
    let load = |to: SocketAddr, rate: f64| Load {
        groups: vec![to],
        payload: b"ack".to_vec(),
        segments: 1,
        duration: Duration::from_secs_f64(BURST as f64 / rate),
    };
    let mut pairs = Vec::new();
    for _ in 0..ROUNDS {
        let ours = highest(ceiling, |rate| {
            let service = Service::start(&[]);
            let message = service.client.post(
                "/v1/messages",
                &json!({"group": group, "payload": "call", "interfaces": ["lo"], "window_ms": 60_000}),
            );
            let source = message["sent"][0]["source"].as_str().expect("a source");
            let source: SocketAddr = source.parse().expect("an address");
            let sender = bare::sender(source).expect("a sender");
            let (sent, achieved) = load(source, rate).timed(&sender, rate);
            (responses(&service, &message) == sent).then_some(achieved)
        });
        let to: SocketAddr = group.parse().expect("a group");
        let sender = bare::sender(to).expect("a sender");
        let bare = highest(ceiling, |rate| {
            let mut bare = Bare::start(&["capture".to_owned(), group.to_owned()]);
            let (sent, achieved) = load(to, rate).timed(&sender, rate);
            (bare.wait_until_settled().0 == sent).then_some(achieved)
        });
        pairs.push((ours, bare));
    }
    table.pairs(name, "1/s", Bound::AtLeast(0.7, 0.9), &pairs);
}

/// How many responses the message has, once the number no longer changes.
fn responses(service: &Service, message: &serde_json::Value) -> u64 {
    let path = format!("/v1/messages/{}", message["id"].as_str().expect("an id"));
    let mut last = 0;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let received = service.client.get(&path)["counters"]["responses"].as_u64().expect("a number");
        if received == last {
            return received;
        }
        last = received;
    }
}
