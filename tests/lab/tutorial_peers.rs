//! Together with the two programs that every multicast tutorial has.

use serde_json::{Value, json};

use crate::support::lab::{Host, Lab, Process, peer};
use crate::support::node::{Node, payloads, texts};

const GROUP: &str = "224.3.29.71:10000";

#[tokio::test(flavor = "multi_thread")]
async fn one_message_gets_acks_from_two_hosts() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b, c) = (lab.host(), lab.host(), lab.host());
    let receivers = [&a, &b].map(classic_receiver);
    let node = Node::start(&c, &[]).await;

    let message = node.call(json!({"group": GROUP, "payload": "very important data"})).await;

    assert_two_acks(&message, [&a, &b]);
    assert_eq!(message["close_reason"], "window");
    for receiver in receivers {
        receiver.wait_for_line(&format!("received 19 bytes from ('{}',", c.ipv4()));
        receiver.wait_for_line("very important data");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_sender_receives_acks_from_two_hosts() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b, c) = (lab.host(), lab.host(), lab.host());
    let nodes = [Node::start(&a, &[]).await, Node::start(&b, &[]).await];
    for node in &nodes {
        node.respond(json!({"group": GROUP})).await;
    }

    let (status, lines) = c.spawn("python3", &[&peer("sender.py"), "--timeout", "1"]).wait();

    assert!(status.success(), "{lines:?}");
    let mut acks: Vec<_> = lines.iter().filter(|line| line.starts_with("received")).collect();
    acks.sort();
    let expected = [&a, &b].map(|host| format!("received \"ack\" from ('{}', 10000)", host.ipv4()));
    assert_eq!(acks, expected.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_receiver_and_a_responder_both_reply() {
    let Some(mut lab) = Lab::new() else { return };
    let (a, b, c) = (lab.host(), lab.host(), lab.host());
    let _receiver = classic_receiver(&a);
    let responding = Node::start(&b, &[]).await;
    responding.respond(json!({"group": GROUP})).await;
    let node = Node::start(&c, &[]).await;

    let message = node.call(json!({"group": GROUP, "payload": "very important data"})).await;
    assert_two_acks(&message, [&a, &b]);
}

fn classic_receiver(host: &Host) -> Process {
    let receiver = host.spawn("python3", &[&peer("receiver.py")]);
    receiver.wait_for_line("waiting to receive message");
    receiver
}

fn assert_two_acks(message: &Value, hosts: [&Host; 2]) {
    let responses = message["responses"].as_array().expect("responses");
    assert_eq!(payloads(responses), ["ack", "ack"]);
    let mut sources = texts(responses, "source");
    sources.sort_unstable();
    assert_eq!(sources, hosts.map(|host| format!("{}:10000", host.ipv4())));
    assert_eq!(message["counters"]["responders"], 2);
    assert_eq!(message["counters"]["duplicates"], 0);
}
