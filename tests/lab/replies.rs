//! Replies find their way also where the network is not one LAN with one card for each host.

use serde_json::json;

use crate::support::lab::{Host, Lab};
use crate::support::node::{Node, payloads, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_follows_the_route_to_its_peer() {
    let Some(mut lab) = Lab::new() else { return };
    let back = lab.bridge();
    let (mut here, mut there) = (lab.host(), lab.host());
    lab.attach(&mut here, back);
    lab.attach(&mut there, back);
    // The sender's address belongs to no subnet: it is reached by the second segment.
    here.ip(&format!(
        "addr flush dev eth0\n\
         addr add 192.0.2.1/32 dev eth0\n\
         route add {}/32 via {} dev eth1\n",
        there.ipv4(),
        there.ipv4_of(1),
    ));
    there.ip(&format!("route add 192.0.2.1/32 via {} dev eth1\n", here.ipv4_of(1)));
    // Loose: a strict filter drops datagrams that arrive on another interface than the return route's.
    for host in [&here, &there] {
        host.set("net/ipv4/conf/all/rp_filter", "2");
    }
    let (caller, answerer) = (Node::start(&here, &[]).await, Node::start(&there, &[]).await);
    let responder = answerer.respond(json!({"group": "239.6.1.1:10000", "interfaces": ["eth0"]})).await;

    let message = caller
        .call(json!({"group": "239.6.1.1:10000", "payload": "x", "interfaces": ["eth0"], "expect": 1}))
        .await;

    assert_eq!(message["close_reason"], "expected");
    let responses = message["responses"].as_array().unwrap();
    assert_eq!(texts(responses, "source"), [format!("{}:10000", there.ipv4())]);
    assert_eq!(texts(responses, "interface"), ["eth1"]);
    let responder = answerer.get(&responder).await.expect(200);
    assert_eq!(responder["replies"]["replied"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_two_interfaces_on_one_lan_replies_once() {
    let Some(mut lab) = Lab::new() else { return };
    let (caller, twice) = (lab.host(), host_with_two_cards(&mut lab));
    let (caller, node) = (Node::start(&caller, &[]).await, Node::start(&twice, &[]).await);
    let group = "239.6.1.2:10000";
    let membership = node.join(json!({"group": group})).await;
    let responder = node.respond(json!({"group": group})).await;

    let message = caller.call(json!({"group": group, "payload": "once?", "window_ms": 300})).await;

    assert_eq!(payloads(message["responses"].as_array().unwrap()), ["ack"]);
    let view = node.until(&responder, |view| view["replies"]["received"] == 2).await;
    assert_eq!((&view["replies"]["replied"], &view["replies"]["suppressed"]), (&json!(1), &json!(1)));
    // Logs keep both copies.
    for path in [&membership, &responder] {
        node.until(path, |view| view["counters"]["datagrams"] == 2).await;
        let received = node.receive_until(path, "once?").await;
        let mut interfaces = texts(&received, "interface");
        interfaces.sort_unstable();
        assert_eq!(interfaces, ["eth0", "eth1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_two_interfaces_replies_twice_without_dedupe() {
    let Some(mut lab) = Lab::new() else { return };
    let (caller, twice) = (lab.host(), host_with_two_cards(&mut lab));
    let (caller, node) = (Node::start(&caller, &[]).await, Node::start(&twice, &[]).await);
    let responder = node.respond(json!({"group": "239.6.1.3:10000", "dedupe": false})).await;

    let message = caller.call(json!({"group": "239.6.1.3:10000", "payload": "twice?", "expect": 2})).await;

    assert_eq!(message["close_reason"], "expected");
    let mut sources = texts(message["responses"].as_array().unwrap(), "source");
    sources.sort_unstable();
    assert_eq!(sources, [0, 1].map(|n| format!("{}:10000", twice.ipv4_of(n))));
    let view = node.get(&responder).await.expect(200);
    assert_eq!((&view["replies"]["replied"], &view["replies"]["suppressed"]), (&json!(2), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_come_from_the_configured_address_and_port() {
    let Some(mut lab) = Lab::new() else { return };
    let (here, there) = (lab.host(), lab.host());
    there.ip("addr add 10.77.0.200/24 dev eth0\n");
    let (caller, node) = (Node::start(&here, &[]).await, Node::start(&there, &[]).await);
    let group = "239.6.1.4:10000";
    node.respond(json!({"group": group, "reply": "plain"})).await;
    for (reply, from) in [
        ("address", json!({"address": "10.77.0.200"})),
        ("port", json!({"port": 10_001})),
        ("both", json!({"address": "10.77.0.200", "port": 10_001})),
    ] {
        node.respond(json!({"group": group, "reply": reply, "reply_from": from})).await;
    }

    let message = caller.call(json!({"group": group, "payload": "x", "expect": 4})).await;

    let responses = message["responses"].as_array().unwrap();
    let mut responses: Vec<_> = payloads(responses).into_iter().zip(texts(responses, "source")).collect();
    responses.sort_unstable();
    let plain = there.ipv4();
    assert_eq!(
        responses,
        [
            ("address", "10.77.0.200:10000"),
            ("both", "10.77.0.200:10001"),
            ("plain", &format!("{plain}:10000")),
            ("port", &format!("{plain}:10001")),
        ]
    );
}

/// Both cards are on one LAN, and both hear: a strict filter would let only the one that the way back leads to.
fn host_with_two_cards(lab: &mut Lab) -> Host {
    let mut host = lab.host();
    lab.attach(&mut host, Lab::LAN);
    for interface in ["all", "eth0", "eth1"] {
        host.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "0");
    }
    host
}
