//! Groups that other programs join do not reach a membership.

use serde_json::json;

use crate::support::lab::{Host, Lab, Process, peer};
use crate::support::node::{Node, payloads};

/// A program on the same host and port, joined to another group.
#[tokio::test(flavor = "multi_thread")]
async fn groups_of_other_programs_on_the_same_port_are_not_received() {
    let Some(mut lab) = Lab::new() else { return };
    let (host, sender) = (lab.host(), lab.host());
    let before = joiner(&host, "239.2.1.2", "eth0");
    let (node, sender) = (Node::start(&host, &[]).await, Node::start(&sender, &[]).await);
    let named = node.join(json!({"group": "239.2.1.1:10000", "interfaces": ["eth0"]})).await;
    let anywhere = node.join(json!({"group": "239.2.1.1:10000"})).await;
    let after = joiner(&host, "239.2.1.3", "eth0");

    for (group, payload) in
        [("239.2.1.2", "before"), ("239.2.1.3", "after"), ("239.2.1.4", "nobody's"), ("239.2.1.1", "ours")]
    {
        sender.say(json!({"group": format!("{group}:10000"), "payload": payload})).await;
    }

    before.wait_for_line("heard before");
    after.wait_for_line("heard after");
    for membership in [named, anywhere] {
        assert_eq!(payloads(&node.receive_until(&membership, "ours").await), ["ours"]);
    }
}

/// By default, an IPv6 socket also receives where another socket of the host has joined its group.
#[tokio::test(flavor = "multi_thread")]
async fn groups_of_other_programs_on_another_interface_are_not_received() {
    let Some(mut lab) = Lab::new() else { return };
    let second = lab.bridge();
    let (mut host, on_first, mut on_second) = (lab.host(), lab.host(), lab.host_off());
    lab.attach(&mut host, second);
    lab.attach(&mut on_second, second);
    let node = Node::start(&host, &[]).await;
    let (near, far) = (Node::start(&on_first, &[]).await, Node::start(&on_second, &[]).await);
    for ip in ["ff15::2:1", "ff02::2:1", "239.2.1.5"] {
        let other = joiner(&host, ip, "eth1");
        let group = if ip.contains(':') { format!("[{ip}]:10000") } else { format!("{ip}:10000") };
        let membership = node.join(json!({"group": group, "interfaces": ["eth0"]})).await;
        let elsewhere = node.join(json!({"group": group, "interfaces": ["eth1"]})).await;

        far.say(json!({"group": group, "interfaces": ["eth0"], "payload": "far"})).await;
        other.wait_for_line("heard far");
        near.say(json!({"group": group, "interfaces": ["eth0"], "payload": "near"})).await;

        assert_eq!(payloads(&node.receive_until(&membership, "near").await), ["near"]);
        assert_eq!(payloads(&node.receive_until(&elsewhere, "far").await), ["far"]);
    }
}

fn joiner(host: &Host, group: &str, interface: &str) -> Process {
    let joiner = host.spawn("python3", &[&peer("joiner.py"), group, "10000", interface]);
    joiner.wait_for_line("joined");
    joiner
}
