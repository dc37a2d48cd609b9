//! Memberships end when they should, and only then: the kernel's own list is the witness.

use std::net::IpAddr;

use serde_json::json;

use crate::support::lab::{Host, Lab, until};
use crate::support::node::{Node, payloads};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_delete_removes_the_group_from_the_kernels_list() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    for (group, ip) in [("239.3.3.1:10000", "239.3.3.1"), ("[ff15::3:1]:10000", "ff15::3:1")] {
        let ip = ip.parse().unwrap();
        assert!(!lists(&host, ip));
        let membership = node.join(json!({"group": group})).await;
        let responder = node.respond(json!({"group": group, "interfaces": ["eth0"]})).await;
        assert!(lists(&host, ip));

        node.delete(&membership).await.expect(204);
        assert!(lists(&host, ip), "the responder is still there");
        node.delete(&responder).await.expect(204);
        assert!(!lists(&host, ip));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_membership_does_not_stop_another() {
    let Some(mut lab) = Lab::new() else { return };
    let (host, sender) = (lab.host(), lab.host());
    let (node, sender) = (Node::start(&host, &[]).await, Node::start(&sender, &[]).await);
    let group = "239.3.3.2:10000";
    let (one, other) = (node.join(json!({"group": group})).await, node.join(json!({"group": group})).await);
    sender.say(json!({"group": group, "payload": "to both"})).await;
    node.receive_until(&one, "to both").await;

    node.delete(&one).await.expect(204);
    sender.say(json!({"group": group, "payload": "to one"})).await;

    assert_eq!(payloads(&node.receive_until(&other, "to one").await), ["to both", "to one"]);
    node.get(&one).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_leaves_the_group_and_a_renewed_one_stays() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    let lease = |group: &str, ms: u32| json!({"group": group, "expires_in_ms": ms});
    let (renewed, ends) = (lease("239.3.3.3:10000", 500), lease("239.3.3.4:10000", 1000));
    node.put("/v1/memberships/renewed", renewed).await.expect(201);
    node.put("/v1/responders/ends", ends).await.expect(201);
    node.put("/v1/memberships/renewed", lease("239.3.3.3:10000", 600_000)).await.expect(200);
    assert!(lists(&host, "239.3.3.4".parse().unwrap()));

    // Waits for datagrams that never come, until the log ends.
    node.get("/v1/responders/ends/datagrams?wait_ms=20000").await.expect(404);
    node.get("/v1/responders/ends").await.expect(404);
    // The log has ended, and its sockets are closed by a thread that has time for it.
    until("the group is left", || !lists(&host, "239.3.3.4".parse().unwrap()));

    // The first lease of this one was to end before.
    let renewed = node.get("/v1/memberships/renewed").await.expect(200);
    assert_eq!(renewed["state"], "joined");
    assert!(lists(&host, "239.3.3.3".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_service_leaves_its_groups() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    node.join(json!({"group": "239.3.3.5:10000"})).await;
    node.respond(json!({"group": "[ff15::3:5]:10000"})).await;
    let groups: [IpAddr; 2] = ["239.3.3.5".parse().unwrap(), "ff15::3:5".parse().unwrap()];
    assert!(groups.into_iter().all(|group| lists(&host, group)));

    let (status, lines) = node.stop();

    assert!(status.success(), "{status}: {lines:?}");
    assert!(!groups.into_iter().any(|group| lists(&host, group)));
}

/// Whether some socket on this host is a member.
fn lists(host: &Host, group: IpAddr) -> bool {
    match group {
        // A word in host byte order.
        IpAddr::V4(ip) => {
            let word = format!("{:08X}", u32::from_ne_bytes(ip.octets()));
            host.read("/proc/net/igmp").contains(&word)
        }
        IpAddr::V6(ip) => host.read("/proc/net/igmp6").contains(&format!("{:032x}", ip.to_bits())),
    }
}
