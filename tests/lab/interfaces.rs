//! The interfaces on which a membership receives and a message leaves.

use serde_json::{Value, json};

use crate::support::cabled::states;
use crate::support::lab::{Bridge, Host, Lab, connect, until};
use crate::support::node::{Node, payloads, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_receives_only_on_its_interface() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Network::new(&mut lab).await;
    let (node, first, second) = (&net.node, &net.first, &net.second);
    let group = "239.4.1.1:10000";
    let on_first = node.join(json!({"group": group, "interfaces": ["eth0"]})).await;
    let on_second = node.join(json!({"group": group, "interfaces": ["eth1"]})).await;

    for round in ["1", "2"] {
        first.say(json!({"group": group, "payload": format!("first {round}")})).await;
        second.say(json!({"group": group, "payload": format!("second {round}")})).await;
    }

    assert_eq!(payloads(&node.receive_until(&on_first, "first 2").await), ["first 1", "first 2"]);
    assert_eq!(payloads(&node.receive_until(&on_second, "second 2").await), ["second 1", "second 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_interface_of_a_membership_has_its_own_counts() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Network::new(&mut lab).await;
    let (node, first, second) = (&net.node, &net.first, &net.second);
    for (group, kind) in [("239.4.1.8:10000", "memberships"), ("[ff15::4:8]:10000", "responders")] {
        let put = format!("/v1/{kind}/both");
        let body = json!({"group": group, "interfaces": ["eth0", "eth1"]});
        let created = node.put(&put, body.clone()).await.expect(201);
        for shown in created["interfaces"].as_array().unwrap() {
            assert_eq!((&shown["datagrams"], &shown["bytes"]), (&json!(0), &json!(0)), "{shown}");
            assert_eq!(shown.get("last_received_at"), None);
        }
        let say = |payload: &str| json!({"group": group, "payload": payload, "interfaces": ["eth0"]});
        for payload in ["", "four"] {
            first.say(say(payload)).await;
        }
        node.receive_until(&put, "four").await;
        second.say(say("eleven byte")).await;

        let received = node.receive_until(&put, "eleven byte").await;
        let view = node.get(&put).await.expect(200);
        let shown = view["interfaces"].as_array().unwrap();
        for (shown, (datagrams, bytes, last)) in
            shown.iter().zip([(2, 4, &received[1]), (1, 11, &received[2])])
        {
            assert_eq!(
                (&shown["datagrams"], &shown["bytes"]),
                (&json!(datagrams), &json!(bytes)),
                "{view:#}"
            );
            assert_eq!(shown["last_received_at"], last["received_at"], "{view:#}");
        }
        // A PUT that changes nothing keeps the counts.
        let kept = node.put(&put, body).await.expect(200);
        assert_eq!(kept["interfaces"], view["interfaces"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_leaves_only_by_its_interfaces() {
    let Some(mut lab) = Lab::new() else { return };
    let net = Network::new(&mut lab).await;
    let (node, first, second) = (&net.node, &net.first, &net.second);
    let group = "239.4.1.2:10000";
    let (on_first, on_second) =
        (first.join(json!({"group": group})).await, second.join(json!({"group": group})).await);

    for interface in ["eth0", "eth1"] {
        node.say(json!({"group": group, "payload": interface, "interfaces": [interface]})).await;
    }
    let both = json!({"group": group, "payload": "both", "interfaces": ["eth0", "eth1"], "window_ms": 1});
    let both = node.call(both).await;

    assert_eq!(payloads(&first.receive_until(&on_first, "both").await), ["eth0", "both"]);
    assert_eq!(payloads(&second.receive_until(&on_second, "both").await), ["eth1", "both"]);
    // A result for each interface, with the address that it left from.
    let sent = both["sent"].as_array().unwrap();
    assert_eq!(texts(sent, "interface"), ["eth0", "eth1"]);
    for (nth, result) in sent.iter().enumerate() {
        let address = format!("{}:", net.host.ipv4_of(nth));
        assert!(result["source"].as_str().unwrap().starts_with(&address), "{result}");
        assert_eq!((&result["count"], &result["failed"]), (&json!(1), &json!(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_membership_joins_all_interfaces_and_later_ones() {
    let Some(mut lab) = Lab::new() else { return };
    let mut net = Network::new(&mut lab).await;
    let (node, first, second) = (&net.node, &net.first, &net.second);
    let group = "239.4.1.3:10000";
    let membership = node.join(json!({"group": group})).await;
    first.say(json!({"group": group, "payload": "first"})).await;
    node.receive_until(&membership, "first").await;
    second.say(json!({"group": group, "payload": "second"})).await;
    node.receive_until(&membership, "second").await;

    let later = lab.bridge();
    lab.attach(&mut net.host, later);
    let mut stranger = lab.host_off();
    lab.attach(&mut stranger, later);
    node.until(&membership, |view| is(view, "eth2", "joined")).await;
    Node::start(&stranger, &[]).await.say(json!({"group": group, "payload": "later"})).await;

    let received = node.receive_until(&membership, "later").await;
    assert_eq!(payloads(&received), ["first", "second", "later"]);
    assert_eq!(texts(&received, "interface"), ["eth0", "eth1", "eth2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_interface_is_lost_and_joined_again() {
    let Some(mut lab) = Lab::new() else { return };
    let mut net = Network::new(&mut lab).await;
    let (node, second) = (&net.node, &net.second);
    for group in ["239.4.1.4:10000", "[ff15::4:4]:10000"] {
        let say = |payload| json!({"group": group, "payload": payload, "interfaces": ["eth0"]});
        let membership = node.join(json!({"group": group, "interfaces": ["eth1"]})).await;
        second.say(say("before")).await;
        node.receive_until(&membership, "before").await;

        net.host.ip("link del dev eth1\n");
        let lost = node.until(&membership, |view| is(view, "eth1", "lost")).await;
        assert_eq!(lost["state"], "lost");
        assert!(lost["interfaces"][0]["reason"].as_str().unwrap().contains("gone"), "{lost}");

        lab.attach_again(&mut net.host, 1, net.second_lan);
        node.until(&membership, |view| is(view, "eth1", "joined")).await;
        second.say(say("after")).await;
        assert_eq!(payloads(&node.receive_until(&membership, "after").await), ["before", "after"]);

        let reported = node.events_of(&membership).await;
        // A link that was just made has no carrier for a moment.
        assert_eq!(states(&reported), ["joined", "lost", "joined"]);
        assert!(reported.iter().all(|event| event["interface"] == "eth1"), "{reported:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_interface_is_pending_until_it_appears() {
    let Some(mut lab) = Lab::new() else { return };
    let (mut host, sender) = (lab.host(), lab.host());
    let (node, sender) = (Node::start(&host, &[]).await, Node::start(&sender, &[]).await);
    let group = "239.4.1.5:10000";
    let problem = node.post("/v1/memberships", json!({"group": group, "interfaces": ["eth1"]})).await;
    let problem = problem.expect(422);
    assert_eq!(problem["type"], "urn:rollcall:problem:unknown-interface");

    let wanted = json!({"group": group, "interfaces": ["eth1"], "allow_missing": true});
    let membership = node.join(wanted).await;
    let view = node.get(&membership).await.expect(200);
    assert_eq!(view["state"], "pending");
    assert!(is(&view, "eth1", "pending"));

    lab.attach(&mut host, Lab::LAN);
    node.until(&membership, |view| view["state"] == "joined").await;
    host.set("net/ipv4/conf/eth1/rp_filter", "0");
    sender.say(json!({"group": group, "payload": "there"})).await;
    assert_eq!(texts(&node.receive_until(&membership, "there").await, "interface"), ["eth1"]);
}

/// lo, 21 cables, and a bridge with two more as its ports.
#[tokio::test(flavor = "multi_thread")]
async fn all_of_25_interfaces_but_bridge_ports_hear() {
    const CABLES: usize = 21;
    let Some(mut lab) = Lab::new() else { return };
    let (host, peer) = (lab.host_off(), lab.host_off());
    connect(&host, &peer, CABLES + 2);
    host.ip(&format!(
        "link add name br0 up type bridge\n\
         link set dev w{CABLES} master br0\n\
         link set dev w{} master br0\n",
        CABLES + 1
    ));
    until("the bridge forwards", || {
        let shown = host.run("ip", &["-d", "link", "show", "master", "br0"]);
        shown.matches("state forwarding").count() == 2
    });
    let node = Node::start(&host, &[]).await;
    let sender = Node::start(&peer, &[]).await;
    let listed = node.get("/v1/interfaces").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 25);

    let mut expected: Vec<String> = (0..CABLES).map(|n| format!("w{n}")).collect();
    expected.extend(["br0", "lo"].map(str::to_owned));
    expected.sort_unstable();
    let cables: Vec<String> = (0..CABLES + 2).map(|n| format!("w{n}")).collect();
    for group in ["239.4.1.6:10000", "[ff15::4:6]:10000"] {
        let membership = node.join(json!({"group": group})).await;
        let view = node.get(&membership).await.expect(200);
        assert_eq!(view["state"], "joined");
        let mut joined = texts(view["interfaces"].as_array().unwrap(), "name");
        joined.sort_unstable();
        assert_eq!(joined, expected);

        let sent = sender.say(json!({"group": group, "payload": "cable", "interfaces": cables})).await;
        assert!(sent["sent"].as_array().unwrap().iter().all(|result| result["count"] == 1), "{sent:#}");
        // One from each cable, of which two end at the bridge.
        node.until(&membership, |view| view["counters"]["datagrams"] == CABLES + 2).await;
        let received = node.receive_until(&membership, "cable").await;
        let mut on = texts(&received, "interface");
        on.sort_unstable();
        assert_eq!(on.iter().filter(|name| **name == "br0").count(), 2);
        on.dedup();
        let cables_and_bridge: Vec<_> = expected.iter().filter(|name| *name != "lo").collect();
        assert_eq!(on, cables_and_bridge);
    }
    // On lo, the kernel delivers IPv4 multicast only.
    let membership = node.join(json!({"group": "239.4.1.7:10000"})).await;
    node.say(json!({"group": "239.4.1.7:10000", "payload": "own", "interfaces": ["lo"]})).await;
    assert_eq!(texts(&node.receive_until(&membership, "own").await, "interface"), ["lo"]);
}

/// A host on two segments, and a neighbour on each of them.
struct Network {
    node: Node,
    first: Node,
    second: Node,
    host: Host,
    second_lan: Bridge,
    _neighbours: [Host; 2],
}

impl Network {
    async fn new(lab: &mut Lab) -> Self {
        let second_lan = lab.bridge();
        let (mut host, on_first, mut on_second) = (lab.host(), lab.host(), lab.host_off());
        lab.attach(&mut host, second_lan);
        lab.attach(&mut on_second, second_lan);
        Self {
            node: Node::start(&host, &[]).await,
            first: Node::start(&on_first, &[]).await,
            second: Node::start(&on_second, &[]).await,
            host,
            second_lan,
            _neighbours: [on_first, on_second],
        }
    }
}

/// Whether the membership is in this state on this interface.
fn is(view: &Value, interface: &str, state: &str) -> bool {
    let interfaces = view["interfaces"].as_array().expect("a list");
    interfaces.iter().any(|shown| shown["name"] == interface && shown["state"] == state)
}
