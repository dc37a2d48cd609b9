//! What the log and the problems name as the cause of a failure.

use serde_json::{Value, json};

use crate::support::lab::Lab;
use crate::support::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_reply_whose_interface_was_renamed_is_told_in_words() {
    let Some(mut lab) = Lab::new() else { return };
    let (host, near) = (lab.host(), lab.host());
    let (node, caller) = (Node::start(&host, &[]).await, Node::start(&near, &[]).await);
    let group = "239.4.18.1:10000";
    let responder = json!({"group": group, "interfaces": ["eth0"], "delay_ms": 2_000});
    let responder = node.respond(responder).await;
    caller.say(json!({"group": group, "interfaces": ["eth0"], "payload": "x"})).await;
    node.until(&responder, |view| view["replies"]["received"] == 1).await;

    host.ip("link set eth0 down\nlink set eth0 name other\nlink set other up\n");
    node.until(&responder, |view| view["replies"]["failed"] == 1).await;
    let (_, lines) = node.stop();
    let told = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(told("a delayed reply was not sent: its interface"), "{lines:#?}");
    assert!(!told("os error"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_reply_by_an_interface_that_is_down_is_told_in_words() {
    let Some(mut lab) = Lab::new() else { return };
    let (host, near) = (lab.host(), lab.host());
    let (node, caller) = (Node::start(&host, &[]).await, Node::start(&near, &[]).await);
    let group = "239.4.18.6:10000";
    let responder = json!({"group": group, "interfaces": ["eth0"], "delay_ms": 2_000});
    let responder = node.respond(responder).await;
    caller.say(json!({"group": group, "interfaces": ["eth0"], "payload": "x"})).await;
    node.until(&responder, |view| view["replies"]["received"] == 1).await;

    host.ip("link set eth0 down\n");
    node.until(&responder, |view| view["replies"]["failed"] == 1).await;
    let (_, lines) = node.stop();
    let told = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(told("a reply was not sent: eth0 is down: `ip link set eth0 up`"), "{lines:#?}");
    assert!(!told("unreachable"), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_too_many_fragments_is_refused_for_the_mtu() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    host.ip("link set eth0 mtu 68\n");
    node.until("/v1/interfaces", |shown| shown.to_string().contains(r#""mtu":68"#)).await;
    for window_ms in [0, 50] {
        let body = json!({"group": "239.4.18.2:10000", "interfaces": ["eth0"], "payload": "x".repeat(65_000), "window_ms": window_ms});
        let refused = node.post("/v1/messages", body).await;
        let problem = refused.problem(422, "invalid-request", "/payload");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("MTU of 68") && detail.contains("shorten the payload"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_that_permits_no_groups_is_named_as_the_cause() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    host.set("net/ipv4/igmp_max_memberships", "0");
    let body = json!({"group": "239.4.18.3:10000", "interfaces": ["eth0"]});
    let refused = node.post("/v1/memberships", body.clone()).await;
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("sysctl -w net.ipv4.igmp_max_memberships=20"), "{detail}");
    host.set("net/ipv4/igmp_max_memberships", "20");
    node.join(body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_name_the_cause_of_pending_and_lost() {
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host();
    let node = Node::start(&host, &[]).await;
    host.ip("addr add 10.77.0.203/24 dev eth0\n");
    node.until("/v1/interfaces", |shown| shown.to_string().contains("10.77.0.203")).await;
    let responder = json!({"group": "239.4.18.5:10000", "interfaces": ["eth0"], "reply_from": {"address": "10.77.0.203"}});
    let responder = node.respond(responder).await;
    host.ip("addr del 10.77.0.203/24 dev eth0\n");
    node.until(&responder, |view| view["state"] == "pending").await;
    host.ip("link del eth0\n");
    node.until(&responder, |view| view["state"] == "lost").await;
    let events = node.events_of(&responder).await;
    let detail = |kind: &str| {
        let event = events.iter().find(|event| event["event"] == kind).expect("the event");
        event["detail"].as_str().unwrap_or_else(|| panic!("no detail in {event}")).to_owned()
    };
    assert_eq!(
        detail("pending"),
        "10.77.0.203, the source address of replies, is not an address of this host"
    );
    assert_eq!(detail("lost"), "the interface is gone; it is joined again when it is back");
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_that_went_away_are_not_taken_for_forgotten_groups() {
    const CABLES: usize = 150;
    let Some(mut lab) = Lab::new() else { return };
    let host = lab.host_off();
    let node = Node::start(&host, &[]).await;
    let all_joined = |cables: usize| {
        move |view: &Value| {
            let interfaces = view["interfaces"].as_array().expect("a list");
            interfaces.iter().filter(|one| one["state"] == "joined" && one["name"] != "lo").count()
                == 2 * cables
        }
    };
    let mut memberships = Vec::new();
    for group in ["239.4.18.4:10000", "[ff15::18:4]:10000"] {
        memberships.push(node.join(json!({"group": group})).await);
    }
    for _ in 0..3 {
        let cable =
            |nth| format!("link add a{nth} up group 7 type veth peer name b{nth}\nlink set b{nth} up\n");
        host.ip(&(0..CABLES).map(cable).collect::<String>());
        for membership in &memberships {
            node.until(membership, all_joined(CABLES)).await;
        }
        host.ip("link del group 7\n");
        for membership in &memberships {
            node.until(membership, all_joined(0)).await;
        }
    }
    let (_, lines) = node.stop();
    assert!(!lines.iter().any(|line| line.contains("kernel's lists lack")), "{lines:#?}");
}
