//! Source filters: the sources that a membership receives from.

use serde_json::json;

use crate::support::lab::Lab;
use crate::support::node::{Node, payloads};

#[tokio::test(flavor = "multi_thread")]
async fn include_admits_one_source_and_exclude_the_other() {
    let Some(mut lab) = Lab::new() else { return };
    let (one, other, listener) = (lab.host(), lab.host(), lab.host());
    let (first, second) = (Node::start(&one, &[]).await, Node::start(&other, &[]).await);
    let node = Node::start(&listener, &[]).await;
    let source = one.ipv4();

    let group = "232.1.1.1:10000";
    let include = node.join(json!({"group": group, "sources": {"include": [source]}})).await;
    second.say(json!({"group": group, "payload": "of the other"})).await;
    first.say(json!({"group": group, "payload": "of the one"})).await;
    assert_eq!(payloads(&node.receive_until(&include, "of the one").await), ["of the one"]);

    let group = "239.1.1.1:10000";
    let exclude = node.join(json!({"group": group, "sources": {"exclude": [source]}})).await;
    first.say(json!({"group": group, "payload": "of the one"})).await;
    second.say(json!({"group": group, "payload": "of the other"})).await;
    assert_eq!(payloads(&node.receive_until(&exclude, "of the other").await), ["of the other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_memberships_of_one_group_receive_different_sources() {
    let Some(mut lab) = Lab::new() else { return };
    let (one, other, listener) = (lab.host(), lab.host(), lab.host());
    let (first, second) = (Node::start(&one, &[]).await, Node::start(&other, &[]).await);
    let node = Node::start(&listener, &[]).await;

    let group = "232.1.1.2:10000";
    let of = |host: std::net::Ipv4Addr| json!({"group": group, "sources": {"include": [host]}});
    let (hears_one, hears_other) = (node.join(of(one.ipv4())).await, node.join(of(other.ipv4())).await);
    for round in ["1", "2"] {
        first.say(json!({"group": group, "payload": format!("one {round}")})).await;
        second.say(json!({"group": group, "payload": format!("other {round}")})).await;
    }

    assert_eq!(payloads(&node.receive_until(&hears_one, "one 2").await), ["one 1", "one 2"]);
    assert_eq!(payloads(&node.receive_until(&hears_other, "other 2").await), ["other 1", "other 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_changes_the_sources_and_keeps_the_log() {
    let Some(mut lab) = Lab::new() else { return };
    let (one, other, listener) = (lab.host(), lab.host(), lab.host());
    let (first, second) = (Node::start(&one, &[]).await, Node::start(&other, &[]).await);
    let node = Node::start(&listener, &[]).await;

    let (group, path) = ("232.1.1.3:10000", "/v1/memberships/monitor");
    let include = |sources: &[std::net::Ipv4Addr]| json!({"group": group, "sources": {"include": sources}});
    node.put(path, include(&[one.ipv4()])).await.expect(201);
    second.say(json!({"group": group, "payload": "unheard"})).await;
    first.say(json!({"group": group, "payload": "one"})).await;
    node.receive_until(path, "one").await;

    let changed = node.put(path, include(&[other.ipv4()])).await.expect(200);
    assert_eq!(changed["sources"]["include"], json!([other.ipv4()]));
    first.say(json!({"group": group, "payload": "unheard"})).await;
    second.say(json!({"group": group, "payload": "other"})).await;
    node.receive_until(path, "other").await;

    node.put(path, include(&[one.ipv4(), other.ipv4()])).await.expect(200);
    first.say(json!({"group": group, "payload": "both, one"})).await;
    node.receive_until(path, "both, one").await;
    second.say(json!({"group": group, "payload": "both, other"})).await;
    let received = node.receive_until(path, "both, other").await;
    assert_eq!(payloads(&received), ["one", "other", "both, one", "both, other"]);
    assert_eq!(received.iter().map(|item| item["seq"].as_u64()).collect::<Vec<_>>(), [1, 2, 3, 4].map(Some));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_filter_can_change_its_mode() {
    let Some(mut lab) = Lab::new() else { return };
    let (one, other, listener) = (lab.host(), lab.host(), lab.host());
    let (first, second) = (Node::start(&one, &[]).await, Node::start(&other, &[]).await);
    let node = Node::start(&listener, &[]).await;

    let (group, path) = ("239.1.1.4:10000", "/v1/memberships/monitor");
    node.put(path, json!({"group": group, "sources": {"include": [one.ipv4()]}})).await.expect(201);
    second.say(json!({"group": group, "payload": "unheard"})).await;
    first.say(json!({"group": group, "payload": "included"})).await;
    node.receive_until(path, "included").await;

    node.put(path, json!({"group": group, "sources": {"exclude": [one.ipv4()]}})).await.expect(200);
    first.say(json!({"group": group, "payload": "unheard"})).await;
    second.say(json!({"group": group, "payload": "not excluded"})).await;
    node.receive_until(path, "not excluded").await;

    node.put(path, json!({"group": group})).await.expect(200);
    first.say(json!({"group": group, "payload": "any"})).await;
    let received = node.receive_until(path, "any").await;
    assert_eq!(payloads(&received), ["included", "not excluded", "any"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn source_specific_groups_work_over_ipv6() {
    let Some(mut lab) = Lab::new() else { return };
    let (one, other, listener) = (lab.host(), lab.host(), lab.host());
    let (first, second) = (Node::start(&one, &[]).await, Node::start(&other, &[]).await);
    let node = Node::start(&listener, &[]).await;

    let group = "[ff3e::8000:1]:10000";
    let membership = node
        .join(json!({"group": group, "interfaces": ["eth0"], "sources": {"include": [one.ipv6()]}}))
        .await;
    second.say(json!({"group": group, "interfaces": ["eth0"], "payload": "of the other"})).await;
    first.say(json!({"group": group, "interfaces": ["eth0"], "payload": "of the one"})).await;
    let received = node.receive_until(&membership, "of the one").await;
    assert_eq!(payloads(&received), ["of the one"]);
    assert!(received[0]["source"].as_str().unwrap().starts_with(&format!("[{}]:", one.ipv6())));
}
