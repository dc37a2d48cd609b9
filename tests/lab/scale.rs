//! A roll call of many.

use std::collections::HashSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::lab::{Host, Lab};
use crate::support::node::{Node, texts};

const GROUP: &str = "239.5.0.1:10000";
const PER_HOST: u8 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_responders_on_five_hosts_answer_one_message() {
    let Some(mut lab) = Lab::new() else { return };
    let hosts: Vec<Host> = (0..5).map(|_| lab.host()).collect();
    let caller = Node::start(&lab.host(), &[]).await;
    let mut nodes = Vec::new();
    for (nth, host) in hosts.iter().enumerate() {
        let node = Node::start(host, &[]).await;
        for responder in 0..PER_HOST {
            // On some hosts they differ by port, on the others by address.
            let from = if nth < 3 { json!({"port": 0}) } else { own_address(host, nth, responder) };
            node.respond(json!({"group": GROUP, "reply_from": from})).await;
        }
        nodes.push(node);
    }

    let start = Instant::now();
    let message = json!({"group": GROUP, "payload": "who is there?", "expect": 50, "window_ms": 50_000});
    let message = caller.call(message).await;
    let elapsed = start.elapsed();

    assert_eq!(message["close_reason"], "expected");
    assert!(elapsed.as_secs() < 10, "the window was not waited for: {elapsed:?}");
    let responses = message["responses"].as_array().unwrap();
    let sources: HashSet<_> = texts(responses, "source").into_iter().collect();
    assert_eq!((responses.len(), sources.len()), (50, 50));
    for host in &hosts[..3] {
        let address = format!("{}:", host.ipv4());
        assert_eq!(sources.iter().filter(|source| source.starts_with(&address)).count(), 10);
    }
    let counters = &message["counters"];
    assert_eq!((&counters["responders"], &counters["duplicates"]), (&json!(50), &json!(0)));
    assert_eq!((&counters["dropped_buffers"], &counters["strays"]), (&json!(0), &json!(0)));

    let rtts: Vec<u64> = responses.iter().map(|response| response["rtt_us"].as_u64().unwrap()).collect();
    let (shortest, longest) = (rtts.iter().min().unwrap(), rtts.iter().max().unwrap());
    assert!(*shortest > 0 && u128::from(*longest) < elapsed.as_micros(), "{rtts:?} within {elapsed:?}");
    println!("50 responders in {elapsed:?}, round trips of {shortest} to {longest} µs");

    for node in &nodes {
        let listed = node.get("/v1/responders").await.expect(200);
        let replied = |responder: &Value| responder["replies"]["replied"] == 1;
        assert!(listed["items"].as_array().unwrap().iter().all(replied), "{listed:#}");
    }
}

fn own_address(host: &Host, nth: usize, responder: u8) -> Value {
    let address = format!("10.77.0.{}", 100 + 10 * nth + usize::from(responder));
    host.ip(&format!("addr add {address}/24 dev eth0\n"));
    json!({"address": address})
}
